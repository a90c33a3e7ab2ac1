"""How a thread with much to do leaves the interpreter to the reactor: it works a part of the time only.

Python runs one thread at a time. A thread that computes without a pause makes the reactor wait up to five milliseconds each time it comes
back from the operating system, which it does thousands of times a second; one that works for a fraction of a millisecond and then rests
costs it no more than that fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

__all__ = ["Abandoned", "Pace"]

REST_MAX_S = 0.05
"""A step that took long, because others had the interpreter, earns no long rest."""


class Abandoned(Exception):
    """The node stops, or has no use any more for what the thread is at work on."""


class Pace:
    """The pace of one long job. `step` belongs to its thread, `abandon` to the reactor's.

    Args:
        share: the part of the time in which the job may work, above 0 and up to 1.
        seconds: a monotonic clock.
        rest: waits so many seconds, less if it is set meanwhile; tests do not wait.
    """

    def __init__(self, share: float, seconds: Callable[[], float], rest: Callable[[float], object] | None = None) -> None:
        self._resting_per_working, self._seconds = 1 / share - 1, seconds
        self._abandoned = Event()
        self._rest = rest or self._abandoned.wait
        self._since = seconds()

    def step(self) -> None:
        """A small piece of work is done: rest in proportion to the time it took. Raises `Abandoned`."""
        self._rest(min((self._seconds() - self._since) * self._resting_per_working, REST_MAX_S))
        if self._abandoned.is_set():
            raise Abandoned
        self._since = self._seconds()

    def abandon(self) -> None:
        """Let the job end at its next step, now if it rests."""
        self._abandoned.set()
