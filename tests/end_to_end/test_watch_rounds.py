"""A short `watch_rounds`, which has the whole story; and the judge itself is judged."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.end_to_end.watch_rounds import Seen
from tests.support.processes import ROOT, ProcessTestCase
from txraft.client.events import Event


class TheJudge(SynchronousTestCase):
    """Gaps, repetitions and a wrong order are found."""

    def found(self, *numbers: int, expected: int) -> list[str]:
        seen = Seen("a watch")
        for index, number in enumerate(numbers, 10):
            seen.see(Event(index, "w0", {"number": number}, (index + 1, 0)))
        return seen.problems({"w0": expected})

    def test_all_in_order(self) -> None:
        self.assertEqual(self.found(1, 2, 3, expected=3), [])

    def test_what_must_not_be(self) -> None:
        for numbers in ((1, 3), (1, 2, 2, 3), (2, 1, 3), (1, 2)):
            self.assertNotEqual(self.found(*numbers, expected=3), [])


class WatchRounds(ProcessTestCase):
    """One leader is killed."""

    def test_every_change_is_seen_once_and_in_order(self) -> None:
        command = ("tests.end_to_end.watch_rounds", "--changes=4000", "--kills=1", "--writers=16")
        done = self.run_command(sys.executable, "-m", *command, PYTHONPATH=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("killed the leader"), 1)
        self.assertRegex(done.stdout, r"All is well: 4,000 changes")
