"""Findings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Verdict, advice, ok, problem, size_text


class Findings(SynchronousTestCase):
    def test_for_programs(self) -> None:
        told = advice("disk", "slow", "Buy another.", median_s=0.5).as_json()
        expected = {"about": "disk", "verdict": "advice", "found": "slow", "advice": "Buy another.", "figures": {"median_s": 0.5}}
        self.assertEqual(told, expected)
        self.assertEqual([ok("a", "b").verdict, problem("a", "b", "c").verdict], [Verdict.OK, Verdict.PROBLEM])

    def test_sizes(self) -> None:
        sizes = [5, 1023, 1024, 1536, 64 * 1024**2, 100 * 1024**3, 3 * 1024**4]
        self.assertEqual([size_text(size) for size in sizes], ["5 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "64 MiB", "100 GiB", "3 TiB"])
