"""A few rounds of `kill_rounds`, which has the whole story."""

from __future__ import annotations

import sys

from tests.support.processes import ROOT, ProcessTestCase


class KillRounds(ProcessTestCase):
    """The leader, a follower, and all at once."""

    def test_nothing_is_lost_or_doubled(self) -> None:
        done = self.run_command(sys.executable, "-m", "tests.end_to_end.kill_rounds", "--rounds=3", PYTHONPATH=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("work goes on"), 3)
        self.assertRegex(done.stdout, r"All is well: [\d,]{3,} acknowledged increments")
