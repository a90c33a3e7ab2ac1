"""The speed of a disk, with a clock that the disk moves."""

from __future__ import annotations

import errno
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.cli.examinations.disk_speed import SYNCS, examine_disk_speed, measure_syncs
from txraft.cli.examinations.findings import Finding, Verdict

ROOT = Path("/n1")


class DiskSpeed(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.files.make_directory(ROOT)

    def clock(self, *taken: float) -> list[float]:
        """Readings of a clock between which the syncs take these times, the last one for all others."""
        readings, now = [], 100.0
        for number in range(SYNCS):
            readings += [now, now + taken[min(number, len(taken) - 1)]]
            now += 1
        return readings

    def examine(self, *taken: float, election_s: float = 1.0) -> Finding:
        readings = iter(self.clock(*taken))
        return examine_disk_speed(self.files, ROOT, lambda: next(readings), election_s)

    def test_measured_and_nothing_left(self) -> None:
        readings = iter(self.clock(0.5, 0.25, 0.125))
        taken = measure_syncs(self.files, ROOT, lambda: next(readings))
        self.assertEqual((len(taken), taken[0], taken[-2:]), (SYNCS, 0.125, [0.25, 0.5]))
        self.assertEqual(self.files.names(ROOT), [])
        self.assertEqual(self.files.opened, 0)

    def test_each_is_a_sync_of_its_own(self) -> None:
        self.examine(0.001)
        called = [call for call, _ in self.files.calls]
        self.assertEqual(called[-2 * SYNCS - 1 : -1], ["write", "sync_content"] * SYNCS)

    def test_fast_enough(self) -> None:
        finding = self.examine(0.003, 0.001)
        self.assertEqual((finding.verdict, finding.figures["median_s"]), (Verdict.OK, 0.001))
        self.assertIn("1 ms (median), 3 ms (99th percentile of 100)", finding.found)

    def test_slow(self) -> None:
        self.assertEqual(self.examine(0.02, 0.02, 0.001).verdict, Verdict.ADVICE)

    def test_too_slow_for_elections(self) -> None:
        self.assertEqual(self.examine(0.02, election_s=0.03).verdict, Verdict.PROBLEM)
        self.assertIn("timing.election_s", self.examine(0.7).advice)

    def test_too_fast_to_be_one(self) -> None:
        finding = self.examine(0.000_002)
        self.assertEqual((finding.verdict, "memory" in finding.advice), (Verdict.ADVICE, True))

    def test_it_cannot_be_written_to(self) -> None:
        self.files.fail("sync", errno.EIO)
        finding = self.examine(0.001)
        self.assertEqual((finding.verdict, "Input/output error" in finding.found), (Verdict.PROBLEM, True))
        self.assertEqual(self.files.names(ROOT), [])
