"""A server with peers and a damaged directory: it moves what is spoiled aside, keeps what is good, and remembers that it lost something."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    CLUSTER_ID,
    base,
    commands,
    open_storage,
    persist,
    vote,
    whole_log,
)
from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedDirectory, DamagedSnapshot, StorageError
from txraft.storage import Storage
from txraft.storage.snapshot_file import SnapshotHead, write_snapshot

ROOT = Path("/n1")
LOG = ROOT / "log"


def take_snapshot(storage: Storage, index: int, cluster_id: str = CLUSTER_ID) -> Snapshot:
    """A whole snapshot under its final name."""
    head = SnapshotHead("txraft", cluster_id, index, 1, [(1, BOOTSTRAP[0].payload)], 0, [])
    snapshot = write_snapshot(storage.files, storage.new_snapshot_path(), head, [b"state " * 50])
    storage.keep_snapshot(snapshot)
    return snapshot


def reopen(files: SimulatedFiles) -> Storage:
    return open_storage(ROOT, files=files, repairable=True)


def left(storage: Storage) -> list[Entry]:
    """The log behind its beginning."""
    return storage.read(Index(storage.recovered.base_index + 1), 1 << 30)


class DamagedCase(SynchronousTestCase):
    """Entries 1 to 11 in three segments, term 2, a vote in it; killed."""

    def setUp(self) -> None:
        files = SimulatedFiles()
        storage = open_storage(ROOT, files=files)
        self.log: list[Entry] = [*BOOTSTRAP]
        storage.write([persist(metadata=vote(2, "n3"))])
        for number in range(2, 12):
            entries = commands(chr(96 + number) * 1100)
            storage.write([persist(len(self.log) + 1, entries)])
            self.log += entries
        self.files = files.killed()
        self.names = files.names(LOG)

    def with_snapshot(self, index: int, base_index: int) -> Snapshot:
        """The same, with a snapshot, recorded."""
        storage = open_storage(ROOT, files=self.files)
        snapshot = take_snapshot(storage, index)
        storage.write([persist(base=base(snapshot, base_index))])
        storage.write([])
        storage.write([])
        self.files = self.files.killed()
        self.names = self.files.names(LOG)
        return snapshot

    def repaired(self, *words: str, votes_lost: bool = False) -> Storage:
        """Open it; what is said of it has these words, at every opening until it is whole again. Nothing is lost of what was there."""
        before = self.files.all_files()
        self.assertRaises((DamagedDirectory, DamagedSnapshot), open_storage, ROOT, files=self.files)
        self.assertEqual({**self.files.all_files(), f"{ROOT}/lock": b""}, {**before, f"{ROOT}/lock": b""})
        storage = reopen(self.files)
        moved = storage.recovered.moved_aside
        for repairable in (True, False):
            note = storage.recovered.repair
            assert note is not None
            self.assertEqual(note.votes_lost, votes_lost)
            for word in words:
                self.assertIn(word, " ".join(note.reasons))
            self.assertLessEqual(set(moved), set(note.moved))
            found = left(storage)
            self.files = self.files.killed()
            storage = open_storage(ROOT, files=self.files, repairable=repairable)
            self.assertEqual(left(storage), found)
            self.assertEqual(storage.recovered.moved_aside, [])
        for line in moved:
            name, aside = line.split(" to ")
            self.assertIn(f"{ROOT}/{name}", before)
            self.assertEqual(self.files.content(ROOT / aside), before[f"{ROOT}/{name}"])
        return storage

    def require_going_on(self, storage: Storage) -> None:
        """It takes entries, and takes part again."""
        last = storage.recovered.last_index
        storage.write([persist(last + 1, commands("new", term=2), repaired=True)])
        self.files = self.files.killed()
        storage = open_storage(ROOT, files=self.files)
        self.assertIsNone(storage.recovered.repair)
        self.assertEqual(storage.read(Index(last + 1), 100), commands("new", term=2))


class LogTests(DamagedCase):
    def test_scenario_64_what_is_before_damage_stays_and_the_rest_is_moved_aside(self) -> None:
        self.files.flip_bit(LOG / self.names[1], 1500)
        storage = self.repaired(self.names[1], "are damaged")
        self.assertEqual(left(storage), self.log[:5])
        self.assertEqual(storage.recovered.metadata, vote(2, "n3"))
        self.assertEqual(self.files.names(LOG), self.names[:2])
        self.assertEqual(self.files.size(LOG / self.names[1]), 4096)
        self.assertEqual(self.files.names(ROOT / "damaged"), ["2-1"])
        self.require_going_on(storage)

    def test_damage_in_the_first_record_of_a_segment_moves_all_of_it(self) -> None:
        for spoil in (70, 10):
            self.setUp()
            self.files.flip_bit(LOG / self.names[1], spoil)
            storage = self.repaired(self.names[1])
            self.assertEqual(left(storage), self.log[:4])
            self.assertEqual(self.files.names(LOG), self.names[:1])
            self.require_going_on(storage)

    def test_scenario_73_a_missing_segment_ends_the_log_before_it(self) -> None:
        self.files.lose(LOG / self.names[1])
        storage = self.repaired("missing")
        self.assertEqual(left(storage), self.log[:4])
        self.require_going_on(storage)

    def test_a_missing_last_segment_is_missed_and_the_rest_stays(self) -> None:
        open_storage(ROOT, files=self.files).close()
        self.files.lose(LOG / self.names[3])
        storage = self.repaired("were durable when term and vote were last written")
        self.assertEqual(left(storage), self.log[:10])
        self.require_going_on(storage)

    def test_without_its_beginning_and_without_a_snapshot_the_log_is_begun_again(self) -> None:
        for is_lost in (True, False):
            self.setUp()
            if is_lost:
                self.files.lose(LOG / self.names[0])
            else:
                self.files.flip_bit(LOG / self.names[0], 20)
            storage = self.repaired("entries 1 to 4 are missing" if is_lost else self.names[0])
            self.assertEqual(left(storage), BOOTSTRAP)
            self.assertEqual(storage.recovered.metadata, vote(2, "n3"))
            self.require_going_on(storage)

    def test_a_log_that_is_gone_is_begun_again(self) -> None:
        for name in self.names:
            self.files.lose(LOG / name)
        storage = self.repaired("its entries are lost")
        self.assertEqual(left(storage), BOOTSTRAP)
        self.require_going_on(storage)

    def test_what_the_disk_does_not_give_back_is_moved_aside(self) -> None:
        self.files.fail("read", errno.EIO, name=self.names[2], times=2)
        storage = reopen(self.files)
        self.assertEqual(left(storage), self.log[:7])
        note = storage.recovered.repair
        assert note is not None
        self.assertIn("does not give it back", note.reasons[0])
        self.assertEqual(len(storage.recovered.moved_aside), 2)

    def test_damage_upon_damage_is_written_down_in_order(self) -> None:
        self.files.flip_bit(LOG / self.names[2], 1500)
        self.repaired(self.names[2])
        self.files = self.files.killed()
        self.files.flip_bit(LOG / self.names[0], 1500)
        storage = self.repaired(self.names[2], self.names[0])
        self.assertEqual(left(storage), self.log[:2])
        self.assertEqual(len(self.files.names(ROOT / "damaged")), 2)

    def test_other_files_of_strangers_are_refused_as_ever(self) -> None:
        content = self.files.content(LOG / self.names[2])
        other = SimulatedFiles()
        open_storage(ROOT, files=other).close()
        strange = other.content(LOG / other.names(LOG)[0])
        for spoiled, words in ((content[:7] + b"9" + content[8:56] + b"its checksum", "version"), (strange, "another data directory")):
            self.files.put(LOG / self.names[2], spoiled)
            self.assertIn(words, str(self.assertRaises(StorageError, reopen, self.files)))
        self.files.put(LOG / self.names[2], content)
        self.files.put(LOG / f"{99:020d}.segment", content)
        self.assertIn("renamed", str(self.assertRaises(StorageError, reopen, self.files)))
        self.assertFalse(self.files.is_file(ROOT / "repair"))

    def test_an_identity_that_is_unreadable_is_refused_as_ever(self) -> None:
        self.files.flip_bit(ROOT / "identity", 30)
        self.assertRaises(StorageError, reopen, self.files)


class SnapshotTests(DamagedCase):
    def test_a_log_that_does_not_reach_the_snapshot_is_empty_behind_it(self) -> None:
        snapshot = self.with_snapshot(9, 4)
        self.files.flip_bit(LOG / self.names[0], 1500)
        storage = self.repaired(self.names[0])
        self.assertEqual((storage.recovered.base_index, storage.recovered.last_index, left(storage)), (9, 9, []))
        self.assertEqual((storage.recovered.snapshot, storage.recovered.configurations), (snapshot, [(1, BOOTSTRAP[0].payload)]))
        self.require_going_on(storage)

    def test_a_log_that_goes_beyond_the_snapshot_is_kept_up_to_the_damage(self) -> None:
        snapshot = self.with_snapshot(5, 4)
        storage = open_storage(ROOT, files=self.files)
        for number in range(12, 16):
            storage.write([persist(number, commands("y" * 2000, term=2))])
        self.files, name = self.files.killed(), self.files.names(LOG)[-2]
        self.files.flip_bit(LOG / name, 100)
        storage = self.repaired(name)
        self.assertEqual((storage.recovered.base_index, storage.recovered.snapshot), (4, snapshot))
        self.assertEqual(left(storage)[:7], self.log[4:])
        self.require_going_on(storage)

    def test_segments_that_are_needed_and_gone_leave_the_snapshot(self) -> None:
        self.with_snapshot(9, 4)
        self.files.lose(LOG / self.names[0])
        storage = self.repaired("missing")
        self.assertEqual((storage.recovered.base_index, left(storage)), (9, []))

    def test_scenario_65_without_its_snapshot_the_log_is_begun_again_and_nothing_deleted(self) -> None:
        for kept in (None, -5, -100, 0):
            self.setUp()
            snapshot = self.with_snapshot(9, 4)
            path = ROOT / "snapshots" / f"{9:020d}.snapshot"
            if kept is None:
                self.files.lose(path)
            elif kept == -100:
                self.files.flip_bit(path, 200)
            else:
                self.files.put(path, self.files.content(path)[:kept])
            storage = self.repaired(f"{snapshot.index:020d}.snapshot")
            self.assertEqual((storage.recovered.base_index, left(storage), storage.recovered.snapshot), (0, BOOTSTRAP, None))
            self.require_going_on(storage)

    def test_a_newer_snapshot_without_a_record_serves_when_the_recorded_one_is_damaged(self) -> None:
        self.with_snapshot(6, 4)
        storage = open_storage(ROOT, files=self.files)
        newer = take_snapshot(storage, 10)
        take_snapshot(storage, 11, "another cluster")
        self.files.put(storage.snapshot_path(12), b"rubbish")
        self.files.lose(storage.snapshot_path(6))
        self.files = self.files.killed()
        storage = self.repaired(f"{6:020d}.snapshot")
        self.assertEqual((storage.recovered.snapshot, storage.recovered.last_index), (newer, 10))
        self.assertEqual(self.files.names(ROOT / "snapshots"), [f"{10:020d}.snapshot"])


class VoteTests(DamagedCase):
    def test_scenario_58_votes_that_are_lost_are_known_to_be(self) -> None:
        for name in ("metadata-0", "metadata-1"):
            self.files.flip_bit(ROOT / name, 20)
        storage = self.repaired("vote twice", votes_lost=True)
        self.assertEqual((storage.recovered.metadata, left(storage)), (vote(1), self.log))
        self.assertEqual(len(storage.recovered.repair.moved if storage.recovered.repair else ()), 2)
        storage.write([persist(metadata=vote(7, "n1"), repaired=True)])
        self.files = self.files.killed()
        storage = open_storage(ROOT, files=self.files)
        self.assertEqual((storage.recovered.metadata, storage.recovered.repair), (vote(7, "n1"), None))

    def test_votes_older_than_the_log_are_lost_too(self) -> None:
        old = [self.files.content(ROOT / name) for name in ("metadata-0", "metadata-1")]
        storage = open_storage(ROOT, files=self.files)
        storage.write([persist(12, commands("x", term=5), metadata=vote(5))])
        self.files = self.files.killed()
        for name, content in zip(("metadata-0", "metadata-1"), old, strict=True):
            self.files.put(ROOT / name, content)
        storage = self.repaired("older than the log", votes_lost=True)
        self.assertEqual(storage.recovered.metadata, vote(5))

    def test_one_of_two_files_is_enough(self) -> None:
        self.files.lose(ROOT / "metadata-0")
        self.assertIsNone(reopen(self.files).recovered.repair)

    def test_votes_and_log_may_be_lost_together(self) -> None:
        self.with_snapshot(9, 4)
        for name in ("metadata-0", "metadata-1"):
            self.files.lose(ROOT / name)
        self.files.flip_bit(LOG / self.names[0], 1500)
        storage = self.repaired(self.names[0], "vote twice", votes_lost=True)
        self.assertEqual((storage.recovered.metadata, storage.recovered.last_index), (vote(1), 9))

    def test_a_note_that_is_unreadable_is_taken_for_the_worst(self) -> None:
        self.files.put(ROOT / "repair", b"rubbish")
        note = open_storage(ROOT, files=self.files).recovered.repair
        assert note is not None
        self.assertTrue(note.votes_lost)


class InterruptedTests(DamagedCase):
    """Cut at every call, with every kind of loss, and begun again: the note is there first, and all ends as it should."""

    def images(self, files: SimulatedFiles, seed: int) -> Iterator[SimulatedFiles]:
        yield files.killed()
        yield files.lost()
        if files.images_count() <= 64:
            yield from files.images()
        else:
            random = Random(seed)
            yield from (files.sampled(random) for _ in range(64))

    def require_repeatable(self, spoiled: SimulatedFiles, expected: Callable[[Storage], bool], votes_lost: bool) -> None:
        original = spoiled.all_files()
        cut_at, ended = 0, False
        while not ended:
            cut_at += 1
            files = spoiled.killed()
            files.cut_at = cut_at
            try:
                reopen(files)
                ended = True
            except PowerCut:
                pass
            for number, image in enumerate(self.images(files, cut_at)):
                what = f"cut at call {cut_at} of {files.calls[-3:]}, image {number}"
                storage = reopen(image)
                note = storage.recovered.repair
                assert note is not None, what
                self.assertEqual(note.votes_lost, votes_lost, what)
                self.assertTrue(expected(storage), what)
                kept = set(image.all_files().values())
                for name, content in original.items():
                    if name.endswith((".segment", ".snapshot")):
                        self.assertIn(content, kept, f"{what}: {name} is gone")
        self.assertGreater(cut_at, 20)

    def test_a_log_that_is_cut(self) -> None:
        self.files.flip_bit(LOG / self.names[1], 1500)
        self.require_repeatable(self.files, lambda storage: left(storage) == self.log[:5], votes_lost=False)

    def test_a_log_that_is_cut_between_segments(self) -> None:
        self.files.flip_bit(LOG / self.names[1], 10)
        self.require_repeatable(self.files, lambda storage: left(storage) == self.log[:4], votes_lost=False)

    def test_a_log_that_begins_behind_the_snapshot(self) -> None:
        snapshot = self.with_snapshot(9, 4)
        self.files.flip_bit(LOG / self.names[0], 1500)
        self.require_repeatable(
            self.files, lambda storage: storage.recovered.snapshot == snapshot and left(storage) == [], votes_lost=False
        )

    def test_a_log_that_is_begun_again(self) -> None:
        self.with_snapshot(9, 4)
        self.files.flip_bit(ROOT / "snapshots" / f"{9:020d}.snapshot", 200)
        self.require_repeatable(self.files, lambda storage: left(storage) == BOOTSTRAP, votes_lost=False)

    def test_votes(self) -> None:
        for name in ("metadata-0", "metadata-1"):
            self.files.flip_bit(ROOT / name, 20)
        self.require_repeatable(self.files, lambda storage: whole_log(storage) == self.log, votes_lost=True)
