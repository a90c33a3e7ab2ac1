"""The log as a list that survives: appended, truncated, rolled, read anywhere."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    command,
    commands,
    flip_bit,
    kill,
    no_sync,
    open_storage,
    persist,
    quick_directory,
    segments,
    small,
    vote,
    whole_log,
)
from txraft.core.effects import Persist
from txraft.core.entry import Entry, entry_bytes
from txraft.core.ids import Index
from txraft.errors import DamagedLog, Halted, StorageError
from txraft.storage import Storage, positions

Step = tuple[str, int, list[int]]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "replace", "cut", "reopen", "kill"]),
        st.integers(0, 30),
        st.lists(st.integers(0, 900), max_size=6),
    ),
    max_size=25,
)


class ModelTests(SynchronousTestCase):
    """Scenario 34 of the list: whatever is appended and truncated, the log is what a list would be."""

    @given(STEPS, st.sampled_from([700, 4096, 1 << 20]), st.integers(1, 4))
    @settings(deadline=None, max_examples=60)
    def test_any_sequence_of_appends_truncations_and_reopenings_equals_a_list(self, steps: list[Step], size: int, together: int) -> None:
        root = quick_directory(self)
        with no_sync(), mock.patch.object(positions, "_SPACING_BYTES", 500):
            storage = open_storage(root, limits=small(size))
            model = list(BOOTSTRAP)
            waiting: list[Persist] = []
            for number, (kind, back, lengths) in enumerate(steps):
                if kind in ("reopen", "kill"):
                    storage.write(waiting)
                    waiting = []
                    if kind == "kill":
                        kill(storage, root)
                    else:
                        storage.close()
                    storage = open_storage(root, limits=small(size))
                    self.require_equal(storage, model)
                    continue
                first = len(model) + 1 if kind == "append" else max(1, len(model) + 1 - back)
                entries = [] if kind == "cut" else [command(bytes([number]) * length) for length in lengths]
                model[first - 1 :] = entries
                waiting.append(persist(first, entries, truncate=kind != "append"))
                if len(waiting) >= together:
                    storage.write(waiting)
                    waiting = []
            storage.write(waiting)
            self.require_equal(storage, model)
            storage.close()

    def require_equal(self, storage: Storage, model: list[Entry]) -> None:
        self.assertEqual(whole_log(storage), model)
        for first in range(1, len(model) + 1):
            self.assertEqual(storage.read(Index(first), 2000), self.fitting(model[first - 1 :], 2000))

    def fitting(self, entries: list[Entry], bytes_max: int) -> list[Entry]:
        """The first of them, and as many as fit."""
        count, room = 0, bytes_max
        for entry in entries:
            room -= entry_bytes(entry)
            if room < 0:
                break
            count += 1
        return entries[: max(1, count)]


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "n1"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)
        self.storage = open_storage(self.root)
        self.addCleanup(self.storage.close)

    def test_beyond_the_end_there_is_nothing_and_before_the_beginning_is_a_bug(self) -> None:
        self.assertEqual(self.storage.read(Index(2), 1000), [])
        self.assertEqual(self.storage.read(Index(2**62), 1000), [])
        self.assertRaises(Halted, self.storage.read, Index(0), 1000)

    def test_one_entry_is_read_however_large_it_is(self) -> None:
        self.storage.write([persist(2, commands("x" * 9000, "y"))])
        self.assertEqual(self.storage.read(Index(2), 0), commands("x" * 9000))

    def test_entries_are_read_across_segments(self) -> None:
        written = [commands(letter * 1500) for letter in "abcdefghij"]
        for number, entries in enumerate(written, 2):
            self.storage.write([persist(number, entries)])
        self.assertGreater(len(segments(self.root)), 4)
        self.assertEqual(self.storage.read(Index(3), 7000), [entries[0] for entries in written[1:5]])

    def test_a_very_long_write_is_read_from_its_middle(self) -> None:
        entries = [command(bytes([n]) * 500_000) for n in range(20)]
        self.storage.write([persist(2, entries)])
        for at in range(20):
            self.assertEqual(self.storage.read(Index(2 + at), 1_100_000), entries[at : at + 2])

    def test_damage_is_noticed_when_it_is_read(self) -> None:
        self.storage.write([persist(2, commands("a" * 500))])
        self.storage.write([persist(3, commands("b" * 500))])
        self.storage.write([persist(4, commands("c" * 500))])
        flip_bit(segments(self.root)[0], 1000)
        self.assertEqual(self.storage.read(Index(2), 516), commands("a" * 500))
        refusal = self.assertRaises(DamagedLog, self.storage.read, Index(3), 516)
        self.assertTrue(refusal.offset < 1000 < refusal.end)
        self.assertRaises(DamagedLog, self.storage.read, Index(4), 516)

    def test_a_segment_that_vanished_is_named(self) -> None:
        self.storage.write([persist(2, commands("a" * 5000))])
        gone = segments(self.root)[0]
        gone.rename(self.root / "elsewhere")
        self.assertIn(gone.name, str(self.assertRaises(StorageError, self.storage.read, Index(1), 10)))
        (self.root / "elsewhere").rename(gone)


class RollTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "n1"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)

    def test_a_write_that_does_not_fit_begins_a_segment_and_a_larger_one_makes_it_grow(self) -> None:
        storage = open_storage(self.root)
        sizes = (1000, 1000, 1000, 1000, 20_000, 10, 10)
        for number, size in enumerate(sizes, 2):
            storage.write([persist(number, commands("x" * size))])
        self.assertEqual([path.name.lstrip("0") for path in segments(self.root)], ["1.segment", "5.segment", "6.segment", "7.segment"])
        self.assertEqual([path.stat().st_size > 4096 for path in segments(self.root)], [False, False, True, False])
        self.assertEqual(storage.usage()["segments"], 4)
        self.assertTrue(sum(sizes) < storage.usage()["bytes"] < sum(sizes) + 1000)
        storage.close()
        storage = open_storage(self.root)
        self.assertEqual([len(entry.payload) for entry in whole_log(storage)[1:]], list(sizes))
        storage.close()

    def test_a_truncation_reaches_back_across_segments(self) -> None:
        storage = open_storage(self.root)
        for number in range(2, 8):
            storage.write([persist(number, commands(f"{number}" * 2000))])
        storage.write([persist(3, commands("new", term=2), truncate=True, metadata=vote(2))])
        expected = [*BOOTSTRAP, *commands("2" * 2000), *commands("new", term=2)]
        self.assertEqual(whole_log(storage), expected)
        kill(storage, self.root)
        storage = open_storage(self.root)
        self.assertEqual(whole_log(storage), expected)
        storage.write([persist(4, commands("more", term=2))])
        self.assertEqual(storage.read(Index(4), 100), commands("more", term=2))
        storage.close()
