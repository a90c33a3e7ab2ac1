"""Watches over whole nodes: any server answers polls, from what it has applied, and a chain of them misses nothing."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.watched_machines import MODULE
from tests.support.callers import RecordingCaller
from tests.support.node_cluster import NodeCluster
from tests.support.waits_world import told
from tests.support.watch_chain import WatchChain
from txraft.errors import Halted
from txraft.node.node import Node
from txraft.statemachine.results import Answer
from txraft.wire.requests import PollRequest, Requests

MACHINES = {"bell": MODULE + "Bell"}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = NodeCluster(self.mktemp(), 3, machines=MACHINES)
        self.cluster.start()
        self.addCleanup(self.cluster.stop_all)
        self.leader = self.cluster.leader()
        self.cluster.advance(0.5)
        self.follower = self.cluster.followers()[0]

    def ring(self, *topics: str) -> int:
        answer = self.cluster.invoke(self.cluster.leader(), "ring_all", machine="bell", topics=list(topics))
        self.cluster.advance(0.5)
        index: int = self.successResultOf(answer).value()
        return index

    def poll(self, node: Node, *, first: int = 0, skip: int = 0, wait_ms: int = 0, topic: bytes = b"") -> Deferred[Answer]:
        return node.gate.call(PollRequest(0, "bell", topic, True, first, skip, wait_ms))

    def value(self, answer: Deferred[Answer]) -> Any:
        self.cluster.advance(0.05)
        return self.successResultOf(answer).value()


class PollTests(Case):
    def test_a_follower_answers_when_it_has_applied_what_is_waited_for(self) -> None:
        start = self.value(self.poll(self.follower))
        answer = self.poll(self.follower, first=start["next"], wait_ms=30_000)
        self.cluster.advance(12)
        self.assertNoResult(answer)
        index = self.ring("a", "b")
        value = self.value(answer)
        self.assertEqual([(event["index"], event["topic"]) for event in value["events"]], [(index, "a"), (index, "b")])
        self.assertEqual((value["next"], self.follower.waits.count), (index + 1, 0))

    def test_all_servers_have_the_same_events_at_the_same_places(self) -> None:
        for topics in (("a",), ("b", "c"), ()):
            self.ring(*topics)
        values = [self.value(self.poll(node, first=1)) for node in self.cluster.nodes.values()]
        self.assertEqual(values, [values[0]] * 3)
        self.assertEqual(len(values[0]["events"]), 3)

    def test_a_follower_that_is_behind_waits_for_a_place_of_its_future(self) -> None:
        self.cluster.isolate(self.follower.config.name)
        index = self.ring("a", "b", "c")
        answer = self.poll(self.follower, first=index, skip=2, wait_ms=30_000)
        self.assertEqual(self.value(self.poll(self.follower, first=index, skip=2))["skip"], 2)
        self.cluster.cut.clear()
        self.cluster.advance(3)
        self.assertEqual([event["topic"] for event in self.value(answer)["events"]], ["c"])

    def test_a_poll_without_events_is_answered_within_its_wait_and_nobody_says_timeout(self) -> None:
        answer = self.poll(self.follower, first=1, wait_ms=20_000)
        self.cluster.advance(19.9)
        self.assertNoResult(answer)
        self.cluster.advance(0.4)
        self.assertEqual(self.value(answer)["events"], [])

    def test_a_cancelled_poll_waits_no_more(self) -> None:
        answer = self.poll(self.follower, first=1, wait_ms=20_000)
        self.cluster.advance(0.1)
        self.assertEqual(self.follower.waits.count, 1)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.follower.waits.count, 0)

    def test_one_that_is_answered_timeout_waits_no_more(self) -> None:
        answer = self.follower.gate.call(PollRequest(0, "bell", b"", True, 1, 0, 20_000), timeout_s=1.0)
        self.cluster.advance(1.1)
        self.assertEqual((self.successResultOf(answer).problem().code, self.follower.waits.count), ("timeout", 0))

    def test_what_comes_next_is_not_told_by_a_node_that_has_just_started(self) -> None:
        self.ring("a")
        name = self.follower.config.name
        self.cluster.crash(name)
        self.cluster.isolate(name)
        self.cluster.start(name)
        self.cluster.advance(0.2)
        self.assertEqual(self.successResultOf(self.poll(self.cluster.nodes[name])).problem().code, "not_ready")

    def test_a_native_client_polls_a_follower_too_and_takes_its_polls_along(self) -> None:
        caller = RecordingCaller()
        self.follower.gate.submit(caller, Requests(0, 0, [PollRequest(7, "bell", b"a", True, 1, 0, 20_000)]))
        self.follower.gate.submit(caller, Requests(0, 0, [PollRequest(8, "bell", b"b", True, 1, 0, 20_000)]))
        self.ring("a")
        self.assertEqual([event["topic"] for event in told(caller)[7]["events"]], ["a"])
        self.follower.gate.forget(caller)
        self.ring("b")
        self.assertEqual((set(told(caller)), self.follower.waits.count), ({7}, 0))

    def test_status_tells_how_many_wait(self) -> None:
        self.poll(self.follower, first=1, wait_ms=20_000)
        self.assertEqual(self.follower.gate.status()["waits"], 1)


class EndTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.caller = RecordingCaller()
        polls = [PollRequest(number, "bell", b"a", True, 1, 0, 30_000) for number in range(3)]
        self.follower.gate.submit(self.caller, Requests(0, 0, list(polls)))
        self.called = self.poll(self.follower, first=1, wait_ms=30_000)

    def test_a_node_that_stops_answers_all_once(self) -> None:
        self.cluster.advance(0.1)
        self.follower.stopService()
        self.cluster.advance(1)
        self.assertEqual(told(self.caller), dict.fromkeys(range(3), "shutting_down"))
        self.assertEqual(self.successResultOf(self.called).problem().code, "shutting_down")
        del self.cluster.nodes[self.follower.config.name]

    def test_a_node_that_halts_answers_all_once_even_those_not_looked_at_yet(self) -> None:
        self.follower.halt(Failure(Halted("for the test")))
        self.assertEqual(told(self.caller), dict.fromkeys(range(3), "shutting_down"))
        self.assertEqual(self.successResultOf(self.called).problem().code, "shutting_down")
        self.cluster.advance(40)
        self.assertEqual((len(told(self.caller)), self.follower.waits.count), (3, 0))
        self.flushLoggedErrors(Halted)


class ChainTests(SynchronousTestCase):
    """A watch that hops between the servers, while leaders crash and come back."""

    def run_chain(self, seed: int) -> None:
        random = Random(seed)
        cluster = NodeCluster(self.mktemp(), 3, machines=MACHINES)
        cluster.start()
        cluster.leader()
        chains = [WatchChain(cluster, random, topic) for topic in ("", "a")]
        rings: list[Deferred[Answer]] = []
        for step in range(200):
            for chain in chains:
                chain.go_on()
            if step % 40 == 20:
                cluster.crash(cluster.leader().config.name)
            if step % 40 == 35:
                cluster.start(*(set(cluster.configs) - set(cluster.nodes)))
            if random.random() < 0.5:
                topics = [random.choice(["a", "ab", "b"]) for _ in range(random.randrange(1, 4))]
                node = random.choice(list(cluster.nodes.values()))
                rings.append(cluster.invoke(node, "ring_all", machine="bell", topics=topics))
            cluster.advance(0.05)
        cluster.advance(3)
        for _ in range(40):
            for chain in chains:
                chain.go_on()
            cluster.advance(0.3)
        self.check(cluster, chains, f"seed {seed}")
        self.assertGreater(sum(ring.called for ring in rings), 30)
        cluster.stop_all()
        self.flushLoggedErrors()

    def check(self, cluster: NodeCluster, chains: list[WatchChain], seed: str) -> None:
        self.assertEqual((cluster.halted, len(cluster.digests())), ({}, 1), seed)
        history = cluster.leader().host.hosted("bell").kept
        happened = [(event["index"], event["topic"]) for event in history.read(b"", True, 1, 0).events]
        self.assertGreater(len(happened), 50, seed)
        for chain in chains:
            expected = [one for one in happened if one[1].startswith(chain.topic)]
            self.assertEqual([(index, topic) for index, _, topic in chain.seen], expected, seed)
            self.assertEqual(len(chain.seen), len({(index, number) for index, number, _ in chain.seen}), seed)
            self.assertGreater(chain.hops, 10, seed)

    def test_every_event_once_and_in_order(self) -> None:
        for seed in range(3):
            self.run_chain(seed)
