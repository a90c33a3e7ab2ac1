"""Whose directory it is, and who has it open."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import contents, flip_bit, no_sync, open_storage, overwrite, segments
from txraft.errors import DataDirectoryInUse, ForeignDirectory, StorageError
from txraft.storage.identity import STARTS_REMEMBERED


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "n1"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)

    def test_every_opening_is_another_incarnation(self) -> None:
        for incarnation in (1, 2, 3):
            storage = open_storage(self.root)
            self.assertEqual(storage.identity.incarnation, incarnation)
            self.assertEqual((storage.identity.cluster_id, storage.identity.server_id), ("c1" * 16, "n1"))
            storage.close()

    def test_the_mark_stays_through_every_opening_and_a_wiped_directory_has_another(self) -> None:
        marks = []
        for _ in range(3):
            storage = open_storage(self.root)
            marks.append(storage.identity.mark)
            storage.close()
        self.assertRegex(marks[0], "^[0-9a-f]{32}$")
        self.assertEqual(len(set(marks)), 1)
        self.assertIn(bytes.fromhex(marks[0]), (self.root / "identity").read_bytes())
        shutil.rmtree(self.root)
        storage = open_storage(self.root)
        self.assertEqual(storage.identity.incarnation, 1)
        self.assertNotEqual(storage.identity.mark, marks[0])
        storage.close()

    def test_every_opening_draws_a_process_and_remembers_those_before(self) -> None:
        drawn: list[str] = []
        for _ in range(STARTS_REMEMBERED + 3):
            storage = open_storage(self.root)
            identity = storage.identity
            self.assertRegex(identity.process, "^[0-9a-f]{16}$")
            self.assertEqual(identity.previous_processes, tuple(drawn[:STARTS_REMEMBERED]))
            drawn.insert(0, identity.process)
            storage.close()
        self.assertEqual(len(set(drawn)), len(drawn))

    def test_row_32_a_copy_goes_another_way_from_its_next_opening_on(self) -> None:
        open_storage(self.root).close()
        shutil.copytree(self.root, self.root.with_name("copy"))
        known = []
        for root in (self.root, self.root.with_name("copy")):
            for _ in range(2):
                storage = open_storage(root)
                storage.close()
            known.append(storage.identity)
        one, other = known
        self.assertEqual((one.mark, one.incarnation), (other.mark, other.incarnation))
        self.assertNotEqual(one.process, other.process)
        self.assertNotEqual(one.previous_processes[0], other.previous_processes[0])
        self.assertEqual(one.previous_processes[1], other.previous_processes[1])

    def test_row_32_another_servers_directory_is_refused_and_both_are_named(self) -> None:
        open_storage(self.root).close()
        before = contents(self.root)
        for other in ({"server_id": "n2"}, {"cluster_id": "d2" * 16}):
            refusal = str(self.assertRaises(ForeignDirectory, open_storage, self.root, **other))
            for word in (str(self.root), "'n1'", "c1" * 16, *other.values(), "data_dir"):
                self.assertIn(word, refusal)
            self.assertEqual("keys cluster and bootstrap" in refusal, "cluster_id" in other)
            self.assertEqual("keys name and" in refusal, "server_id" in other)
        self.assertEqual(contents(self.root), before)
        open_storage(self.root).close()

    def test_row_31_a_hostile_or_damaged_identity_is_refused(self) -> None:
        open_storage(self.root).close()
        path = self.root / "identity"
        content = path.read_bytes()
        for wrong in (b"", b"\0" * 80, b"\xff" * 100_000, content[:-1], content[:7] + b"9" + content[8:], b"txraftI2\xff\xff\xff\xff0000"):
            path.write_bytes(wrong)
            self.assertIn(str(self.root), str(self.assertRaises(StorageError, open_storage, self.root)))
            self.assertEqual(path.read_bytes(), wrong)
        for offset in range(len(content)):
            path.write_bytes(content)
            flip_bit(path, offset, offset % 8)
            self.assertRaises(StorageError, open_storage, self.root)
        path.write_bytes(content)
        open_storage(self.root).close()

    def test_a_directory_of_another_format_is_refused_by_its_version(self) -> None:
        open_storage(self.root).close()
        overwrite(self.root / "identity", 7, b"1")
        for repairable in (True, False):
            refusal = str(self.assertRaises(StorageError, open_storage, self.root, repairable=repairable))
            self.assertIn("version 1", refusal)
            self.assertIn("reads version 2 only", refusal)

    def test_a_log_without_an_identity_is_nobodys(self) -> None:
        open_storage(self.root).close()
        (self.root / "identity").unlink()
        before = contents(self.root)
        self.assertIn("identity", str(self.assertRaises(StorageError, open_storage, self.root)))
        self.assertEqual(contents(self.root), before)

    def test_an_identity_whose_log_and_votes_were_wiped_is_refused(self) -> None:
        """A server that forgot its log must not vote under its old name."""
        open_storage(self.root).close()
        segments(self.root)[0].unlink()
        for name in ("metadata-0", "metadata-1"):
            (self.root / name).unlink()
        self.assertRaises(StorageError, open_storage, self.root)


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()) / "n1"
        patches = no_sync()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)

    def test_scenario_72_a_second_opener_is_told_who_has_it(self) -> None:
        storage = open_storage(self.root)
        before = contents(self.root)
        refusal = str(self.assertRaises(DataDirectoryInUse, open_storage, self.root))
        self.assertIn(f"process {os.getpid()}", refusal)
        self.assertIn(str(self.root), refusal)
        self.assertEqual(contents(self.root), before)
        storage.close()
        open_storage(self.root).close()

    def test_scenario_72_another_process_is_kept_out_too(self) -> None:
        storage = open_storage(self.root)
        child = os.fork()
        if child == 0:
            try:
                open_storage(self.root)
            except DataDirectoryInUse:
                os._exit(73)
            except BaseException:
                os._exit(2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 73)
        storage.close()

    def test_a_failed_opening_lets_go_of_the_lock(self) -> None:
        open_storage(self.root).close()
        for _ in range(2):
            self.assertRaises(ForeignDirectory, open_storage, self.root, server_id="n2")
        open_storage(self.root).close()

    def test_a_failed_opening_leaves_no_file_open(self) -> None:
        open_storage(self.root).close()
        for name in ("metadata-0", "metadata-1"):
            (self.root / name).write_bytes(b"rubbish")
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.assertRaises(StorageError, open_storage, self.root)
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def test_a_lock_file_without_a_number_is_no_obstacle(self) -> None:
        storage = open_storage(self.root)
        (self.root / "lock").write_bytes(b"\xff" * 50)
        self.assertIn("another process", str(self.assertRaises(DataDirectoryInUse, open_storage, self.root)))
        storage.close()
        open_storage(self.root).close()
