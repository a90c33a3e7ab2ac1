"""When messages become ready by themselves: one heap for all queues, which forgets lazily and never shows it."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace

from txraft.machines.work_queue.bounds import NEVER_MS
from txraft.machines.work_queue.named_queue import NamedQueue
from txraft.machines.work_queue.records import Delivery, Message

__all__ = ["Entry", "Timers"]

_SLACK = 256
"""Forgotten entries that are not worth the effort of sweeping."""

Entry = tuple[int, int, str]
"""When to look, for which message, and in which queue."""


class Timers:
    """What is in flight or delayed has one entry at or before its `due_ms`. Other entries mean nothing: they are passed over, and swept
    out before they are more than the rest.

    Which of them there are differs between a server that restored a snapshot and one that did not. So nothing that decides a state
    depends on it: `wake_ms` is part of the state, moves to an earlier time when an entry is added, and to the next true one when what was
    due is done.

    Attributes:
        wake_ms: when to look for what is due.
        wake: the same in seconds; None for never.
    """

    __slots__ = ("_heap", "_heap_max", "_queues", "wake", "wake_ms")

    def __init__(self, queues: dict[str, NamedQueue]) -> None:
        self._queues = queues
        self._heap: list[Entry] = []
        self._heap_max = _SLACK
        self.wake_ms = NEVER_MS
        self.wake: float | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due_ms: int, message_id: int, queue: str) -> None:
        """A message becomes ready then, or at its `due_ms` if that is later by then."""
        heap = self._heap
        heappush(heap, (due_ms, message_id, queue))
        if due_ms < self.wake_ms:
            self.wake_at(due_ms)
        if len(heap) > self._heap_max:
            self._look_for_others()

    def add_all(self, due_ms: int, messages: list[Delivery], queue: str) -> None:
        """The same for messages that were taken at once."""
        heap = self._heap
        for one in messages:
            heappush(heap, (due_ms, one.id, queue))
        if due_ms < self.wake_ms:
            self.wake_at(due_ms)
        if len(heap) > self._heap_max:
            self._look_for_others()

    def gone(self, message_id: int) -> None:
        """It does not any more. Most are acknowledged in the order of their deadlines: then the entry goes at once."""
        heap = self._heap
        if heap and heap[0][1] == message_id:
            heappop(heap)

    def wake_at(self, time_ms: int) -> None:
        """Look for what is due at this time."""
        self.wake_ms = time_ms
        self.wake = None if time_ms >= NEVER_MS else time_ms / 1000

    def next_ms(self) -> int:
        """When the next message is due, exactly."""
        front = self._front()
        return NEVER_MS if front is None else front[1].due_ms

    def pop_due(self, now_ms: int) -> tuple[NamedQueue, Message] | None:
        """The next message that is due, by time and id. It must become something else before the next call."""
        front = self._front()
        if front is None or front[1].due_ms > now_ms:
            return None
        heappop(self._heap)
        return front

    def _front(self) -> tuple[NamedQueue, Message] | None:
        heap = self._heap
        while heap:
            due_ms, message_id, name = heap[0]
            queue = self._queues.get(name)
            message = None if queue is None else queue.timed(message_id)
            if queue is None or message is None or message.due_ms < due_ms:
                heappop(heap)
            elif message.due_ms > due_ms:
                heapreplace(heap, (message.due_ms, message_id, name))
            else:
                return queue, message
        return None

    def sweep(self) -> list[Entry]:
        """Drop what means nothing, if that is most of it. Else it would all be passed over at once when its time has come.

        Returned is what there was, for it may be much to free.
        """
        if len(self._heap) > len(self._queues) + _SLACK and len(self._heap) > 2 * self._timed():
            return self.rebuild()
        return []

    def _timed(self) -> int:
        return sum(len(queue.in_flight.places) + len(queue.delayed.places) for queue in self._queues.values())

    def _look_for_others(self) -> None:
        """Sort out the others if there are half as many of them; if it just has become more, look again in good time."""
        bound = self._timed() + (len(self._queues) + _SLACK) // 2
        if 2 * len(self._heap) > 3 * bound:
            self.rebuild()
        else:
            self._heap_max = 2 * bound

    def restore(self, wake_ms: int) -> None:
        """The queues are those of a snapshot. Message by message: this thread is not the only one."""
        for queue in self._queues.values():
            for held in (queue.in_flight, queue.delayed):
                for message in held.values():
                    heappush(self._heap, (message.due_ms, message.id, queue.name))
        self._heap_max = 2 * len(self._heap) + len(self._queues) + _SLACK
        self.wake_at(wake_ms)

    def rebuild(self) -> list[Entry]:
        """One entry for each message that is in flight or delayed. Look again when there are twice as many. Returned is what there was."""
        before = self._heap
        queues = self._queues.values()
        self._heap = [
            (one.due_ms, one.id, queue.name) for queue in queues for part in (queue.in_flight, queue.delayed) for one in part.values()
        ]
        heapify(self._heap)
        self._heap_max = 2 * len(self._heap) + len(queues) + _SLACK
        return before
