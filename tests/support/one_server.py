"""A consensus module all of whose world is the test: no time passes, nothing is durable and nobody answers unless the test says so."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.support.logs import configurations_of, first_entries, term_runs
from txraft.core.configuration import Configuration
from txraft.core.consensus import ConsensusModule
from txraft.core.effects import Effect, Metadata, Persist, Send
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.invariants import check_state, check_step, remember
from txraft.core.log import Log
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    RequestVote,
    RequestVoteReply,
    TransferState,
)
from txraft.core.progress import Progress
from txraft.core.roles import Candidate, Leader, Repair
from txraft.core.server import Server
from txraft.core.snapshot import Snapshot
from txraft.limits import Limits, Timing

LIMITS, TIMING = Limits(), Timing()
T = TypeVar("T")
M = TypeVar("M", bound=Message)


class OneServer:
    """Server `a` of a cluster. Every input is followed by the checks of the core's invariants.

    Args:
        log: the terms of the entries it starts with; the first is the configuration.
        term: it starts in, by default that of its last entry.
        snapshot: the newest it has recorded.
        base: the log begins behind this entry; `log` still counts from the first. By default it is whole.
        incarnation: the number of its start.
        repair: if it has lost something.

    Attributes:
        now: monotonic seconds; moved by hand.
        writes: what the disk has not answered yet.
        effects: of the last input.
    """

    def __init__(
        self,
        voters: str = "abc",
        *,
        learners: str = "",
        log: Sequence[int] = (1,),
        term: int | None = None,
        voted_for: str | None = None,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
        snapshot: Snapshot | None = None,
        base: int = 0,
        incarnation: int = 0,
        repair: Repair | None = None,
    ) -> None:
        self.configuration = Configuration.of({name: name for name in voters}, {name: name for name in learners})
        entries = first_entries(log, self.configuration)
        last_term, kept = entries[-1].term if entries else 0, entries[base:]
        self.module = ConsensusModule(
            ServerId("a"),
            metadata=Metadata(Term(last_term if term is None else term), ServerId(voted_for) if voted_for else None),
            log=Log.recovered(
                cache_bytes_max=limits.log_cache_bytes_max,
                last_index=Index(len(entries)),
                term_runs=term_runs(kept, base + 1),
                tail_first=Index(base + 1),
                tail=kept,
                base=(Index(base), Term(entries[base - 1].term if base else 0)),
            ),
            configurations=configurations_of(kept, base + 1),
            limits=limits,
            timing=timing,
            incarnation=incarnation,
            snapshot=snapshot,
            repair=repair,
        )
        self.now = 100.0
        self.writes: list[Persist] = []
        self.effects: list[Effect] = []
        self.step(lambda module: module.start(self.now))

    @property
    def record(self) -> Server:
        """Its state."""
        return self.module.server

    def step(self, taken: Callable[[ConsensusModule], list[Effect]]) -> list[Effect]:
        """Any input."""
        before = remember(self.record)
        self.effects = taken(self.module)
        check_state(self.record)
        check_step(before, self.record)
        self.writes += [effect for effect in self.effects if isinstance(effect, Persist)]
        return self.effects

    def hears(self, message: Message) -> list[Effect]:
        return self.step(lambda module: module.receive(self.now, ServerId(message.sender), message))

    def times_out(self) -> list[Effect]:
        return self.step(lambda module: module.election_timeout(self.now))

    def beats(self) -> list[Effect]:
        return self.step(lambda module: module.heartbeat_timeout(self.now))

    def proposes(self, *commands: bytes) -> list[Effect]:
        return self.step(lambda module: module.propose(self.now, list(commands)))

    def reads(self, number: int) -> list[Effect]:
        return self.step(lambda module: module.read(self.now, number))

    def applies(self, through: int) -> list[Effect]:
        return self.step(lambda module: module.applied(Index(through)))

    def takes_snapshot(self, snapshot: Snapshot, base_index: int) -> list[Effect]:
        return self.step(lambda module: module.snapshot_taken(self.now, snapshot, Index(base_index)))

    def has_read_chunk(self, to: str, snapshot: Snapshot, offset: int, content: bytes) -> list[Effect]:
        crc = zlib.crc32(content)
        return self.step(lambda module: module.chunk_read(self.now, ServerId(to), snapshot, offset, content, crc))

    def has_stored_chunk(self, leader: str, snapshot: Snapshot, offset: int) -> list[Effect]:
        return self.step(lambda module: module.chunk_stored(self.now, ServerId(leader), snapshot.sha256, offset))

    def has_received(self, snapshot: Snapshot) -> list[Effect]:
        return self.step(lambda module: module.snapshot_received(self.now, snapshot))

    def disk_answers(self, count: int | None = None) -> list[Effect]:
        """The disk has done the first `count` writes (default: all): what the receipts lead to and what could be said only now."""
        count = len(self.writes) if count is None else count
        done, self.writes = self.writes[:count], self.writes[count:]
        effects: list[Effect] = []
        for write in done:
            effects += self.step(lambda module, write=write: module.persisted(self.now, write.receipt))  # type: ignore[misc]
            effects += write.then
        self.effects = effects
        return effects

    # Brought into a role as a cluster would.

    def as_follower_of(self, leader: str = "b") -> OneServer:
        """It has just heard of its leader, and nothing new."""
        self.hears(append(self.record.current_term, leader, (0, 0)))
        self.disk_answers()
        return self

    def as_pre_candidate(self) -> OneServer:
        """It has just asked for pre-votes."""
        self.times_out()
        self.disk_answers()
        return self

    def as_candidate(self) -> OneServer:
        """It has just asked for votes; its own is not durable yet."""
        self.as_pre_candidate()
        for peer in self.record.configuration.voters:
            if isinstance(self.record.role, Candidate) and self.record.role.pre_vote and peer != "a":
                self.hears(vote(self.record.current_term + 1, peer, pre_vote=True, incarnation=self.record.incarnation))
        return self

    def as_new_leader(self) -> OneServer:
        """It has just won an election; the first entry of its term is on nobody's disk."""
        self.as_candidate()
        self.disk_answers()
        for peer in self.record.configuration.voters:
            if isinstance(self.record.role, Candidate) and peer != "a":
                self.hears(vote(self.record.current_term, peer, incarnation=self.record.incarnation))
        assert isinstance(self.record.role, Leader)
        return self

    def as_leader(self) -> OneServer:
        """It leads, and all members hold its log: it has committed all there is, and replicates without probing."""
        self.as_new_leader()
        self.disk_answers()
        for peer in self.record.peers:
            self.hears(accepted(self.record.current_term, peer, self.record.log.last_index))
        return self

    # What it has become.

    def log_terms(self) -> list[int]:
        """The terms of the entries of its log, in memory."""
        log = self.record.log
        return [log.term_at(index) or 0 for index in range(log.base_index + 1, log.last_index + 1)]

    def entries(self) -> list[Entry]:
        """Its whole log."""
        return self.record.log.slice(self.record.log.base_index + 1, entries_max=10**6, bytes_max=10**9) or []

    @property
    def leading(self) -> Leader:
        """Its role, which is leader."""
        assert isinstance(self.record.role, Leader)
        return self.record.role

    @property
    def standing(self) -> Candidate:
        """Its role, which is candidate."""
        assert isinstance(self.record.role, Candidate)
        return self.record.role

    def progress(self, peer: str) -> Progress:
        """What it knows of a follower."""
        return self.leading.progress[ServerId(peer)]


