"""`.ci/run` is sound, does what README says, and its last line tells what trial told."""

from __future__ import annotations

import io
import os
import re
import subprocess
import unittest

from twisted.python.failure import Failure
from twisted.trial.reporter import Reporter
from twisted.trial.unittest import SynchronousTestCase, Todo

from tests.tidy.sources import ROOT


class EachOutcome(unittest.TestCase):
    """Not run by trial, which wants methods named `test...`; reported on below."""

    def some_test(self) -> None:
        """A test that is only spoken of."""


class ClosingLine(SynchronousTestCase):
    """What .ci/summary makes of trial's output."""

    def summary(self, printed: str, status: int = 0) -> tuple[str, int]:
        done = subprocess.run(
            [ROOT / ".ci" / "summary", "/dev/stdin", str(status)], check=False, input=printed, capture_output=True, text=True
        )
        self.assertEqual(done.stderr, "")
        return done.stdout, done.returncode

    def reported(self, **numbers: int) -> tuple[str, int]:
        """The summary of a run in which trial's own reporter was told of these numbers of outcomes."""
        stream = io.StringIO()
        reporter = Reporter(stream)
        case = EachOutcome("some_test")
        error = Failure(ValueError("x"))
        for name, number in numbers.items():
            extra = {
                "Success": (),
                "Failure": (error,),
                "Error": (error,),
                "Skip": ("why",),
                "ExpectedFailure": (error, Todo("why")),
                "UnexpectedSuccess": (Todo("why"),),
            }
            for _ in range(number):
                reporter.startTest(case)
                getattr(reporter, f"add{name}")(case, *extra[name])
                reporter.stopTest(case)
        reporter.done()
        return self.summary(stream.getvalue())

    def test_all_passed(self) -> None:
        self.assertEqual(self.reported(Success=12), ("12 passed, 0 failed, 0 skipped\n", 0))

    def test_skipped_and_expected_failures(self) -> None:
        self.assertEqual(self.reported(Success=3, Skip=2, ExpectedFailure=4), ("3 passed, 0 failed, 6 skipped\n", 0))

    def test_each_kind_of_failure_counts(self) -> None:
        self.assertEqual(self.reported(Success=10, Failure=1, Error=2, UnexpectedSuccess=4), ("10 passed, 7 failed, 0 skipped\n", 1))

    def test_nothing_ran(self) -> None:
        self.assertEqual(self.reported(), ("0 passed, 1 failed, 0 skipped\n", 1))

    def test_everything_skipped(self) -> None:
        self.assertEqual(self.reported(Skip=2), ("0 passed, 1 failed, 2 skipped\n", 1))

    def test_no_summary_at_all(self) -> None:
        self.assertEqual(self.summary("tests.core\n  Killed\n"), ("0 passed, 1 failed, 0 skipped\n", 1))

    def test_interrupted_after_some_passed(self) -> None:
        self.assertEqual(self.summary("PASSED (successes=9)\n", status=124), ("9 passed, 1 failed, 0 skipped\n", 1))

    def test_what_a_test_printed_before_is_not_taken(self) -> None:
        printed = "PASSED (successes=9)\n...\nFAILED (failures=1, successes=2)\n"
        self.assertEqual(self.summary(printed), ("2 passed, 1 failed, 0 skipped\n", 1))


class Scripts(SynchronousTestCase):
    """The scripts themselves."""

    def test_they_are_bash_that_can_be_run(self) -> None:
        for script in (ROOT / ".ci").iterdir():
            self.assertTrue(os.access(script, os.X_OK), f"{script} is not executable")
            self.assertEqual(subprocess.run(["bash", "-n", script], check=False, capture_output=True).stderr, b"")
            self.assertIn("set -euo pipefail", script.read_text("utf-8"))

    def test_the_readme_has_people_test_as_ci_does(self) -> None:
        # Installed any other way, `trial tests` finds no tests: trial does not look into the current directory.
        readme, ci = ((ROOT / name).read_text("utf-8") for name in ("README.md", ".ci/run"))
        for wanted in (r"install( --quiet)? -e '\.\[dev\]'", r"\btrial -j4( --temp-directory=\S+)? tests\b"):
            self.assertTrue(re.search(wanted, ci), f".ci/run does not hold {wanted}")
            self.assertTrue(re.search(wanted, readme), f"README.md does not hold {wanted}")
