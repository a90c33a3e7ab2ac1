from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import problem, silence
from txraft.client import Client, under_way
from txraft.errors import ConfigurationError, NotApplied, Refused, Unknown
from txraft.statemachine.results import answer_of_value
from txraft.statemachine.values import decode_value, encode_value
from txraft.wire.requests import Ask, InvokeRequest, OpenSessionRequest


class CallTests(ClientTestCase):
    def test_a_command_comes_back_with_its_result(self) -> None:
        self.assertEqual(self.result(self.add(5)), 5)
        self.assertEqual(self.result(self.add(2)), 7)

    def test_it_can_be_awaited(self) -> None:
        async def twice() -> Any:
            return await self.client.command("counter", "add", 1) + await self.client.query("counter", "get")

        self.assertEqual(self.result(Deferred.fromCoroutine(twice())), 2)

    def test_a_query_sees_what_was_added_and_needs_no_session(self) -> None:
        self.assertEqual(self.result(self.client.query("counter", "get")), 0)
        self.assertEqual(self.cluster.sessions, {})

    def test_arguments_travel_by_position_and_by_name(self) -> None:
        self.result(self.add(0))
        self.client.query("counter", "get", "a", 1, name="b", machine="c", query="d")
        self.reactor.settle()
        (ask,) = self.servers[0].requests(Ask)
        self.assertEqual(decode_value(bytes(ask.arguments)), [["a", 1], {"name": "b", "machine": "c", "query": "d"}])

    def test_integers_of_any_size_travel_both_ways(self) -> None:
        self.assertEqual(self.result(self.add(2**200)), 2**200)

    def test_a_refusal_keeps_code_sentence_and_details(self) -> None:
        refused = self.problem(self.client.command("counter", "add", "refuse"), Refused)
        self.assertEqual((refused.code, refused.message, refused.details), ("out_of_stock", "none left", {"left": 0}))

    def test_consistency_is_passed_on(self) -> None:
        self.result(self.client.query("counter", "get"))
        self.result(self.client.query("counter", "get", consistency="local"))
        self.assertEqual([ask.consistency for ask in self.servers[0].requests(Ask)], ["linearizable", "local"])

    def test_status_and_description_are_those_of_the_connected_server(self) -> None:
        self.assertEqual(self.result(self.client.status(digest=True)), {"node": ADDRESSES[0], "digest": True})
        self.assertIn("counter", self.result(self.client.describe()))

    def test_nothing_is_sent_before_it_is_needed(self) -> None:
        self.pass_time(1)
        self.assertEqual(self.reactor.dialled, [])

    def test_endpoints_that_are_none_are_named(self) -> None:
        for endpoints in ([], ["localhost"], ["::1:80"], "localhost:80"):
            with self.assertRaises(ConfigurationError):
                Client(self.reactor, endpoints)

    def test_endpoint_strings_are_taken(self) -> None:
        client = self.make_client("tcp:host=10.0.0.2:port=2")
        self.assertEqual(self.result(client.query("counter", "get")), 0)


class WrongArgumentsTests(ClientTestCase):
    """What the server could not read would cost the connection and everybody's answers: it is not sent."""

    def assert_not_sent(self, call: Deferred[Any], code: str) -> None:
        self.assertEqual(self.problem(call, NotApplied).code, code)
        self.assertEqual(self.reactor.dialled, [])

    def test_arguments_that_are_no_plain_values(self) -> None:
        nested: list[Any] = []
        nested.append(nested)
        for argument in (object(), nested, 1 << 100_000, "\ud800"):
            self.assert_not_sent(self.add(argument), "invalid_arguments")  # type: ignore[arg-type]

    def test_arguments_that_are_too_large(self) -> None:
        self.assert_not_sent(self.client.command("counter", "add", "x" * 1_572_900), "too_large")

    def test_names_that_cannot_be(self) -> None:
        for name in ("", "x" * 129, "\ud800", "a\nb"):
            self.assert_not_sent(self.client.command(name, "add"), "unknown_machine")
            self.assert_not_sent(self.client.query("counter", name), "unknown_command")

    def test_a_consistency_that_is_not(self) -> None:
        self.assert_not_sent(self.client.query("counter", "get", consistency="lease"), "invalid_arguments")


