"""A crash at one place, and all that may be left of it: each image is opened, judged by the model, and lived in."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from random import Random

from attrs import define, evolve, field

from tests.storage.crash_model import State
from tests.storage.crash_world import ROOT, Violation, World, independently, offline, require, state_of, write_as_snapshot
from tests.support.disk import base, commands, open_storage, persist, vote
from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.effects import Persist
from txraft.core.ids import Index
from txraft.errors import DiskFull, StorageError
from txraft.storage import Storage

__all__ = ["Budget", "Cases"]


@define
class Budget:
    """How much is tried at each place.

    Attributes:
        images_max: with no more images than this all are tried, else samples.
        samples: so many are drawn by lot then.
        again: one image of so many is crashed a second time while it is opened.
        onward: one image of so many is lived in after it is opened.
        kills: for both, one of so many of those that are left by a kill.
        spoiled: so many things are spoiled after each step.
        independently: one image of so many is also read by the reader that was written from the document.
    """

    images_max: int = 64
    samples: int = 24
    again: int = 4
    onward: int = 4
    kills: int = 1
    spoiled: int = 10
    independently: int = 8


@define
class Cases:
    """Tries what crashes leave, and counts.

    Attributes:
        random: decides what is drawn by lot.
        budget: how much is tried.
        counts: cases, by kind.
        places: at how many calls the power was cut.
        sampled: at how many of these there were too many images for all to be tried.
    """

    random: Random
    budget: Budget
    counts: Counter[str] = field(factory=Counter)
    places: int = 0
    sampled: int = 0

    def crash(self, world: World) -> None:
        """The power goes here, or the process is killed: try all that may be left."""
        self.places += 1
        for kind, number, image in self._images(world.files):
            self.counts[kind] += 1
            case = Case(self, world, image, unsynced=kind == "kill -9")
            try:
                case.try_()
            except (Violation, StorageError, OSError, ValueError) as error:
                place = f"call {len(world.files.calls) + 1}, after {world.files.calls[-4:]}"
                allowed = "\n    ".join(map(repr, world.allowed))
                raise Violation(f"{kind}, image {number}, {place}: {error!r}\n  allowed:\n    {allowed}") from error

    def _images(self, files: SimulatedFiles) -> Iterator[tuple[str, int, SimulatedFiles]]:
        yield "kill -9", 0, files.killed()
        if files.images_count() <= self.budget.images_max:
            for number, image in enumerate(files.images()):
                yield "power cut, every image", number, image
            return
        self.sampled += 1
        yield "power cut, nothing unsynced left", 0, files.lost()
        for number in range(self.budget.samples):
            yield "power cut, image by lot", number, files.sampled(self.random)

    def one_of(self, number: int) -> bool:
        """Whether it is the turn of this one."""
        return self.random.randrange(number) == 0


@define
class Case:
    """One image.

    Attributes:
        cases: counts it.
        world: what was promised.
        files: the image.
        unsynced: a part of it is in the kernel's memory only: the process was killed, and the power may still go.
    """

    cases: Cases
    world: World
    files: SimulatedFiles
    unsynced: bool

    def try_(self) -> None:
        """Read it, open it, crash it again, live in it."""
        again = self.files.killed() if self._turn(self.cases.budget.again) else None
        read = None if self.world.damaged else offline(self.files)
        also = independently(self.files) if read is not None and self.cases.one_of(self.cases.budget.independently) else None
        found, storage = self._open_and_look()
        require(self.world.allows(found), "it holds something else", found)
        if read is not None:
            require(read == evolve(found, repair=""), "the offline reader finds something else", read, found)
        if also is not None:
            self.cases.counts["(read by the reader written from the document, too)"] += 1
            require(also == found, "the reader written from the document finds something else", also, found)
        calls = len(self.files.calls)
        if again is not None:
            self._crash_again(again, found, calls)
        if self._turn(self.cases.budget.onward):
            self._live(storage, found)
        else:
            storage.close()
            require(self.files.opened == 0, "files are left open", self.files.opened)

    def _turn(self, number: int) -> bool:
        return self.cases.one_of(self.cases.budget.kills if self.unsynced else number)

    def _open(self, files: SimulatedFiles) -> Storage:
        return open_storage(ROOT, limits=self.world.limits, files=files, repairable=self.world.damaged)

    def _open_and_look(self) -> tuple[State, Storage]:
        """Open it; where a full disk keeps it from that, there must be no reserve left that would have helped."""
        reserve = ROOT / "reserve"
        reserved = self.files.is_file(reserve) and self.files.size(reserve) == self.world.limits.reserve_bytes
        try:
            storage = self._open(self.files)
        except (StorageError, DiskFull) as error:
            cause = error.__cause__ or error
            full = isinstance(cause, DiskFull) or (isinstance(cause, OSError) and cause.errno == errno.ENOSPC)
            if not full or self.files.capacity is None:
                raise
            require(not reserved, "a full disk keeps it from being opened, in spite of the reserve", error)
            require(self.files.opened == 0, "files are left open", self.files.opened)
            self.cases.counts["(disk full, opened when there was room)"] += 1
            self.files.capacity = None
            storage = self._open(self.files)
        found = state_of(storage)
        recorded = {f"{found.snapshot_index:020d}.snapshot"} if found.snapshot is not None else set()
        names = {name for name in self.files.names(ROOT / "snapshots") if not name.startswith("incoming")}
        require(names == recorded, "other snapshots are there", names)
        require("new" not in self.files.names(ROOT / "log"), "a segment in the making is left")
        return found, storage

    def _crash_again(self, files: SimulatedFiles, found: State, calls: int) -> None:
        """Cut the power while it is opened; what is opened then is the same."""
        self.cases.counts["second crash, while it was opened"] += 1
        files.cut_at = self.cases.random.randint(1, calls)
        try:
            self._open(files)
        except PowerCut:
            pass
        except (StorageError, DiskFull):
            require(files.capacity is not None, "opened a second time it is refused", found)
        files.cut_at = files.capacity = None
        left = self.cases.random.choice((files.killed, files.lost, lambda: files.sampled(self.cases.random)))()
        left.capacity = None
        storage = self._open(left)
        again = state_of(storage)
        storage.close()
        same = again == found or ((self.unsynced or self.world.damaged) and self.world.allows(again))
        require(same, f"after a second crash, at call {files.calls[-3:]}, it holds something else", again, found)

    def _live(self, storage: Storage, state: State) -> None:
        """Go on: vote, append, truncate, take a snapshot; end in any way; all of it is there."""
        self.cases.counts["went on after it was opened"] += 1
        self.files.capacity = None
        for persists in self._life(state):
            storage.write(persists)
            state = state.passing(persists)[-1]
        if self.cases.one_of(2):
            at = state.last_index
            snapshot = write_as_snapshot(self.files, storage.new_snapshot_path(), state, at, state.term_at(at))
            storage.keep_snapshot(snapshot)
            recorded = [persist(base=base(snapshot, state.base_index, state.base_term))]
            storage.write(recorded)
            state = state.passing(recorded)[-1]
        entries = storage.read(Index(state.base_index + 1), 1 << 30)
        require(tuple(entries) == state.entries, "what was written is not read", entries, state)
        left = self.files
        if (end := self.cases.random.randrange(3)) == 0:
            storage.close()
        else:
            left = (self.files.killed, self.files.lost)[end - 1]()
        read = offline(left)
        with closing(self._open(left)) as storage:
            found = state_of(storage)
        require(found == state, f"gone on, ended in way {end} and opened, it holds something else", found, state)
        require(read == evolve(found, repair=""), "gone on: the offline reader finds something else", read, found)

    def _life(self, state: State) -> Iterator[list[Persist]]:
        term = state.metadata.term + 1
        last = state.last_index
        yield [persist(metadata=vote(term, "n2"))]
        cut = last if last > state.snapshot_index and self.cases.one_of(2) else last + 1
        yield [persist(cut, commands("on" * self.cases.random.randrange(500), "and on", term=term), truncate=cut <= last)]
        yield [persist(cut + 2, commands("and", term=term))]
