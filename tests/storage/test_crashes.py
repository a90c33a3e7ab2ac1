"""The power is cut, or the process killed, at every single call that changes something, with every kind of loss."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    PowerCut,
    WatchedDisk,
    changed_sectors,
    commands,
    contents,
    no_sync,
    open_storage,
    persist,
    quick_directory,
    restore,
    segments,
    small,
    vote,
    whole_log,
    with_sectors,
)
from txraft.core.effects import Metadata, Persist
from txraft.core.entry import Entry
from txraft.storage import Storage

State = tuple[Metadata, list[Entry]]

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

    def run(self, root: Path) -> None:
        """Open, write everything, close; tears, rolls and truncations included."""
        self.possible = [BEFORE_THE_FIRST]
        storage = open_storage(root, limits=small(2048))
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


KEEPING: dict[str, Callable[[], Callable[[], bool]]] = {
    "killed": lambda: lambda: True,
    "power cut, nothing that was not synced is left": lambda: lambda: False,
    "power cut, chance 1": lambda: _chance(1),
    "power cut, chance 2": lambda: _chance(2),
    "power cut, chance 3": lambda: _chance(3),
}


def _chance(seed: int) -> Callable[[], bool]:
    generator = random.Random(seed)
    return lambda: generator.random() < 0.5


class AnyCallTests(SynchronousTestCase):
    """Scenarios 57 and 58: whatever combination of old and new a crash leaves, the server starts with all that it had promised."""

    def setUp(self) -> None:
        self.base = quick_directory(self)

    def require_kept(self, journal: Journal, root: Path, what: str) -> None:
        with no_sync():
            storage = open_storage(root, limits=small(2048))
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
            root = self.base / f"cut-{cut_at}"
            disk, journal = WatchedDisk(root, cut_at=cut_at), Journal()
            try:
                with disk.watching():
                    journal.run(root)
                ended = True
            except PowerCut:
                pass
            for name, keeping in KEEPING.items():
                left = self.base / "left"
                disk.after_power_cut(left, keeping())
                self.require_kept(journal, left, f"cut at call {cut_at} of {disk.calls[-3:]}, {name}")
        self.assertGreater(cut_at, 60)
        self.assertGreater(len(segments(root)), 3)

    def test_recovery_interrupted_at_every_call_and_repeated_gives_the_same(self) -> None:
        kept = [*BOOTSTRAP, *commands("a", "b")]
        cut_at, ended = 0, False
        while not ended:
            cut_at += 1
            root = self.base / f"recovery-{cut_at}"
            self._make_torn(root)
            disk = WatchedDisk(root, cut_at=cut_at)
            try:
                with disk.watching():
                    storage = open_storage(root)
                    storage.write([persist(4, commands("x" * 600))])
                    storage.close()
                ended = True
            except PowerCut:
                pass
            for name, keeping in KEEPING.items():
                left = self.base / "left"
                disk.after_power_cut(left, keeping())
                with no_sync():
                    storage = open_storage(left)
                log = whole_log(storage)
                storage.close()
                self.assertIn(log, [kept, [*kept, *commands("x" * 600)]], f"cut at call {cut_at}, {name}")
        self.assertEqual(log, [*kept, *commands("x" * 600)])
        self.assertGreater(cut_at, 12)

    def _make_torn(self, root: Path) -> None:
        """A log whose last write was interrupted: of its two records the first is torn and the second is whole."""
        with no_sync():
            storage = open_storage(root)
            storage.write([persist(2, commands("a", "b"))])
            before = contents(root)
            storage.write([persist(4, commands("c" * 600)), persist(4, commands("d" * 600, "e"), truncate=True)])
            after = segments(root)[0].read_bytes()
            storage.close()
        restore(root, before)
        segment = segments(root)[0]
        torn = segment.read_bytes()
        segment.write_bytes(with_sectors(torn, after, changed_sectors(torn, after)[1:]))
