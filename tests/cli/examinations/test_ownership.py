"""Whose a directory is."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.ownership import examine_ownership, existing_ancestor


class Ownership(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.unusable: set[Path] = set()

    def make(self, mode: int = 0o700) -> None:
        (self.root / "log").mkdir(parents=True)
        (self.root / "log" / "a.segment").touch()
        self.root.chmod(mode)

    def examine(self, uid: int | None = None) -> Finding:
        return examine_ownership(self.root, os.getuid() if uid is None else uid, lambda path: path not in self.unusable)

    def test_private_and_ours(self) -> None:
        self.make()
        self.assertEqual((self.examine().verdict, self.examine().figures["mode"]), (Verdict.OK, "0700"))

    def test_open_to_others(self) -> None:
        self.make(0o750)
        finding = self.examine()
        self.assertEqual((finding.verdict, "chmod 0700" in finding.advice), (Verdict.ADVICE, True))

    def test_not_writable(self) -> None:
        self.make()
        self.unusable.add(self.root)
        self.assertEqual(self.examine().verdict, Verdict.PROBLEM)

    def test_of_another_user(self) -> None:
        self.make()
        finding = self.examine(uid=os.getuid() + 1)
        self.assertEqual((finding.verdict, "run the node as" in finding.advice), (Verdict.ADVICE, True))

    def test_files_of_another_user(self) -> None:
        self.make()
        if os.getuid():
            self.skipTest("only root can give files away")
        os.chown(self.root / "log" / "a.segment", 4711, -1)
        finding = self.examine()
        self.assertEqual((finding.verdict, "a.segment" in finding.found, "chown" in finding.advice), (Verdict.PROBLEM, True, True))

    def test_no_directory(self) -> None:
        self.root.write_text("")
        self.assertEqual(self.examine().verdict, Verdict.PROBLEM)

    def test_not_there_yet(self) -> None:
        self.assertEqual(self.examine().verdict, Verdict.OK)
        self.unusable.add(existing_ancestor(self.root))
        self.assertEqual(self.examine().verdict, Verdict.PROBLEM)

    def test_below_a_file(self) -> None:
        self.root.write_text("")
        self.root /= "n1"
        self.assertIn("is not a directory", self.examine().found)

    def test_ancestor(self) -> None:
        self.make()
        self.assertEqual(existing_ancestor(self.root / "log" / "x" / "y"), (self.root / "log").resolve())
