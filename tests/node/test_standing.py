"""What a node makes of being refused: it ends beside a copy of its directory, and says why nobody talks to it without its directory."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node_cluster import MemoryNetwork, NodeCluster
from txraft.core.ids import ServerId
from txraft.errors import CopiedDirectory
from txraft.node.ports import PeerGate, PeerNetwork
from txraft.node.view import Stage
from txraft.wire.hello import HelloRefused

N2, N3 = ServerId("n2"), ServerId("n3")
WIPED = HelloRefused("directory", "not yours")


class RefusedNetwork(MemoryNetwork):
    """Of which a test says who refuses."""

    refused: Mapping[ServerId, HelloRefused] = {}

    def refusals(self) -> Mapping[ServerId, HelloRefused]:
        return self.refused


class RefusedNodes(NodeCluster):
    def _make_network(self, name: str, gate: PeerGate) -> PeerNetwork:
        return RefusedNetwork(self, gate)


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)
        self.cluster = RefusedNodes(self.mktemp(), 3)
        self.addCleanup(self.cluster.stop_all)
        self.cluster.start("n1")
        self.cluster.advance(0.2)
        self.node = self.cluster.nodes["n1"]

    def lines(self, word: str) -> list[str]:
        lines = [str(event["log_format"]).format(**event) for event in self.events if event.get("log_format")]
        return [line for line in lines if word in line]

    def test_row_72_told_of_another_process_with_its_directory_it_halts_and_says_what_to_do(self) -> None:
        for code, words in (("copied", "another process"), ("incarnation", "started more often")):
            self.cluster.halted.clear()
            self.cluster.crash("n1")
            self.cluster.start("n1")
            self.cluster.advance(0.2)
            node = self.cluster.nodes["n1"]

            node.hello_refused(N2, HelloRefused(code, "whatever it says"))

            error = self.cluster.halted["n1"]
            assert isinstance(error, CopiedDirectory)
            self.assertEqual((node.view.stage, error.exit_code), (Stage.HALTED, 78))
            for word in ("n2", words, str(node.config.data_dir), "was copied", "put the newest one back", "docs/operating.md"):
                self.assertIn(word, str(error))

    def test_row_32_without_its_directory_it_goes_on_and_says_why_it_is_not_ready(self) -> None:
        self.assertIn("no leader is known", self.node.gate.ready()[1])
        network = self.node.network
        assert isinstance(network, RefusedNetwork)

        for peer in (N2, N3, N2):
            self.node.hello_refused(peer, WIPED)
            network.refused = {**network.refused, peer: WIPED}

        self.assertEqual((self.node.view.stage, self.cluster.halted), (Stage.RUNNING, {}))
        ready, why = self.node.gate.ready()
        self.assertFalse(ready)
        for word in ("n2 and n3 know n1 by another data directory", str(self.node.config.data_dir), "put the old directory back"):
            self.assertIn(word, why)
        self.assertEqual(self.node.gate.status()["reason"], why)
        self.assertEqual(len(self.lines("n1 is shut out: n2 knows n1 by another")), 1)

    def test_other_refusals_are_no_reason_to_doubt_the_directory(self) -> None:
        network = self.node.network
        assert isinstance(network, RefusedNetwork)
        for code in ("version", "cluster", "receiver", "member", "of a later version"):
            refusal = HelloRefused(code, "no")
            self.node.hello_refused(N2, refusal)
            network.refused = {N2: refusal}
            self.assertIn("no leader is known", self.node.gate.ready()[1])
        self.assertEqual(self.cluster.halted, {})

    def test_a_node_that_is_no_more_is_not_halted_again(self) -> None:
        self.cluster.stop_all()
        self.node.hello_refused(N2, HelloRefused("copied", "no"))

        self.assertEqual((self.node.view.stage, self.cluster.halted), (Stage.STOPPED, {}))

    def test_who_it_is_comes_from_the_directory(self) -> None:
        assert self.node.storage is not None
        own, identity = self.node.storage.identity, self.node.identity

        self.assertEqual(
            (identity.cluster_id, identity.server_id, identity.incarnation, identity.client_address),
            (own.cluster_id, "n1", 1, "n1.example:2379"),
        )
        self.assertEqual((identity.directory, identity.process, identity.previous_processes), (own.mark, own.process, ()))
        self.cluster.crash("n1")
        self.cluster.start("n1")
        self.cluster.advance(0.2)
        again = self.cluster.nodes["n1"].identity
        self.assertEqual((again.incarnation, again.directory, again.previous_processes), (2, own.mark, (own.process,)))
