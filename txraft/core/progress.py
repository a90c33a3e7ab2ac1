"""What a leader knows of one follower: how far its log agrees, what is under way to it, when it was last heard.

Two states. In PROBE the leader looks for the place where the logs agree, one message at a time; in REPLICATE it sends
ahead without waiting,
within a window of few, large messages. Any loss leads back to PROBE.

Source: Figure 3.1, nextIndex[] and matchIndex[]; §10.2.2 (pipelining).
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from attrs import define, field

from txraft.core.ids import Index
from txraft.core.require import require
from txraft.limits import Limits

__all__ = ["Progress", "ProgressState"]


class ProgressState(Enum):
    """How entries are sent to a follower."""

    PROBE = "probe"
    REPLICATE = "replicate"


@define
class Progress:
    """Invariant: `match_index < next_index`.

    Attributes:
        next_index: the next entry to send; a guess while probing, optimistic while replicating.
        match_index: the follower's log is equal and durable up to here.
        last_heard: when it last answered in this term, monotonic seconds.
        round: the newest confirmed round of heartbeats.
        probing: a probe is under way (PROBE only).
        reading: entries for it are being read from disk.
    """

    next_index: Index
    last_heard: float
    match_index: Index = Index(0)
    round: int = 0
    state: ProgressState = ProgressState.PROBE
    probing: bool = False
    reading: bool = False
    _in_flight: deque[tuple[Index, int]] = field(factory=deque)
    _in_flight_bytes: int = 0

    def may_send(self, limits: Limits) -> bool:
        """Whether a message with entries may leave now."""
        if self.reading:
            return False
        if self.state is ProgressState.PROBE:
            return not self.probing
        return len(self._in_flight) < limits.in_flight_messages_max and self._in_flight_bytes < limits.in_flight_bytes_max

    @property
    def in_flight(self) -> int:
        """Messages with entries under way."""
        return len(self._in_flight)

    def sent(self, last_index: Index, size_bytes: int) -> None:
        """A message with entries up to `last_index` has left."""
        if self.state is ProgressState.PROBE:
            self.probing = True
            return
        self.next_index = Index(last_index + 1)
        self._in_flight.append((last_index, size_bytes))
        self._in_flight_bytes += size_bytes

    def matched(self, index: Index) -> bool:
        """The follower's log is equal up to `index`; whether that is news. Late answers never move it back."""
        news = index > self.match_index
        self.match_index = max(self.match_index, index)
        self.next_index = max(self.next_index, Index(self.match_index + 1))
        while self._in_flight and self._in_flight[0][0] <= index:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        if self.state is ProgressState.PROBE:
            self.state = ProgressState.REPLICATE
            self.probing = False
            self.next_index = Index(self.match_index + 1)
        require(self.match_index < self.next_index, "the next index of a follower is not behind its match index")
        return news

    def mismatched(self, prev_index: Index, candidate: Index) -> None:
        """The follower has no entry at `prev_index` like ours; `candidate` is the newest that may agree.

        A late or doubled refusal, which does not answer what was asked last, moves nothing.
        """
        late = prev_index <= self.match_index or (self.state is ProgressState.PROBE and prev_index != self.next_index - 1)
        if not late:
            self.lost()
            self.next_index = max(min(prev_index, Index(candidate + 1)), self.next_index)

    def lost(self) -> None:
        """Something under way may be lost: begin again behind what is known to match."""
        self.state = ProgressState.PROBE
        self.probing = False
        self.reading = False
        self.next_index = Index(self.match_index + 1)
        self._in_flight.clear()
        self._in_flight_bytes = 0
