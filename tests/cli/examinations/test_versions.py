"""Versions, compared."""

from __future__ import annotations

import re
from configparser import ConfigParser

from twisted.trial.unittest import SynchronousTestCase

from tests.tidy.sources import ROOT
from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.neighbours import Neighbour
from txraft.cli.examinations.versions import NEEDED, PYTHON_NEEDED, examine_neighbours_version, examine_versions, installed_version


class Versions(SynchronousTestCase):
    """What is installed here."""

    def examine(self, python: str = "3.11.2", **installed: str | None) -> Finding:
        found: dict[str, str | None] = {"Twisted": "24.10.0", "attrs": "25.3.0", **installed}
        return examine_versions("1.2", python, found.get, {"Twisted": "24.10", "attrs": "23.1"})

    def test_new_enough(self) -> None:
        finding = self.examine()
        self.assertEqual((finding.verdict, finding.figures["Twisted"]), (Verdict.OK, "24.10.0"))
        self.assertEqual(self.examine(Twisted="25.5.0rc1").verdict, Verdict.OK)

    def test_too_old(self) -> None:
        finding = self.examine(Twisted="24.7.0")
        self.assertEqual((finding.verdict, "install Twisted 24.10 or later" in finding.advice), (Verdict.PROBLEM, True))
        self.assertEqual(self.examine("3.9.18").verdict, Verdict.PROBLEM)

    def test_missing_or_odd(self) -> None:
        self.assertIn("attrs 23.1", self.examine(attrs=None).advice)
        self.assertIn("attrs 23.1", self.examine(attrs="unknown").advice)

    def test_what_is_needed_is_what_the_distribution_says(self) -> None:
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        said = dict(re.split(r"\s*>=\s*", line) for line in setup["options"]["install_requires"].split("\n") if line)
        self.assertEqual(NEEDED, said)
        self.assertEqual(f">={PYTHON_NEEDED}", setup["options"]["python_requires"])

    def test_installed(self) -> None:
        self.assertIsNotNone(installed_version("Twisted"))
        self.assertIsNone(installed_version("surely-not-installed-here"))


class NeighboursVersions(SynchronousTestCase):
    """What the other nodes run."""

    def verdicts(self, *versions: str) -> list[Verdict]:
        nodes = [Neighbour(f"n{number}:1", {"name": f"n{number}", "version": version}) for number, version in enumerate(versions)]
        return [finding.verdict for finding in examine_neighbours_version("1.2", [*nodes, Neighbour("x:1", None)])]

    def test_compared(self) -> None:
        self.assertEqual(self.verdicts("1.2", "1.2"), [Verdict.OK])
        self.assertEqual(self.verdicts("1.2", "1.3"), [Verdict.ADVICE])
        self.assertEqual(self.verdicts(), [])
