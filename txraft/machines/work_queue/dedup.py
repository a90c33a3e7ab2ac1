"""Which puts came before under the same `dedup_id`: a window that is bounded in time and in count."""

from __future__ import annotations

from collections import deque

__all__ = ["Dedup"]


class Dedup:
    """The window of one queue.

    What has fallen out of the window is forgotten when the next id is noted, not before: a put that is refused changes nothing.
    """

    __slots__ = ("_ids", "_order")

    def __init__(self) -> None:
        self._ids: dict[str, tuple[int, int]] = {}
        self._order: deque[str] = deque()  # taking the first key out of a dict again and again is not cheap

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, dedup_id: str, since_ms: int) -> int | None:
        """The message that was put under this id later than `since_ms`."""
        found = self._ids.get(dedup_id)
        return found[1] if found is not None and found[0] > since_ms else None

    def note(self, dedup_id: str, now_ms: int, message_id: int, since_ms: int, count_max: int) -> None:
        """A message is put under an id that `find` does not know; forget what is older than `since_ms` or more than `count_max`."""
        ids, order = self._ids, self._order
        while order and (len(order) >= count_max or ids[order[0]][0] <= since_ms):
            del ids[order.popleft()]
        if count_max:
            ids[dedup_id] = (now_ms, message_id)
            order.append(dedup_id)

    def capture(self) -> list[tuple[str, int, int]]:
        """For a snapshot: id, log time, message; in the order in which they came."""
        return [(dedup_id, *self._ids[dedup_id]) for dedup_id in self._order]

    def restore(self, noted: list[tuple[str, int, int]]) -> None:
        """Have these."""
        self._ids = {dedup_id: (time_ms, message_id) for dedup_id, time_ms, message_id in noted}
        self._order = deque(self._ids)
