"""A clock whose calls cannot fail unseen: what a node does later is guarded like what it does now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

__all__ = ["GuardedClock"]


@implementer(IReactorTime)
class GuardedClock:
    """`clock`, with everything that is called later wrapped by `guard`."""

    def __init__(self, clock: IReactorTime, guard: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
        self._clock, self._guard = clock, guard

    def seconds(self) -> float:
        """See `IReactorTime`."""
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """See `IReactorTime`."""
        return self._clock.callLater(delay, self._guard(lambda: callable(*args, **kwargs)))

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See `IReactorTime`."""
        return self._clock.getDelayedCalls()
