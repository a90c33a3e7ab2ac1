"""What compaction has left behind the log: of each key, what it was when the log begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from txraft.machines.config_store.key_values import KeyValue

__all__ = ["Settled"]

PIECE = 256
"""Versions in a piece, or somewhat more: what is copied when one of them goes and a view may still see them."""

PIECE_MIN = 64
"""A piece of fewer is made one with its neighbour, if that is not too large."""


class Settled:
    """Versions that are no longer in the log, at most one of a key, in the order in which they were written.

    They are in small dicts by key, each for a stretch of revisions; all that one revision has written is in one of them. A view has these
    dicts, and the first change to one of them makes another.
    """

    def __init__(self) -> None:
        # By piece: its versions by key, from which revision on, and whether no view has it.
        self._pieces: list[dict[bytes, KeyValue]] = []
        self._revisions: list[int] = []
        self._own = bytearray()
        self._newest = 0

    def add(self, versions: dict[bytes, KeyValue], newest: int) -> None:
        """Versions by key that were written after all that are here, and of other keys, in order, the last one at the revision `newest`."""
        if not self._pieces or (len(self._pieces[-1]) >= PIECE and self._newest < next(iter(versions.values())).mod_revision):
            self._pieces.append({})
            self._revisions.append(next(iter(versions.values())).mod_revision)
            self._own.append(True)
        self._own_piece(len(self._pieces) - 1).update(versions)
        self._newest = newest

    def remove(self, versions: Iterable[KeyValue]) -> None:
        """These versions, which are here, are superseded by others that leave the log."""
        pieces, revisions, own = self._pieces, self._revisions, self._own
        for version in versions:
            number = bisect_right(revisions, version.mod_revision) - 1
            piece = pieces[number] if own[number] else self._own_piece(number)
            del piece[version.key]
            if len(piece) < PIECE_MIN:
                self._join(number - 1)
                self._join(number)

    def pieces(self) -> list[dict[bytes, KeyValue]]:
        """All of them, as they are now and stay."""
        self._own[:] = bytearray(len(self._own))
        return self._pieces.copy()

    def _own_piece(self, number: int) -> dict[bytes, KeyValue]:
        """A piece that may be changed."""
        if not self._own[number]:
            self._pieces[number] = self._pieces[number].copy()
            self._own[number] = True
        return self._pieces[number]

    def _join(self, number: int) -> None:
        """Make a piece and the next one a single one, if that is not too large."""
        if 0 <= number < len(self._pieces) - 1 and len(self._pieces[number]) + len(self._pieces[number + 1]) <= PIECE:
            self._pieces[number] = {**self._pieces[number], **self._pieces[number + 1]}
            self._own[number] = True
            del self._pieces[number + 1], self._revisions[number + 1], self._own[number + 1]
