"""A disk that keeps its word and no more: what it has answered survives a crash, of the rest any beginning may.

It can be damaged, too: then what is left of it is what the storage would open with.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import define, field, frozen

from tests.support.virtual_time import Event, VirtualTime
from txraft.core.effects import Base, Metadata, Persist, ReadEntries
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.core.roles import Repair
from txraft.core.snapshot import Snapshot


@define
class Job:
    """A write or read that waits for its turn.

    Attributes:
        done: called with what was read, or with nothing, when this job and all that were written with it are through.
    """

    what: Persist | ReadEntries
    done: Callable[[list[Entry]], None]
    found: list[Entry] = field(factory=list)


@define
class SimulatedDisk:
    """Metadata and log as they would be found after a crash, and the jobs under way to them.

    All jobs that gather while the disk is busy are carried out together, in their order. A crash keeps a random part of the batch
    under way: first its metadata, then the log, as the storage writes them.

    Attributes:
        entries: of the log, from behind the base on.
        base: index and term of the last entry before the log.
        snapshot: the newest recorded.
        note: of a loss, until it is repaired.
        bootstrap: the log of a new server.
        latency_s: how long the next batch takes.
        made_durable: told of each write when it has reached the platter, before the next one of its batch has.
        hangs: nothing is finished until `resume`.
    """

    time: VirtualTime
    random: Random
    latency_s: Callable[[], float]
    metadata: Metadata
    entries: list[Entry]
    made_durable: Callable[[Persist], None]
    base: tuple[Index, Term] = (Index(0), Term(0))
    snapshot: Snapshot | None = None
    note: Repair | None = None
    bootstrap: list[Entry] = field(factory=list)
    hangs: bool = False
    _waiting: list[Job] = field(factory=list)
    _under_way: list[Job] = field(factory=list)
    _completion: Event | None = None

    def submit(self, what: Persist | ReadEntries, done: Callable[[list[Entry]], None]) -> None:
        self._waiting.append(Job(what, done))
        self._begin()

    @property
    def last_index(self) -> Index:
        """Index of the last stored entry."""
        return Index(self.base[0] + len(self.entries))

    def entry_at(self, index: int) -> Entry | None:
        """The stored entry at `index`, if there is one."""
        place = index - self.base[0] - 1
        return self.entries[place] if 0 <= place < len(self.entries) else None

    def term_at(self, index: int) -> Term | None:
        """The term of the entry at `index`, stored or the one before the log; None before that and behind the end."""
        entry = self.entry_at(index)
        if entry is None:
            return self.base[1] if index == self.base[0] else None
        return Term(entry.term)

    def hang(self) -> None:
        self.hangs = True
        if self._completion is not None:
            self._completion.cancel()

    def resume(self) -> None:
        self.hangs = False
        if self._under_way:
            self._completion = self.time.call_later(self.latency_s(), self._complete)
        self._begin()

    def crash(self) -> int:
        """Power fails; how many of the changes under way were lost."""
        if self._completion is not None:
            self._completion.cancel()
        changes = _changes([job.what for job in self._under_way if isinstance(job.what, Persist)])
        kept = self.random.randint(0, len(changes))
        for change in changes[:kept]:
            self._make(change)
        self._waiting, self._under_way, self._completion, self.hangs = [], [], None, False
        return len(changes) - kept

    def lose(self, *, log_from: int | None = None, snapshot: bool = False, votes: bool = False) -> None:
        """What was durable is no more: entries from `log_from` on, the recorded snapshot, term and vote. What is left is what the storage
        makes of that: a beginning of the log that reaches the snapshot, or only the snapshot, or the log of a new server.
        """
        self.note = Repair(votes_lost=votes or (self.note is not None and self.note.votes_lost))
        if votes:
            self.metadata = Metadata(Term(0), None)
        if snapshot and self.snapshot is not None:
            self.snapshot = None
            if self.base[0]:
                self.base, self.entries = (Index(0), Term(0)), list(self.bootstrap)
        if log_from is not None:
            del self.entries[max(log_from - self.base[0] - 1, 0) :]
            if self.snapshot is not None and self.last_index < self.snapshot.index:
                self.base, self.entries = (Index(self.snapshot.index), Term(self.snapshot.term)), []
            elif self.snapshot is None and not self.entries:
                self.entries = list(self.bootstrap)

    def _begin(self) -> None:
        if self._waiting and not self._under_way and not self.hangs:
            self._under_way, self._waiting = self._waiting, []
            self._completion = self.time.call_later(self.latency_s(), self._complete)

    def _complete(self) -> None:
        batch, self._under_way, self._completion = self._under_way, [], None
        for job in batch:
            if isinstance(job.what, Persist):
                self._write(job.what)
            else:
                first, size = job.what.first_index - self.base[0] - 1, self.random.randint(1, 5)
                assert first >= 0, f"entry {job.what.first_index} is to be read, the log begins behind {self.base[0]}"
                job.found = self.entries[first : first + size]
        # The next batch is begun first: what the answers lead to belongs to the one after it.
        self._begin()
        for job in batch:
            job.done(job.found)

    def _write(self, write: Persist) -> None:
        for change in _changes([write]):
            self._make(change)
        self.made_durable(write)

    def _make(self, change: Change) -> None:
        match change:
            case Metadata():
                self.metadata = change
            case Base():
                self._begin_behind(change)
            case Truncation():
                del self.entries[change.first_removed - self.base[0] - 1 :]
            case Addition():
                assert self.last_index == change.index - 1, f"entry {change.index} is written behind entry {self.last_index}"
                self.entries.append(change.entry)
            case EndOfRepair():
                self.note = None

    def _begin_behind(self, base: Base) -> None:
        assert self.base[0] <= base.index <= base.snapshot.index, f"{base} behind {self.base}"
        if base.keeps_log:
            assert self.term_at(base.index) == base.term and base.snapshot.index <= self.last_index, f"{base} does not fit the log"
            del self.entries[: base.index - self.base[0]]
        else:
            assert (base.index, base.term) == (base.snapshot.index, base.snapshot.term), f"{base} leaves a hole"
            self.entries = []
        self.base, self.snapshot = (base.index, base.term), base.snapshot


@frozen
class Truncation:
    """All entries from `first_removed` on are no more."""

    first_removed: Index


@frozen
class Addition:
    """One more entry."""

    index: int
    entry: Entry


@frozen
class EndOfRepair:
    """The note of a loss is removed."""


Change = Metadata | Base | Truncation | Addition | EndOfRepair


def _changes(writes: list[Persist]) -> list[Change]:
    """What a batch comes to, in the order in which it reaches the platter."""
    changes: list[Change] = [write.metadata for write in writes if write.metadata is not None]
    for write in writes:
        if write.base is not None:
            changes.append(write.base)
        if write.truncate_from is not None:
            changes.append(Truncation(write.truncate_from))
        changes += [Addition(index, entry) for index, entry in enumerate(write.entries, write.first_index)]
    return changes + [EndOfRepair() for write in writes if write.repaired]
