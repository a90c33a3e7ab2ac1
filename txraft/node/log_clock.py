"""The clock that stamps commands: the wall clock as it was when this node began to lead, and monotonic time since.

Sessions and deadlines live by log time. If it followed the wall clock, setting that forward by an hour would end every session at once.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

__all__ = ["LogClock"]


class LogClock:
    """Milliseconds since 1970, by the wall clock at the last `set`. Reactor thread only.

    Args:
        clock: monotonic.
        wall_ms: the wall clock.
    """

    def __init__(self, clock: IReactorTime, wall_ms: Callable[[], int]) -> None:
        self._clock, self._wall_ms = clock, wall_ms
        self.set(not_before_ms=0)

    def set(self, *, not_before_ms: int) -> None:
        """Look at the wall clock again: at the beginning of a leadership, so that months do not add up to a difference.

        Args:
            not_before_ms: the log time so far. If an earlier leader's clock was ahead of ours, time goes on from there.
        """
        self._began_ms = max(self._wall_ms(), not_before_ms)
        self._began_at = self._clock.seconds()

    def now_ms(self) -> int:
        """What to stamp into a command."""
        return self._began_ms + int((self._clock.seconds() - self._began_at) * 1000)
