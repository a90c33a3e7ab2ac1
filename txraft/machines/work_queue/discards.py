"""Messages that are no more, but still in memory: to free ten million takes seconds, so it is not done in the command that removed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from txraft.machines.work_queue.bounds import NEVER_MS

__all__ = ["DISCARDED_AT_ONCE", "DISCARD_PAUSE_MS", "WHOLE", "Discards", "Part"]

DISCARDED_AT_ONCE = 10_000
"""Messages that are freed in one go: about two milliseconds."""

DISCARD_PAUSE_MS = 20
"""The next ones follow after this much log time."""

_PLACES = 3
"""A message has at most so many places: its own, one by its id and one among the timers."""

WHOLE = 1_024
"""What is no larger is let go as a whole: pieces, which are never changed here, for a frozen view may have them, too."""

Part = dict[Any, Any] | Sequence[Any]


class Discards:
    """What purged and deleted queues held.

    How much is left, as the state has it, and when the next of it goes, is the same on all servers. Those that restored a snapshot
    have nothing in memory to free for it.

    Attributes:
        left: messages that are still to be freed.
        at_ms: when to free the next.
    """

    __slots__ = ("_parts", "at_ms", "left")

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self.left = 0
        self.at_ms = NEVER_MS

    @property
    def places(self) -> int:
        """How many there are in memory here."""
        return sum(map(len, self._parts))

    def add(self, parts: Iterable[Part], count: int, now_ms: int) -> None:
        """Nobody but frozen views refers to these any more; there were so many messages in them."""
        if count > DISCARDED_AT_ONCE:
            self._parts.extend(parts)
            self.left += count
            self.at_ms = min(self.at_ms, now_ms + DISCARD_PAUSE_MS)

    def free(self, now_ms: int) -> None:
        """Free a portion."""
        room = _PLACES * DISCARDED_AT_ONCE
        while self._parts and room > 0:
            part = self._parts[-1]
            count = len(part)
            if count > WHOLE:
                count = min(room, count - WHOLE)
                take_out = part.popitem if isinstance(part, dict) else part.pop  # type: ignore[attr-defined]
                for _ in range(count):
                    take_out()
            else:
                self._parts.pop()
            room -= count
        self.left = max(0, self.left - DISCARDED_AT_ONCE)
        self.at_ms = now_ms + DISCARD_PAUSE_MS if self.left else NEVER_MS
        if not self.left:
            self._parts.clear()

    def restore(self, left: int, at_ms: int) -> None:
        """Have what a snapshot had."""
        self.left, self.at_ms = left, at_ms
