"""Time that passes only from event to event: thousands of seconds a second, and the same every time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from attrs import define, field


@define(eq=False)
class Event:
    """Something that will happen, unless it is cancelled before."""

    action: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@define
class VirtualTime:
    """A clock and what is to happen on it, in order of time; what falls on the same moment happens in the order it was asked for.

    Attributes:
        now: seconds since the beginning.
    """

    now: float = 0.0
    _events: list[tuple[float, int, Event]] = field(factory=list)
    _numbers: Iterator[int] = field(factory=itertools.count)

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Event:
        event = Event(action)
        heapq.heappush(self._events, (self.now + delay_s, next(self._numbers), event))
        return event

    def run(self, seconds: float) -> None:
        """Let this much time pass, with everything that falls into it."""
        end = self.now + seconds
        self._run_until(end, lambda: False)
        self.now = end

    def run_until(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Let time pass until `condition` holds, which is looked at after every event; whether it came to hold in time."""
        return condition() or self._run_until(self.now + within_s, condition)

    def _run_until(self, end: float, condition: Callable[[], bool]) -> bool:
        while self._events and self._events[0][0] <= end:
            when, _, event = heapq.heappop(self._events)
            if event.cancelled:
                continue
            self.now = when
            event.action()
            if condition():
                return True
        return False
