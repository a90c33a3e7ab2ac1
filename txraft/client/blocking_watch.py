"""A watch for programs without Twisted: an iterator over the events of a machine, by long polls of the HTTP API. Standard library only."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from txraft.client.blocking_http import JsonApi
from txraft.client.events import Event, Pages, Place
from txraft.client.retrying import BackOff, Fate, judge, overdue
from txraft.errors import NotApplied, Outcome
from txraft.limits import TOPIC_BYTES_MAX

__all__ = ["POLL_WAIT_S", "BlockingWatch"]

POLL_WAIT_S = 20.0
"""A poll that finds no event is answered after so long, and sent again."""

Topic = str | bytes


class BlockingWatch:
    """Made by `BlockingClient.watch`: ``for event in watch``. It has a connection of its own; other calls of the client go on meanwhile.

    It goes on through lost connections and servers that are not ready, without gap or duplicate, until it is stopped (by any thread), or
    cannot go on: then it raises `NotApplied` `compacted` (the servers have dropped events that were not told yet), `unknown_machine`,
    `client_closed` and the like. One thread iterates. As a context manager it is stopped at the end.

    Args:
        api: of its own.
        machine: whose events.
        topic: as in `BlockingClient.watch`.
        prefix: likewise.
        pages: where it begins.
        text_bytes: as in `BlockingClient`.
        timeout_s: how long a server may take to answer, beside the wait.
        monotonic: seconds.
        sleep: for that many seconds.
        back_off: the pauses while nobody answers.
        saw: told the index of each answer.

    Raises:
        NotApplied: `invalid_arguments` when the topic is none.
    """

    def __init__(
        self,
        api: JsonApi,
        machine: str,
        topic: Topic | None,
        prefix: Topic | None,
        pages: Pages,
        *,
        text_bytes: bool,
        timeout_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        back_off: BackOff,
        saw: Callable[[Any], None],
    ) -> None:
        if topic is not None and prefix is not None:
            raise NotApplied("invalid_arguments", "a watch is of a topic or of a prefix, not of both")
        self._api = api
        text = "bytes=text&" if text_bytes else ""
        self._path = f"/v1/{quote(machine, safe='')}/watch?{text}{_query('topic', topic)}{_query('prefix', prefix)}"
        self._wanted = prefix if topic is None else topic
        self._text_bytes = text_bytes
        self._pages = pages
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._back_off = back_off
        self._saw = saw
        self._events: deque[Event] = deque()
        self._place = pages.place
        self._end: Exception | None = None

    @property
    def place(self) -> Place:
        """The place behind the last event that was told, to begin another watch of the same topic at."""
        return self._place if self._events else self._pages.place

    def begin(self) -> None:
        """Learn the place: whatever happens after is told. Raises an `Outcome` when that is not possible in time."""
        self._poll(0.0, self._monotonic() + self._timeout_s)

    def __iter__(self) -> BlockingWatch:
        return self

    def __next__(self) -> Event:
        while not self._events:
            self._poll(POLL_WAIT_S, None)
        if self._end is not None:
            raise self._end
        event = self._events.popleft()
        self._place = event.place
        return event

    def stop(self) -> None:
        """End it: whoever waits for an event is told so at once, or when a pause between two tries is over."""
        self.end(StopIteration())

    def end(self, why: Exception) -> None:
        """End it; only the first time counts. Any thread."""
        if self._end is None:
            self._end = why
            self._api.interrupt()

    def __enter__(self) -> BlockingWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._api.close()

    def _poll(self, wait_s: float, deadline_s: float | None) -> None:
        """Fetch a page, however often that must be tried."""
        while True:
            if self._end is not None:
                raise self._end
            begun_s = self._monotonic()
            try:
                answer = self._api.exchange("GET", self._next_path(wait_s), None, {}, wait_s + max(1.0, self._timeout_s / 3))
                moved = self._read(answer)
            except Outcome as problem:
                self._not_answered(problem, deadline_s)
                continue
            if moved or self._monotonic() - begun_s >= wait_s / 2:
                self._back_off.reset()
            else:  # A server that finds nothing and does not wait must not be asked all the time.
                self._sleep(self._back_off.next_s())
            return

    def _not_answered(self, problem: Outcome, deadline_s: float | None) -> None:
        """Pause before the next try; or raise what ends the watch."""
        if self._end is not None:
            raise self._end
        if judge(problem, repeatable=True, maybe_taken=False) is not Fate.RETRY and problem.code != "too_many_waits":
            self.end(problem)
            raise problem
        if deadline_s is not None and self._monotonic() >= deadline_s:
            late = overdue(self._timeout_s, problem, maybe_taken=False)
            self.end(late)
            raise late
        self._api.next_endpoint()
        self._sleep(self._back_off.next_s())

    def _next_path(self, wait_s: float) -> str:
        pages = self._pages
        return f"{self._path}index={pages.first}.{pages.skip}&wait={wait_s:g}" if pages.first else f"{self._path}wait={wait_s:g}"

    def _read(self, answer: Any) -> bool:
        """Take the events of a page; whether the place has moved."""
        before = self._pages.first, self._pages.skip
        self._place = self._pages.place
        events = self._pages.read(_with_bytes(answer) if self._text_bytes else answer)
        if not self._text_bytes:
            events = [replace(event, topic=_topic_as_wanted(str(event.topic), self._wanted)) for event in events]
        self._events.extend(events)
        self._saw(answer.get("index"))
        return (self._pages.first, self._pages.skip) != before


def _query(name: str, topic: Topic | None) -> str:
    """As it stands in the query string. Raises `NotApplied`."""
    if topic is None:
        return ""
    try:
        encoded = topic.encode() if isinstance(topic, str) else bytes(memoryview(topic))
    except (TypeError, UnicodeEncodeError) as error:
        raise NotApplied("invalid_arguments", f"a topic is text or bytes: {error}") from None
    if len(encoded) > TOPIC_BYTES_MAX:
        raise NotApplied("invalid_arguments", f"a topic of {len(encoded)} bytes; {TOPIC_BYTES_MAX} are allowed")
    return f"{name}64={base64.urlsafe_b64encode(encoded).decode().rstrip('=')}&"


def _topic_as_wanted(text: str, wanted: Topic | None) -> Topic:
    """The topic of an event: bytes where the machine has bytes, which JSON shows in base64 and does not tell from text.

    What was asked for tells them apart: a topic begins as was asked, as a text or after decoding. If both fit, it is of the type that was
    asked for.
    """
    if wanted is None:
        return text
    encoded = wanted.encode() if isinstance(wanted, str) else wanted
    try:
        decoded: bytes | None = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = None
    if decoded is not None and not decoded.startswith(encoded):
        decoded = None
    is_text = text.encode().startswith(encoded)
    if decoded is None or (is_text and isinstance(wanted, str)):
        return text
    return decoded


def _with_bytes(page: Any) -> Any:
    """A page in which topics that are not UTF-8 are bytes again; whether it is one is not judged here."""
    events = page.get("events") if isinstance(page, dict) else None
    for event in events if isinstance(events, list) else ():
        topic = event.get("topic") if isinstance(event, dict) else None
        if isinstance(topic, dict):
            with contextlib.suppress(TypeError, ValueError):
                event["topic"] = base64.b64decode(topic.get("base64", ""), validate=True)
    return page
