"""What a leader knows of one follower: how far its log agrees, what is under way to it, when it was last heard.

Three states. In PROBE the leader looks for the place where the logs agree, one message at a time; in REPLICATE it sends
ahead without waiting, within a window of few, large messages; in SNAPSHOT it sends no entries, but a snapshot, because its log no longer
has the entries that the follower needs. Any loss leads back to PROBE.

Source: Figure 3.1, nextIndex[] and matchIndex[]; §10.2.2 (pipelining); §5.1 (snapshots for slow followers).
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from attrs import define, field

from txraft.core.ids import Index
from txraft.core.require import require
from txraft.core.snapshot import Snapshot
from txraft.limits import Limits

__all__ = ["Progress", "ProgressState", "Transfer"]


class ProgressState(Enum):
    """How entries are sent to a follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@define
class Transfer:
    """A snapshot on its way to a follower, one piece after the other.

    Attributes:
        reading: offset of the piece that is being read from disk.
        under_way: offset of the piece that was sent last and is not known to have arrived.
        silence: heartbeats since something of it was sent or heard.
    """

    snapshot: Snapshot
    reading: int | None = None
    under_way: int | None = None
    silence: int = 0


@define
class Progress:
    """Invariant: `match_index < next_index`.

    Of a follower that is repairing (`repair.py`) `match_index` says what it has been sent since, but counts for nothing.

    Attributes:
        next_index: the next entry to send; a guess while probing, optimistic while replicating.
        match_index: the follower's log is equal and durable up to here.
        last_heard: when it last answered in this term, monotonic seconds.
        round: the newest confirmed round of heartbeats.
        probing: a probe is under way (PROBE only).
        reading: entries for it are being read from disk.
        incarnation: the greatest it has shown.
        repairing: it has lost, before this incarnation of it, what it had acknowledged, and does not have it again.
        transfer: of a snapshot to it; kept beyond SNAPSHOT until it has caught up, so that an interrupted one can go on.
    """

    next_index: Index
    last_heard: float
    match_index: Index = Index(0)
    round: int = 0
    state: ProgressState = ProgressState.PROBE
    probing: bool = False
    reading: bool = False
    incarnation: int = 0
    repairing: bool = False
    transfer: Transfer | None = None
    _in_flight: deque[tuple[Index, int]] = field(factory=deque)
    _in_flight_bytes: int = 0

    def may_send(self, limits: Limits) -> bool:
        """Whether a message with entries may leave now."""
        if self.reading or self.state is ProgressState.SNAPSHOT:
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
        if not late and self.state is not ProgressState.SNAPSHOT:
            self.lost()
            self.next_index = max(min(prev_index, Index(candidate + 1)), self.next_index)

    def believes(self, incarnation: int, *, repairing: bool, prev_index: Index) -> bool:
        """Note who answers: the follower in which of its starts, and whether it is repairing. Whether the answer counts at all: not if it
        was said in an earlier incarnation than another that has been heard.

        The first word of a repairing incarnation takes back all that was acknowledged before. A follower once repaired does not become
        repairing again in the same incarnation: such an answer is a late one.
        """
        if incarnation < self.incarnation:
            return False
        if incarnation > self.incarnation:
            self.incarnation, self.repairing = incarnation, repairing
            if repairing:
                self.match_index = Index(0)
                self.lost()
                self.next_index = Index(prev_index + 1)
        elif not repairing:
            self.repairing = False
        return True

    def sends_snapshot(self, transfer: Transfer) -> None:
        """Entries that the follower needs are gone: no more entries for it until it has the snapshot, or proves not to need it."""
        self.lost()
        self.state, self.transfer = ProgressState.SNAPSHOT, transfer

    def has_snapshot(self, index: Index) -> None:
        """It says that it has installed the snapshot: ask for what comes behind it."""
        self.lost()
        self.next_index = max(self.next_index, Index(index + 1))

    def lost(self) -> None:
        """Something under way may be lost: begin again behind what is known to match."""
        self.state = ProgressState.PROBE
        self.probing = False
        self.reading = False
        self.next_index = Index(self.match_index + 1)
        self._in_flight.clear()
        self._in_flight_bytes = 0
        if self.transfer is not None:
            self.transfer.reading = self.transfer.under_way = None
