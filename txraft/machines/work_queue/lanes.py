"""The ready messages of one priority, by id: those that came in order cost one place in a piece, those that come back a place in a heap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, merge
from itertools import chain, islice
from operator import attrgetter, itemgetter

from txraft.machines.work_queue.arrivals import given_away
from txraft.machines.work_queue.discards import Part
from txraft.machines.work_queue.records import Message

__all__ = ["PIECE", "RANGE_BITS", "Lane", "by_id", "smallest"]

PIECE = 128
"""Messages in a piece of those that came in order."""

RANGE_BITS = 10
"""Of those that come back, a piece has the ones whose ids differ in so many bits. It is few ids for a dead-letter queue, where most ids are
missing; and not too many to copy, or to sort in one go, in which no other thread runs.
"""

_ID = attrgetter("id")
_NUMBER = itemgetter(0)


class Lane:
    """A queue within the queue.

    `fork` gives another one to go on with, and this one is frozen: from then on only `all` means anything, but for ever, and in any thread.

    Attributes:
        front: the first of the messages that were never delivered, in ascending order. If there are any, some are here.
        middle: the next ones, in pieces that are never changed.
        end: the last ones; the same as the front as long as there are few.
        order: a heap of the ids of those that came back, or came late. A fork takes it over.
        back: these by id, in pieces by the upper bits of their ids.
        shared: which of these pieces a frozen lane has, too.
    """

    __slots__ = ("_between", "back", "end", "front", "middle", "order", "shared")

    def __init__(self) -> None:
        self.front: list[Message] = []
        self.middle: deque[tuple[Message, ...]] = deque()
        self.end = self.front
        self.order: list[int] = []
        self.back: dict[int, dict[int, Message]] = {}
        self.shared: set[int] = set()
        self._between = 0  # how many are in the middle

    def fork(self) -> Lane:
        """Another one with the same messages, to go on with."""
        other = Lane()
        other.front, other.middle, other._between = self.front.copy(), self.middle.copy(), self._between
        other.end = other.front if self.end is self.front else self.end.copy()
        other.order, other.back, other.shared = self.order, self.back.copy(), set(self.back)
        return other

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.front) + self._between + (0 if self.end is self.front else len(self.end)) + len(self.order)

    def add(self, message: Message) -> None:
        """Put a message in its place."""
        end = self.end or (self.middle[-1] if self.middle else self.front)
        if not message.taken and (not end or end[-1].id < message.id):
            self.end.append(message)
            if len(self.end) >= PIECE:
                self.next_end()
        else:
            self._come_back(message)

    def _come_back(self, message: Message) -> None:
        message_id = message.id
        number = message_id >> RANGE_BITS
        heappush(self.order, message_id)
        if number not in self.back:
            self.back[number] = {message_id: message}
        else:
            piece = self._own(number) if number in self.shared else self.back[number]
            piece[message_id] = message

    def _own(self, number: int) -> dict[int, Message]:
        self.shared.discard(number)
        piece = self.back[number] = self.back[number].copy()
        return piece

    def next_end(self) -> None:
        """The end has become long enough."""
        if self.end is not self.front:
            self.middle.append(tuple(self.end))
            self._between += len(self.end)
        self.end = []

    def next_front(self) -> None:
        """The front has become empty: what follows takes its place."""
        if self.middle:
            self.front = list(self.middle.popleft())
            self._between -= len(self.front)
        else:
            self.front = self.end

    def head(self) -> Message:
        """The one that is next."""
        front, order = self.front, self.order
        if not order or (front and front[0].id < order[0]):
            return front[0]
        return self.back[order[0] >> RANGE_BITS][order[0]]

    def pop(self) -> Message:
        """Take out the one that is next."""
        front, order = self.front, self.order
        if not order or (front and front[0].id < order[0]):
            message = front.pop(0)
            if not front:
                self.next_front()
            return message
        message_id = heappop(order)
        number = message_id >> RANGE_BITS
        piece = self._own(number) if number in self.shared else self.back[number]
        message = piece.pop(message_id)
        if not piece:
            del self.back[number]
        return message

    def find_back(self, message_id: int) -> Message | None:
        """A message that came back, or came late."""
        piece = self.back.get(message_id >> RANGE_BITS)
        return None if piece is None else piece.get(message_id)

    def first(self, count: int) -> Iterator[Message]:
        """The next ones, as they would be taken."""
        back = (self.back[message_id >> RANGE_BITS][message_id] for message_id in smallest(self.order, count))
        return islice(merge(islice(self._fresh(), count), back, key=_ID), count)

    def _fresh(self) -> Iterator[Message]:
        return chain(self.front, chain.from_iterable(self.middle), () if self.end is self.front else self.end)

    def all(self) -> Iterator[Message]:
        """All of them, by id."""
        fresh, back = self.pieces()
        return by_id(fresh, back)

    def pieces(self) -> tuple[list[Sequence[Message]], list[dict[int, Message]]]:
        """What `by_id` puts in order."""
        ends = [self.front] if self.end is self.front else [self.front, self.end]
        return [*ends[:1], *self.middle, *ends[1:]], [piece for _, piece in sorted(self.back.items(), key=_NUMBER)]

    def parts(self) -> list[Part]:
        """What there is to be freed of it."""
        return [self.front, *self.middle, self.end, self.order, *self.back.values()]


def by_id(fresh: list[Sequence[Message]], back: list[dict[int, Message]]) -> Iterator[Message]:
    """The messages in these pieces, in order. Both lists are emptied meanwhile, see `given_away`."""
    fresh_pieces: Iterator[Sequence[Message]] = given_away(fresh)
    in_order = chain.from_iterable(fresh_pieces)
    if not back:
        return in_order
    return merge(in_order, chain.from_iterable(sorted(piece.values(), key=_ID) for piece in given_away(back)), key=_ID)


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
