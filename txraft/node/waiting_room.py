"""Everything that waits on this node for something to happen in a machine: how much may, on whose behalf, and until when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from txraft.errors import NotApplied
from txraft.limits import Limits
from txraft.node.ports import Caller

__all__ = ["Waiter", "WaitingRoom"]

STEP_S = 0.1
"""Waits end this precisely."""

ENDED_AT_ONCE_MAX = 4_096
"""Waits ended in one go; if more are over, the others have to wait for the next, so that heartbeats need not."""


class Waiter(Protocol):
    """A poll, or a command: in the room from when it is taken until it is answered or goes into the log."""

    @property
    def caller(self) -> Caller:
        """On whose behalf."""

    @property
    def size_bytes(self) -> int:
        """What it keeps of what the caller sent."""

    def overdue(self) -> None:
        """Its wait is over. It is still in the room, and leaves it by itself."""

    def dismissed(self, problem: NotApplied | None) -> None:
        """It has left the room and waited in vain: answer with `problem`; None if there is nobody to answer."""


class WaitingRoom:
    """Waiters by caller and by the end of their waits; each is put in, taken out and found in constant time. Reactor thread only.

    Whoever is answered may do anything at once, such as to leave with all that waits on its behalf: so nothing here rests on what a loop
    found at its beginning.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots: dict[int, dict[Waiter, None]] = {}
        self._slot_of: dict[Waiter, int] = {}
        self._by_caller: dict[Caller, dict[Waiter, None]] = {}
        self._bytes = 0
        self._bytes_of: Counter[Caller] = Counter()

    def __len__(self) -> int:
        return len(self._slot_of)

    def enter(self, waiter: Waiter, until_s: float) -> None:
        """Begin to wait. Raises `NotApplied` `too_many_waits`."""
        of_caller = self._by_caller.get(waiter.caller, {})
        for waiting, waits_max, where in (
            (len(self._slot_of), self._limits.waits_max, "node"),
            (len(of_caller), self._limits.waits_per_connection_max, "connection"),
        ):
            if waiting >= waits_max:
                raise NotApplied("too_many_waits", f"{waiting} polls and commands wait on this {where} already, as many as may")
        size_bytes = waiter.size_bytes
        for kept, bytes_max, where in (
            (self._bytes, self._limits.waits_bytes_max, "node"),
            (self._bytes_of[waiter.caller], self._limits.waits_per_connection_bytes_max, "connection"),
        ):
            if kept + size_bytes > bytes_max:
                raise NotApplied("too_many_waits", f"polls and commands of {kept} bytes wait on this {where} already; {bytes_max} may")
        self._bytes += size_bytes
        self._bytes_of[waiter.caller] += size_bytes
        slot = int(until_s / STEP_S) + 1
        self._slot_of[waiter] = slot
        self._slots.setdefault(slot, {})[waiter] = None
        self._by_caller.setdefault(waiter.caller, of_caller)[waiter] = None

    def leave(self, waiter: Waiter) -> bool:
        """It waits no more; whether it did."""
        slot = self._slot_of.pop(waiter, None)
        if slot is None:
            return False
        _discard(self._slots, slot, waiter)
        _discard(self._by_caller, waiter.caller, waiter)
        self._bytes -= waiter.size_bytes
        self._bytes_of[waiter.caller] -= waiter.size_bytes
        if not self._bytes_of[waiter.caller]:
            del self._bytes_of[waiter.caller]
        return True

    def expire(self, now: float) -> None:
        """End the waits that are over. Called every now and then."""
        current = int(now / STEP_S)
        left = ENDED_AT_ONCE_MAX
        for slot in sorted(slot for slot in self._slots if slot <= current):
            over = list(islice(self._slots.get(slot, ()), left))
            left -= len(over)
            for waiter in over:
                _discard(self._slots, slot, waiter)
                if waiter in self._slot_of:
                    waiter.overdue()

    def forget(self, caller: Caller) -> None:
        """A caller has gone."""
        for waiter in list(self._by_caller.get(caller, ())):
            if self.leave(waiter):
                waiter.dismissed(None)

    def dismiss(self, problem: NotApplied, concerns: Callable[[Caller], bool]) -> None:
        """Those of some callers wait no more."""
        for caller in list(filter(concerns, self._by_caller)):
            for waiter in list(self._by_caller.get(caller, ())):
                if self.leave(waiter):
                    waiter.dismissed(problem)


def _discard(groups: dict[Any, dict[Waiter, None]], key: Any, waiter: Waiter) -> None:
    group = groups.get(key)
    if group is not None:
        group.pop(waiter, None)
        if not group:
            del groups[key]
