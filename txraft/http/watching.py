"""Watches: a page of a machine's events when there is one, or a stream of them.

A watch is a chain of polls, each naming the place from which it wants to read on; no server keeps a place for it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txraft.http.asked import Asked
from txraft.http.event_stream import EventStream, Unread, plain_event
from txraft.http.parameters import bad_request, flag_of, parse_query_string, seconds_of, single, text_bytes_of, timeout_of
from txraft.http.replies import Reply, method_not_allowed, reply_of_json
from txraft.limits import INDEX_MAX, WAIT_MS_MAX, Timing
from txraft.node.ports import ClientGate
from txraft.statemachine.results import Answer
from txraft.wire.requests import PollRequest

__all__ = ["WATCH", "Place", "Watch", "Watches", "place_of", "watch_of"]

WATCH = "watch"
"""Last segment of the path; no command or query has this name."""

WAIT_S_MAX = WAIT_MS_MAX / 1000
WAIT_S = 30.0
"""How long a poll waits that says from where, but not how long."""

_PARAMETERS = frozenset({"topic", "topic64", "prefix", "prefix64", "index", "wait", "timeout", "stream", "bytes"})
_PLACE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19}))?")

Place = tuple[int, int]
"""Index of the next event wanted, and how many events of that index have been seen; (0, 0) for the next one to come."""


@frozen
class Watch:
    """What is watched.

    Attributes:
        topic: events of this topic; with `prefix`, of all that begin with it.
        place: from where on.
        wait_s: how long to wait if there is none.
        timeout_s: how long the node may take beyond that; None for its default.
        text: bytes as text.
        stream: an answer without end.
    """

    topic: bytes
    prefix: bool
    place: Place
    wait_s: float
    timeout_s: float | None
    text: bool
    stream: bool


@define
class Watches:
    """Answers `GET /v1/MACHINE/watch`. Reactor thread."""

    gate: ClientGate
    timing: Timing
    clock: IReactorTime
    _unread: Unread = field(factory=Unread)

    def respond(self, asked: Asked, machine: str) -> Reply | Deferred[Reply] | Deferred[EventStream]:
        """Do what is asked. Raises `NotApplied` `bad_request`."""
        if asked.method != "GET":
            return method_not_allowed("GET, HEAD")
        watch = watch_of(parse_query_string(asked.query), asked.header("Accept"), asked.header("Last-Event-ID"))
        if not watch.stream:
            return self._poll(machine, watch, watch.place, watch.wait_s).addCallback(_reply_of_page, watch.text)

        def poll(place: Place, wait_s: float) -> Deferred[Answer]:
            return self._poll(machine, watch, place, wait_s)

        stream = EventStream(poll, watch.text, self.clock, self.timing.frame_s, self._unread)
        return poll(watch.place, 0.0).addCallback(stream.prepare)

    def _poll(self, machine: str, watch: Watch, place: Place, wait_s: float) -> Deferred[Answer]:
        request = PollRequest(0, machine, watch.topic, watch.prefix, *place, int(wait_s * 1000))
        return self.gate.call(request, timeout_s=wait_s + (watch.timeout_s or self.timing.request_s))


def watch_of(parameters: Mapping[str, list[str]], accept: list[str], last_event_id: list[str]) -> Watch:
    """What the query string and the headers `Accept` and `Last-Event-ID` ask for. Raises `NotApplied` `bad_request`."""
    surplus = sorted(parameters.keys() - _PARAMETERS)
    if surplus:
        raise bad_request(f"watch has no parameter {surplus[0][:100]!r}; it takes {', '.join(sorted(_PARAMETERS))}")
    stream = any("text/event-stream" in value.lower() for value in accept) or flag_of(parameters, "stream")
    text = single(parameters, "index")
    place = (0, 0) if text is None else place_of(text, "index")
    if stream and last_event_id:
        place = place_of(last_event_id[-1], "Last-Event-ID")
    wait = single(parameters, "wait")
    wait_s = (WAIT_S if place[0] else 0.0) if wait is None else seconds_of(wait)
    if not 0 <= wait_s <= WAIT_S_MAX:
        raise bad_request(f"wait must be a number of seconds from 0 to {WAIT_S_MAX:g}")
    return Watch(*_topic_of(parameters), place, wait_s, timeout_of(parameters), text_bytes_of(parameters), stream)


def place_of(text: str, name: str) -> Place:
    """A place as an answer gave it, `N` or `N.K`. Raises `NotApplied` `bad_request`."""
    match = _PLACE.fullmatch(text)
    index, skip = (int(match[1]), int(match[2] or 0)) if match else (-1, 0)
    if not 0 <= index <= INDEX_MAX or skip > INDEX_MAX or (skip and not index):
        raise bad_request(f"{name} must be the index of an event, or NEXT.SKIP as an answer gave them; without it, from the next event on")
    return index, skip


def _topic_of(parameters: Mapping[str, list[str]]) -> tuple[bytes, bool]:
    given = [name for name in ("topic", "topic64", "prefix", "prefix64") if name in parameters]
    if len(given) > 1:
        raise bad_request(f"{given[0]} and {given[1]} do not go together: watch one topic, or all topics with one prefix")
    if not given:
        return b"", True
    text = single(parameters, given[0]) or ""
    return _of_base64(given[0], text) if given[0].endswith("64") else text.encode(), given[0].startswith("prefix")


def _of_base64(name: str, text: str) -> bytes:
    """Either alphabet of base64, with or without padding: `+` and `=` are not easily written in a query string, where `+` is a space."""
    plain = text.translate(str.maketrans("-_ ", "+/+")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{name} must be base64; for a text, there is {name.removesuffix('64')}") from None


def _reply_of_page(answer: Answer, text: bool) -> Reply:
    page = answer.value()
    events = [plain_event(event, text) for event in page["events"]]
    return reply_of_json({"events": events, "next": page["next"], "skip": page["skip"], "index": answer.index, "term": answer.term})
