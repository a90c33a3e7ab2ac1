"""Keeping queues that drop their oldest within their limits: never much at once, for nothing else happens on any server meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from txraft.machines.work_queue.bounds import NEVER_MS
from txraft.machines.work_queue.named_queue import NamedQueue

__all__ = ["DROPPED_AT_ONCE", "TRIM_PAUSE_MS", "Trims", "drops_for"]

DROPPED_AT_ONCE = 1_000
"""Messages that one command drops, and that are dropped by themselves in one go: about two milliseconds."""

TRIM_PAUSE_MS = 20
"""What is too much after that follows after this much log time."""


def drops_for(queue: NamedQueue, sizes: Sequence[int], is_ready: Sequence[bool]) -> int:
    """How many messages have to go for new ones of these sizes, one after the other; `DROPPED_AT_ONCE + 1` for more than may.

    Those that are ready at once may displace each other. That dropping all that is ready is enough must be clear already.
    """
    if queue.has_room(len(sizes), sum(sizes)):
        return 0
    settings, most = queue.settings, DROPPED_AT_ONCE + 1
    length, held = queue.length, queue.bytes
    if length + len(sizes) - settings.max_length >= most:
        return most
    own: list[int] = []
    droppable = chain((len(message.body) for message in queue.oldest(most)), own)  # own ones are the newest, and come to it below
    dropped = 0
    for size, ready in zip(sizes, is_ready, strict=True):
        while length + 1 > settings.max_length or held + size > settings.max_bytes:
            dropped += 1
            if dropped == most:
                return most
            length, held = length - 1, held - next(droppable)
        length, held = length + 1, held + size
        if ready:
            own.append(size)
    return dropped


class Trims:
    """Which queues hold more than they may and can drop something, and when the next portion of it goes.

    Which names are kept differs between a server that restored a snapshot and one that did not: those of queues that are within their
    limits again mean nothing. When it happens is part of the state.

    Attributes:
        at_ms: when to look next.
    """

    __slots__ = ("_names", "_queues", "at_ms")

    def __init__(self, queues: dict[str, NamedQueue]) -> None:
        self._queues = queues
        self._names: set[str] = set()
        self.at_ms = NEVER_MS

    def note(self, queue: NamedQueue, now_ms: int) -> None:
        """Limits were lowered, or a message has become ready, and now the queue holds too much."""
        self._names.add(queue.name)
        self.at_ms = min(self.at_ms, now_ms + TRIM_PAUSE_MS)

    def overfull(self) -> list[NamedQueue]:
        """Those queues, by name."""
        found = [self._queues[name] for name in sorted(self._names) if name in self._queues]
        overfull = [queue for queue in found if queue.is_overfull]
        self._names = {queue.name for queue in overfull}
        return overfull

    def restore(self, at_ms: int) -> None:
        """The queues are those of a snapshot."""
        self._names = {name for name, queue in self._queues.items() if queue.is_overfull}
        self.at_ms = at_ms
