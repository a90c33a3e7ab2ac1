"""Whether the others know the server, by what they say."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.examinations.findings import Finding, Verdict
from txraft.cli.examinations.membership import examine_membership
from txraft.cli.examinations.neighbours import Neighbour
from txraft.wire.hello import NOT_READY

CLUSTER = "c" * 32


def node(name: str, **status: Any) -> Neighbour:
    return Neighbour(f"{name}:1", {"name": name, "cluster_id": CLUSTER, **status})


class Membership(SynchronousTestCase):
    def examine(self, *neighbours: Neighbour, is_claimed: bool = True) -> list[Finding]:
        return examine_membership(neighbours, CLUSTER, "n1", is_claimed=is_claimed)

    def test_an_empty_directory_in_place_of_one_that_is_known(self) -> None:
        knows = node("n2", members={"n1": {"directory_known": True}})
        (finding,) = self.examine(knows, is_claimed=False)
        self.assertEqual((finding.verdict, finding.found.startswith("n2 knows n1 by its data directory")), (Verdict.PROBLEM, True))
        self.assertEqual(self.examine(knows), [])
        new = node("n2", members={"n1": {"directory_known": False}})
        self.assertEqual(self.examine(new, node("n3"), Neighbour("n4:1", None, "refused"), is_claimed=False), [])

    def test_nodes_of_another_cluster_know_nothing_of_it(self) -> None:
        other = node("n2", members={"n1": {"directory_known": True}}, cluster_id="d" * 32)
        self.assertEqual(self.examine(other, is_claimed=False), [])

    def test_who_refuses_it(self) -> None:
        links = {
            "n2": {"refused": "the dialling server has another data directory"},
            "n3": {"refused": ""},
            "n4": {"refused": NOT_READY.sentence},
        }
        (finding,) = self.examine(node("n1", peers={"links": links}), node("n2", peers={"links": {"n3": {"refused": "no"}}}))
        self.assertEqual(finding.verdict, Verdict.PROBLEM)
        self.assertEqual(finding.found, "n2 takes nothing from n1: the dialling server has another data directory")
