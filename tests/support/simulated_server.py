"""One server of a simulated cluster: a consensus module, its disk, its timers, and a state machine that only remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.logs import configurations_of, first_entries, term_runs
from tests.support.simulated_disk import SimulatedDisk
from tests.support.simulated_snapshots import SimulatedSnapshots
from tests.support.virtual_time import Event
from tests.support.witness import Proposal, Read
from txraft.core.consensus import ConsensusModule
from txraft.core.effects import (
    Apply,
    ConfigurationChanged,
    Effect,
    LeadershipReady,
    Metadata,
    Persist,
    Proposed,
    ReadChunk,
    ReadEntries,
    ReadsLost,
    ReadsReady,
    Repaired,
    ResetElectionTimer,
    Restore,
    RoleChanged,
    Send,
    SnapshotRefused,
    StartHeartbeats,
    StopElectionTimer,
    StopHeartbeats,
    StoreChunk,
)
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId
from txraft.core.invariants import remember
from txraft.core.log import Log
from txraft.core.messages import Message
from txraft.core.roles import Repair
from txraft.core.server import Server

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

Input = Callable[[ConsensusModule, float], list[Effect]]


class SimulatedServer:
    """What a node is to its consensus module, without a node.

    Attributes:
        module: None while it is down.
        incarnation: how often it was started; as little forgotten as its name.
        snapshots: its files of them.
        applied: the entries its state machine has been given since it started.
        proposals: commands taken here whose fate is open, by index.
        reads: reads taken here and not answered.
    """

    def __init__(self, cluster: Cluster, name: ServerId, metadata: Metadata, entries: list[Entry]) -> None:
        self.id = name
        self.cluster = cluster
        self.module: ConsensusModule | None = None
        self.incarnation = 0
        latency_s = cluster.draw(cluster.conditions.disk_s, f"disk {name}")
        self.disk = SimulatedDisk(cluster.time, cluster.random(f"crash {name}"), latency_s, metadata, entries, self._made_durable)
        self.disk.bootstrap = first_entries((1,), cluster.configuration)
        self.snapshots: SimulatedSnapshots = SimulatedSnapshots(self)
        self._election_timeout_s = cluster.draw((cluster.timing.election_s, 2 * cluster.timing.election_s), f"election {name}")
        self._apply_s = cluster.draw(cluster.conditions.apply_s, f"apply {name}")
        self._clock_rate = cluster.draw(cluster.conditions.clock_rates, f"clock rate {name}")()
        self._clock_offset = cluster.draw((0.0, 1e6), f"clock {name}")()
        self._forget()

    def _forget(self) -> None:
        self.applied: list[Entry] = []
        self.proposals: dict[Index, Proposal] = {}
        self.reads: list[Read] = []
        self._reads_numbered = 0
        self._election_timer: Event | None = None
        self._heartbeats: Event | None = None
        self._postponed: list[Callable[[], object]] | None = None

    # Inputs.

    def start(self) -> None:
        """Begin with what the disk holds; nothing happens if it runs already."""
        if self.module is not None:
            return
        self.cluster.witness.restarted(self.id)
        self.incarnation += 1
        disk, entries, limits, first_index = self.disk, list(self.disk.entries), self.cluster.limits, Index(self.disk.base[0] + 1)
        self.applied = self.snapshots.restored()
        self.module = ConsensusModule(
            self.id,
            metadata=disk.metadata,
            log=Log.recovered(
                cache_bytes_max=limits.log_cache_bytes_max,
                last_index=disk.last_index,
                term_runs=term_runs(entries, first_index),
                tail_first=first_index,
                tail=entries,
                base=disk.base,
            ),
            configurations=configurations_of(entries, first_index),
            limits=limits,
            timing=self.cluster.timing,
            incarnation=self.incarnation,
            snapshot=disk.snapshot,
            repair=Repair(disk.note.votes_lost) if disk.note is not None else None,
        )
        self.step("starts", None, lambda module, now: module.start(now))

    def crash(self) -> None:
        """Lose everything but what the disk keeps."""
        if self.module is None:
            return
        self.module = None
        for timer in (self._election_timer, self._heartbeats):
            if timer is not None:
                timer.cancel()
        self._forget()
        self.snapshots.crash()
        self.cluster.witness.marks["changes lost by a crash"] += self.disk.crash()

    def lose(self, *, log_from: int | None = None, snapshot: bool = False, votes: bool = False) -> None:
        """It crashes, and comes back some day with a disk that has lost something."""
        self.crash()
        self.disk.lose(log_from=log_from, snapshot=snapshot, votes=votes)

    def pause(self) -> None:
        """The process is stopped: what comes to it waits, timers and disk too."""
        if self.module is not None and self._postponed is None:
            self._postponed = []

    def resume(self, first: Callable[[], object] = lambda: None) -> None:
        """It goes on, with all that has come meanwhile in order, but `first` before it."""
        postponed, self._postponed = self._postponed or [], None
        first()
        for action in postponed:
            action()

    def receive(self, sender: ServerId, message: Message) -> None:
        self._come_to(lambda: self.step("receives", message, lambda module, now: module.receive(now, sender, message)))

    def election_timeout(self) -> None:
        self._come_to(lambda: self.step("election timeout", None, lambda module, now: module.election_timeout(now)))

    def peer_unreachable(self, peer: ServerId) -> None:
        self._come_to(lambda: self.step("cannot reach", peer, lambda module, now: module.peer_unreachable(peer)))

    def step_down(self, why: str) -> None:
        self._come_to(lambda: self.step("steps down", why, lambda module, now: module.step_down(why)))

    def propose(self, *commands: bytes) -> list[Proposal]:
        """The commands that were taken."""
        taken: list[Proposal] = []
        if self.is_running:
            effects = self.step("proposes", len(commands), lambda module, now: module.propose(now, list(commands)))
            for proposed in (effect for effect in effects if isinstance(effect, Proposed)):
                for offset in range(proposed.accepted):
                    index = Index(proposed.first_index + offset)
                    taken.append(Proposal(index, proposed.term, commands[offset]))
                    self.proposals[index] = taken[-1]
        return taken

    def read(self) -> Read | None:
        """A read; None if the server does not answer at all. A server that does not lead loses it at once."""
        if not self.is_running:
            return None
        self._reads_numbered += 1
        read = Read(self._reads_numbered, self.cluster.witness.committed)
        self.reads.append(read)
        self.step("reads", read.number, lambda module, now: module.read(now, read.number))
        return read

    # State.

    @property
    def is_up(self) -> bool:
        return self.module is not None

    @property
    def is_running(self) -> bool:
        """Whether it is up and not paused."""
        return self.module is not None and self._postponed is None

    @property
    def record(self) -> Server:
        """The state of the consensus module; an error while it is down."""
        assert self.module is not None, f"{self.id} is down"
        return self.module.server

    def __str__(self) -> str:
        if self.module is None:
            return f"{self.id} down"
        record = self.record
        return f"{self.id} {record.role.name} of term {record.current_term}, {record.commit_index}/{record.log.last_index}"

    # Steps and their effects.

    def _come_to(self, action: Callable[[], object]) -> None:
        """Something reaches the process: now, or when it is no longer paused, or never if it is down."""
        if self._postponed is not None:
            self._postponed.append(action)
        elif self.module is not None:
            action()

    def step(self, what: str, with_what: object, taken: Input) -> list[Effect]:
        assert self.module is not None
        before = remember(self.module.server)
        effects = taken(self.module, self.now)
        self.cluster.witness.stepped(before, self.module.server, effects, self.cluster.up)
        if self.cluster.trace is not None:
            self.cluster.trace.append(f"{self.cluster.time.now:9.4f} {self.id} {what} {with_what}: {effects}")
        for effect in effects:
            CARRY_OUT[type(effect)](self, effect)
        return effects

    @property
    def now(self) -> float:
        """Its own monotonic clock."""
        return self._clock_offset + self._clock_rate * self.cluster.time.now

    def _later(self, delay_s: float, action: Callable[[], object]) -> Event:
        return self.cluster.time.call_later(delay_s, action)

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Something that this process does in the background, if it lives so long."""
        module = self.module
        self._later(delay_s, lambda: self._come_to(action) if self.module is module else None)

    def _persist(self, write: Persist) -> None:
        self.disk.submit(write, lambda _: self._come_to(lambda: self._persisted(write)))

    def _persisted(self, write: Persist) -> None:
        if write.receipt.term != self.record.current_term:
            self.cluster.witness.marks["stale receipt"] += 1
        self.step("has persisted", write.receipt, lambda module, now: module.persisted(now, write.receipt))
        for send in write.then:
            self.cluster.network.send(self.id, send.to, send.message)

    def _made_durable(self, write: Persist) -> None:
        self.cluster.witness.made_durable(self.id, write)
        self.snapshots.made_durable(write)

    def _send(self, send: Send) -> None:
        self.cluster.witness.said_at_once(self.record, send.to, send.message)
        self.cluster.network.send(self.id, send.to, send.message)

    def _read_entries(self, request: ReadEntries) -> None:
        def has_read(found: list[Entry]) -> None:
            self.step("has read", request, lambda module, now: module.entries_read(now, request.to, request.first_index, found))

        self.disk.submit(request, lambda found: self._come_to(lambda: has_read(found)))

    def _apply(self, apply: Apply) -> None:
        module = self.module

        def take() -> None:
            if self.module is module and apply.through > len(self.applied):
                self._apply_through(apply.through)

        self._later(self._apply_s(), lambda: self._come_to(take))

    def _apply_through(self, through: Index) -> None:
        for index in range(len(self.applied) + 1, through + 1):
            entry = self.disk.entry_at(index)
            if entry is None:
                # A snapshot has taken their place; the state machine is about to be restored from it.
                return
            self.cluster.witness.applied(self.id, index, entry)
            self.applied.append(entry)
            proposal = self.proposals.pop(Index(index), None)
            if proposal is not None:
                proposal.answered = proposal.term == entry.term
                proposal.overwritten = not proposal.answered
        self.step("has applied", through, lambda module, now: module.applied(through))
        self.answer_reads()
        self.snapshots.take_when_due()

    def answer_reads(self) -> None:
        for read in self.reads:
            read.answered = read.index is not None and read.index <= len(self.applied)
        self.reads = [read for read in self.reads if not read.answered and not read.lost]

    def _reads_ready(self, ready: ReadsReady) -> None:
        for read in self.reads:
            if read.number <= ready.through_read and read.index is None:
                self.cluster.witness.read_confirmed(read, ready.index)
                read.index = ready.index
        self.answer_reads()

    def _reads_lost(self, _: ReadsLost) -> None:
        for read in self.reads:
            read.lost = read.index is None
        self.answer_reads()

    def _reset_election_timer(self, _: ResetElectionTimer) -> None:
        self._stop_election_timer()
        if self.cluster.conditions.elections_by_chance:
            self._election_timer = self._later(self._election_timeout_s() / self._clock_rate, self.election_timeout)

    def _stop_election_timer(self, _: StopElectionTimer | None = None) -> None:
        if self._election_timer is not None:
            self._election_timer.cancel()

    def _start_heartbeats(self, _: StartHeartbeats) -> None:
        def beat() -> None:
            self._start_heartbeats(_)
            self.step("heartbeat timeout", None, lambda module, now: module.heartbeat_timeout(now))
            if self.cluster.conditions.marks_are_told:
                self._see_directories()

        self._heartbeats = self._later(self.cluster.timing.heartbeat_s / self._clock_rate, lambda: self._come_to(beat))

    def _see_directories(self) -> None:
        marks = {name: f"directory of {name}" for name in self.cluster.reached_by(self.id)}
        effects = self.step("sees directories", sorted(marks), lambda module, now: module.directories_seen(now, marks))
        self.cluster.witness.marks["marks of directories put down"] += bool(effects)

    def _stop_heartbeats(self, _: StopHeartbeats) -> None:
        if self._heartbeats is not None:
            self._heartbeats.cancel()

    def _repaired(self, _: Repaired) -> None:
        self.cluster.witness.marks["repaired"] += 1

    def _nothing(self, _: Effect) -> None:
        """Only told to people."""


