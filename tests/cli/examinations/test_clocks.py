"""Clocks that run, and clocks that are set."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.clocks import MOMENT_S, examine_neighbours_clock, examine_own_clock
from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.neighbours import Neighbour

NOW = 1_800_000_000.0


class OwnClock(SynchronousTestCase):
    """The wall clock against the monotonic one."""

    def examine(self, *, wall: float = NOW, gained: float = 0.0) -> Finding:
        walls, slept = iter([wall, wall + MOMENT_S + gained]), list[float]()
        monotonics = iter([5.0, 5.0 + MOMENT_S])
        finding = examine_own_clock(lambda: next(walls), lambda: next(monotonics), slept.append)
        self.assertEqual(slept, [MOMENT_S])
        return finding

    def test_even(self) -> None:
        self.assertEqual(self.examine(gained=0.001).verdict, Verdict.OK)

    def test_being_set(self) -> None:
        finding = self.examine(gained=-0.5)
        self.assertEqual((finding.verdict, finding.figures["gained_s"]), (Verdict.ADVICE, -0.5))
        self.assertIn("-500.0 ms", finding.found)

    def test_never_set(self) -> None:
        self.assertEqual(self.examine(wall=1000.0).verdict, Verdict.PROBLEM)


class NeighboursClocks(SynchronousTestCase):
    """Against those of other nodes."""

    def examine(self, wall_ms: Any, *, took_s: float = 0.0) -> list[Finding]:
        return examine_neighbours_clock([Neighbour("a:1", {"name": "n2", "wall_ms": wall_ms}, "", NOW, NOW + took_s)])

    def verdict(self, ahead_s: float, took_s: float = 0.0) -> Verdict:
        (finding,) = self.examine(int((NOW + ahead_s) * 1000), took_s=took_s)
        return finding.verdict

    def test_how_far_apart(self) -> None:
        aheads = [0.0, 0.4, -0.4, 0.6, -0.6, 59.0, 61.0, -61.0]
        good, fair, bad = Verdict.OK, Verdict.ADVICE, Verdict.PROBLEM
        self.assertEqual([self.verdict(ahead) for ahead in aheads], [good, good, good, fair, fair, fair, bad, bad])

    def test_the_way_of_the_answer_is_allowed_for(self) -> None:
        self.assertEqual([self.verdict(0.9, took_s=1.0), self.verdict(1.6, took_s=1.0)], [Verdict.OK, Verdict.ADVICE])

    def test_told_in_words(self) -> None:
        (finding,) = self.examine(int((NOW - 2) * 1000))
        self.assertIn("the clock of n2 is 2.000 s behind ours", finding.found)

    def test_one_that_does_not_tell(self) -> None:
        self.assertEqual(self.examine(None), [])
        self.assertEqual(self.examine("soon"), [])
        self.assertEqual(examine_neighbours_clock([Neighbour("a:1", None, "gone")]), [])
