"""How a thread with much to do leaves the interpreter to the reactor: it works a part of the time only, less when the reactor is busy.

Python runs one thread at a time. A thread that computes without a pause makes the reactor wait up to five milliseconds each time it comes
back from the operating system, which it does thousands of times a second; one that works for a fraction of a millisecond and then rests
costs it no more than that fraction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

__all__ = ["Abandoned", "Pace"]

REST_MAX_S = 0.05
"""A step that took long, because others had the interpreter, earns no long rest."""

LOOK_S = 0.05
"""How often the pace looks at what the other threads do."""

BUSY = 0.1
"""A process whose other threads need this part of a processor is busy. It may want more, and not get it."""


class Abandoned(Exception):
    """The node stops, or has no use any more for what the thread is at work on."""


def working_s_of_others() -> float:
    """Seconds for which the other threads of this process have had a processor."""
    return time.process_time() - time.thread_time()


class Pace:
    """The pace of one long job. `step` belongs to its thread, `abandon` to the reactor's.

    Args:
        busy_share: the part of the time in which the job may work while this process is busy, above 0.
        idle_share: the same while it has nothing else to do, up to 1; in between it is in between.
        seconds: a monotonic clock.
        rest: waits so many seconds, less if it is set meanwhile; tests do not wait.
        others_s: see `working_s_of_others`.
    """

    def __init__(
        self,
        busy_share: float,
        idle_share: float,
        seconds: Callable[[], float],
        rest: Callable[[float], object] | None = None,
        others_s: Callable[[], float] = working_s_of_others,
    ) -> None:
        self._busy_share, self._idle_share, self._seconds, self._others_s = busy_share, idle_share, seconds, others_s
        self._abandoned = Event()
        self._rest = rest or self._abandoned.wait
        self._share = busy_share
        self._looked: tuple[float, float] | None = None
        self._since = seconds()

    def step(self) -> None:
        """A small piece of work is done: rest in proportion to the time it took. Raises `Abandoned`."""
        now = self._seconds()
        self._look(now)
        self._rest(min((now - self._since) * (1 / self._share - 1), REST_MAX_S))
        if self._abandoned.is_set():
            raise Abandoned
        self._since = self._seconds()

    def _look(self, now: float) -> None:
        if self._looked is None:
            self._looked = now, self._others_s()
            return
        looked_at, before_s = self._looked
        if now - looked_at >= LOOK_S:
            others_s = self._others_s()
            busy = min(1.0, max(0.0, others_s - before_s) / (now - looked_at) / BUSY)
            self._share = self._idle_share - busy * (self._idle_share - self._busy_share)
            self._looked = now, others_s

    def abandon(self) -> None:
        """Let the job end at its next step, now if it rests."""
        self._abandoned.set()
