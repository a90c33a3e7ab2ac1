"""The events of a machine as servers read them: by pages, small ones, so that tests see many."""

from __future__ import annotations

from typing import Any

from txraft.errors import NotApplied
from txraft.wire.requests import PollRequest

EVENTS_MAX = 3
SCANNED_MAX = 5


class FakeHistory:
    """Attributes:
    events: topic and fields of each, by index; an index may have several.
    newest: the last index, with events or without.
    oldest: the first index that can be read from.
    """

    def __init__(self) -> None:
        self.events: dict[int, list[tuple[str | bytes, dict[str, Any]]]] = {}
        self.newest = 0
        self.oldest = 1

    def emit(self, *topics: str | bytes, **fields: Any) -> int:
        """The next index, with an event of each topic."""
        self.newest += 1
        self.events[self.newest] = [(topic, {"n": number, **fields}) for number, topic in enumerate(topics)]
        return self.newest

    def compact(self, oldest: int) -> None:
        """Forget everything before."""
        self.oldest = oldest
        for index in [index for index in self.events if index < oldest]:
            del self.events[index]

    def of(self, wanted: bytes, *, prefix: bool = True, first: int = 1) -> list[tuple[int, str | bytes, int]]:
        """Index, topic and number of all events that a watch should tell."""
        return [
            (index, topic, fields["n"])
            for index, group in sorted(self.events.items())
            for topic, fields in group
            if index >= first and _matches(topic, wanted, prefix=prefix)
        ]

    def page(self, request: PollRequest, lags: int = 0) -> dict[str, Any] | NotApplied:
        """What a server answers that has not heard of the newest `lags` indexes."""
        newest = max(0, self.newest - lags)
        first = request.first or newest + 1
        if first < self.oldest:
            return NotApplied("compacted", f"events before {self.oldest} are gone", oldest=self.oldest)
        if first > newest:
            return {"events": [], "next": first, "skip": request.skip}
        events: list[dict[str, Any]] = []
        scanned = 0
        for index in range(first, newest + 1):
            for number, (topic, fields) in enumerate(self.events.get(index, ())):
                if index == first and number < request.skip:
                    continue
                if len(events) == EVENTS_MAX or scanned == SCANNED_MAX:
                    return {"events": events, "next": index, "skip": number}
                scanned += 1
                if _matches(topic, request.topic, prefix=request.prefix):
                    events.append({"index": index, "topic": topic, "fields": fields})
        return {"events": events, "next": newest + 1, "skip": 0}


def _matches(topic: str | bytes, wanted: bytes, *, prefix: bool) -> bool:
    encoded = topic.encode() if isinstance(topic, str) else topic
    return encoded.startswith(wanted) if prefix else encoded == wanted
