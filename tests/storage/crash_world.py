"""A server's disk that scripts act upon, with the model beside it: what was acknowledged, and what may be there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from attrs import define, evolve, field

from tests.storage.crash_model import FIRST, State
from tests.storage.independent_reader import read_directory
from tests.support.disk import CLUSTER_ID, base, command, open_storage, persist
from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.effects import Metadata, Persist
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, DiskFull, StorageError
from txraft.limits import Limits
from txraft.storage import Storage
from txraft.storage.inspected_log import InspectedLog
from txraft.storage.layout import Layout
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, write_snapshot
from txraft.storage.snapshot_files import SnapshotFiles

__all__ = ["ROOT", "Violation", "World", "independently", "offline", "require", "state_of"]

ROOT = Path("/n1")
BYTES_MAX = 1 << 30


class Violation(AssertionError):
    """The directory is not what it has to be."""


def require(holds: bool, what: str, *found: object) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation("\n  ".join([what, *map(repr, found)]))


def state_of(storage: Storage) -> State:
    """What a directory held when it was opened, its entries read from disk; all that it says of itself must agree."""
    recovered = storage.recovered
    entries = tuple(storage.read(Index(recovered.base_index + 1), BYTES_MAX))
    require(recovered.last_index == recovered.base_index + len(entries), "the last index is another", recovered, entries)
    require(recovered.tail_first_index + len(recovered.tail) == recovered.last_index + 1, "the tail ends elsewhere", recovered)
    require(tuple(recovered.tail) == entries[len(entries) - len(recovered.tail) :], "the tail has other entries", recovered, entries)
    runs = [(number, entry.term) for number, entry in enumerate(entries, recovered.base_index + 1)]
    runs = [run for at, run in enumerate(runs) if at == 0 or runs[at - 1][1] != run[1]]
    require(recovered.term_runs == runs, "the terms are others", recovered.term_runs, runs)
    if recovered.snapshot is not None:
        with closing(open_snapshot(storage.files, storage.snapshot_path(recovered.snapshot.index), recovered.snapshot)[1]) as parts:
            require(list(parts) == contents_of(recovered.snapshot.index), "the snapshot holds something else", recovered.snapshot)
    repair = "" if recovered.repair is None else "votes" if recovered.repair.votes_lost else "log"
    return State(recovered.metadata, entries, recovered.base_index, recovered.base_term, recovered.snapshot, repair)


def offline(files: SimulatedFiles) -> State | None:
    """What the offline reader finds in the directory; None if there never was a log. It changes nothing."""
    layout, calls = Layout(ROOT, files), len(files.calls)
    if not layout.segments():
        return None
    read = InspectedLog.read(layout, lambda fraction: None, strict=True)
    entries = list(read.entries(1))
    require([index for index, _ in entries] == list(range(read.first_index, read.last_index + 1)), "offline: there are holes", entries)
    require(len(files.calls) == calls and files.opened == 0, "the offline reader changes something", files.calls)
    metadata, replay = read.metadata.current, read.recovery.replay
    require(metadata is not None, "offline: no term and vote")
    assert metadata is not None
    return State(metadata, tuple(entry for _, entry in entries), replay.base_index, replay.base_term, replay.snapshot)


def independently(files: SimulatedFiles) -> State:
    """What a reader finds that was written from the document alone."""
    read = read_directory({name.removeprefix(f"{ROOT}/"): content for name, content in files.all_files().items()})
    log, note = read["log"], read["repair"]
    snapshot = None
    if (recorded := log["recorded"]) is not None:
        index, term, size, sha256, configurations = recorded[3:]
        snapshot = Snapshot(index, term, size, sha256, [(at, payload) for at, payload in configurations])
        found = read["snapshots"][f"{index:020d}"]
        require(found["parts"] == len(contents_of(index)), "independently: the snapshot has other parts", found)
        require(found["head"][2:5] == [index, term, configurations], "independently: the snapshot is another", found)
    metadata = Metadata(Term(read["term"]), read["voted_for"])
    repair = "" if note is None else "votes" if note[1] else "log"
    entries = tuple(Entry(*entry) for _, entry in log["entries"])
    base_index, base_term = log["base"]
    return State(metadata, entries, base_index, base_term, snapshot, repair)


def contents_of(index: int) -> list[bytes]:
    """The parts of the snapshot up to this entry."""
    return [b"state up to entry %d" % index, bytes([index % 251]) * (300 + 40 * (index % 7))]


def write_as_snapshot(files: SimulatedFiles, path: Path, state: State, index: int, term: int) -> Snapshot:
    """Make the snapshot up to this entry."""
    configurations = state.snapshot.configurations if state.snapshot is not None else [(1, FIRST.entries[0].payload)]
    head = SnapshotHead("crash", CLUSTER_ID, index, term, configurations, 1000 * index, [("stock", "stock", 1)])
    return write_snapshot(files, path, head, contents_of(index))


@define
class World:
    """The disk, the storage on it while that is open, and what was promised.

    Attributes:
        files: the disk.
        limits: sizes.
        watch: called before each changing call, and when the script is at its end.
        settled: called after each step of a script that was acknowledged.
        acknowledged: the newest state of which somebody was told; None before the first opening.
        possible: the states that what is under way may have led to.
        damaged: the directory was damaged: only an opening that repairs is promised anything.
        history: all states that there ever were.
        unproven: states that the directory would seem to be in if its last write were unreadable: nothing says yet that it was durable.
        unnoted: likewise, if its newest segment were missing or cut short.
    """

    files: SimulatedFiles
    limits: Limits
    watch: Callable[[World], None]
    settled: Callable[[World], None]
    acknowledged: State | None = None
    possible: list[State] = field(factory=list)
    damaged: bool = False
    history: list[State] = field(factory=list)
    unproven: list[State] = field(factory=list)
    unnoted: list[State] = field(factory=list)
    _storage: Storage | None = None

    def __attrs_post_init__(self) -> None:
        self._turn_to(self.files)

    def _turn_to(self, files: SimulatedFiles) -> None:
        files.failures = self.files.failures
        self.files, self._storage = files, None
        files.watch = lambda: self.watch(self)

    @property
    def storage(self) -> Storage:
        """While it is open."""
        assert self._storage is not None
        return self._storage

    @property
    def state(self) -> State:
        """The newest that was acknowledged."""
        assert self.acknowledged is not None
        return self.acknowledged

    @property
    def is_open(self) -> bool:
        """Whether there is a storage."""
        return self._storage is not None

    @property
    def allowed(self) -> list[State]:
        """What the directory may be found to hold."""
        return [FIRST] if self.acknowledged is None else [self.acknowledged, *self.possible]

    def allows(self, found: State) -> bool:
        """Whether the directory may be found to hold this."""
        return found in self.allowed or (self.damaged and not self.wrong_with(found))

    # Steps of scripts.

    def open(self) -> None:
        """Open the directory: it must hold one of the states that are allowed."""
        self._storage = open_storage(ROOT, limits=self.limits, files=self.files, repairable=self.damaged)
        found = state_of(self.storage)
        require(self.allows(found), "opened, it holds something else", found, *self.allowed)
        self.damaged = False
        self._acknowledge([found])
        self.unproven, self.unnoted = [], []
        self.settled(self)

    def write(self, *persists: Persist) -> None:
        """Write, and be told that it is done."""
        self.possible = passing = self.state.passing(persists)
        newest = self._newest_segment()
        self.storage.write(persists)
        self._wrote(passing, persists, rolled=self._newest_segment() != newest)

    def _newest_segment(self) -> str:
        return self.files.names(ROOT / "log")[-1]

    def _wrote(self, passing: list[State], persists: Sequence[Persist], *, rolled: bool) -> None:
        if any(persist.metadata is not None for persist in persists):
            self.unproven, self.unnoted = [], [evolve(self.state, metadata=passing[0].metadata)]
        if any(persist.entries or persist.truncate_from is not None or persist.base is not None for persist in persists):
            # The note of repair goes last, so it is gone by now.
            self.unproven = [evolve(state, repair=passing[-1].repair) for state in passing]
            self.unnoted += self.unproven
        if any(persist.repaired for persist in persists):
            self.unnoted = [evolve(state, repair="") for state in self.unnoted]
        if rolled:
            # It is noted beside term and vote that there is another segment.
            self.unproven, self.unnoted = [], [passing[-1]]
        self._acknowledge(passing)
        self.settled(self)

    def _acknowledge(self, passing: list[State]) -> None:
        # What was under way may be on disk up to some step, though nobody was told.
        self.history += [*self.possible, *passing]
        self.acknowledged, self.possible = passing[-1], []

    def append(self, *sizes: int, term: int | None = None) -> None:
        """Append entries of these sizes, in one write."""
        self.write(persist(self.state.last_index + 1, self.entries(*sizes, term=term)))

    def entries(self, *sizes: int, term: int | None = None) -> list[Entry]:
        """Entries that are like no other."""
        term = term or self.state.metadata.term
        return [command(b"%d.%d " % (len(self.history), number) + b"x" * size, term) for number, size in enumerate(sizes)]

    def snapshot(self, index: int, base_index: int | None = None) -> None:
        """Take a snapshot up to an entry and record it; the log begins behind `base_index` then."""
        state = self.state
        snapshot = write_as_snapshot(self.files, self.storage.new_snapshot_path(), state, index, state.term_at(index))
        self.storage.keep_snapshot(snapshot)
        at = index if base_index is None else base_index
        self.write(persist(base=base(snapshot, at, state.term_at(at))))

    def receive(self, index: int, term: int, *, pieces: int = 3, keeps_log: bool = False, stop_after: int | None = None) -> None:
        """Receive a snapshot in pieces and record it, in the place of the log or beside it. What is there of it is not sent again."""
        scratch = SimulatedFiles()
        scratch.make_directory(ROOT)
        snapshot = write_as_snapshot(scratch, ROOT / "sent", self.state, index, term)
        content, incoming = scratch.content(ROOT / "sent"), SnapshotFiles(self.storage, Layout(ROOT, self.files))
        step = -(-len(content) // pieces)
        for attempt in range(2):
            incoming.drop_incoming(snapshot)
            with closing(incoming.incoming(snapshot)) as file:
                for offset in list(range(file.size(), len(content), step))[:stop_after]:
                    file.write(content[offset : offset + step], offset)
                    incoming.sync_incoming(snapshot, file)
            if stop_after is not None:
                return
            try:
                list(incoming.read_incoming(snapshot)[1])
                break
            except DamagedSnapshot:
                # Of what was received before a crash, only the length may be left. It is sent again from the beginning.
                require(attempt == 0, "what is received is not whole")
                incoming.drop_incoming()
        incoming.keep_incoming(snapshot)
        at = self.state.base_index if keeps_log else index
        self.write(persist(base=base(snapshot, at, self.state.base_term if keeps_log else term, keeps_log=keeps_log)))

    def close(self) -> None:
        """End in an orderly way."""
        self.storage.close()
        self._storage, self.unproven, self.unnoted = None, [], []
        require(self.files.opened == 0, "files are left open")
        self.settled(self)

    def reopen(self) -> None:
        """Close and open."""
        self.close()
        self.open()

    def kill(self) -> None:
        """kill -9; then the next process opens the directory."""
        self._turn_to(self.files.killed())
        self.open()

    def crash_within(self, calls: int, step: Callable[[World], None], random: Random) -> None:
        """Take a step that a power cut or kill -9 interrupts after so many changing calls, and open what is left."""
        self.files.cut_at = len(self.files.calls) + calls + 1
        try:
            step(self)
        except PowerCut:
            self.files.failures.clear()
            self._turn_to(random.choice((self.files.killed, self.files.lost, lambda: self.files.sampled(random)))())
            self.open()
        else:
            self.files.cut_at = None

    def with_failing(self, call: str, after: int, step: Callable[[World], None]) -> None:
        """Take a step in which such a call fails. The server stops then, and the next process opens the directory."""
        failure = self.files.fail(call, after=after)
        try:
            step(self)
        except (OSError, StorageError):
            require(failure.happened == 1, "a failure that did not happen")
            self.kill()
        else:
            failure.times = 0

    def write_on_full_disk(self, room: int, *persists: Persist, instead: Sequence[Persist] | None = None) -> None:
        """Write while there is only so much room. When it is refused there is room again: the same is written again, or something else."""
        assert all(persist.metadata is None for persist in persists) or instead is None
        self.possible = passing = self.state.passing(persists)
        newest = self._newest_segment()
        self.files.capacity = self.files.used_bytes() + room
        try:
            self.storage.write(persists)
        except DiskFull:
            self.make_room()
            if instead is None:
                self.storage.write(persists)
            else:
                other = self.state.passing(instead)
                self.possible, passing, persists = [*passing, *other], other, tuple(instead)
                self.storage.write(persists)
        self.make_room()
        self._wrote(passing, persists, rolled=self._newest_segment() != newest)

    def make_room(self) -> None:
        """Give up the reserve, as a server does; then the operator frees some space, and the reserve is restored."""
        if self._storage is not None:
            self.storage.release_reserve()
        self.files.capacity = None
        if self._storage is not None:
            require(self.storage.restore_reserve(), "there is room, but no reserve")

    def damage(self, spoil: Callable[[SimulatedFiles], None]) -> None:
        """Spoil the closed directory. What an opening that repairs has to come to is what it comes to when nothing interrupts it."""
        require(self._storage is None, "it is open")
        self._turn_to(next(self.files.images()))  # Nothing is lost: everything that was written is durable.
        spoil(self.files)
        self.damaged = True
        image = self.files.killed()
        storage = open_storage(ROOT, limits=self.limits, files=image, repairable=True)
        found = state_of(storage)
        storage.close()
        require(not (wrong := self.wrong_with(found)), wrong, found, self.state)
        self.acknowledged, self.possible = found, []

    def wrong_with(self, found: State) -> str:
        """What is wrong with what a repaired directory holds; "" if nothing is.

        It is what it once held, or a snapshot alone, or the first entries; it knows that something is lost. Which of these it is may depend
        on a crash in between: a part that was not moved aside yet may be whole for itself.
        """
        was = any(evolve(one, metadata=found.metadata, repair=found.repair) == found for one in self.history)
        known = any(one.snapshot == found.snapshot for one in self.history)
        anew = known and found.base_index == found.snapshot_index and found.entries == (() if found.snapshot is not None else FIRST.entries)
        if not was and not anew:
            return "repaired, the log is one that never was"
        if not found.repair:
            return "repaired, and nobody is told that something is lost"
        if found.repair == "log" and found.metadata != self.state.metadata:
            return "repaired, term or vote is another"
        if found.metadata.voted_for is not None and found.metadata != self.state.metadata:
            return "repaired, a vote was made up"
        return ""
