"""Server-sent events: a chain of polls, written as they are answered, no faster than the client reads.

Source: the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.errors import NotApplied, Outcome
from txraft.http.json_text import encode_json, with_text_bytes
from txraft.http.streams import Outlet
from txraft.statemachine.results import Answer

__all__ = ["EVENT_STREAM", "PING_S", "EventStream", "Unread", "plain_event"]

EVENT_STREAM = b"text/event-stream"

PING_S = 15.0
"""Longest silence: after it a comment is written, so that both sides notice when the other has gone."""

UNREAD_BYTES_MAX = 67_108_864
"""Pages that clients have not read, of all streams of a node together; who would go beyond it is cut off."""

_PING = b": ping\n\n"
_HEADERS: Mapping[bytes, bytes] = {b"Content-Type": EVENT_STREAM, b"X-Accel-Buffering": b"no"}


@define
class Unread:
    """How much clients have not read, counted over all streams that are paused."""

    bytes_now: int = 0


@implementer(IPushProducer)
@define(eq=False)
class EventStream:
    """One stream of events. At most one page of it waits to be read: the next is only asked for when the connection has taken that.

    Attributes:
        poll: asks for events from a place on, for so many seconds.
        text: bytes as text.
        stalled_s: how long a client may take to read what waits for it.
        unread: shared by all streams.
    """

    poll: Callable[[tuple[int, int], float], Deferred[Answer]]
    text: bool
    clock: IReactorTime
    stalled_s: float
    unread: Unread
    _outlet: Outlet | None = None
    _part: bytes = b""
    _place: tuple[int, int] = (0, 0)
    _ends: bool = False
    _paused: bool = False
    _counted: int = 0
    _polling: Deferred[None] | None = None
    _soon: IDelayedCall | None = None
    _stalled: IDelayedCall | None = None
    _log: Logger = field(factory=Logger)

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """What kind of answer it is. Without the second a proxy may keep events until it has many."""
        return _HEADERS

    def prepare(self, answer: Answer) -> EventStream:
        """Take the answer of the first poll. Raises the `Outcome` it is, if a status can tell it better than a stream."""
        self._take(answer)
        return self

    def begin(self, outlet: Outlet, *, full: bool) -> None:
        """Write to `outlet` what there is, and all that is to come; `full`: when it has taken what it already has to send."""
        self._outlet = outlet
        if full:
            self.pauseProducing()
        self._write()

    def stop(self) -> None:
        """The client has gone, or wants no more."""
        self._outlet = None
        self._taken()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._polling is not None:
            self._polling.cancel()

    def pauseProducing(self) -> None:
        """The connection is full."""
        self._paused = True
        if self._outlet is None or self._stalled is not None:
            return
        self._counted = len(self._part)
        self.unread.bytes_now += self._counted
        self._stalled = self.clock.callLater(0 if self.unread.bytes_now > UNREAD_BYTES_MAX else self.stalled_s, self._give_up)

    def resumeProducing(self) -> None:
        """The connection has taken everything."""
        self._paused = False
        self._taken()
        if self._outlet is not None:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection has ended."""
        self.stop()

    def _take(self, answer: Answer) -> None:
        """What an answer comes to in the stream. Raises the `Outcome` that ends it without a word."""
        try:
            page = answer.value()
        except NotApplied as problem:
            if problem.code != "compacted":
                raise
            self._part, self._ends = b"event: compacted\ndata: %b\n\n" % encode_json({"oldest": problem.details.get("oldest")}), True
            return
        before, self._place = self._place, (page["next"], page["skip"])
        if page["events"]:
            self._part = _text_of_page(page, self.text)
        else:
            self._part = _PING if self._place == before else b"id: %d.%d\n\n" % self._place

    def _write(self) -> None:
        outlet = self._outlet
        if outlet is None:
            return
        outlet.write_part(self._part)
        if self._ends:
            self._end()
        else:
            self._go_on()

    def _go_on(self) -> None:
        # Not at once: a client that is far behind would keep the reactor from everybody else, and answers given at once would nest.
        if not self._paused and self._soon is None and self._polling is None:
            self._soon = self.clock.callLater(0, self._ask)

    def _ask(self) -> None:
        self._soon = None
        if self._paused:
            return
        polling = self.poll(self._place, PING_S).addCallback(self._answered).addErrback(self._failed)
        self._polling = None if polling.called else polling

    def _answered(self, answer: Answer) -> None:
        self._polling = None
        self._take(answer)
        self._write()

    def _failed(self, failure: Failure) -> None:
        self._polling = None
        if not failure.check(CancelledError, Outcome):
            self._log.failure("a stream of events failed", failure)
        if self._outlet is not None:
            self._end()

    def _end(self) -> None:
        outlet, self._outlet = self._outlet, None
        self._taken()
        if outlet is not None:
            outlet.end()

    def _give_up(self) -> None:
        self._stalled = None
        outlet = self._outlet
        self.stop()
        if outlet is not None:
            outlet.abort()

    def _taken(self) -> None:
        self.unread.bytes_now -= self._counted
        self._counted = 0
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def plain_event(event: dict[str, Any], text: bool) -> dict[str, Any]:
    """An event as it is shown."""
    shown = {"index": event["index"], "topic": event["topic"], "fields": event["fields"]}
    return with_text_bytes(shown) if text else shown


def _text_of_page(page: dict[str, Any], text: bool) -> bytes:
    """The events of a page, each with the place behind it as its id.

    Of several in a row that share an index only the last has an id: what lies between them, of other topics, is not known here. Who
    is cut off among them sees those again.
    """
    events = page["events"]
    parts = []
    for event, following in zip(events, [*events[1:], None], strict=True):
        if following is None:
            parts.append(b"id: %d.%d\n" % (page["next"], page["skip"]))
        elif following["index"] > event["index"]:
            parts.append(b"id: %d.0\n" % (event["index"] + 1))
        parts.append(b"data: %b\n\n" % encode_json(plain_event(event, text)))
    return b"".join(parts)
