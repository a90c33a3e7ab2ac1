"""How old a follower's state may be: since when it holds all that its leader, as far as heard, had committed.

Source: §6.4 (what a follower may answer).
"""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["Freshness"]

KEPT_MAX = 1_024


class Freshness:
    """What the leader of the current term said of its commit index, and when. Reactor thread only."""

    def __init__(self) -> None:
        # Beyond the bound the oldest word is dropped: that makes the state look older than it is, never younger.
        self._heard: deque[tuple[int, float]] = deque(maxlen=KEPT_MAX)

    def reset(self) -> None:
        """Another leader, or none."""
        self._heard.clear()

    def heard(self, now: float, commit_index: int) -> None:
        """The leader has committed up to `commit_index`, an entry of its own term: before one of these, it may not know of all there is."""
        if self._heard and self._heard[-1][0] == commit_index:
            self._heard.pop()
        self._heard.append((commit_index, now))

    def age_s(self, now: float, applied: int) -> float:
        """Seconds since a state that has applied so much held all that was committed; infinite if that is not known."""
        heard = self._heard
        while len(heard) > 1 and heard[1][0] <= applied:
            heard.popleft()
        return now - heard[0][1] if heard and heard[0][0] <= applied else inf
