"""What happened in a machine, for those who watch: a bounded history of what its commands emitted, read page by page.

A place in it is the index of an event, and how many events of that index come before. The history is part of the state: all servers
have the same, so a watch may go on at any of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import Any, Protocol

import msgspec
from attrs import frozen

from txraft.limits import EVENTS_BYTES_MAX, EVENTS_KEPT_BYTES_MAX, EVENTS_KEPT_MAX, TOPIC_BYTES_MAX
from txraft.statemachine.plain import require_plain
from txraft.statemachine.values import encode_canonical, refuse_deep_nesting

__all__ = ["SCANNED_MAX", "Event", "EventHistory", "History", "Page", "checked_page", "encode_event", "topic_bytes"]

SCANNED_MAX = 4_096
"""Events looked at for one page: a rare topic is found in several pages, between which the reactor does other things."""

EVENT_OVERHEAD_BYTES = 100
"""What an event takes in memory beside its topic and fields."""

_INDEX = itemgetter(0)

Event = tuple[int, bytes, bytes]
"""Index, topic, encoded fields."""


@frozen
class Page:
    """Some events of a machine, in order.

    Attributes:
        events: each a map of `index`, `topic` (text or bytes) and `fields`.
        next, skip: the place behind them, from which to read on: an index, and how many of its events to pass over.
    """

    events: list[dict[str, Any]]
    next: int
    skip: int = 0


class History(Protocol):
    """Events by their places. A machine that keeps versions of its own gives one that reads these: see `IWatched`."""

    @property
    def newest(self) -> int:
        """Index of the newest event; what comes later has a greater one. 0 before the first."""

    @property
    def oldest(self) -> int:
        """The smallest index from which on all events are still there."""

    def read(self, topic: bytes, prefix: bool, first: int, skip: int) -> Page:
        """The events of `topic` (with `prefix`, of all topics that begin with it) from a place on, not older than `oldest`.

        As many as fit into `EVENTS_BYTES_MAX`, at least one if there is one within reach; a page without events may still have moved on. At
        the end, the page's place is `(newest + 1, 0)`; for a place beyond that, it is that place.
        """


class EventHistory:
    """The events that a machine's commands emitted: the newest, as many as `EVENTS_KEPT_MAX` and `EVENTS_KEPT_BYTES_MAX` allow.

    Attributes:
        newest, oldest: see `History`.
    """

    def __init__(self) -> None:
        self.newest = 0
        self.oldest = 1
        self._events: list[Event] = []
        self._begin = 0  # those before it are dropped; they leave the list in one go, now and then
        self._bytes = 0

    def append(self, index: int, topic: bytes, fields: bytes) -> None:
        """One more, of the entry at `index`."""
        self._events.append((index, topic, fields))
        self.newest = index
        self._bytes += _size_of(topic, fields)
        while self._bytes > EVENTS_KEPT_BYTES_MAX or len(self._events) - self._begin > EVENTS_KEPT_MAX:
            dropped, its_topic, its_fields = self._events[self._begin]
            self._events[self._begin] = (dropped, b"", b"")  # what it took is free at once
            self._begin += 1
            self._bytes -= _size_of(its_topic, its_fields)
            self.oldest = dropped + 1
        if self._begin > EVENTS_KEPT_MAX:
            self._tidy()

    def _tidy(self) -> None:
        del self._events[: self._begin]
        self._begin = 0

    def read(self, topic: bytes, prefix: bool, first: int, skip: int) -> Page:
        """See `History`."""
        events = self._events
        at = bisect_left(events, first, self._begin, key=_INDEX)
        at = min(at + skip, bisect_right(events, first, at, key=_INDEX))
        page: list[dict[str, Any]] = []
        room = EVENTS_BYTES_MAX
        end = min(at + SCANNED_MAX, len(events))
        while at < end:
            index, its_topic, fields = events[at]
            if its_topic.startswith(topic) if prefix else its_topic == topic:
                room -= _size_of(its_topic, fields)
                if room < 0 and page:
                    break
                page.append({"index": index, "topic": its_topic.decode(), "fields": msgspec.Raw(fields)})
            at += 1
        return Page(page, *((first, skip) if first > self.newest else self._place(at)))

    def _place(self, at: int) -> tuple[int, int]:
        """The place of the event at a position of the list."""
        if at >= len(self._events):
            return self.newest + 1, 0
        index = self._events[at][0]
        return index, at - bisect_left(self._events, index, self._begin, at, key=_INDEX)

    def capture(self) -> list[Event]:
        """For a snapshot: what is there now."""
        return self._events[self._begin :]

    def restore(self, newest: int, oldest: int, events: list[Event]) -> None:
        """Have these events and no others. Raises `ValueError` when they are no history."""
        indexes = [index for index, _, _ in events]
        if indexes != sorted(indexes) or (indexes and not oldest <= indexes[0] <= indexes[-1] <= newest) or len(events) > EVENTS_KEPT_MAX:
            raise ValueError(f"{len(events)} events, from {oldest} to {newest}, are not in order, or too many")
        self.newest, self.oldest, self._events, self._begin = newest, oldest, events, 0
        self._bytes = sum(_size_of(topic, fields) for _, topic, fields in events)


def checked_page(page: Page, first: int, skip: int, newest: int) -> Page:
    """A page as watches can go on from; a machine's own history may have given anything."""
    if type(page) is not Page or type(page.events) is not list or type(page.next) is not int or type(page.skip) is not int:
        raise TypeError(f"a history gives a Page with a list of events and a place of two integers, not {page!r:.100}")
    if page.next < first or (first <= newest and (page.next, page.skip) <= (first, skip)):
        raise ValueError(
            f"a history goes on: asked for index {first}, skip {skip} of {newest}, it gave the place {page.next}, skip {page.skip}"
        )
    for event in page.events:
        if not _is_event(event):
            raise TypeError(f"an event of a history is a dict of index, topic and fields, not {event!r:.100}")
    return page


def _is_event(event: Any) -> bool:
    if type(event) is not dict or len(event) != 3:
        return False
    index, topic, fields = event.get("index"), event.get("topic"), event.get("fields")
    return type(index) is int and isinstance(topic, (str, bytes)) and isinstance(fields, dict)


def topic_bytes(topic: str | bytes) -> bytes:
    """A topic as it is compared. Raises `ValueError` when it is too long, or not Unicode."""
    encoded = topic.encode() if isinstance(topic, str) else topic
    if len(encoded) > TOPIC_BYTES_MAX:
        raise ValueError(f"a topic of {len(encoded)} bytes is longer than the {TOPIC_BYTES_MAX} allowed")
    return encoded


def encode_event(fields: dict[str, Any]) -> bytes:
    """The fields of an event as they are kept. Raises `TypeError` or `ValueError` when they are not plain, or too long."""
    try:
        encoded = encode_canonical(fields)  # sorted: a set has another order on each server, and events are state
    except RecursionError:
        # The same on every server, so it must not halt one after the other.
        raise ValueError("an event contains itself, or is nested too deep") from None
    refuse_deep_nesting(encoded)
    require_plain(fields)
    if len(encoded) > EVENTS_BYTES_MAX:
        raise ValueError(f"an event of {len(encoded)} bytes is longer than the {EVENTS_BYTES_MAX} allowed")
    return encoded


def _size_of(topic: bytes, fields: bytes) -> int:
    return len(topic) + len(fields) + EVENT_OVERHEAD_BYTES
