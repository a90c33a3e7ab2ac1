"""How old the state may be that is applied here: since when it holds all that the leader had committed.

A message tells how things were when it was sent, and it may have been under way for long, or have waited until this process was woken:
when it arrived says nothing. What counts is when that was sent which it answers. So a leader asks when the round of heartbeats began that
a majority has answered; and a follower, when the round arrived here whose answer the leader had when it sent this.

Source: §6.4 (what a follower may answer), §6.4.1 (measuring from the start of a round of heartbeats).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from math import inf
from operator import itemgetter

__all__ = ["Freshness"]

KEPT_MAX = 1_024


class Freshness:
    """What is known of the rounds of the current leader, on itself and on its followers. Reactor thread only."""

    def __init__(self) -> None:
        # Beyond the bound the oldest is dropped: that makes the state look older than it is, never younger.
        self._rounds: deque[tuple[int, float]] = deque(maxlen=KEPT_MAX)
        self._heard: deque[tuple[int, float]] = deque(maxlen=KEPT_MAX)

    def reset(self) -> None:
        """Another leader, or none."""
        self._rounds.clear()
        self._heard.clear()

    def began(self, round_number: int, now: float) -> None:
        """A round of heartbeats was sent (on a leader) or has arrived (on a follower)."""
        if not self._rounds or round_number > self._rounds[-1][0]:
            self._rounds.append((round_number, now))

    def since_s(self, now: float, confirmed: int) -> float:
        """Seconds since the round `confirmed` began here, at most; infinite if that is not known."""
        began_at = self._began_at(confirmed)
        return inf if began_at is None else now - began_at

    def _began_at(self, confirmed: int) -> float | None:
        at = bisect_right(self._rounds, confirmed, key=itemgetter(0))
        return self._rounds[at - 1][1] if at else None

    def heard(self, confirmed: int, commit_index: int) -> None:
        """The leader had committed up to `commit_index` when it knew that this server had answered the round `confirmed`.

        Only if that is an entry of its own term: before, it may not know of all that is committed.
        """
        began_at = self._began_at(confirmed)
        if began_at is None:
            return
        if self._heard and self._heard[-1][0] == commit_index:
            self._heard.pop()
        self._heard.append((commit_index, began_at))

    def age_s(self, now: float, applied: int) -> float:
        """Seconds since a state that has applied so much held all that was committed, at most; infinite if that is not known."""
        heard = self._heard
        while len(heard) > 1 and heard[1][0] <= applied:
            heard.popleft()
        return now - heard[0][1] if heard and heard[0][0] <= applied else inf
