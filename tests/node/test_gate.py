"""What clients see of a node: hints, forwarding without loops, invented answers, bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.support.callers import RecordingCaller
from tests.support.node_cluster import NodeCluster
from txraft.core.ids import ServerId
from txraft.errors import NotApplied
from txraft.limits import Limits, Timing
from txraft.node.node import Node
from txraft.statemachine.results import answer_of_value, decode_answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import Ask, DescribeRequest, Forward, ForwardReply, InvokeRequest, Requests, StatusRequest


def add(request_id: int, **arguments: Any) -> InvokeRequest:
    return InvokeRequest(request_id, 0, "counter", "add", Raw(encode_value(arguments)))


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = NodeCluster(self.mktemp(), 3)
        self.cluster.start()
        self.addCleanup(self.cluster.stop_all)
        self.leader = self.cluster.leader()
        self.cluster.advance(0.5)
        self.follower = self.cluster.followers()[0]
        self.caller = RecordingCaller()

    def submit(self, node: Node, *requests: Any) -> None:
        node.gate.submit(self.caller, Requests(0, 0, list(requests)))
        self.cluster.advance(0.2)

    def test_a_frame_is_answered_in_one_flush(self) -> None:
        self.submit(self.leader, *(add(request_id, name="a") for request_id in range(50)))
        values = [decode_answer(answer).value() for _, answer in self.caller.flushed]
        self.assertEqual((values, self.caller.flushes), (list(range(1, 51)), 1))

    def test_a_native_client_of_a_follower_is_told_who_leads_and_where(self) -> None:
        self.submit(self.follower, add(1, name="a"))
        problem = decode_answer(self.caller.flushed[0][1]).problem()
        self.assertEqual((problem.outcome, problem.code), ("not_applied", "not_leader"))
        leader = self.leader.config.name
        self.assertEqual(problem.details, {"leader": leader, "address": f"{leader}.example:2379"})

    def test_status_description_and_local_queries_are_answered_by_any_node(self) -> None:
        local = Ask(3, "counter", "list", Raw(encode_value({})), "local")
        self.submit(self.follower, StatusRequest(1), DescribeRequest(2), local)
        values = {request_id: decode_answer(answer).value() for request_id, answer in self.caller.flushed}
        self.assertEqual(values[1]["name"], self.follower.config.name)
        self.assertIn("add", values[2]["counter"]["commands"])
        self.assertEqual(set(values), {1, 2, 3})

    def test_many_questions_are_answered_in_slices_so_that_heartbeats_are_not_late(self) -> None:
        self.patch(self.follower.queries, "_timing", Timing(apply_slice_s=-1.0))
        self.follower.gate.submit(self.caller, Requests(0, 0, [StatusRequest(number) for number in range(20)]))
        self.assertEqual(self.caller.answers, [])
        self.cluster.clock.advance(0)
        answered = len(self.caller.answers)
        self.cluster.advance(1)
        self.assertEqual((len(self.caller.flushed), self.follower.queries.count), (20, 0))
        self.assertGreater(self.caller.flushes, 1)
        self.assertGreater(answered, 0)

    def test_the_digest_is_found_out_by_a_thread_once_for_all_who_ask_meanwhile(self) -> None:
        """Found by an author: the digest of half a million records took the leader four seconds, in which it lost its followers."""
        host, captured = self.follower.host, [0]
        capture = host.capture_digest

        def counted() -> Callable[[], str]:
            captured[0] += 1
            return capture()

        self.patch(host, "capture_digest", counted)
        self.follower.gate.submit(self.caller, Requests(0, 0, [StatusRequest(number, True) for number in range(20)]))
        self.cluster.clock.advance(0)
        self.assertEqual(self.caller.answers, [])
        self.cluster.advance(1)
        told = [decode_answer(answer).value() for _, answer in self.caller.flushed]
        self.assertEqual({status["digest"] for status in told}, {capture()()})
        self.assertEqual((len(told), captured), (20, [2]))

    def test_a_bad_argument_costs_no_entry_and_does_not_hold_up_the_rest(self) -> None:
        assert self.leader.driver is not None
        log = self.leader.driver.core.server.log
        before = log.last_index
        self.submit(self.leader, add(1, name="a", amount=1.5), add(2, name=7), add(3, nme="a"), add(4, name="a"))
        self.assertEqual(log.last_index, before + 1)
        answers = dict(self.caller.flushed)
        for request_id in (1, 2, 3):
            problem = decode_answer(answers[request_id]).problem()
            self.assertEqual((problem.outcome, problem.code), ("not_applied", "invalid_arguments"))
        self.assertEqual(decode_answer(answers[4]).value(), 1)

    def test_ten_times_more_than_fits_is_overloaded_in_one_flush_and_the_rest_is_done(self) -> None:
        self.patch(self.leader.proposals, "_limits", Limits(requests_pending_max=10))
        self.submit(self.leader, *(add(request_id, name="a") for request_id in range(100)))
        answers = [decode_answer(answer) for _, answer in self.caller.flushed]
        self.assertEqual([answer.outcome for answer in answers].count(0), 10)
        self.assertEqual(self.caller.flushes, 2)
        self.assertEqual(self.leader.proposals.count, 0)

    def test_what_finds_no_room_is_refused_before_it_is_looked_at(self) -> None:
        self.patch(self.leader.proposals, "_limits", Limits(requests_pending_max=10))
        prepared: list[str] = []
        prepare = self.leader.host.prepare

        def counted_prepare(machine: str, command: str, arguments: Raw) -> Raw:
            prepared.append(command)
            return prepare(machine, command, arguments)

        self.patch(self.leader.host, "prepare", counted_prepare)
        self.submit(self.leader, *(add(request_id, name="a") for request_id in range(100)))
        self.assertEqual((len(prepared), len(self.caller.flushed)), (10, 100))

    def test_an_unknown_machine_or_command_is_refused_before_the_log(self) -> None:
        unknown = [
            InvokeRequest(1, 0, "nothing", "add", Raw(encode_value({}))),
            InvokeRequest(2, 0, "counter", "explode", Raw(encode_value({}))),
        ]
        assert self.leader.driver is not None
        before = self.leader.driver.core.server.log.last_index
        self.submit(self.leader, *unknown)
        codes = {request_id: code for request_id, _, code in self.caller.problems()}
        self.assertEqual(codes, {1: "unknown_machine", 2: "unknown_command"})
        self.assertEqual(self.leader.driver.core.server.log.last_index, before)

    def test_a_forwarded_request_is_not_passed_on_again(self) -> None:
        other = self.cluster.followers()[1]
        sent: list[Any] = []
        self.patch(self.follower.network, "send", lambda to, message: sent.append((to, message)))
        forward = Forward(self.follower.view.term, other.config.name, 9, 0, 0, add(0, name="a"))
        self.follower.message_received(other.server_id, forward)
        [(to, reply)] = sent
        self.assertIsInstance(reply, ForwardReply)
        self.assertEqual((to, reply.id), (other.server_id, 9))
        problem = decode_answer(bytes(reply.answer)).problem()
        self.assertTrue(isinstance(problem, NotApplied) and problem.code == "not_leader")

    def test_answers_that_were_not_asked_for_or_come_from_another_are_dropped(self) -> None:
        self.cluster.hung.update(self.cluster.configs)
        answer = self.follower.gate.call(add(0, name="a"))
        forged = ForwardReply(1, "n9", 1, Raw(answer_of_value(99, 1, 1)))
        self.follower.message_received(ServerId("n9"), forged)
        self.follower.message_received(self.leader.server_id, ForwardReply(1, self.leader.config.name, 77, forged.answer))
        self.assertNoResult(answer)
        self.cluster.hung.clear()
        self.cluster.advance(0.3)
        self.assertEqual(self.successResultOf(answer).value(), 1)

    def test_a_cancelled_call_leaves_nothing_behind(self) -> None:
        answer = self.follower.gate.call(add(0, name="a"))
        answer.addErrback(lambda _: None)
        answer.cancel()
        self.assertEqual(self.follower.gate.forwarding.count, 0)
        self.cluster.advance(0.3)