def all_of(effects: Sequence[Effect], kind: type[T]) -> list[T]:
    """The effects of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def the(effects: Sequence[Effect], kind: type[T]) -> T:
    """The one effect of a kind."""
    (found,) = all_of(effects, kind)
    return found


def said(effects: Sequence[Effect], kind: type[M]) -> list[tuple[str, M]]:
    """Receiver and message of all sent messages of a kind: those that left at once, and those that wait for the disk."""
    sends = [send for effect in effects for send in (effect.then if isinstance(effect, Persist) else [effect])]
    return [(send.to, send.message) for send in sends if isinstance(send, Send) and isinstance(send.message, kind)]


def said_to(effects: Sequence[Effect], peer: str, kind: type[M]) -> M:
    """The one message of a kind to a peer."""
    (found,) = (message for to, message in said(effects, kind) if to == peer)
    return found


# Messages, with what seldom matters left out.


def append(
    term: int, leader: str, prev: tuple[int, int], entries: Sequence[Entry] = (), *, commit: int = 0, round: int = 0
) -> AppendEntries:
    """AppendEntries behind the entry `prev` (index, term)."""
    return AppendEntries(term, leader, prev[0], prev[1], commit, round, list(entries))


def accepted(term: int, follower: str, match: int, *, round: int = 0) -> AppendEntriesReply:
    return AppendEntriesReply(term, follower, True, match, round)


def rejected(term: int, follower: str, prev_index: int, hint: tuple[int, int] = (0, 0), *, round: int = 0) -> AppendEntriesReply:
    return AppendEntriesReply(term, follower, False, prev_index, round, *hint)


def chunk(term: int, leader: str, snapshot: Snapshot, offset: int = 0, content: bytes = b"") -> InstallSnapshot:
    """A piece of a snapshot; without content, the question how much of it is there."""
    return InstallSnapshot(term, leader, snapshot, offset, content, zlib.crc32(content))


def chunk_reply(term: int, follower: str, snapshot: Snapshot, offset: int, state: TransferState = "more") -> InstallSnapshotReply:
    return InstallSnapshotReply(term, follower, snapshot.sha256, offset, state)


def vote_request(
    term: int, candidate: str, last: tuple[int, int], *, pre_vote: bool = False, transfer: bool = False, incarnation: int = 0
) -> RequestVote:
    """A request by who has the entry `last` (index, term) at the end."""
    return RequestVote(term, candidate, last[0], last[1], pre_vote, transfer, incarnation)


def vote(term: int, voter: str, *, granted: bool = True, pre_vote: bool = False, incarnation: int = 0) -> RequestVoteReply:
    return RequestVoteReply(term, voter, granted, pre_vote, incarnation)
