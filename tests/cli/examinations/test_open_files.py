"""Limits of open files."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.open_files import examine_open_files

ANY = resource.RLIM_INFINITY


class OpenFiles(SynchronousTestCase):
    def examine(self, soft: int, hard: int) -> Finding:
        return examine_open_files(10_000, (soft, hard))

    def test_enough(self) -> None:
        for limit in ((1024, 1_048_576), (1024, ANY), (ANY, ANY), (20_000, 20_000)):
            self.assertEqual(self.examine(*limit).verdict, Verdict.OK, limit)
        self.assertIn("1024 may be open, raised to 10512 by the node", self.examine(1024, 1_048_576).found)

    def test_too_few_for_all_clients(self) -> None:
        finding = self.examine(1024, 4096)
        self.assertEqual((finding.verdict, "Only 3584 clients" in finding.advice), (Verdict.ADVICE, True))

    def test_too_few_to_work(self) -> None:
        self.assertEqual(self.examine(64, 128).verdict, Verdict.PROBLEM)
