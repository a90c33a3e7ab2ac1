"""Space for the day when the disk is full."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import BOOTSTRAP, commands, open_storage, persist, small, whole_log
from tests.support.simulated_files import SimulatedFiles
from txraft.errors import StorageError
from txraft.storage import Storage

ROOT = Path("/n1")


class ReserveTests(SynchronousTestCase):
    LIMITS = replace(small(), reserve_bytes=10_000)

    def setUp(self) -> None:
        self.files = SimulatedFiles()

    def open(self) -> Storage:
        return open_storage(ROOT, files=self.files, limits=self.LIMITS)

    def test_it_is_made_when_there_is_room_for_twice_as_much_given_up_and_restored(self) -> None:
        storage = self.open()
        self.assertEqual(self.files.size(ROOT / "reserve"), 10_000)
        storage.release_reserve()
        self.assertFalse(self.files.is_file(ROOT / "reserve"))
        self.files.capacity = self.files.used_bytes() + 19_999
        self.assertFalse(storage.restore_reserve())
        self.files.capacity += 1
        self.assertTrue(storage.restore_reserve())
        self.assertTrue(storage.restore_reserve())
        self.assertEqual(self.files.size(ROOT / "reserve"), 10_000)

    def test_it_is_given_up_when_a_server_could_not_start_without(self) -> None:
        storage = self.open()
        storage.write([persist(2, commands("a"))])
        self.files = self.files.killed()
        self.files.capacity = self.files.used_bytes()
        storage = self.open()
        self.assertEqual(whole_log(storage), [*BOOTSTRAP, *commands("a")])
        self.assertFalse(self.files.is_file(ROOT / "reserve"))
        self.files = self.files.killed()
        self.files.capacity = self.files.used_bytes()
        self.assertIn("No space left", str(self.assertRaises(StorageError, self.open)))
        self.files.capacity = None
        self.open().close()
        self.assertTrue(self.files.is_file(ROOT / "reserve"))

    def test_none_is_made_when_none_is_wanted_and_errors_of_the_disk_are_told(self) -> None:
        open_storage(ROOT, files=self.files).close()
        self.assertFalse(self.files.is_file(ROOT / "reserve"))
        self.files.fail("preallocate", errno.ENOSPC, name="reserve")
        storage = self.open()
        self.assertFalse(self.files.is_file(ROOT / "reserve"))
        self.files.fail("preallocate", errno.EIO, name="reserve")
        self.assertRaises(OSError, storage.restore_reserve)