class PipeliningTests(ClientTestCase):
    def test_all_calls_of_a_turn_leave_in_one_frame(self) -> None:
        self.open_session()
        self.servers[0].frames.clear()
        calls = [self.add(1) for _ in range(100)] + [self.client.query("counter", "get")]
        self.reactor.settle()
        (frame,) = self.servers[0].frames
        self.assertEqual(len(frame.requests), 101)
        self.assertEqual([self.successResultOf(call) for call in calls[:100]], list(range(1, 101)))
        self.successResultOf(calls[100])

    def test_calls_made_when_answers_arrive_leave_in_one_frame(self) -> None:
        self.open_session()
        self.servers[0].frames.clear()
        for _ in range(10):
            self.add(1).addCallback(lambda _: self.client.command("counter", "add", 1))
        self.reactor.settle()
        self.assertEqual([len(frame.requests) for frame in self.servers[0].frames], [10, 10])

    def test_commands_without_a_session_stand_in_a_frame_without_one(self) -> None:
        session = self.open_session()
        self.servers[0].frames.clear()
        with_session, without = self.add(1), self.add(2, exactly_once=False)
        self.reactor.settle()
        self.assertEqual([frame.session for frame in self.servers[0].frames], [0, session])
        self.assertEqual([self.servers[0].frames[0].requests[0].serial], [0])  # type: ignore[union-attr]
        self.successResultOf(with_session)
        self.successResultOf(without)

    def test_a_frame_is_bounded_by_bytes_and_the_rest_follows(self) -> None:
        self.open_session()
        self.servers[0].frames.clear()
        calls = [self.client.query("counter", "get", b"x" * 300_000) for _ in range(7)]
        self.reactor.settle()
        self.assertEqual([len(frame.requests) for frame in self.servers[0].frames], [3, 3, 1])
        for call in calls:
            self.successResultOf(call)

    def test_a_frame_is_bounded_by_requests_and_the_rest_follows(self) -> None:
        self.open_session()
        self.servers[0].frames.clear()
        for _ in range(1_500):
            self.add(1)
        self.reactor.settle()
        self.assertEqual([len(frame.requests) for frame in self.servers[0].frames], [1_024, 476])
        self.assertEqual(self.cluster.total, 1_500)

    def test_no_more_is_in_flight_than_the_server_takes(self) -> None:
        self.servers[0].requests_max = 10
        self.open_session()
        self.servers[0].behave = silence
        calls = [self.add(1) for _ in range(25)]
        self.reactor.settle()
        sent = self.servers[0].requests(InvokeRequest)[1:]
        self.assertEqual(len(sent), 10)
        self.servers[0].connections[0].reply(sent[0], answer_of_value(1, 1, 1))
        self.assertEqual(self.successResultOf(calls[0]), 1)
        self.assertEqual(len(self.servers[0].requests(InvokeRequest)), 1 + 11)

    def test_a_command_alone_may_be_longer_than_frames_usually_are(self) -> None:
        query = self.client.query("counter", "get", b"x" * 1_500_000)
        self.assertEqual(self.result(query), 0)

    def test_what_fits_no_frame_of_the_server_fails_alone(self) -> None:
        self.servers[0].frame_bytes_max = 100_000
        large, small = self.client.query("counter", "get", b"x" * 100_000), self.client.query("counter", "get")
        self.assertEqual(self.problem(large, NotApplied).code, "too_large")
        self.assertEqual(self.result(small), 0)

    def test_the_session_never_spans_more_serial_numbers_than_the_server_remembers(self) -> None:
        limits = mock.Mock(session_results_max=4, command_bytes_max=1_000)
        self.client = self.make_client(limits=limits)
        self.open_session()
        self.servers[0].behave = silence
        calls = [self.add(1) for _ in range(6)]
        self.reactor.settle()
        sent = self.servers[0].requests(InvokeRequest)[1:]
        self.assertEqual([request.serial for request in sent], [2, 3, 4, 5])
        connection = self.servers[0].connections[-1]
        connection.reply(sent[1], answer_of_value(1, 1, 1))
        self.assertEqual(len(self.servers[0].requests(InvokeRequest)[1:]), 4)
        connection.reply(sent[0], answer_of_value(1, 1, 1))
        self.assertEqual([request.serial for request in self.servers[0].requests(InvokeRequest)[1:]], [2, 3, 4, 5, 6, 7])
        self.assertEqual(self.servers[0].frames[-1].first_outstanding, 4)
        self.successResultOf(calls[1])


