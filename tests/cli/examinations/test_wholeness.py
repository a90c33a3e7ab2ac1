"""Whether a log is whole, and what a damaged one means to whom."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import open_storage
from tests.support.simulated_files import SimulatedFiles
from txraft.cli.examinations import wholeness
from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.wholeness import examine_log
from txraft.storage.identity import Claim
from txraft.storage.inspection import holder_of
from txraft.storage.layout import Layout

ROOT = Path("/n1")


class Wholeness(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(ROOT, self.files)

    def fill(self) -> None:
        open_storage(ROOT, files=self.files).close()

    def examine(self, has_peers: bool | None = True) -> Finding:
        return examine_log(self.layout, holder_of(self.layout), has_peers=has_peers)

    def test_whole(self) -> None:
        self.fill()
        before = self.files.all_files()
        finding = self.examine()
        self.assertEqual((finding.verdict, finding.figures["last_index"]), (Verdict.OK, 1))
        self.assertTrue(finding.found.startswith("whole ("), finding.found)
        self.assertEqual(self.files.all_files(), before)

    def test_not_begun(self) -> None:
        self.layout.prepare()
        Claim.stake(self.layout, "c" * 32, "n1")
        self.assertEqual(self.examine().verdict, Verdict.OK)

    def test_damage_is_a_problem_for_who_is_alone(self) -> None:
        self.fill()
        self.files.lose(self.layout.segments()[0][1])
        for has_peers, verdict, told in (
            (True, Verdict.ADVICE, "Start the node: it repairs itself"),
            (False, Verdict.PROBLEM, "A server that is alone does not start"),
            (None, Verdict.PROBLEM, "If the server has other voters beside it, start it"),
        ):
            finding = self.examine(has_peers)
            self.assertEqual((finding.verdict, finding.advice.startswith(told)), (verdict, True), finding)
            self.assertIn("is empty", finding.found)

    def test_what_nobody_can_mend_is_a_problem_for_all(self) -> None:
        self.fill()
        path = self.layout.segments()[0][1]
        self.files.put(path.with_name("00000000000000000009.segment"), self.files.content(path))
        self.assertEqual(self.examine().verdict, Verdict.PROBLEM)

    def test_what_is_not_read(self) -> None:
        storage = open_storage(ROOT, files=self.files)
        told = f"txraft log verify {ROOT} checks it"
        finding = self.examine()
        self.assertEqual((finding.verdict, finding.found.endswith(told), "process" in finding.found), (Verdict.OK, True, True))
        storage.close()
        self.patch(wholeness, "READ_BYTES_MAX", 10)
        finding = self.examine()
        self.assertEqual((finding.verdict, finding.found.endswith(told)), (Verdict.OK, True))
