"""Commands that wait on the server on purpose, and queries of any server."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import not_leader, problem, silence
from txraft.client import under_way
from txraft.client.client import Client
from txraft.client.courier import QUIET_S, SILENCE_S
from txraft.errors import NotApplied, Unknown
from txraft.limits import WAIT_MS_MAX
from txraft.statemachine.results import answer_of_value
from txraft.statemachine.values import decode_value
from txraft.wire.requests import Ask, CloseSessionRequest, DescribeRequest, InvokeRequest, OpenSessionRequest


class WaitingTestCase(ClientTestCase):
    """The servers apply a command that waits at once, unless they are silent."""

    def take(self, wait_s: float = 30.0, amount: int = 1, **options: Any) -> Any:
        return self.add(amount, wait_s=wait_s, **options)

    def wait_of(self, request: InvokeRequest) -> float:
        wait_s: float = decode_value(bytes(request.arguments))[1]["wait_s"]
        return wait_s

    def waiting(self) -> list[InvokeRequest]:
        """Requests that were received and may wait."""
        frames = [frame for server in self.servers for frame in server.frames]
        return [one for frame in frames for one in frame.requests if isinstance(one, InvokeRequest) and b"wait_s" in bytes(one.arguments)]

    def fall_silent(self) -> None:
        """The servers keep commands waiting, and do all else."""
        for server in self.servers:
            server.behave = lambda frame, request, lead=server.lead: None if isinstance(request, InvokeRequest) else lead(frame, request)  # type: ignore[misc]


class DeadlineTests(WaitingTestCase):
    timeout_s = 4.0

    def test_its_time_is_longer_by_its_wait(self) -> None:
        self.fall_silent()
        call, plain = self.take(20), self.add(1)
        self.pass_time(4.5)
        self.failureResultOf(plain, Unknown)
        self.pass_time(19)
        self.assertNoResult(call)
        self.pass_time(1)
        self.assertIn("within 24 s", self.problem(call, Unknown).message)

    def test_the_times_of_others_do_not_suffer(self) -> None:
        self.fall_silent()
        calls = []
        for wait_s in (20, 1, 0, 5):
            calls.append(self.take(wait_s))
            self.pass_time(0.1)
        self.pass_time(4.0)
        self.assertEqual([call.called for call in calls], [False, False, True, False])
        self.pass_time(1.5)
        self.assertEqual([call.called for call in calls], [False, True, True, False])
        self.pass_time(5.0)
        self.assertEqual([call.called for call in calls], [False, True, True, True])

    def test_it_is_at_most_what_servers_allow(self) -> None:
        self.fall_silent()
        calls = [self.take(1e400), self.take(10**400)]
        self.pass_time(WAIT_MS_MAX / 1000 + self.timeout_s + 0.5)
        for call in calls:
            self.failureResultOf(call, Unknown)

    def test_what_is_no_number_of_seconds_is_for_the_servers_to_tell(self) -> None:
        self.fall_silent()
        calls = [self.take(wait_s) for wait_s in ("1", None, -5, float("nan"))]  # type: ignore[arg-type]
        self.pass_time(self.timeout_s + 0.5)
        for call in calls:
            self.failureResultOf(call, Unknown)

    def test_without_session_too(self) -> None:
        self.fall_silent()
        call = self.take(20, exactly_once=False)
        self.pass_time(23)
        self.assertNoResult(call)
        self.pass_time(2)
        self.failureResultOf(call, Unknown)
        self.assertEqual(self.cluster.sessions, {})

    def test_by_position_it_is_seen_where_the_machine_is_known(self) -> None:
        parameters = [{"name": "amount"}, {"name": "wait_s"}, {"name": "more"}]
        description = {"counter": {"commands": {"add": {"parameters": parameters}}, "queries": {}}}
        for server in self.servers:
            server.behave = lambda frame, request, lead=server.lead: (  # type: ignore[misc]
                answer_of_value(description, 0, 1) if isinstance(request, DescribeRequest) else lead(frame, request)
            )
        counter = self.client.machine("counter")
        self.assertEqual(self.result(counter.add(1, 20)), 1)
        self.assertEqual(self.result(counter.add(1, 20, "m")), 2)
        sent = [decode_value(bytes(request.arguments)) for request in self.servers[0].requests(InvokeRequest)]
        self.assertEqual(sent, [[[1], {"wait_s": 20}], [[1], {"wait_s": 20, "more": "m"}]])


class OwnSessionTests(WaitingTestCase):
    """It does not hold up the serial numbers of other commands, nor the other way round."""

    def test_one_session_serves_one_after_the_other(self) -> None:
        for total in (1, 2, 3):
            self.assertEqual(self.result(self.take()), total)
        (session,) = self.cluster.sessions
        self.assertEqual(self.cluster.applied, [(session, 1), (session, 2), (session, 3)])

    def test_side_by_side_each_has_its_own_and_other_commands_another(self) -> None:
        calls = [self.take(), self.take(), self.add(1), self.add(1)]
        self.reactor.settle()
        self.assertEqual(sorted(self.successResultOf(call) for call in calls), [1, 2, 3, 4])
        self.assertEqual(sorted(serial for _, serial in self.cluster.applied), [1, 1, 1, 2])
        self.assertEqual(len(self.cluster.sessions), 3)

    def test_the_window_of_other_commands_moves_on(self) -> None:
        self.open_session()
        self.fall_silent()
        self.take()
        self.reactor.settle()
        self.servers[0].behave = self.servers[0].lead
        for _ in range(3):
            self.result(self.add(1))
        self.assertEqual(self.servers[0].frames[-1].first_outstanding, 4)

    def test_a_lost_answer_is_fetched_with_the_same_number_and_less_of_a_wait(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        call = self.take(30)
        self.pass_time(10.5)  # The server is asked for a sign of life, and gives none.
        self.servers[0].hang_up()
        self.pass_time(0.1)
        self.assertEqual(self.successResultOf(call), 1)
        self.assertEqual(self.cluster.total, 1)
        first, again = self.waiting()
        self.assertEqual((first.serial, again.serial, self.wait_of(first)), (1, 1, 30.0))
        self.assertTrue(19 < self.wait_of(again) < 19.6, self.wait_of(again))

    def test_a_cancelled_one_can_take_nothing_any_more(self) -> None:
        self.fall_silent()
        call = self.take()
        self.reactor.settle()
        (session,) = self.cluster.sessions
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.reactor.settle()
        self.assertEqual(self.cluster.sessions, {})
        self.assertEqual(
            [frame.session for frame in self.servers[0].frames if isinstance(frame.requests[0], CloseSessionRequest)], [session]
        )

    def test_one_cancelled_before_it_had_a_session_leaves_that_to_the_next(self) -> None:
        call = self.take()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.reactor.settle()
        self.assertEqual(self.result(self.take()), 1)
        self.assertEqual(len(self.servers[0].requests(OpenSessionRequest)), 1)

    def test_one_that_is_overdue_gives_its_session_up(self) -> None:
        self.fall_silent()
        call = self.take(1)
        self.pass_time(self.timeout_s + 1.5)
        self.failureResultOf(call, Unknown)
        self.assertEqual(self.cluster.sessions, {})

    def test_an_expired_session_at_the_first_try_means_another(self) -> None:
        self.result(self.take())
        self.cluster.expire_sessions()
        self.assertEqual(self.result(self.take()), 2)

    def test_an_expired_session_after_a_doubtful_try_is_unknown(self) -> None:
        self.servers[0].behave = self.servers[0].lose_answers
        call = self.take()
        self.reactor.settle()
        self.cluster.expire_sessions()
        self.servers[0].hang_up()
        self.pass_time(0.1)
        self.assertEqual(self.problem(call, Unknown).code, "session_expired")
        self.assertEqual(self.result(self.take()), 2)

    def test_a_session_long_unused_is_not_trusted(self) -> None:
        client = self.make_client(session_timeout_s=30.0)
        self.result(client.command("counter", "add", 1, wait_s=5))
        self.reactor.advance(200)
        self.result(client.command("counter", "add", 1, wait_s=5))
        self.assertEqual([request.timeout_ms for request in self.servers[0].requests(OpenSessionRequest)], [300_000] * 2)

    def test_no_session_to_be_had_means_not_applied(self) -> None:
        self.servers[0].behave = problem(NotApplied("too_many_sessions"))
        self.assertEqual(self.problem(self.take(), NotApplied).code, "too_many_sessions")
        self.servers[0].behave = lambda frame, request: answer_of_value(0, 1, 1)
        self.assertEqual(self.problem(self.take(), NotApplied).code, "unexpected_answer")
        self.servers[0].behave = self.servers[0].lead
        self.assertEqual(self.result(self.take()), 1)

    def test_a_session_that_takes_long_to_open_is_waited_for(self) -> None:
        for server in self.servers:
            server.behave = problem(NotApplied("no_leader"))
        call = self.take(20)
        self.pass_time(self.timeout_s + 5)
        self.assertNoResult(call)
        self.servers[0].behave = self.servers[0].lead
        self.pass_time(5)
        self.assertEqual(self.successResultOf(call), 1)

    def test_closing_the_client_closes_them_all(self) -> None:
        self.result(self.take())
        self.open_session()
        self.fall_silent()
        calls = [self.take(), self.take()]
        self.reactor.settle()
        self.assertEqual(len(self.cluster.sessions), 3)
        self.client.close()
        self.reactor.settle()
        self.assertEqual(self.cluster.sessions, {})
        for call in calls:
            self.assertEqual(self.problem(call, Unknown).code, "client_closed")


class PatienceTests(WaitingTestCase):
    def test_a_long_wait_is_no_silence_but_a_dead_server_is(self) -> None:
        self.fall_silent()
        call = self.take(60)
        self.pass_time(QUIET_S + SILENCE_S + 2)
        self.assertEqual(self.servers[0].accepted, 1)
        self.servers[0].behave = silence
        self.servers[1].behave = self.servers[1].lead
        self.pass_time(QUIET_S + SILENCE_S + 2)
        self.assertEqual(self.successResultOf(call), 1)

    def test_a_former_leader_is_not_waited_for(self) -> None:
        self.fall_silent()
        call = self.take(60)
        self.reactor.settle()
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.servers[1].behave = self.servers[1].lead
        self.assertEqual(self.result(self.add(1)), 1)
        self.pass_time(SILENCE_S + 0.5)
        self.assertEqual(self.successResultOf(call), 2)

    def test_there_is_a_bound_of_its_own(self) -> None:
        self.patch(under_way, "WAITING_COMMANDS_MAX", 3)
        self.fall_silent()
        calls = [self.take() for _ in range(3)]
        self.assertEqual(self.problem(self.take(), NotApplied).code, "too_many_waits")
        calls[0].cancel()
        self.failureResultOf(calls[0], CancelledError)
        self.assertNoResult(self.take())

    def test_bytes_beyond_the_bound_are_not_taken(self) -> None:
        self.patch(under_way, "CALL_BYTES_MAX", 1_000)
        self.assertEqual(self.problem(self.client.command("counter", "add", b"x" * 1_000, wait_s=1), NotApplied).code, "overloaded")


class ConsistencyTests(ClientTestCase):
    def asked(self, **options: Any) -> tuple[str, int, int]:
        self.result(self.client.query("counter", "get", **options))
        ask = self.servers[0].requests(Ask)[-1]
        return ask.consistency, ask.at_least, ask.max_staleness_ms

    def test_what_is_asked_for(self) -> None:
        self.assertEqual(self.asked(), ("linearizable", 0, 0))
        self.assertEqual(self.asked(consistency="local"), ("local", 0, 0))
        self.assertEqual(self.asked(consistency="local", at_least=7, max_staleness_s=0.0001), ("local", 7, 1))

    def test_the_greatest_index_of_all_answers_is_seen_again(self) -> None:
        self.assertEqual(self.asked(consistency="at_least"), ("local", 0, 0))
        self.result(self.add(1))
        self.assertEqual(self.client.index, self.cluster.index)
        self.assertEqual(self.asked(consistency="at_least"), ("local", self.cluster.index, 0))
        self.assertEqual(self.asked(consistency="at_least", at_least=1), ("local", 1, 0))

    def test_a_server_that_is_too_stale_is_left_for_another(self) -> None:
        self.servers[0].behave = problem(NotApplied("stale"))
        call = self.client.query("counter", "get", consistency="local", max_staleness_s=1)
        self.pass_time(0.1)
        self.assertEqual(self.successResultOf(call), 0)
        self.assertEqual(self.reactor.dialled, [ADDRESSES[0], ADDRESSES[1]])

    def test_when_all_are_they_are_not_asked_without_pause(self) -> None:
        for client in (self.client, self.make_client(ADDRESSES[0])):
            self.assert_patient(client)

    def assert_patient(self, client: Client) -> None:
        for server in self.servers:
            server.behave = problem(NotApplied("stale"))
        call = client.query("counter", "get", consistency="at_least", at_least=99)
        asked = sum(len(server.frames) for server in self.servers)
        self.pass_time(self.timeout_s + 0.5)
        self.assertEqual(self.problem(call, NotApplied).code, "stale")
        self.assertLess(sum(len(server.frames) for server in self.servers) - asked, 30)

    def test_what_does_not_go_together(self) -> None:
        for options in ({"at_least": 5}, {"max_staleness_s": 1.0}, {"consistency": "local", "at_least": -1}, {"consistency": "lease"}):
            call = self.client.query("counter", "get", **options)
            self.assertEqual(self.problem(call, NotApplied).code, "invalid_arguments")
        self.assertEqual(self.reactor.dialled, [])
