"""Who sees all servers, all disks and all that is said at once, and speaks up as soon as anything breaks a promise of the algorithm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import define, field

from tests.support.simulated_disk import SimulatedDisk
from txraft.core.configuration import Configuration
from txraft.core.effects import Apply, Effect, Persist, ReadEntries, ReadsLost, ReadsReady, RoleChanged
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId, Term
from txraft.core.invariants import ClusterHistory, Remembered, check_state, check_step
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    RequestTerm,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.server import Server
from txraft.core.snapshot import Snapshot


class Violation(AssertionError):
    """A promise was broken."""


def ensure(condition: bool, broken: str) -> None:
    """Raise `Violation` unless `condition` holds."""
    if not condition:
        raise Violation(broken)


@define(eq=False)
class Proposal:
    """A command from the moment a leader took it.

    Attributes:
        answered: it was applied where it was proposed: its client knows that it happened.
        overwritten: another entry was applied in its place: it certainly never happens. With neither, nobody knows.
    """

    index: Index
    term: Term
    command: bytes
    answered: bool = False
    overwritten: bool = False


@define(eq=False)
class Read:
    """A read from the moment a leader took it.

    Attributes:
        floor: what was committed anywhere when it began; what it must at least see.
        index: what it will see, once confirmed.
        answered: that much has been applied where it was asked.
    """

    number: int
    floor: Index
    index: Index | None = None
    lost: bool = False
    answered: bool = False


@define
class History(ClusterHistory):
    """Leader Completeness in full: entries committed in earlier terms are in the log of a new leader. One that was elected long ago and has
    been stopped since may still take office after later terms have committed more.

    Source: §3.6.3.
    """

    _committed_in: list[Term] = field(factory=list)

    def _check_committed(self, server: Server) -> None:
        ClusterHistory._check_committed(self, server)
        self._committed_in += [server.current_term] * (len(self.committed) - len(self._committed_in))

    def _check_complete(self, leader: Server) -> None:
        for index, (term, committed_in) in enumerate(zip(self._terms, self._committed_in, strict=True), 1):
            if index < leader.log.base_index:
                continue
            lacks = committed_in < leader.current_term and leader.log.term_at(index) != term
            ensure(not lacks, f"leader {leader.id} of term {leader.current_term} lacks entry {index}, committed in term {committed_in}")


@define
class Witness:
    """Checks every step of every server against everything seen before.

    Attributes:
        configuration: the voters, as they are all the time.
        disks: of all servers, the crashed ones too.
        history: who led and voted, and what was committed.
        committed: greatest index that any server has known to be committed.
        marks: how often things happened that tests want to have happened.

    Source: Figure 3.2, and what it rests on.
    """

    configuration: Configuration
    disks: Mapping[ServerId, SimulatedDisk]
    history: History = field(factory=History)
    committed: Index = Index(0)
    steps: int = 0
    marks: Counter[str] = field(factory=Counter)
    _committed_term: Term | None = Term(0)
    _votes_told: dict[tuple[ServerId, Term], ServerId] = field(factory=dict)
    _stored: dict[tuple[int, int], tuple[Entry, int | None]] = field(factory=dict)

    def stepped(self, before: Remembered, server: Server, effects: list[Effect], servers: Iterable[Server]) -> None:
        """A step of `server` has ended."""
        self.steps += 1
        check_state(server)
        check_step(before, server)
        self.history.check(servers)
        if server.commit_index > self.committed:
            self.committed, self._committed_term = server.commit_index, server.log.term_at(server.commit_index)
            self._check_durable(server.id)
            if server.log.durable_index < server.commit_index:
                self.marks["committed before it was on the leader's disk"] += 1
        for effect in effects:
            self._mark(effect)
            if isinstance(effect, Apply):
                ensure(effect.through > server.log.base_index, f"{server.id} is to apply {effect.through}, its log begins later")

    def _check_durable(self, by: ServerId) -> None:
        """What is committed is on the disks of a majority, or was until a disk lost it whose server knows of the loss."""
        damaged = {name for name, disk in self.disks.items() if disk.note is not None}
        holders = {name for name, disk in self.disks.items() if disk.term_at(self.committed) == self._committed_term}
        ensure(
            self.configuration.has_majority(holders | damaged),
            f"after a step of {by} entry {self.committed} is committed, and only the disks of {sorted(holders)} hold it; "
            f"{sorted(damaged)} have lost something",
        )

    def made_durable(self, server: ServerId, write: Persist) -> None:
        """A write of `server` has reached its disk: what was to wait for it may now be said, if it waited for the right thing."""
        disk = self.disks[server]
        if write.truncate_from is not None:
            self.marks["conflict truncated"] += 1
            self._check_durable(server)
        if write.base is not None:
            self.marks["snapshot recorded" if write.base.keeps_log else "snapshot installed"] += 1
            self._check_durable(server)
        for offset, entry in enumerate(write.entries):
            index = write.first_index + offset
            first, previous_term = self._stored.setdefault((index, entry.term), (entry, disk.term_at(index - 1)))
            matches = first == entry and previous_term == disk.term_at(index - 1)
            ensure(matches, f"{server} stores another entry {index} of term {entry.term}, or behind another, than was stored elsewhere")
        ensure(disk.term_at(write.receipt.index) == write.receipt.entry_term, f"{server}'s disk does not hold what {write.receipt} says")
        for send in write.then:
            self.said(server, send.to, send.message)

    def said(self, server: ServerId, to: ServerId, message: Message) -> None:
        """`server` sends a message: all that it rests on is on its disk.

        Source: §3.8; Figure 3.1, "Updated on stable storage before responding to RPCs".
        """
        disk = self.disks[server]
        stored = disk.metadata

        def rests(condition: bool, on: str) -> None:
            if not condition:
                raise Violation(f"{server} says {message} to {to} without {on}; its disk holds {stored} and entries to {disk.last_index}")

        match message:
            case RequestVote(pre_vote=True):
                rests(message.term == stored.term + 1, "being in the term before")
                return
            case RequestVoteReply(pre_vote=True, granted=True):
                return
            case RequestVote():
                rests((stored.term, stored.voted_for) == (message.term, server), "its vote for itself")
                self._vote_told(server, server if isinstance(message, RequestVote) else to, Term(message.term))
            case RequestVoteReply(granted=True):
                rests((stored.term, stored.voted_for) == (message.term, to), "its vote")
                self._vote_told(server, server if isinstance(message, RequestVote) else to, Term(message.term))
            case RequestTerm():
                return
            case AppendEntries() | InstallSnapshot():
                rests((stored.term, stored.voted_for) == (message.term, server), "the term it leads")
            case AppendEntriesReply(success=True):
                rests(message.match_index <= disk.last_index, "the entries")
                self.marks["append accepted"] += 1
            case AppendEntriesReply():
                self.marks["append refused"] += 1
            case InstallSnapshotReply(state="installed"):
                self.marks["snapshot said to be installed"] += 1
            case RequestVoteReply():
                self.marks["pre-vote refused" if message.pre_vote else "vote refused"] += 1
        rests(message.term <= stored.term, "its term")

    def _vote_told(self, voter: ServerId, candidate: ServerId, term: Term) -> None:
        """A vote has become known outside of the voter: there is no other in its term, whatever happens to the voter.

        Source: §3.4, §3.8.
        """
        told = self._votes_told.setdefault((voter, term), candidate)
        ensure(told == candidate, f"{voter} tells {candidate} that it has its vote of term {term}, which {told} was told, too")

    def said_at_once(self, server: Server, to: ServerId, message: Message) -> None:
        """`server` sends a message without waiting for its disk: then it must be on the disk already."""
        self.said(server.id, to, message)
        if isinstance(message, AppendEntriesReply) and message.success:
            same = self.disks[server.id].term_at(message.match_index) == server.log.term_at(message.match_index)
            ensure(same, f"{server.id} accepts entries up to {message.match_index}, its disk still holds others")

    def restarted(self, server: ServerId) -> None:
        """`server` has only its disk left. A vote that it gave in memory and never told anybody may be given again, to another; and if its
        disk has lost it, so may one that it gave itself in an election that it did not win: only that start of it would have counted it.
        """
        self.history.restarted(server)
        self._check_durable(server)
        note = self.disks[server].note
        if note is not None and note.votes_lost:
            for voter, term in [key for key, told in self._votes_told.items() if key[0] == told == server]:
                if self.history.leaders.get(term) != server:
                    del self._votes_told[voter, term]
        for voter, term in [key for key in self.history.votes if key[0] == server and key not in self._votes_told]:
            del self.history.votes[voter, term]

    def read_confirmed(self, read: Read, index: Index) -> None:
        """A read may be answered from the state at `index`: that must be no older than what was committed when it began.

        Source: §6.4.
        """
        ensure(index >= read.floor, f"read {read.number} would see entry {index} last, entry {read.floor} was committed before it began")

    def applied(self, server: ServerId, index: int, entry: Entry) -> None:
        """A state machine has taken an entry: it is the one that was committed there."""
        ensure(index <= self.committed, f"{server} applies entry {index}, committed is {self.committed}")
        committed = self.history.committed[index - 1] or entry
        ensure(committed == entry, f"{server} applies {entry} at {index}, committed is {committed}")
        self.history.committed[index - 1] = committed

    def restored(self, server: ServerId, snapshot: Snapshot, state: list[Entry]) -> None:
        """A state machine was restored from a snapshot: that is recorded, and holds just what was committed up to there."""
        recorded = self.disks[server].snapshot
        ensure(recorded is not None and recorded.index >= snapshot.index, f"{server} restores {snapshot}, its disk has recorded {recorded}")
        ensure(len(state) == snapshot.index <= self.committed, f"{server} restores {len(state)} entries from {snapshot}")
        for index, entry in enumerate(state, 1):
            committed = self.history.committed[index - 1] or entry
            ensure(committed == entry, f"{server} restores {entry} at {index}, committed is {committed}")

    def _mark(self, effect: Effect) -> None:
        match effect:
            case RoleChanged(role=role, why=why):
                self.marks[f"became {role}"] += 1
                if "majority" in why and role == "follower":
                    self.marks["lost touch with the majority"] += 1
            case ReadEntries():
                self.marks["read from disk"] += 1
            case ReadsReady():
                self.marks["reads confirmed"] += 1
            case ReadsLost():
                self.marks["reads lost"] += 1
