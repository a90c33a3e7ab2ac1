"""A disk that keeps its word and no more: what it has answered survives a crash, of the rest any beginning may."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import define, field, frozen

from tests.support.virtual_time import Event, VirtualTime
from txraft.core.effects import Metadata, Persist, ReadEntries
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term


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
    hangs: bool = False
    _waiting: list[Job] = field(factory=list)
    _under_way: list[Job] = field(factory=list)
    _completion: Event | None = None

    def submit(self, what: Persist | ReadEntries, done: Callable[[list[Entry]], None]) -> None:
        self._waiting.append(Job(what, done))
        self._begin()

    def term_at(self, index: int) -> Term | None:
        """The term of the stored entry at `index`; 0 before the log, None behind its end."""
        if index > len(self.entries):
            return None
        return Term(self.entries[index - 1].term if index else 0)

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
                first, size = job.what.first_index - 1, self.random.randint(1, 5)
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
            case Truncation():
                del self.entries[change.first_removed - 1 :]
            case Addition():
                assert len(self.entries) == change.index - 1, f"entry {change.index} is written behind entry {len(self.entries)}"
                self.entries.append(change.entry)


@frozen
class Truncation:
    """All entries from `first_removed` on are no more."""

    first_removed: Index


@frozen
class Addition:
    """One more entry."""

    index: int
    entry: Entry


Change = Metadata | Truncation | Addition


def _changes(writes: list[Persist]) -> list[Change]:
    """What a batch comes to, in the order in which it reaches the platter."""
    changes: list[Change] = [write.metadata for write in writes if write.metadata is not None]
    for write in writes:
        if write.truncate_from is not None:
            changes.append(Truncation(write.truncate_from))
        changes += [Addition(index, entry) for index, entry in enumerate(write.entries, write.first_index)]
    return changes
