"""All versions that were written, in order. It only grows at one end and is dropped at the other, so a frozen view of it is for nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter

from txraft.machines.config_store.key_values import KeyValue

__all__ = ["MOD_REVISION", "PIECE", "Log", "PiecesOfLog"]

MOD_REVISION = attrgetter("mod_revision")

PIECE = 1_024
"""Versions that make a piece."""

PiecesOfLog = list[tuple[KeyValue, ...]]


class Log:
    """Versions in the order in which they were written. Places in it count from the first one ever, whatever was dropped since.

    All but the newest are in pieces, which are never changed: whoever has the pieces has the log as it was.

    Attributes:
        newest: those that are not in a piece yet. What is written is appended here, and what is undone is taken back from here.
            It is the same list all the time.
        start: the place of the oldest one.
    """

    def __init__(self) -> None:
        self.newest: list[KeyValue] = []
        self.start = 0
        self._newest_start = 0
        # By piece: its versions, the place of the first, and its revision. The first piece may have some that are dropped already.
        self._pieces: PiecesOfLog = []
        self._starts: list[int] = []
        self._revisions: list[int] = []

    @property
    def stop(self) -> int:
        """The place after the newest one."""
        return self._newest_start + len(self.newest)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[KeyValue]:
        return self.since(self.start)

    def seal(self) -> None:
        """Make the newest versions a piece. To be called between commands, once they are `PIECE` or more: those of one may be undone."""
        self._pieces.append(tuple(self.newest))
        self._starts.append(self._newest_start)
        self._revisions.append(self.newest[0].mod_revision)
        self._newest_start += len(self.newest)
        self.newest.clear()

    def at(self, place: int) -> KeyValue:
        """The version at a place."""
        if place >= self._newest_start:
            return self.newest[place - self._newest_start]
        number = bisect_right(self._starts, place) - 1
        return self._pieces[number][place - self._starts[number]]

    def since(self, place: int) -> Iterator[KeyValue]:
        """All from a place on."""
        if place >= self._newest_start:
            return iter(self.newest[place - self._newest_start :])
        number = bisect_right(self._starts, place) - 1
        first = self._pieces[number][place - self._starts[number] :]
        others = (self._pieces[later] for later in range(number + 1, len(self._pieces)))
        return chain(first, chain.from_iterable(others), self.newest)

    def portion(self, start: int, stop: int) -> Sequence[KeyValue]:
        """Those from a place on, up to another."""
        number = bisect_right(self._starts, start) - 1
        if start < self._newest_start and stop <= self._starts[number] + len(self._pieces[number]):
            return self._pieces[number][start - self._starts[number] : stop - self._starts[number]]
        return list(islice(self.since(start), stop - start))

    def position(self, revision: int) -> int:
        """The place of the first version of this or a later revision."""
        newest = self.newest
        if newest and newest[0].mod_revision < revision:
            return self._newest_start + bisect_left(newest, revision, key=MOD_REVISION)
        number = bisect_left(self._revisions, revision) - 1
        if number < 0:
            return self.start
        return max(self.start, self._starts[number] + bisect_left(self._pieces[number], revision, key=MOD_REVISION))

    def drop(self, place: int) -> None:
        """Drop all before a place. Of a piece, it is given back only when all of it is dropped."""
        self.start = place
        if place >= self._newest_start:
            del self.newest[: place - self._newest_start]
            self._newest_start = place
            whole = len(self._pieces)
        else:
            whole = bisect_right(self._starts, place) - 1
        del self._pieces[:whole], self._starts[:whole], self._revisions[:whole]

    def pieces(self) -> PiecesOfLog:
        """All of it, as it is now and stays."""
        pieces = [*self._pieces, tuple(self.newest)]
        if self._pieces:
            pieces[0] = pieces[0][self.start - self._starts[0] :]
        return pieces
