"""Exactly once, and the truth about what was not answered."""

from __future__ import annotations

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import not_leader, problem, silence
from txraft.errors import NotApplied, Refused, Unknown
from txraft.wire.requests import InvokeRequest, KeepSessionRequest, OpenSessionRequest


class ExactlyOnceTests(ClientTestCase):
    def test_there_is_one_session_with_serial_numbers_from_one(self) -> None:
        for _ in range(3):
            self.add(1)
        self.reactor.settle()
        self.add(1)
        self.reactor.settle()
        (session,) = self.cluster.sessions
        self.assertEqual(self.cluster.applied, [(session, 1), (session, 2), (session, 3), (session, 4)])

    def test_the_first_outstanding_number_moves_with_the_answers(self) -> None:
        self.open_session()
        self.add(1)
        self.add(1)
        self.reactor.settle()
        self.add(1)
        self.reactor.settle()
        self.assertEqual([frame.first_outstanding for frame in self.servers[0].frames[-2:]], [2, 4])

    def test_a_lost_answer_is_fetched_with_the_same_serial_number(self) -> None:
        self.open_session()
        self.servers[0].behave = self.servers[0].lose_answers
        calls = [self.add(1), self.add(10)]
        self.reactor.settle()
        self.assertEqual(self.cluster.total, 11)
        self.servers[0].hang_up()
        self.pass_time(0.05)
        self.assertEqual([self.successResultOf(call) for call in calls], [1, 11])
        self.assertEqual(self.cluster.total, 11)
        first = [(request.serial, bytes(request.arguments)) for request in self.servers[0].requests(InvokeRequest)[1:]]
        again = [(request.serial, bytes(request.arguments)) for request in self.servers[1].requests(InvokeRequest)]
        self.assertEqual(first, again)

    def test_new_commands_queue_behind_those_sent_again(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        self.reactor.settle()
        self.add(1)
        self.pass_time(0.05)
        self.assertEqual([serial for _, serial in self.cluster.applied], [1, 2, 3])

    def test_a_leader_that_lost_its_lead_is_asked_again_elsewhere(self) -> None:
        self.open_session()

        def step_down(frame: object, request: object) -> bytes:
            self.servers[0].lead(frame, request)  # type: ignore[arg-type]
            return problem(Unknown("leadership_lost"))(frame, request) or b""  # type: ignore[arg-type]

        self.servers[0].behave = step_down
        call = self.add(7)
        self.pass_time(0.05)
        self.assertEqual(self.successResultOf(call), 7)
        self.assertEqual(self.cluster.total, 7)
        self.assertEqual(self.servers[1].requests(InvokeRequest)[0].serial, 2)

    def test_a_command_refused_at_the_second_try_was_refused(self) -> None:
        self.open_session()
        self.servers[0].behave = self.servers[0].lose_answers
        call = self.client.command("counter", "add", "refuse")
        self.reactor.settle()
        self.servers[0].hang_up()
        self.pass_time(0.05)
        self.failureResultOf(call, Refused)

    def test_many_commands_through_many_losses_are_applied_once_each(self) -> None:
        calls = []
        for turn in range(60):
            server = self.servers[turn % 3]
            server.behave = (server.lose_answers, server.lead, silence, not_leader(ADDRESSES[turn % 2]), server.lead)[turn % 5]
            calls += [self.add(1) for _ in range(3)]
            self.reactor.settle()
            if turn % 2:
                for each in self.servers:
                    each.hang_up()
            self.pass_time(0.05)
        for server in self.servers:
            server.behave = server.lead
        self.pass_time(5.0)
        for call in calls:
            self.assertIsInstance(self.successResultOf(call), int)
        self.assertEqual(self.cluster.total, len(calls))

    def test_a_session_is_opened_again_when_the_opening_was_lost(self) -> None:
        self.servers[0].behave = silence
        call = self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        self.pass_time(0.05)
        self.assertEqual(self.successResultOf(call), 1)

    def test_no_more_sessions_means_not_applied(self) -> None:
        self.servers[0].behave = problem(Refused("too_many_sessions", "100000 are open"))
        problems = [self.problem(call, NotApplied) for call in (self.add(1), self.add(1))]
        self.assertEqual([each.code for each in problems], ["too_many_sessions"] * 2)
        self.servers[0].behave = self.servers[0].lead
        self.assertEqual(self.result(self.add(1)), 1)

    def test_a_session_id_that_is_none_means_not_applied(self) -> None:
        self.servers[0].behave = lambda frame, request: b"\x94\x00\x01\x01\x00"
        self.assertEqual(self.problem(self.add(1), NotApplied).code, "unexpected_answer")


class WithoutSessionTests(ClientTestCase):
    def test_no_session_is_opened(self) -> None:
        self.assertEqual(self.result(self.add(1, exactly_once=False)), 1)
        self.assertEqual(self.servers[0].requests(OpenSessionRequest), [])

    def test_a_lost_answer_is_unknown_and_never_tried_again(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        call = self.add(1, exactly_once=False)
        self.reactor.settle()
        self.servers[0].hang_up()
        self.assertEqual(self.problem(call, Unknown).code, "connection_lost")
        self.pass_time(1.0)
        self.assertEqual(self.cluster.total, 1)

    def test_an_unknown_answer_is_told(self) -> None:
        self.servers[0].behave = problem(Unknown("leadership_lost"))
        self.assertEqual(self.problem(self.add(1, exactly_once=False), Unknown).code, "leadership_lost")

    def test_what_was_certainly_not_applied_is_tried_again(self) -> None:
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.assertEqual(self.result(self.add(1, exactly_once=False)), 1)


class ExpiredSessionTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.open_session()

    def test_a_first_try_was_not_applied_and_goes_into_a_new_session(self) -> None:
        self.cluster.expire_sessions()
        calls = [self.add(1), self.add(1)]
        self.reactor.settle()
        self.assertEqual([self.successResultOf(call) for call in calls], [1, 2])
        (session,) = self.cluster.sessions
        self.assertNotEqual(session, self.session)
        self.assertEqual(self.cluster.applied[1:], [(session, 1), (session, 2)])
        self.assertEqual(len(self.servers[0].requests(OpenSessionRequest)), 2)

    def test_a_command_that_may_have_been_applied_before_is_unknown(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        call = self.add(1)
        self.reactor.settle()
        self.cluster.expire_sessions()
        self.servers[0].hang_up()
        self.pass_time(0.05)
        self.assertEqual(self.problem(call, Unknown).code, "session_expired")
        self.assertEqual(self.cluster.total, 1)

    def test_each_command_under_way_is_told_by_its_own_past(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        doubtful = self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        self.cluster.expire_sessions()
        fresh = self.add(10)
        self.pass_time(0.05)
        self.assertEqual(self.problem(doubtful, Unknown).code, "session_expired")
        self.assertEqual(self.successResultOf(fresh), 11)
        self.assertEqual(self.cluster.total, 11)

    def test_a_try_that_was_turned_away_counts_as_none(self) -> None:
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.cluster.expire_sessions()
        self.assertEqual(self.result(self.add(1)), 1)

    def test_a_doubtful_command_that_waits_when_the_session_goes_is_unknown_at_once(self) -> None:
        self.servers[0].behave = silence
        doubtful = self.add(1)
        self.reactor.settle()
        (old,) = self.servers[0].connections
        unknown = problem(Unknown("leadership_lost"))(self.servers[0].frames[-1], self.servers[0].frames[-1].requests[0])
        expired = problem(Unknown("session_expired"))(self.servers[0].frames[-1], self.servers[0].frames[-1].requests[0])
        other = self.add(2)
        self.reactor.settle()
        first, second = self.servers[0].requests(InvokeRequest)[-2:]
        assert unknown is not None and expired is not None
        old.reply(first, unknown)
        self.assertNoResult(doubtful)
        old.reply(second, expired)
        self.assertEqual(self.problem(doubtful, Unknown).code, "session_expired")
        self.pass_time(0.05)
        self.assertEqual(self.successResultOf(other), 2)

    def test_a_command_lost_sight_of_in_an_older_session_is_unknown(self) -> None:
        self.servers[0].behave = silence
        doubtful = self.add(1)
        self.reactor.settle()
        (old,) = self.servers[0].connections
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.cluster.expire_sessions()
        self.assertEqual(self.result(self.add(2)), 2)
        old.hang_up()
        self.assertEqual(self.problem(doubtful, Unknown).code, "session_expired")
        self.assertEqual(self.cluster.total, 2)


class KeepingTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.make_client(session_timeout_s=30.0)
        self.open_session()

    def kept(self) -> int:
        return len(self.servers[0].requests(KeepSessionRequest))

    def test_the_servers_are_told_the_timeout(self) -> None:
        self.assertEqual(self.servers[0].requests(OpenSessionRequest)[0].timeout_ms, 30_000)

    def test_an_idle_session_is_kept_every_third_of_its_timeout(self) -> None:
        self.pass_time(9.9)
        self.assertEqual(self.kept(), 0)
        self.pass_time(0.2)
        self.assertEqual(self.kept(), 1)
        self.pass_time(20)
        self.assertEqual(self.kept(), 3)
        self.assertTrue(all(frame.session in self.cluster.sessions for frame in self.servers[0].frames[1:]))

    def test_a_session_in_use_needs_no_keeping(self) -> None:
        for _ in range(10):
            self.pass_time(5)
            self.result(self.add(1))
        self.assertEqual(self.kept(), 0)

    def test_it_is_kept_over_a_new_connection_if_need_be(self) -> None:
        self.servers[0].hang_up()
        self.pass_time(10.1)
        self.assertEqual(len(self.servers[1].requests(KeepSessionRequest)), 1)

    def test_an_expired_one_is_let_go_and_opened_anew_when_needed(self) -> None:
        self.cluster.expire_sessions()
        self.pass_time(10.1)
        self.assertEqual(self.kept(), 1)
        self.pass_time(60)
        self.assertEqual(self.kept(), 1)
        self.assertEqual(self.cluster.sessions, {})
        self.assertEqual(self.result(self.add(1)), 1)

    def test_commands_doubtful_when_keeping_finds_it_expired_are_not_sent_in_another(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        self.pass_time(9.5)
        doubtful = self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        self.cluster.expire_sessions()
        for server in self.servers:
            lead = server.lead
            server.behave = lambda frame, request, lead=lead: (  # type: ignore[misc]
                problem(NotApplied("overloaded"))(frame, request) if isinstance(request, InvokeRequest) else lead(frame, request)
            )
        self.pass_time(9.0)
        for server in self.servers:
            server.behave = server.lead
        self.pass_time(2.0)
        self.assertEqual(self.problem(doubtful, Unknown).code, "session_expired")
        self.assertEqual(self.cluster.total, 1)


class DeadlineTests(ClientTestCase):
    timeout_s = 2.0

    def overdue(self) -> None:
        self.pass_time(self.timeout_s + 0.3)

    def test_what_never_reached_a_server_was_not_applied(self) -> None:
        self.reactor.servers.clear()
        calls = [self.add(1), self.client.query("counter", "get")]
        self.overdue()
        for call in calls:
            told = self.problem(call, NotApplied)
            self.assertEqual(told.code, "unreachable")
            self.assertTrue(told.retryable)

    def test_what_every_server_turned_away_was_not_applied(self) -> None:
        self.open_session()
        for server in self.servers:
            server.behave = problem(NotApplied("no_leader", "nobody leads"))
        call = self.add(1)
        self.overdue()
        told = self.problem(call, NotApplied)
        self.assertEqual(told.code, "no_leader")
        self.assertIn("nobody leads", str(told))

    def test_a_command_sent_and_not_answered_is_unknown(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.add(1)
        self.overdue()
        self.assertEqual(self.problem(call, Unknown).code, "timeout")

    def test_a_command_turned_away_after_a_doubtful_try_is_unknown(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        for server in self.servers:
            server.behave = problem(NotApplied("no_leader"))
        self.overdue()
        self.assertEqual(self.problem(call, Unknown).code, "timeout")

    def test_a_command_found_wrong_after_a_doubtful_try_is_unknown(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.add(1)
        self.reactor.settle()
        self.servers[0].hang_up()
        for server in self.servers:
            server.behave = problem(NotApplied("unknown_command"))
        self.pass_time(0.1)
        self.assertEqual(self.problem(call, Unknown).code, "unknown_command")

    def test_a_command_that_waited_for_a_session_was_not_applied(self) -> None:
        for server in self.servers:
            server.behave = silence
        call = self.add(1)
        self.overdue()
        self.problem(call, NotApplied)

    def test_a_query_sent_and_not_answered_was_not_applied(self) -> None:
        self.servers[0].behave = silence
        call = self.client.query("counter", "get")
        self.overdue()
        self.assertEqual(self.problem(call, NotApplied).code, "timeout")

    def test_a_command_without_session_sent_and_not_answered_is_unknown(self) -> None:
        self.servers[0].behave = silence
        call = self.add(1, exactly_once=False)
        self.overdue()
        self.assertEqual(self.problem(call, Unknown).code, "timeout")

    def test_a_late_answer_is_overlooked(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.add(1)
        self.overdue()
        self.failureResultOf(call, Unknown)
        (connection,) = self.servers[0].connections
        connection.reply(self.servers[0].requests(InvokeRequest)[-1], b"\x94\x00\x01\x01\x2a")
        self.servers[0].behave = self.servers[0].lead
        self.assertEqual(self.result(self.add(1)), 1)

    def test_no_timer_runs_while_nothing_is_under_way(self) -> None:
        self.result(self.client.query("counter", "get"))
        self.pass_time(1.0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
