"""Room on a disk."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.free_space import examine_free_space, occupied_bytes, wanted_bytes
from txraft.limits import Limits

ROOT = Path("/n1")
SNAPSHOTS = ROOT / "snapshots"
LIMITS = Limits(segment_bytes=1_000, reserve_bytes=500, snapshot_log_bytes=2_000, snapshot_log_factor=4, trailing_bytes=300)


class FreeSpace(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.files.make_directory(SNAPSHOTS)

    def write(self, path: Path, size: int) -> None:
        file = self.files.open(path, create=True)
        file.write(bytes(size), 0)
        file.close()

    def examine(self, capacity: int) -> Finding:
        self.files.capacity = capacity
        return examine_free_space(self.files, ROOT, SNAPSHOTS, ROOT, LIMITS)

    def test_what_is_wanted(self) -> None:
        self.assertEqual(wanted_bytes(LIMITS, 0), 2_000 + 300 + 2_000 + 500)
        self.assertEqual(wanted_bytes(LIMITS, 1_000), 4_000 + 300 + 2_000 + 3_000 + 500)

    def test_what_is_taken(self) -> None:
        self.write(ROOT / "identity", 10)
        self.write(SNAPSHOTS / "a", 100)
        self.assertEqual(occupied_bytes(self.files, ROOT), 110)
        self.assertEqual(occupied_bytes(self.files, Path("/n2")), 0)

    def test_enough(self) -> None:
        self.assertEqual(self.examine(4_800).verdict, Verdict.OK)
        self.assertEqual(self.examine(4_799).verdict, Verdict.ADVICE)
        self.assertEqual(self.examine(999).verdict, Verdict.PROBLEM)

    def test_what_is_taken_already_is_not_wanted_again(self) -> None:
        self.write(ROOT / "a", 4_000)
        finding = self.examine(4_800)
        self.assertEqual((finding.verdict, finding.figures["more_bytes"], finding.figures["free_bytes"]), (Verdict.OK, 800, 800))

    def test_a_large_state_wants_more(self) -> None:
        self.write(SNAPSHOTS / "00000000000000000007.snapshot", 10_000)
        self.write(SNAPSHOTS / "new", 20_000)
        finding = self.examine(30_000 + 10_999)
        self.assertEqual((finding.verdict, finding.figures["snapshot_bytes"]), (Verdict.PROBLEM, 10_000))
        self.assertEqual(self.examine(30_000 + 11_000).verdict, Verdict.ADVICE)
