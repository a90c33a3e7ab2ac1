"""How long something is waited for, and which troubles are waited out on the way."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from txraft.client.recipes.shared.store import Store
from txraft.client.recipes.shared.trouble import AcquireCancelled, LockTimeout
from txraft.errors import NotApplied, Outcome, Unknown

__all__ = ["PAUSE_S", "Patience", "passing"]

T = TypeVar("T")

PAUSE_S = 0.5
"""Between two tries; the client below has already tried for as long as its own timeout."""

_NO_BETTER_NEXT_TIME = frozenset({"machine_error", "answer_too_large"})


def passing(problem: Outcome) -> bool:
    """Whether a call that may be made again may come to something better then."""
    if isinstance(problem, NotApplied):
        return problem.retryable
    return isinstance(problem, Unknown) and problem.code not in _NO_BETTER_NEXT_TIME


class Patience:
    """The time for one undertaking.

    Args:
        store: its clock.
        timeout_s: None: as long as it takes.
        tries_once: the first trouble is told, whatever it is.
        what: for the sentence of the error.
    """

    def __init__(self, store: Store, timeout_s: float | None = None, *, tries_once: bool = False, what: str = "it") -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._ends_s = math.inf if timeout_s is None else store.monotonic() + timeout_s
        self._tries_once = tries_once
        self._what = what
        self._cancelled = False

    @property
    def left_s(self) -> float:
        """What is left of the time; never negative."""
        return max(0.0, self._ends_s - self._store.monotonic())

    def cancel(self) -> None:
        """End it at the next `check`. May be called from any thread."""
        self._cancelled = True

    def check(self) -> None:
        """Whether to go on.

        Raises:
            LockTimeout: the time is up.
            AcquireCancelled: see `cancel`.
        """
        if self._cancelled:
            raise AcquireCancelled(f"{self._what}: cancelled")
        if self.left_s <= 0:
            raise LockTimeout(f"{self._what}: not within {self._timeout_s:g} s")

    async def persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be made again, until it comes to something.

        Raises:
            Outcome: one that would come again.
            LockTimeout: the time is up; the last outcome is its cause.
        """
        while True:
            try:
                return await ask()
            except Outcome as problem:
                if self._tries_once or not passing(problem):
                    raise
                try:
                    self.check()
                except LockTimeout as late:
                    raise late from problem
            await self._store.sleep(min(PAUSE_S, self.left_s))
