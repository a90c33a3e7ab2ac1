"""Whose a directory is, and who has it open."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.cli.examinations.findings import Verdict
from txraft.cli.examinations.occupation import examine_holder, examine_identity
from txraft.storage.identity import Claim, DirectoryLock
from txraft.storage.inspection import Holder, holder_of
from txraft.storage.layout import Layout

CLUSTER = "c" * 32


class Occupation(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(Path("/n1"), self.files)

    def test_nobodys(self) -> None:
        self.assertEqual(examine_identity(self.layout, (CLUSTER, "n1")).verdict, Verdict.OK)
        self.assertIn("nobody", examine_holder(self.layout, holder_of(self.layout)).found)

    def test_in_use(self) -> None:
        self.layout.prepare()
        lock = DirectoryLock.take(self.layout)
        holder = holder_of(self.layout)
        assert holder is not None
        finding = examine_holder(self.layout, holder)
        self.assertEqual((finding.verdict, finding.figures["pid"]), (Verdict.OK, holder.pid))
        self.assertIn(f"process {holder.pid}", finding.found)
        lock.release()
        self.assertIsNone(holder_of(self.layout))
        self.assertIn("another process", examine_holder(self.layout, Holder(None)).found)

    def test_whose(self) -> None:
        self.layout.prepare()
        Claim.stake(self.layout, CLUSTER, "n1")
        finding = examine_identity(self.layout, (CLUSTER, "n1"))
        self.assertEqual((finding.verdict, finding.figures["name"]), (Verdict.OK, "n1"))
        self.assertEqual(examine_identity(self.layout, None).verdict, Verdict.OK)
        for other in ((CLUSTER, "n2"), ("d" * 32, "n1")):
            self.assertEqual(examine_identity(self.layout, other).verdict, Verdict.PROBLEM)

    def test_unreadable(self) -> None:
        self.layout.prepare()
        self.files.open(self.layout.identity, create=True).close()
        self.assertEqual(examine_identity(self.layout, None).verdict, Verdict.PROBLEM)
