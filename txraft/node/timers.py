"""The election and heartbeat timers, the only randomness of a node, and how late the reactor runs.

A timer that fires late says that this process was stopped or busy, not that the others were silent: what they sent
meanwhile waits in the sockets.
So a late timer lets the reactor read first, and only then counts.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txraft.limits import Timing

__all__ = ["Timers"]


class Timers:
    """Both timers of a server. Reactor thread only.

    Args:
        clock: monotonic.
        random: draws election timeouts.
        on_election: the election timeout has passed.
        on_heartbeat: a heartbeat is due.

    Attributes:
        lag_s: how late the last timer was.
        lag_max_s: the worst so far.

    Source: §3.4 (randomised timeouts); §9.3.
    """

    def __init__(
        self, clock: IReactorTime, timing: Timing, random: Random, on_election: Callable[[], None], on_heartbeat: Callable[[], None]
    ) -> None:
        self._clock, self._timing, self._random = clock, timing, random
        self._on_election, self._on_heartbeat = on_election, on_heartbeat
        self._election_at: float | None = None
        self._election: IDelayedCall | None = None
        self._heartbeat: IDelayedCall | None = None
        self._heartbeat_at = 0.0
        self._caught_up = False
        self.lag_s = 0.0
        self.lag_max_s = 0.0

    def reset_election(self) -> None:
        """Draw a new timeout. Called for every message of a leader, so that it only notes the time; the call pending looks at it."""
        self._election_at = self._clock.seconds() + self._timing.election_s * (1 + self._random.random())
        self._caught_up = False
        left = self._election_at - self._clock.seconds()
        if self._election is None:
            self._election = self._clock.callLater(left, self._election_due)
        elif self._election.getTime() > self._election_at:
            self._election.reset(left)

    def stop_election(self) -> None:
        """No election timer, for a leader."""
        self._election_at = None

    def start_heartbeats(self) -> None:
        """A heartbeat every interval from now on."""
        if self._heartbeat is None:
            self._next_heartbeat()

    def stop_heartbeats(self) -> None:
        """No more heartbeats."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None

    def stop(self) -> None:
        """End both timers for good."""
        self.stop_heartbeats()
        self._election_at = None
        if self._election is not None:
            self._election.cancel()
            self._election = None

    def _measure(self, due: float) -> float:
        self.lag_s = self._clock.seconds() - due
        self.lag_max_s = max(self.lag_max_s, self.lag_s)
        return self.lag_s

    def _election_due(self) -> None:
        self._election = None
        if self._election_at is None:
            return
        left = self._election_at - self._clock.seconds()
        if left > 0:
            self._election = self._clock.callLater(left, self._election_due)
        elif self._measure(self._election_at) > self._timing.heartbeat_s and not self._caught_up:
            self._caught_up = True
            self._election = self._clock.callLater(self._timing.heartbeat_s, self._election_due)
        else:
            self._election_at = None
            self._on_election()

    def _next_heartbeat(self) -> None:
        self._heartbeat_at = self._clock.seconds() + self._timing.heartbeat_s
        self._heartbeat = self._clock.callLater(self._timing.heartbeat_s, self._heartbeat_due)

    def _heartbeat_due(self) -> None:
        late = self._measure(self._heartbeat_at)
        self._next_heartbeat()
        if late <= self._timing.election_s:
            self._on_heartbeat()
