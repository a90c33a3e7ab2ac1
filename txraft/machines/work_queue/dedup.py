"""Which puts came before under the same `dedup_id`: a window that is bounded in time and in count."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from txraft.machines.work_queue.arrivals import Arrivals, given_away
from txraft.machines.work_queue.discards import Part

__all__ = ["FORGOTTEN_AT_ONCE", "Dedup", "Noted"]

FORGOTTEN_AT_ONCE = 100
"""Ids that are forgotten when one is noted. There may be a million to forget, after a pause or if the setting was lowered."""

Noted = tuple[str, int, int]
"""An id, the log time at which it came, and the message."""


class Dedup:
    """The window of one queue.

    What has fallen out of the window is forgotten when the next ids are noted, not before: a put that is refused changes nothing.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: Arrivals[str, Noted] = Arrivals()

    def __len__(self) -> int:
        return len(self._ids)

    def fork(self) -> Dedup:
        """Another one, to go on with; see `Arrivals`."""
        other = Dedup()
        other._ids = self._ids.fork()
        return other

    def find(self, dedup_id: str, since_ms: int) -> int | None:
        """The message that was put under this id later than `since_ms`."""
        found = self._ids.get(dedup_id)
        return found[2] if found is not None and found[1] > since_ms else None

    def note(self, dedup_id: str, now_ms: int, message_id: int, since_ms: int, count_max: int) -> None:
        """A message is put under an id that `find` does not know; forget some of what is older than `since_ms` or more than `count_max`."""
        ids = self._ids
        if dedup_id in ids.places:
            ids.pop(dedup_id)  # an old one that is not forgotten yet
        for _ in range(FORGOTTEN_AT_ONCE):
            first = ids.first()
            if first is None or (len(ids) < count_max and first[1] > since_ms):
                break
            ids.pop(first[0])
        if count_max:
            ids.add(dedup_id, (dedup_id, now_ms, message_id))

    def clear(self) -> list[Part]:
        """Know none any more; where they were."""
        ids, self._ids = self._ids, Arrivals()
        return ids.parts()

    def all(self) -> Iterator[Noted]:
        """All of them, in the order in which they came, piece by piece, see `given_away`."""
        return chain.from_iterable(piece.values() for piece in given_away([*self._ids.pieces.values()]))

    def restore(self, noted: list[Noted]) -> None:
        """Know these, too: the next in order."""
        for one in noted:
            self._ids.add(one[0], one)
