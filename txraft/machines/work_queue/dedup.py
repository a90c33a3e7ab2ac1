"""Which puts came before under the same `dedup_id`: a window that is bounded in time and in count."""

from __future__ import annotations

from collections import OrderedDict

from txraft.machines.work_queue.discards import Part

__all__ = ["FORGOTTEN_AT_ONCE", "Dedup"]

FORGOTTEN_AT_ONCE = 100
"""Ids that are forgotten when one is noted. There may be a million to forget, after a pause or if the setting was lowered."""


class Dedup:
    """The window of one queue.

    What has fallen out of the window is forgotten when the next ids are noted, not before: a put that is refused changes nothing.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: OrderedDict[str, tuple[int, int]] = OrderedDict()  # taking the first key out of a dict again and again is not cheap

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, dedup_id: str, since_ms: int) -> int | None:
        """The message that was put under this id later than `since_ms`."""
        found = self._ids.get(dedup_id)
        return found[1] if found is not None and found[0] > since_ms else None

    def note(self, dedup_id: str, now_ms: int, message_id: int, since_ms: int, count_max: int) -> None:
        """A message is put under an id that `find` does not know; forget some of what is older than `since_ms` or more than `count_max`."""
        ids = self._ids
        ids.pop(dedup_id, None)  # an old one that is not forgotten yet
        for _ in range(FORGOTTEN_AT_ONCE):
            if not ids or (len(ids) < count_max and next(iter(ids.values()))[0] > since_ms):
                break
            ids.popitem(last=False)
        if count_max:
            ids[dedup_id] = (now_ms, message_id)

    def clear(self) -> list[Part]:
        """Know none any more; where they were."""
        ids, self._ids = self._ids, OrderedDict()
        return [ids]

    def capture(self) -> list[tuple[str, int, int]]:
        """For a snapshot: id, log time, message; in the order in which they came."""
        return [(dedup_id, *noted) for dedup_id, noted in self._ids.items()]

    def restore(self, noted: list[tuple[str, int, int]]) -> None:
        """Have these."""
        self._ids = OrderedDict((dedup_id, (time_ms, message_id)) for dedup_id, time_ms, message_id in noted)
