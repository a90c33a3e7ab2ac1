"""Events of a machine as a watch tells them, and the way from one page of them to the next. Standard library only: both clients read by it.

A watch is a chain of polls. Each answer is a page: some events, and the place to ask on from. No server keeps a place for anybody, so the
next poll may go to another server, and a page whose answer was lost is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from txraft.errors import NotApplied
from txraft.limits import INDEX_MAX

__all__ = ["Event", "Pages", "Place"]

Place = tuple[int, int]
"""An index, and how many events of that index the watch has told already: all earlier ones it has told, and no later one."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a machine.

    Attributes:
        index: of the log entry that it happened by; several events may share one.
        topic: text or bytes, as the machine has it.
        fields: what the machine tells of it; plain values.
        place: the place behind it. A watch of the same topic from there tells the next event first, whichever server it asks. It may be
            said in more than one way, so it does not count when events are compared.
    """

    index: int
    topic: str | bytes
    fields: dict[str, Any]
    place: Place = field(compare=False)


class Pages:
    """Reads one page after the other and keeps the place.

    Servers count an index's events whether a watch wants them or not, watches only those that they were told. So a watch that goes on from
    within an index reads that index from its first event and passes over what was told before.

    Attributes:
        first: the index to poll from; 0 as long as it is the next one to come.
        skip: how many events of that index, wanted or not, the server is to pass over.

    Raises:
        NotApplied: `invalid_arguments` when `from_index` is no place.
    """

    def __init__(self, from_index: int | Place | None = None) -> None:
        place: Any = (from_index, 0) if isinstance(from_index, int) else from_index
        if place is None:
            place = (0, 0)
        elif not (isinstance(place, (tuple, list)) and len(place) == 2 and _numbers(*place) and place[0] > 0):
            raise NotApplied("invalid_arguments", f"a watch begins at an index, from 1, or at the place of an event, not at {from_index!r}")
        self.first: int = place[0]
        self.skip = 0
        self._told_before: int = place[1]
        self._index: int = place[0]
        self._seen = 0

    @property
    def place(self) -> Place:
        """The place behind all that was read."""
        return (self.first, max(self._seen, self._told_before)) if self.first == self._index else (self.first, 0)

    def read(self, answer: Any) -> list[Event]:
        """The events of a page that were not told before; the place moves on.

        Raises:
            NotApplied: `unexpected_answer` when it is no page that could follow.
        """
        try:
            page, first, skip = answer["events"], answer["next"], answer["skip"]
            if not _numbers(first, skip) or (first, skip) < (max(self.first, 1), self.skip):
                raise ValueError(f"after {self.first}.{self.skip} comes {first}.{skip}")
            events = self._events(page, first)
        except (KeyError, TypeError, ValueError) as error:
            raise NotApplied("unexpected_answer", f"the answer is no page of events: {error}") from None
        if not self.first:
            self._index = first
        self.first, self.skip = first, skip
        return events

    def _events(self, page: Any, first: int) -> list[Event]:
        events = []
        index, seen, told_before = self._index, self._seen, self._told_before
        following = [*(item["index"] for item in page[1:]), first]
        for item, index_of_next in zip(page, following, strict=False):
            event_index, topic, fields = item["index"], item["topic"], item["fields"]
            if event_index != index:
                index, seen, told_before = event_index, 0, 0
            seen += 1
            if not (self.first <= index <= index_of_next) or not isinstance(topic, str | bytes) or not isinstance(fields, dict):
                raise ValueError(f"an event {str(item)[:200]}")
            if seen > told_before:
                events.append(Event(index, topic, fields, (index, seen) if index_of_next == index else (index + 1, 0)))
        self._index, self._seen, self._told_before = index, seen, told_before
        return events


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INDEX_MAX for value in values)
