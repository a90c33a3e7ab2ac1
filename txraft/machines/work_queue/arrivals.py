"""Keys in the order in which they came, in pieces, of which a frozen view is cheap: messages in flight or delayed, and dedup ids.

Source: Figure 5.2 and §5.1.3 (copy on write).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, ValuesView
from itertools import chain
from typing import Generic, TypeVar

from txraft.machines.work_queue.discards import Part

__all__ = ["LOOKED_AT", "MERGED_MAX", "PIECE", "Arrivals", "given_away"]

PIECE = 64
"""Most keys in a piece."""

MERGED_MAX = 48
"""Neighbours with no more keys than this together become one piece: else a few that stay for long would each keep a piece of its own."""

LOOKED_AT = 4
"""Pieces that are looked at for that whenever a new one is begun."""

K = TypeVar("K")
V = TypeVar("V")
P = TypeVar("P")


class Arrivals(Generic[K, V]):
    """Keys and values, in pieces; values are never changed, only replaced.

    `fork` gives another one with the same pieces, and copies a piece before it changes it. What was forked is frozen: from then on only
    its `values` mean anything, but these for ever, and in any thread.

    Attributes:
        places: the number of the piece in which each key is. A fork takes it over.
        pieces: by number, in ascending order. All but the last have keys.
        tail: the last piece, to which new keys are added; no frozen one has it.
        number: of the last piece.
        shared: the numbers of pieces that a frozen one has, too: `own` them before changing them.
    """

    __slots__ = ("_at", "_numbers", "number", "pieces", "places", "shared", "tail")

    def __init__(self) -> None:
        self.places: dict[K, int] = {}
        self.tail: dict[K, V] = {}
        self.pieces: dict[int, dict[K, V]] = {0: self.tail}
        self._numbers = [0]
        self._at = 0  # of these, where to look next
        self.number = 0
        self.shared: set[int] = set()

    def __len__(self) -> int:
        return len(self.places)

    def fork(self) -> Arrivals[K, V]:
        """Another one, to go on with."""
        other: Arrivals[K, V] = Arrivals.__new__(Arrivals)
        other.places, other._numbers, other.number = self.places, self._numbers, self.number
        other._at, other.pieces = self._at, self.pieces.copy()
        other.shared = set(self._numbers)
        other.shared.discard(self.number)
        other.tail = other.pieces[self.number] = self.tail.copy()
        return other

    def get(self, key: K) -> V | None:
        """The value of a key; None if it is not there."""
        number = self.places.get(key)
        return None if number is None else self.pieces[number][key]

    def add(self, key: K, value: V) -> None:
        """Have a new key, the last of all."""
        tail = self.tail
        tail[key] = value
        self.places[key] = self.number
        if len(tail) >= PIECE:
            self.next_tail()

    def next_tail(self) -> None:
        """The last piece has become long enough."""
        self.number += 1
        self._numbers.append(self.number)
        self.tail = self.pieces[self.number] = {}
        self._merge_some()

    def pop(self, key: K) -> V:
        """Take out a key. Raises `KeyError`."""
        number = self.places.pop(key)
        piece = self.own(number) if number in self.shared else self.pieces[number]
        value = piece.pop(key)
        if not piece and number != self.number:
            self.drop(number)
        return value

    def own(self, number: int) -> dict[K, V]:
        """A piece that is to be changed, as a copy that no frozen one has."""
        self.shared.discard(number)
        piece = self.pieces[number] = self.pieces[number].copy()
        return piece

    def drop(self, number: int) -> None:
        """A piece has become empty that is not the last."""
        del self.pieces[number], self._numbers[bisect_left(self._numbers, number)]

    def _merge_some(self) -> None:
        at, numbers, pieces = self._at, self._numbers, self.pieces
        for _ in range(LOOKED_AT):
            if at >= len(numbers) - 2:  # the tail grows by itself
                at = 0
                break
            if len(pieces[numbers[at]]) + len(pieces[numbers[at + 1]]) <= MERGED_MAX:
                self._merge(at)
            else:
                at += 1
        self._at = at

    def _merge(self, at: int) -> None:
        number, next_number = self._numbers[at], self._numbers.pop(at + 1)
        moved = self.pieces.pop(next_number)
        piece = self.own(number) if number in self.shared else self.pieces[number]
        piece.update(moved)
        self.places.update(dict.fromkeys(moved, number))

    def first(self) -> V | None:
        """The value of the key that came first."""
        return next(iter(self.pieces[self._numbers[0]].values()), None)

    def values(self) -> Iterator[V]:
        """In order."""
        pieces: Iterator[ValuesView[V]] = map(dict.values, self.pieces.values())
        return chain.from_iterable(pieces)

    def parts(self) -> list[Part]:
        """What there is to be freed of it."""
        return [*self.pieces.values(), self.places]


def given_away(pieces: list[P]) -> Iterator[P]:
    """Pieces one by one, each forgotten then: what nobody else has any more is freed bit by bit, not all at once."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()
