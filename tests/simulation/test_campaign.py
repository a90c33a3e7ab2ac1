"""The command that plays many schedules."""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.campaign import main
from tests.simulation.mutants import MUTANTS


class Campaign(SynchronousTestCase):
    def run_it(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        self.patch(sys, "stdout", io.StringIO())
        self.patch(sys, "stderr", io.StringIO())
        code = main([*arguments, "--seconds", "3"])
        assert isinstance(sys.stdout, io.StringIO)
        assert isinstance(sys.stderr, io.StringIO)
        return code, sys.stdout.getvalue(), sys.stderr.getvalue()

    def test_it_ends_with_figures(self) -> None:
        code, out, err = self.run_it("--seeds", "2", "--start", "7")

        self.assertEqual(code, 0)
        self.assertIn("2 schedules, none failed", err)
        for words in ("simulated hours", "messages delivered", "commands answered", "became leader"):
            self.assertIn(words, out)

    def test_it_stops_at_the_first_failing_seed_and_says_how_to_see_it_again(self) -> None:
        MUTANTS["answers leave before the disk has answered"](self.patch)

        code, _, err = self.run_it("--seeds", "5", "--start", "7")

        self.assertEqual(code, 1)
        self.assertIn("seed 7 fails", err)
        self.assertIn("python -m tests.simulation.campaign --seeds 1 --start 7 --seconds 3 --trace", err)

    def test_it_prints_every_step_when_asked(self) -> None:
        _, out, _ = self.run_it("--seeds", "1", "--trace")

        self.assertIn("election timeout", out)
        self.assertIn("AppendEntries(", out)
