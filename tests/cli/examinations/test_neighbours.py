"""Other nodes, asked."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Verdict
from txraft.cli.examinations.neighbours import Neighbour, ask_neighbours, examine_reach, is_own
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

    def test_it_is_said_once_where(self) -> None:
        for endpoint, why, told in (
            ("b:2", "b:2: refused", "b:2 does not answer: refused"),
            ("http://b:2/", "b:2: refused", "http://b:2/ does not answer: refused"),
            ("b:2", "b:2 answered 500 without an outcome", "b:2 answered 500 without an outcome"),
        ):
            (finding,) = examine_reach([Neighbour(endpoint, None, why)])
            self.assertEqual(finding.found, told)

    def test_which_is_the_nodes_own(self) -> None:
        places = [
            ("10.0.0.1:2379", "10.0.0.1:2379", [], True),
            ("10.0.0.2:2379", "10.0.0.1:2379", [], False),
            ("A.example:2379", "a.example:2379", [], True),
            ("localhost:7501", "10.0.0.1:2379", ["unix:/run/x", "tcp:7501:interface=127.0.0.1"], True),
            ("127.0.0.1:7502", "", ["tcp:7501:interface=127.0.0.1"], False),
            ("127.0.0.1:7501", "", ["tcp:7501"], True),
            ("[::1]:7501", "", [r"tcp6:7501", r"tcp:7501:interface=\:\:"], True),
            ("10.0.0.2:7501", "", ["tcp:7501"], False),
        ]
        for endpoint, advertised, client, expected in places:
            self.assertEqual(is_own(endpoint, advertised, client), expected, (endpoint, advertised, client))

    def test_clock_of_an_answer(self) -> None:
        self.assertEqual(Neighbour("a:1", {"wall_ms": 12_500}, "", 10.0, 11.0).clock_offset_s(), (2.0, 0.501))
        self.assertIsNone(Neighbour("a:1", {"wall_ms": True}).clock_offset_s())
