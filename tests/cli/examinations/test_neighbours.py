"""Other nodes, asked."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Verdict
from txraft.cli.examinations.neighbours import Neighbour, ask_neighbours, examine_reach
from txraft.errors import NotApplied


class Asked(SynchronousTestCase):
    def ask(self, endpoint: str) -> dict[str, Any]:
        if endpoint == "b:2":
            raise NotApplied("unreachable", "b:2: Connection refused")
        return {"name": endpoint[0], "cluster_id": "c" * 32}

    def test_each_once_in_order(self) -> None:
        wall = count(1)
        found = ask_neighbours(["a:1", "b:2"], self.ask, lambda: float(next(wall)))
        self.assertEqual(
            [(one.endpoint, one.name, one.why) for one in found], [("a:1", "a", ""), ("b:2", "b:2", "b:2: Connection refused")]
        )
        self.assertLess(found[0].asked_at, found[0].answered_at)
        self.assertEqual(ask_neighbours([], self.ask, float), [])

    def test_reach(self) -> None:
        findings = examine_reach([Neighbour("a:1", {"name": "a"}), Neighbour("b:2", None, "refused")])
        self.assertEqual([(one.verdict, one.found) for one in findings], [(Verdict.ADVICE, "b:2 does not answer: refused")])

    def test_clock_of_an_answer(self) -> None:
        self.assertEqual(Neighbour("a:1", {"wall_ms": 12_500}, "", 10.0, 11.0).clock_offset_s(), (2.0, 0.501))
        self.assertIsNone(Neighbour("a:1", {"wall_ms": True}).clock_offset_s())
