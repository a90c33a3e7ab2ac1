"""The ready messages of one priority, by id: those that came in order cost one place in a piece, those that come back a place in a heap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, merge
from itertools import chain, islice
from operator import attrgetter

from txraft.machines.work_queue.arrivals import Arrivals, given_away
from txraft.machines.work_queue.discards import Part
from txraft.machines.work_queue.records import Message

__all__ = ["PIECE", "SORTED_AT_ONCE", "Lane", "by_id", "smallest"]

PIECE = 128
"""Messages in a piece."""

SORTED_AT_ONCE = 2_048
"""No other thread runs while something is sorted, so only so much of it is."""

_ID = attrgetter("id")


class Lane:
    """A queue within the queue.

    `fork` gives another one to go on with, and this one is frozen: from then on only `all` means anything, but for ever, and in any thread.

    Attributes:
        front: the first of the messages that were never delivered, in ascending order. If there are any, some are here.
        middle: the next ones, in pieces that are never changed.
        end: the last ones; the same as the front as long as there are few.
        order: a heap of the ids of those that came back, or came late. A fork takes it over.
        back: these, by id.
    """

    __slots__ = ("_between", "back", "end", "front", "middle", "order")

    def __init__(self) -> None:
        self.front: list[Message] = []
        self.middle: deque[tuple[Message, ...]] = deque()
        self.end = self.front
        self.order: list[int] = []
        self.back: Arrivals[int, Message] = Arrivals()
        self._between = 0  # how many are in the middle

    def fork(self) -> Lane:
        """Another one with the same messages, to go on with."""
        other = Lane()
        other.front, other.middle, other._between = self.front.copy(), self.middle.copy(), self._between
        other.end = other.front if self.end is self.front else self.end.copy()
        other.order, other.back = self.order, self.back.fork()
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
            heappush(self.order, message.id)
            self.back.add(message.id, message)

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
        message = self.back.get(order[0])
        assert message is not None, order[0]
        return message

    def pop(self) -> Message:
        """Take out the one that is next."""
        front, order = self.front, self.order
        if not order or (front and front[0].id < order[0]):
            message = front.pop(0)
            if not front:
                self.next_front()
            return message
        return self.back.pop(heappop(order))

    def first(self, count: int) -> Iterator[Message]:
        """The next ones, as they would be taken."""
        pieces = self.back.pieces
        back = (pieces[self.back.places[message_id]][message_id] for message_id in smallest(self.order, count))
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
        return [*ends[:1], *self.middle, *ends[1:]], [*self.back.pieces.values()]

    def parts(self) -> list[Part]:
        """What there is to be freed of it."""
        return [self.front, *self.middle, self.end, self.order, *self.back.parts()]


def by_id(fresh: list[Sequence[Message]], back: list[dict[int, Message]]) -> Iterator[Message]:
    """The messages in these pieces, in order. Both lists are emptied meanwhile, see `given_away`."""
    pieces: Iterator[Sequence[Message]] = given_away(fresh)
    in_order = chain.from_iterable(pieces)
    return merge(in_order, *_runs(back), key=_ID) if back else in_order


def _runs(pieces: list[dict[int, Message]]) -> Iterator[Iterator[Message]]:
    run: list[Message] = []
    for piece in given_away(pieces):
        run += piece.values()
        if len(run) >= SORTED_AT_ONCE or not pieces:
            run.sort(key=_ID)
            yield iter(run)
            run = []


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
