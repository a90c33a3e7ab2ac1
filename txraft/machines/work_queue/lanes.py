"""The ready messages of one priority, by id: those that came in order cost one place in a deque, those that come back a place in a heap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, merge
from itertools import islice
from operator import attrgetter

from txraft.machines.work_queue.records import Message

__all__ = ["Lane", "smallest"]

_ID = attrgetter("id")


class Lane:
    """A queue within the queue.

    Attributes:
        fresh: never delivered, in ascending order.
        order: a heap of the ids of those that came back, or came late.
        back: these, by id.
    """

    __slots__ = ("back", "fresh", "order")

    def __init__(self) -> None:
        self.fresh: deque[Message] = deque()
        self.order: list[int] = []
        self.back: dict[int, Message] = {}

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.fresh) + len(self.order)

    def add(self, message: Message) -> None:
        """Put a message in its place."""
        fresh = self.fresh
        if not message.taken and (not fresh or fresh[-1].id < message.id):
            fresh.append(message)
        else:
            heappush(self.order, message.id)
            self.back[message.id] = message

    def head(self) -> Message:
        """The one that is next."""
        fresh, order = self.fresh, self.order
        if not order or (fresh and fresh[0].id < order[0]):
            return fresh[0]
        return self.back[order[0]]

    def pop(self) -> Message:
        """Take out the one that is next."""
        fresh, order = self.fresh, self.order
        if not order or (fresh and fresh[0].id < order[0]):
            return fresh.popleft()
        return self.back.pop(heappop(order))

    def first(self, count: int) -> Iterator[Message]:
        """The next ones, as they would be taken."""
        back = (self.back[message_id] for message_id in smallest(self.order, count))
        return islice(merge(islice(self.fresh, count), back, key=_ID), count)

    def all(self) -> list[Message]:
        """All of them, by id."""
        return sorted([*self.fresh, *self.back.values()], key=_ID) if self.back else list(self.fresh)


def smallest(heap: list[int], count: int) -> Iterator[int]:
    """The smallest items of a heap, in ascending order, without looking at more than about twice `count` of them."""
    candidates = [(heap[0], 0)] if heap else []
    while candidates and count:
        item, place = heappop(candidates)
        yield item
        count -= 1
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heappush(candidates, (heap[child], child))