class BackPressureTests(ClientTestCase):
    def test_calls_beyond_the_bound_are_not_taken(self) -> None:
        for server in self.servers:
            server.behave = silence
        calls = [self.client.query("counter", "get") for _ in range(under_way.CALLS_MAX)]
        self.assertEqual(self.problem(self.client.query("counter", "get"), NotApplied).code, "overloaded")
        self.pass_time(self.timeout_s + 0.5)
        for call in calls:
            self.failureResultOf(call, NotApplied)

    def test_commands_that_fill_the_bound_do_not_keep_their_own_session_from_being_opened(self) -> None:
        calls = [self.client.command("counter", "add", 1) for _ in range(under_way.CALLS_MAX)]
        self.reactor.settle()
        self.assertEqual(self.cluster.total, under_way.CALLS_MAX)
        self.assertEqual(self.successResultOf(calls[-1]), under_way.CALLS_MAX)

    def test_bytes_beyond_the_bound_are_not_taken(self) -> None:
        self.servers[0].behave = silence
        calls = [self.client.query("counter", "get", b"x" * 1_500_000) for _ in range(50)]
        self.reactor.settle()
        failed = [call for call in calls if call.called]
        self.assertEqual(len(failed), 50 - under_way.CALL_BYTES_MAX // 1_500_000)
        for call in failed:
            self.assertEqual(self.problem(call, NotApplied).code, "overloaded")
        self.pass_time(self.timeout_s + 0.5)
        for call in calls:
            self.assertTrue(call.called)
            call.addErrback(lambda _: None)

    def test_an_overloaded_server_is_left_alone_for_a_while_and_then_asked_again(self) -> None:
        self.open_session()
        self.servers[0].behave = problem(NotApplied("overloaded"))
        calls = [self.add(1) for _ in range(20)]
        self.reactor.settle()
        asked = len(self.servers[0].requests(InvokeRequest))
        self.add(1)
        self.reactor.settle()
        self.assertEqual(len(self.servers[0].requests(InvokeRequest)), asked)
        self.servers[0].behave = self.servers[0].lead
        self.pass_time(0.05)
        self.assertEqual(self.cluster.total, 21)
        self.assertEqual(self.servers[0].accepted, 1)
        self.assertEqual([self.successResultOf(call) for call in calls], list(range(1, 21)))

    def test_calls_given_up_while_nothing_can_be_sent_are_forgotten(self) -> None:
        self.reactor.servers.clear()
        for _ in range(3):
            for _ in range(1_000):
                self.add(1)
            self.pass_time(self.timeout_s + 0.5)
        outgoing = self.client._courier._outgoing
        self.assertFalse(outgoing)


class CancellationTests(ClientTestCase):
    def test_a_call_not_sent_yet_is_never_sent(self) -> None:
        self.open_session()
        call = self.client.command("counter", "add", 1)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.reactor.settle()
        self.assertEqual(self.cluster.total, 0)

    def test_the_answer_of_a_cancelled_call_is_dropped(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.client.command("counter", "add", 1)
        self.reactor.settle()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.servers[0].connections[0].reply(self.servers[0].requests(InvokeRequest)[-1], answer_of_value(1, 1, 1))
        self.servers[0].behave = self.servers[0].lead
        self.assertEqual(self.result(self.add(1)), 1)
        self.assertEqual(self.servers[0].frames[-1].first_outstanding, 3)

    def test_the_rest_of_the_turn_goes_on(self) -> None:
        self.open_session()
        calls = [self.add(1) for _ in range(3)]
        calls[1].cancel()
        self.reactor.settle()
        self.assertEqual(self.cluster.total, 2)


class DuplicateAnswerTests(ClientTestCase):
    def test_an_answer_given_twice_counts_once(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        first, second = self.add(1), self.add(1)
        self.reactor.settle()
        requests = self.servers[0].requests(InvokeRequest)[1:]
        connection = self.servers[0].connections[0]
        connection.reply(requests[0], answer_of_value(7, 1, 1))
        connection.reply(requests[0], answer_of_value(8, 1, 1))
        self.assertEqual(self.successResultOf(first), 7)
        self.assertNoResult(second)

    def test_an_answer_to_nothing_is_overlooked(self) -> None:
        self.open_session()
        stranger = InvokeRequest(999, 1, "counter", "add", encode_value([]))  # type: ignore[arg-type]
        self.servers[0].connections[0].reply(stranger, answer_of_value(1, 1, 1))
        self.assertEqual(self.result(self.add(1)), 1)
        self.assertEqual(self.servers[0].accepted, 1)


class CloseTests(ClientTestCase):
    def test_closing_ends_session_connection_and_timers(self) -> None:
        self.open_session()
        closed = self.client.close()
        self.reactor.settle()
        self.successResultOf(closed)
        self.assertEqual(self.cluster.sessions, {})
        self.assertEqual(self.servers[0].connections, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_client_that_was_never_used_closes_at_once(self) -> None:
        self.successResultOf(self.client.close())
        self.successResultOf(self.client.close())

    def test_what_was_not_sent_was_not_applied_and_the_rest_is_unknown(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        sent = self.add(1)
        asked = self.client.query("counter", "get")
        self.reactor.settle()
        unsent = self.add(1)
        self.client.close()
        self.assertEqual(self.problem(sent, Unknown).code, "client_closed")
        self.assertEqual(self.problem(asked, NotApplied).code, "client_closed")
        self.assertEqual(self.problem(unsent, NotApplied).code, "client_closed")

    def test_a_silent_server_holds_it_up_for_a_second_at_most(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        closed, again = self.client.close(), self.client.close()
        self.pass_time(0.9)
        self.assertNoResult(closed)
        self.pass_time(0.2)
        self.successResultOf(closed)
        self.successResultOf(again)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_connection_that_will_not_end_is_cut(self) -> None:
        self.open_session()
        self.servers[0].connections[0].refuses_to_close = True
        closed = self.client.close()
        self.pass_time(0.9)
        self.assertNoResult(closed)
        self.pass_time(0.2)
        self.successResultOf(closed)

    def test_closing_while_connecting(self) -> None:
        self.reactor.black_holes.update(ADDRESSES)
        call = self.add(1)
        self.reactor.settle()
        closed = self.client.close()
        self.problem(call, NotApplied)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing_before_the_greeting(self) -> None:
        self.servers[0].greets = False
        self.add(1)
        self.reactor.settle()
        closed = self.client.close()
        self.successResultOf(closed)
        self.reactor.settle()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing_while_pausing(self) -> None:
        self.reactor.servers.clear()
        self.add(1)
        self.reactor.settle()
        self.successResultOf(self.client.close())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_afterwards_nothing_is_taken(self) -> None:
        self.client.close()
        for call in (self.add(1), self.client.query("counter", "get"), self.client.status(), self.client.machine("counter").add(1)):
            self.assertEqual(self.problem(call, NotApplied).code, "client_closed")
        self.assertEqual(self.reactor.dialled, [])

    def test_the_session_is_closed_once_although_calls_wait(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        self.add(1)
        self.reactor.settle()
        self.servers[0].behave = self.servers[0].lead
        self.result(self.client.close())
        self.assertEqual(self.cluster.sessions, {})
        self.assertEqual(len(self.servers[0].requests(OpenSessionRequest)), 1)
