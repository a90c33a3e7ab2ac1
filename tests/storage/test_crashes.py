"""The power is cut, or the process killed, at every single call that changes something, with every kind of loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import BOOTSTRAP, changed_sectors, commands, open_storage, persist, small, vote, whole_log, with_sectors
from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.effects import Metadata, Persist
from txraft.core.entry import Entry
from txraft.storage import Storage

State = tuple[Metadata, list[Entry]]

ROOT = Path("/n1")

BEFORE_THE_FIRST: State = (vote(1), BOOTSTRAP)


def applied(state: State, persists: list[Persist]) -> list[State]:
    """The states after each of `persists`, the last being that after all."""
    states = []
    for one in persists:
        metadata, log = state
        if one.truncate_from is not None:
            log = log[: one.truncate_from - 1]
        state = (one.metadata or metadata, log + one.entries)
        states.append(state)
    return states


WRITES: list[list[Persist]] = [
    [persist(metadata=vote(2, "n1"))],
    [persist(2, commands("a", "b", "c", term=2))],
    [persist(5, commands("d" * 700, term=2)), persist(6, commands("e", term=2))],
    [persist(metadata=vote(3, "n2")), persist(4, commands("f" * 600, "g", term=3), truncate=True), persist(6, commands("h", term=3))],
    [persist(7, commands("i" * 1500, term=3))],
    [persist(8, commands("j" * 1500, term=3)), persist(8, [], truncate=True), persist(8, commands("k", term=3))],
    [persist(metadata=vote(4))],
    [persist(9, commands("l" * 2600, term=4))],
    [persist(3, [], truncate=True)],
]


@define
class Journal:
    """What a run had promised when it ended."""

    promised: State | None = None
    possible: list[State] = field(factory=list)

    def run(self, files: SimulatedFiles) -> None:
        """Open, write everything, close; tears, rolls and truncations included."""
        self.possible = [BEFORE_THE_FIRST]
        storage = open_storage(ROOT, limits=small(2048), files=files)
        self.promised = self.possible[-1]
        for persists in WRITES:
            self.possible = self._between(self.promised, persists)
            storage.write(persists)
            self.promised = self.possible[-1]
            self.possible = []
        storage.close()

    @staticmethod
    def _between(state: State, persists: list[Persist]) -> list[State]:
        """What may be found when the call did not return: metadata first, then a part of the records, in their order."""
        states = applied(state, persists)
        metadata = states[-1][0]
        return [(metadata, state[1])] + [(metadata, log) for _, log in states]


def state_of(storage: Storage) -> State:
    return storage.recovered.metadata, whole_log(storage)


IMAGES_MAX = 100


def images(files: SimulatedFiles, seed: int) -> Iterator[tuple[str, SimulatedFiles]]:
    """What may be left: killed, everything unsynced lost, and every subset of sectors and names, or a hundred of them by lot."""
    yield "killed", files.killed()
    yield "lost", files.lost()
    if files.images_count() <= IMAGES_MAX:
        yield from ((f"image {number}", image) for number, image in enumerate(files.images()))
    else:
        random = Random(seed)
        yield from ((f"sample {number} of seed {seed}", files.sampled(random)) for number in range(IMAGES_MAX))


class AnyCallTests(SynchronousTestCase):
    """Scenarios 57 and 58: whatever combination of old and new a crash leaves, the server starts with all that it had promised."""

    def require_kept(self, journal: Journal, files: SimulatedFiles, what: str) -> None:
        storage = open_storage(ROOT, limits=small(2048), files=files)
        found = state_of(storage)
        storage.close()
        if journal.promised is None:
            self.assertEqual(found, BEFORE_THE_FIRST, what)
        else:
            self.assertIn(found, [journal.promised, *journal.possible], what)

    def test_scenario_58_every_crash_keeps_what_was_promised(self) -> None:
        cut_at, ended = 0, False
        while not ended:
            cut_at += 1
            files, journal = SimulatedFiles(cut_at=cut_at), Journal()
            try:
                journal.run(files)
                ended = True
            except PowerCut:
                pass
            for name, left in images(files, cut_at):
                self.require_kept(journal, left, f"cut at call {cut_at} of {files.calls[-3:]}, {name}")
        self.assertGreater(cut_at, 60)
        self.assertGreater(len(files.names(ROOT / "log")), 3)

    def test_recovery_interrupted_at_every_call_and_repeated_gives_the_same(self) -> None:
        kept = [*BOOTSTRAP, *commands("a", "b")]
        cut_at, ended = 0, False
        while not ended:
            cut_at += 1
            files = self.torn()
            files.cut_at = cut_at
            try:
                storage = open_storage(ROOT, files=files)
                storage.write([persist(4, commands("x" * 600))])
                storage.close()
                ended = True
            except PowerCut:
                pass
            for name, left in images(files, cut_at):
                storage = open_storage(ROOT, files=left)
                log = whole_log(storage)
                storage.close()
                self.assertIn(log, [kept, [*kept, *commands("x" * 600)]], f"cut at call {cut_at}, {name}")
        self.assertEqual(log, [*kept, *commands("x" * 600)])
        self.assertGreater(cut_at, 12)

    def torn(self) -> SimulatedFiles:
        """A log whose last write was interrupted: of its two records the first is torn and the second is whole."""
        files = SimulatedFiles()
        storage = open_storage(ROOT, files=files)
        storage.write([persist(2, commands("a", "b"))])
        segment = ROOT / "log" / files.names(ROOT / "log")[0]
        before = files.content(segment)
        storage.write([persist(4, commands("c" * 600)), persist(4, commands("d" * 600, "e"), truncate=True)])
        after, files = files.content(segment), files.killed()
        files.put(segment, with_sectors(before, after, changed_sectors(before, after)[1:]))
        return files
