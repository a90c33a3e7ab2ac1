"""The door: what is promised to the node."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import (
    BOOTSTRAP,
    PowerCut,
    WatchedDisk,
    commands,
    configuration,
    contents,
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
from tests.support.simulated_files import SimulatedFiles
from txraft.core.effects import Persist
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.errors import DiskFailed, DiskFull, Halted, StorageError
from txraft.limits import INDEX_MAX

ROOT = Path("/n1")


class StorageCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "n1"
        self.root.parent.mkdir()


class FirstOpeningTests(StorageCase):
    def setUp(self) -> None:
        super().setUp()
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)

    def test_bootstrap_entries_are_the_beginning_of_the_log(self) -> None:
        storage = open_storage(self.root, bootstrap=[configuration(b"first"), *commands("a")])
        recovered = storage.recovered
        self.assertEqual(recovered.metadata, vote(1))
        self.assertEqual((recovered.last_index, recovered.term_runs, recovered.configurations), (2, [(1, 1)], [(1, b"first")]))
        self.assertEqual((recovered.tail_first_index, recovered.tail), (1, [configuration(b"first"), *commands("a")]))
        self.assertIsNone(recovered.torn_tail)
        storage.close()

    def test_without_bootstrap_the_log_is_empty_and_the_term_0(self) -> None:
        for _ in range(2):
            storage = open_storage(self.root, bootstrap=[])
            self.assertEqual(storage.recovered.metadata, vote(0))
            self.assertEqual((storage.recovered.last_index, storage.recovered.tail_first_index, storage.recovered.tail), (0, 1, []))
            self.assertEqual(storage.read(Index(1), 100), [])
            storage.close()
        storage = open_storage(self.root, bootstrap=[])
        storage.write([persist(1, commands("a", term=3), metadata=vote(3))])
        kill(storage, self.root)
        storage = open_storage(self.root, bootstrap=[])
        self.assertEqual(whole_log(storage), commands("a", term=3))
        storage.close()

    def test_a_log_that_has_begun_is_not_bootstrapped_again(self) -> None:
        open_storage(self.root, bootstrap=[]).close()
        storage = open_storage(self.root, bootstrap=BOOTSTRAP)
        self.assertEqual(storage.recovered.last_index, 0)
        storage.close()

    def test_bootstrap_crashed_at_any_call_is_not_begun_or_whole(self) -> None:
        bootstrap = [configuration(b"x" * 900), *commands("y" * 900, "z" * 900)]
        base = quick_directory(self)
        for kept in (True, False):
            cut_at, ended = 0, False
            while not ended:
                cut_at += 1
                root = base / f"{kept}-{cut_at}"
                disk = WatchedDisk(root, cut_at=cut_at)
                try:
                    with disk.watching():
                        open_storage(root, bootstrap=bootstrap)
                    ended = True
                except PowerCut:
                    pass
                left = root.with_name("left")
                disk.after_power_cut(left, lambda: kept)  # noqa: B023
                storage = open_storage(left, bootstrap=bootstrap)
                self.assertEqual(whole_log(storage), bootstrap, f"cut at {cut_at}")
                self.assertEqual(storage.recovered.metadata, vote(1))
                self.assertEqual(len(segments(left)), 1)
                storage.close()
            self.assertGreater(cut_at, 20)


class WriteTests(StorageCase):
    def setUp(self) -> None:
        super().setUp()
        with no_sync():
            self.storage = open_storage(self.root)
        self.addCleanup(self.storage.close)

    def calls_of(self, *persists: Persist) -> list[tuple[str, str]]:
        """What `write` does to the disk: call and name of the file."""
        disk = WatchedDisk(self.root)
        with disk.watching(already_open=True):
            self.storage.write(persists)
        return disk.calls

    def test_many_persists_are_one_write_and_one_sync(self) -> None:
        name = segments(self.root)[0].name
        calls = self.calls_of(*(persist(number, commands(f"{number}")) for number in range(2, 30)), persist())
        self.assertEqual(calls, [("pwrite", name), ("fdatasync", name)])
        self.assertEqual(len(whole_log(self.storage)), 29)

    def test_rule_4_term_and_vote_are_durable_before_an_entry_is_written(self) -> None:
        name = segments(self.root)[0].name
        calls = self.calls_of(persist(2, commands("a")), persist(metadata=vote(2, "n1")), persist(3, commands("b", term=2)))
        durable, written = calls.index(("fdatasync", "metadata-0")), calls.index(("pwrite", name))
        self.assertLess(durable, written)
        self.assertEqual(calls[-1], ("fdatasync", name))
        self.assertEqual([call for call in calls if call[0] == "fdatasync"], [("fdatasync", "metadata-0"), ("fdatasync", name)])

    def test_a_vote_alone_does_not_touch_the_log(self) -> None:
        calls = self.calls_of(persist(metadata=vote(2, "n1")))
        self.assertEqual([name for _, name in calls], ["metadata-0", "metadata-0", "metadata-1"])

    def test_nothing_to_write_costs_nothing(self) -> None:
        self.assertEqual(self.calls_of(persist(), persist(2, [], truncate=True)), [])

    def test_of_several_votes_in_one_write_the_last_counts(self) -> None:
        with no_sync():
            self.storage.write([persist(metadata=vote(2, "n1")), persist(metadata=vote(3, "n2")), persist(metadata=vote(4))])
            kill(self.storage, self.root)
            storage = open_storage(self.root)
            self.assertEqual(storage.recovered.metadata, vote(4))
            storage.close()

    def test_a_vote_once_durable_is_not_changed_within_its_term(self) -> None:
        """Rule 5: nor is it forgotten when a candidate becomes a follower in the same term."""
        with no_sync():
            self.storage.write([persist(metadata=vote(2))])
            self.storage.write([persist(metadata=vote(2, "n1"))])
            self.storage.write([persist(metadata=vote(2, "n1"))])
            for wrong in ("n2", None):
                self.assertRaises(Halted, self.storage.write, [persist(metadata=vote(2, wrong))])
            self.storage.write([persist(metadata=vote(3))])

    def test_the_lists_of_the_caller_are_left_alone(self) -> None:
        first, second = persist(2, commands("a")), persist(3, commands("b"))
        third = persist(4, commands("c"))
        with no_sync():
            self.storage.write([first, second, third])
        self.assertEqual([first.entries, second.entries, third.entries], [commands("a"), commands("b"), commands("c")])

    def test_what_no_log_can_be_is_refused_and_nothing_is_written(self) -> None:
        before = contents(self.root)
        for wrong in (
            [persist(3, commands("hole"))],
            [persist(1, commands("overlap"))],
            [persist(2, commands("a")), persist(4, commands("hole"))],
            [persist(3, commands("beyond"), truncate=True)],
            [persist(0, [], truncate=True)],
            [persist(2, commands("too early", term=2))],
            [persist(metadata=vote(2)), persist(metadata=vote(1))],
            [persist(metadata=vote(0))],
            [persist(metadata=vote(2, "n1")), persist(metadata=vote(2, "n2"))],
            [persist(metadata=vote(2, "n1")), persist(metadata=vote(2))],
            [persist(metadata=vote(2, "n" * 1100))],
            [persist(2, [Entry(2**64, 1, b""), *commands("a")], metadata=vote(2))],
            [persist(metadata=vote(INDEX_MAX + 1))],
            [persist(2, [Entry(2**64, 1, b""), *commands("a")])],
        ):
            self.assertRaises(Halted, self.storage.write, wrong)
        self.assertEqual(contents(self.root), before)
        with no_sync():
            self.storage.write([persist(2, commands("a"))])
        self.assertEqual(whole_log(self.storage), [*BOOTSTRAP, *commands("a")])

    def test_a_truncation_must_say_where_its_entries_begin(self) -> None:
        wrong = persist(2, commands("a"), truncate=True)
        object.__setattr__(wrong, "truncate_from", Index(1))
        self.assertRaises(Halted, self.storage.write, [wrong])


class FailureTests(StorageCase):
    def setUp(self) -> None:
        super().setUp()
        with no_sync():
            self.storage = open_storage(self.root)
            self.storage.write([persist(2, commands("a"))])
        self.addCleanup(self.storage.close)

    def test_rule_7_a_failed_fsync_is_final_and_never_tried_again(self) -> None:
        """fsyncgate: the second fsync says all is well, and the bytes are gone."""
        with mock.patch.object(os, "fdatasync", side_effect=[OSError(errno.EIO, "Input/output error")]) as fdatasync:
            failure = self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b"))])
            self.assertIn("Input/output error", str(failure))
            self.assertIn(str(self.root), str(failure))
            for later in ([persist(3, commands("b"))], [persist(metadata=vote(2))], [], [persist()]):
                self.assertRaises(DiskFailed, self.storage.write, later)
            self.storage.close()
        self.assertEqual(fdatasync.call_count, 1)

    def test_a_failed_fsync_of_a_vote_is_final_too(self) -> None:
        with mock.patch.object(os, "fdatasync", side_effect=[OSError(errno.EIO, "Input/output error")]) as fdatasync:
            self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b", term=2), metadata=vote(2))])
            self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b"))])
        self.assertEqual(fdatasync.call_count, 1)
        self.assertEqual(whole_log(self.storage), [*BOOTSTRAP, *commands("a")])

    def test_an_interrupted_write_is_final(self) -> None:
        with mock.patch.object(os, "fdatasync", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.storage.write, [persist(3, commands("b"))])
        self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b"))])

    def test_an_error_while_opening_is_a_sentence(self) -> None:
        self.storage.close()
        for call in ("fsync", "fdatasync"):
            with mock.patch.object(os, call, side_effect=OSError(errno.EIO, "Input/output error")):
                refusal = self.assertRaises(StorageError, open_storage, self.root)
            self.assertIn("Input/output error", str(refusal))
        with no_sync():
            open_storage(self.root).close()

    def test_a_failed_note_at_the_end_still_closes_everything(self) -> None:
        with mock.patch.object(os, "fdatasync", side_effect=OSError(errno.EIO, "Input/output error")):
            self.assertRaises(DiskFailed, self.storage.close)
        self.storage.close()
        with no_sync():
            open_storage(self.root).close()

    def test_after_closing_nothing_works(self) -> None:
        with no_sync():
            self.storage.close()
        self.assertRaises(StorageError, self.storage.write, [persist(3, commands("b"))])
        self.assertRaises(StorageError, self.storage.read, Index(1), 100)


class FullDiskTests(SynchronousTestCase):
    """Scenario 62: canonical #470, dqlite PR #401, NATS #5382: a full disk costs nothing that was there, and time is all that is lost."""

    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.storage = open_storage(ROOT, files=self.files)
        self.storage.write([persist(2, commands("a"))])

    def require_kept(self, *more: Entry) -> None:
        """What is there, is there after kill -9 and after a power cut, too."""
        expected = [*BOOTSTRAP, *commands("a"), *more]
        self.assertEqual(whole_log(self.storage), expected)
        for image in (self.files.killed(), self.files.lost()):
            storage = open_storage(ROOT, files=image)
            self.assertEqual(whole_log(storage), expected)
            storage.close()

    def test_scenario_62_a_write_without_room_is_tried_again_as_it_was(self) -> None:
        write = [persist(3, commands("b" * 300, term=2), metadata=vote(2, "n1"))]
        for _ in range(3):
            self.files.fail("write", errno.ENOSPC)
            refusal = self.assertRaises(DiskFull, self.storage.write, write)
            self.assertIn("no room", str(refusal))
            self.require_kept()
        self.storage.write(write)
        self.require_kept(*commands("b" * 300, term=2))

    def test_scenario_62_no_room_at_any_call_of_a_write_loses_nothing(self) -> None:
        for size in (300, 5000):
            write = [persist(3, commands("b" * size, term=2), metadata=vote(2, "n1"))]
            for call in ("create", "preallocate", "write", "rename"):
                for after in range(4):
                    self.setUp()
                    failure = self.files.fail(call, errno.ENOSPC, after=after)
                    try:
                        self.storage.write(write)
                    except DiskFull:
                        self.require_kept()
                        self.storage.write(write)
                    self.require_kept(*commands("b" * size, term=2))
                    self.assertEqual(self.files.names(ROOT / "log"), [name for name in self.files.names(ROOT / "log") if name != "new"])
                    if not failure.happened:
                        break

    def test_what_there_was_room_for_does_not_come_back_behind_another_record(self) -> None:
        """Two records of which there was room for one and a half; then another of the same length as the first."""
        segment = self.files.names(ROOT / "log")[0]
        end = self.storage.usage()["bytes"]
        self.files.open(ROOT / "log" / segment, write=True).truncate(end)
        self.files.capacity = self.files.used_bytes() + 700
        write = [
            persist(3, commands("b" * 300)),
            persist(3, commands("c" * 200), truncate=True),
            persist(3, commands("d" * 500), truncate=True),
        ]
        self.assertRaises(DiskFull, self.storage.write, write)
        self.files.capacity = None
        self.storage.write([persist(3, commands("e" * 300))])
        self.require_kept(*commands("e" * 300))

    def test_a_full_disk_that_shows_in_a_sync_is_final(self) -> None:
        for call, size in (("sync_content", 100), ("sync", 5000), ("sync_directory", 5000)):
            self.setUp()
            self.files.fail(call, errno.ENOSPC)
            self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b" * size))])
            self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b" * size))])

    def test_other_errors_of_a_write_are_final(self) -> None:
        self.files.fail("write", errno.EIO)
        self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b"))])
        self.assertRaises(DiskFailed, self.storage.write, [persist(3, commands("b"))])

    def test_reads_go_on(self) -> None:
        self.files.fail("write", errno.ENOSPC)
        self.assertRaises(DiskFull, self.storage.write, [persist(3, commands("b"))])
        self.assertEqual(self.storage.read(Index(2), 100), commands("a"))


class RealDiskTests(StorageCase):
    def test_with_real_syncs_and_full_size_segments_all_of_it_works(self) -> None:
        storage = open_storage(self.root, limits=small(1 << 26))
        storage.write([persist(2, commands("a", "b"), metadata=vote(1, "n1"))])
        storage.close()
        storage = open_storage(self.root, limits=small(1 << 26))
        self.assertEqual(storage.recovered.metadata, vote(1, "n1"))
        self.assertEqual(whole_log(storage), [*BOOTSTRAP, *commands("a", "b")])
        self.assertEqual(segments(self.root)[0].stat().st_size, 1 << 26)
        storage.close()
