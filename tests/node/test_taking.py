"""Commands that wait, over whole nodes: on the leader, on behalf of callers anywhere, through changes of leaders; each taken once."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.watched_machines import MODULE
from tests.support.callers import RecordingCaller
from tests.support.node_cluster import NodeCluster
from tests.support.waits_world import told
from txraft.errors import Halted, NotApplied, Unknown
from txraft.limits import Limits
from txraft.node.node import Node
from txraft.statemachine.results import Answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import InvokeRequest, OpenSessionRequest, Requests

MACHINES = {"parcels": MODULE + "Parcels"}
CURABLE = {"leadership_lost", "timeout", "not_leader", "no_leader", "not_ready", "unreachable", "sent_again", "shutting_down"}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = NodeCluster(self.mktemp(), 3, machines=MACHINES)
        self.cluster.start()
        self.addCleanup(self.cluster.stop_all)
        self.leader = self.cluster.leader()
        self.cluster.advance(0.5)
        self.follower, self.other = self.cluster.followers()

    def take(self, node: Node, wait_s: float = 30.0, **more: Any) -> Deferred[Answer]:
        return self.cluster.invoke(node, "take", machine="parcels", place="here", wait_s=wait_s, **more)

    def put(self, *parcels: str) -> None:
        for parcel in parcels:
            answer = self.cluster.invoke(self.cluster.leader(), "put", machine="parcels", place="here", parcel=parcel)
            self.cluster.advance(0.2)
            self.successResultOf(answer).value()

    def open_session(self) -> int:
        answer = self.cluster.leader().gate.call(OpenSessionRequest(0, 600_000))
        self.cluster.advance(0.3)
        session: int = self.successResultOf(answer).value()
        return session

    def submit_take(self, caller: RecordingCaller, node: Node, request_id: int, wait_s: float = 30.0, session: int = 0) -> None:
        arguments = Raw(encode_value({"place": "here", "wait_s": wait_s}))
        request = InvokeRequest(request_id, request_id if session else 0, "parcels", "take", arguments)
        node.gate.submit(caller, Requests(session, 1 if session else 0, [request]))


class WaitTests(Case):
    def test_on_the_leader_in_the_order_in_which_they_came_wherever_that_was(self) -> None:
        answers = []
        for node in (self.follower, self.leader, self.other):
            answers.append(self.take(node))
            self.cluster.advance(0.1)
        self.assertEqual([node.waits.count for node in (self.leader, self.follower)], [3, 0])
        self.put("a", "b", "c")
        self.assertEqual([self.successResultOf(answer).value() for answer in answers], [["a"], ["b"], ["c"]])
        self.assertEqual((self.leader.waits.count, self.follower.gate.forwarding.count), (0, 0))

    def test_nothing_is_written_while_it_waits(self) -> None:
        assert self.leader.driver is not None
        before = self.leader.driver.core.server.log.last_index
        answer = self.take(self.leader, 5.0)
        self.cluster.advance(4.5)
        self.assertEqual(self.leader.driver.core.server.log.last_index, before)
        self.cluster.advance(1)
        self.assertEqual(self.successResultOf(answer).value(), [])
        self.assertEqual(self.leader.driver.core.server.log.last_index, before + 1)

    def test_a_forwarded_one_has_the_time_it_asked_for_and_nobody_says_timeout(self) -> None:
        answer = self.take(self.follower, 25.0)
        self.cluster.advance(24.5)
        self.assertNoResult(answer)
        self.cluster.advance(1)
        self.assertEqual(self.successResultOf(answer).value(), [])

    def test_when_the_caller_of_a_forwarded_one_cancels_nothing_is_taken_for_it(self) -> None:
        answer = self.take(self.follower)
        self.cluster.advance(0.1)
        self.assertEqual(self.leader.waits.count, 1)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.cluster.advance(0.1)
        self.assertEqual((self.leader.waits.count, self.follower.gate.forwarding.count), (0, 0))
        self.put("a")
        kept = self.take(self.leader, 0.0)
        self.cluster.advance(0.2)
        self.assertEqual(self.successResultOf(kept).value(), ["a"])

    def test_nor_when_it_is_answered_timeout_before(self) -> None:
        request = InvokeRequest(0, 0, "parcels", "take", Raw(encode_value({"place": "here", "wait_s": 30.0})))
        for node in (self.follower, self.leader):
            answer = node.gate.call(request, timeout_s=1.0)
            self.cluster.advance(0.1)
            self.assertEqual(self.leader.waits.count, 1)
            self.cluster.advance(1.1)
            self.assertEqual((self.successResultOf(answer).problem().code, self.leader.waits.count), ("timeout", 0))

    def test_what_waits_for_a_server_that_is_gone_is_forgotten(self) -> None:
        self.take(self.follower)
        stays = self.take(self.other)
        self.cluster.advance(0.1)
        self.cluster.crash(self.follower.config.name)
        self.cluster.advance(0.3)
        self.assertEqual(self.leader.waits.count, 1)
        self.put("a")
        self.assertEqual(self.successResultOf(stays).value(), ["a"])

    def test_after_a_restart_nothing_is_answered_what_was_asked_before_it(self) -> None:
        """Found by review: requests were numbered from 1 again, and a new one got the answer to an old one."""
        name = self.follower.config.name
        self.take(self.follower)
        self.cluster.advance(0.1)
        self.patch(self.leader.gate, "peer_lost", lambda peer: None)
        self.cluster.crash(name)
        self.cluster.start(name)
        self.cluster.advance(1)
        new = self.cluster.invoke(self.cluster.nodes[name], "take", machine="parcels", place="elsewhere", wait_s=30.0)
        self.cluster.advance(0.1)
        self.assertEqual(self.leader.waits.count, 2)
        self.put("a")
        self.assertNoResult(new)

    def test_too_many(self) -> None:
        self.patch(self.leader.waits._room, "_limits", Limits(waits_max=2))
        answers = [self.take(self.follower) for _ in range(3)]
        self.cluster.advance(0.1)
        problem = self.successResultOf(answers[2]).problem()
        self.assertEqual((problem.outcome, problem.code), ("not_applied", "too_many_waits"))

    def test_when_too_much_is_under_way_it_goes_on_waiting(self) -> None:
        self.patch(self.leader.proposals, "_limits", Limits(requests_pending_max=0))
        answer = self.take(self.leader)
        self.patch(self.leader.host.hosted("parcels").machine, "supply", lambda topic: 1)
        self.leader.waits.commands.signalled("parcels", b"here")
        self.cluster.advance(0.5)
        self.assertNoResult(answer)
        self.patch(self.leader.proposals, "_limits", Limits())
        self.cluster.advance(0.3)
        self.assertEqual(self.successResultOf(answer).value(), [])

    def test_a_bad_argument_does_not_wait(self) -> None:
        for wait_s in ("long", -1e400):
            answer = self.cluster.invoke(self.leader, "take", machine="parcels", place="here", wait_s=wait_s)
            self.assertEqual(self.successResultOf(answer).problem().code, "invalid_arguments")
        self.assertEqual(self.leader.waits.count, 0)


class EndTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.caller = RecordingCaller()
        for number in (1, 2):
            self.submit_take(self.caller, self.leader, number)
        self.forwarded = self.take(self.follower)
        self.cluster.advance(0.1)
        self.assertEqual(self.leader.waits.count, 3)

    def test_a_leader_that_is_cut_off_says_that_nothing_was_proposed(self) -> None:
        self.cluster.isolate(self.leader.config.name)
        self.cluster.advance(4)
        self.assertEqual(told(self.caller), {1: "leadership_lost", 2: "leadership_lost"})
        self.assertIsInstance(self.successResultOf(self.forwarded).problem(), (NotApplied, Unknown))
        self.assertEqual((self.leader.waits.count, self.leader.waits.commands._lines), (0, {}))

    def test_a_leader_that_stops_answers_all_once(self) -> None:
        self.leader.stopService()
        self.cluster.advance(2)
        self.assertEqual(set(told(self.caller)), {1, 2})
        self.assertTrue(set(told(self.caller).values()) <= {"leadership_lost", "shutting_down"})
        self.assertTrue(self.forwarded.called)
        del self.cluster.nodes[self.leader.config.name]

    def test_a_leader_that_halts_answers_all_once(self) -> None:
        self.leader.halt(Failure(Halted("for the test")))
        self.assertEqual(told(self.caller), {1: "shutting_down", 2: "shutting_down"})
        self.cluster.advance(40)
        self.assertEqual(len(self.caller.answers), 2)
        self.assertTrue(self.forwarded.called)
        self.flushLoggedErrors(Halted)

    def test_one_under_way_when_leadership_is_lost_is_unknown(self) -> None:
        self.cluster.hung.update(self.cluster.configs)
        self.cluster.invoke(self.leader, "put", machine="parcels", place="here", parcel="a")
        self.cluster.advance(0.05)
        self.leader.waits.commands.signalled("parcels", b"here")
        self.patch(self.leader.host.hosted("parcels").machine, "supply", lambda topic: 1)
        self.cluster.advance(0.2)
        self.cluster.isolate(self.leader.config.name)
        self.cluster.hung.clear()
        self.cluster.advance(4)
        self.assertEqual(told(self.caller), {1: "leadership_lost", 2: "leadership_lost"})
        outcomes = [problem[1] for problem in self.caller.problems()]
        self.assertEqual(sorted(outcomes), ["not_applied", "unknown"])


class ExactlyOnceTests(Case):
    def test_sent_again_to_the_next_leader_it_takes_the_same(self) -> None:
        """The answer of the first was lost with its leader; what it took is given to the second, and nobody else."""
        session = self.open_session()
        first = RecordingCaller()
        self.submit_take(first, self.leader, 1, session=session)
        names = [self.follower.config.name, self.other.config.name]
        self.cluster.advance(0.1)
        self.put("a", "b")
        self.cluster.advance(0.2)
        self.assertEqual(told(first), {1: ["a"]})
        self.cluster.crash(self.leader.config.name)
        again = RecordingCaller()
        new = self.cluster.leader()
        self.assertIn(new.config.name, names)
        self.submit_take(again, new, 1, session=session)
        other = RecordingCaller()
        self.submit_take(other, new, 1)
        self.cluster.advance(0.3)
        self.assertEqual((told(again), told(other)), ({1: ["a"]}, {1: ["b"]}))

    def test_every_parcel_goes_to_one_whatever_happens(self) -> None:
        for seed in range(2):
            self.run_at_random(seed)

    def run_at_random(self, seed: int) -> None:
        """Takers that send again with the same serial number until they know; leaders crash; every parcel that was put is taken once."""
        random = Random(seed)
        sessions = [self.open_session() for _ in range(3)]
        takers = [Taker(self, session, random) for session in sessions]
        before = len(self.cluster.configs)
        put: list[str] = []
        for step in range(160):
            for taker in takers:
                taker.go_on()
            if step % 40 == 15:
                self.cluster.crash(self.cluster.leader().config.name)
            if step % 40 == 30:
                self.cluster.start(*(set(self.cluster.configs) - set(self.cluster.nodes)))
            if random.random() < 0.3:
                parcel = f"{seed}-{step}"
                answer = self.cluster.invoke(self.cluster.leader(), "put", machine="parcels", place="here", parcel=parcel)
                answer.addCallback(lambda answer, parcel: put.append(parcel) if answer.outcome == 0 else None, parcel)
            self.cluster.advance(0.05)
        self.cluster.advance(2)
        for _ in range(400):
            for taker in takers:
                taker.go_on()
            self.cluster.advance(0.05)
        taken = [parcel for taker in takers for parcel in taker.taken]
        self.assertEqual(len(self.cluster.nodes), before)
        self.assertEqual((len(taken), self.cluster.halted), (len(set(taken)), {}), f"seed {seed}: taken twice")
        self.assertEqual(set(put) - set(taken), set(), f"seed {seed}: lost")
        self.assertGreater(len(put), 20, f"seed {seed}")
        self.cluster.advance(3)
        self.assertEqual(len(self.cluster.digests()), 1)


class Taker:
    """One that takes within a session: one command after the other, each sent again until its outcome is known."""

    def __init__(self, case: ExactlyOnceTests, session: int, random: Random) -> None:
        self.case, self.session, self.random = case, session, random
        self.serial = 1
        self.taken: list[str] = []
        self._answer: Deferred[Answer] | None = None
        self._node = ""

    def go_on(self) -> None:
        """Take the answer if there is one; ask for the next, or again."""
        nodes = self.case.cluster.nodes
        if self._answer is not None and self._node in nodes:
            if not self._answer.called:
                return
            answer = self.case.successResultOf(self._answer)
            if answer.outcome == 0:
                self.taken += answer.value()
                self.serial += 1
            else:
                problem = answer.problem()
                assert problem.code in CURABLE, problem
        self._node = self.random.choice(sorted(nodes))
        wait_s = self.random.choice([0.0, 0.3, 2.0])
        self._answer = self.case.take(nodes[self._node], wait_s, session=self.session, serial=self.serial)
