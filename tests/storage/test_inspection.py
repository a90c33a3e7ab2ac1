"""Looking into a directory without touching it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.errors import StorageError
from txraft.storage.identity import Claim, DirectoryLock
from txraft.storage.inspection import Holder, holder_of, identity_of, patiently
from txraft.storage.layout import Layout


class Holders(SynchronousTestCase):
    """Who has a directory open."""

    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(Path("/n1"), self.files)

    def test_the_lock_file_is_not_made(self) -> None:
        self.assertIsNone(holder_of(self.layout))
        self.assertFalse(self.files.is_file(self.layout.lock))

    def test_held_and_let_go(self) -> None:
        self.layout.prepare()
        lock = DirectoryLock.take(self.layout)
        calls = len(self.files.calls)
        self.assertEqual(holder_of(self.layout), Holder(os.getpid()))
        lock.release()
        self.assertIsNone(holder_of(self.layout))
        self.assertEqual((len(self.files.calls), self.files.opened), (calls, 0))
        DirectoryLock.take(self.layout).release()

    def test_one_who_left_no_number(self) -> None:
        self.layout.prepare()
        file = self.files.open(self.layout.lock, create=True)
        self.assertTrue(file.lock())
        holder = holder_of(self.layout)
        self.assertEqual((holder, str(holder)), (Holder(None), "another process"))
        file.close()

    def test_identity(self) -> None:
        self.assertIsNone(identity_of(self.layout))
        self.layout.prepare()
        claim = Claim.stake(self.layout, "c" * 32, "n1")
        self.assertEqual(identity_of(self.layout), claim.identity)


class Patience(SynchronousTestCase):
    """What fails in a directory in use is tried again."""

    def setUp(self) -> None:
        self.layout = Layout(Path("/n1"), SimulatedFiles())
        self.layout.prepare()
        self.failures: list[Exception] = []
        self.looked = 0

    def look(self) -> str:
        self.looked += 1
        if self.failures:
            raise self.failures.pop(0)
        return "seen"

    def test_at_once(self) -> None:
        self.assertEqual((patiently(self.layout, self.look), self.looked), ("seen", 1))

    def test_nobody_has_it(self) -> None:
        self.failures = [StorageError("damaged")]
        self.assertRaises(StorageError, patiently, self.layout, self.look)
        self.assertEqual(self.looked, 1)

    def test_in_use(self) -> None:
        DirectoryLock.take(self.layout)
        self.failures = [StorageError("torn"), FileNotFoundError("gone"), StorageError("torn")]
        self.assertEqual((patiently(self.layout, self.look), self.looked), ("seen", 4))
        self.failures = [StorageError(str(number)) for number in range(9)]
        self.assertEqual(str(self.assertRaises(StorageError, patiently, self.layout, self.look)), "3")