CARRY_OUT: dict[type, Callable[[SimulatedServer, Any], None]] = {
    Persist: SimulatedServer._persist,
    Send: SimulatedServer._send,
    Apply: SimulatedServer._apply,
    ReadEntries: SimulatedServer._read_entries,
    ReadsReady: SimulatedServer._reads_ready,
    ReadsLost: SimulatedServer._reads_lost,
    ResetElectionTimer: SimulatedServer._reset_election_timer,
    StopElectionTimer: SimulatedServer._stop_election_timer,
    StartHeartbeats: SimulatedServer._start_heartbeats,
    StopHeartbeats: SimulatedServer._stop_heartbeats,
    RoleChanged: SimulatedServer._nothing,
    LeadershipReady: SimulatedServer._nothing,
    ConfigurationChanged: SimulatedServer._nothing,
    Proposed: SimulatedServer._nothing,
    ReadChunk: lambda server, effect: server.snapshots.read_chunk(effect),
    StoreChunk: lambda server, effect: server.snapshots.store_chunk(effect),
    Restore: lambda server, effect: server.snapshots.restore(effect),
    Repaired: SimulatedServer._repaired,
    SnapshotRefused: SimulatedServer._nothing,
}
"""What the world does for each effect; the vocabulary is closed, so the table is complete."""
