"""Looking into a directory without touching it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.storage.identity import Claim, DirectoryLock
from txraft.storage.inspection import Holder, holder_of, identity_of
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
