from __future__ import annotations

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import FakeServer, not_leader, problem, silence
from txraft.client import leader_search
from txraft.errors import NotApplied, Unknown
from txraft.statemachine.results import answer_of_value
from txraft.wire.requests import Ask, InvokeRequest, Request


def is_local(request: Request) -> bool:
    return isinstance(request, Ask) and request.consistency == "local"


class HintTests(ClientTestCase):
    def test_a_hint_is_followed_at_once_and_remembered(self) -> None:
        self.servers[0].behave = not_leader(ADDRESSES[2])
        self.assertEqual(self.result(self.add(1)), 1)
        self.assertEqual(self.result(self.add(1)), 2)
        self.assertEqual(self.reactor.dialled, [ADDRESSES[0], ADDRESSES[2]])
        self.assertEqual(self.servers[0].connections, [])

    def test_a_hint_may_name_a_server_that_was_not_configured(self) -> None:
        self.reactor.serve(self.cluster, "10.9.9.9:9")
        self.servers[0].behave = not_leader("10.9.9.9:9")
        self.assertEqual(self.result(self.add(1)), 1)

    def test_what_a_former_leader_still_owes_is_waited_for(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        owed = self.add(1)
        self.reactor.settle()
        (old,) = self.servers[0].connections
        request = self.servers[0].requests(InvokeRequest)[-1]
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.assertEqual(self.result(self.add(5)), 5)
        self.assertNoResult(owed)
        old.reply(request, self.cluster.apply(self.servers[0].frames[1], request))
        self.assertEqual(self.result(owed), 6)
        self.assertEqual(self.servers[0].connections, [])

    def test_servers_that_point_at_each_other_are_not_followed_for_ever(self) -> None:
        self.servers[0].behave = not_leader(ADDRESSES[1])
        self.servers[1].behave = not_leader(ADDRESSES[0])
        call = self.client.query("counter", "get")
        self.reactor.settle()
        self.assertNoResult(call)
        self.assertEqual(len(self.reactor.dialled), 1 + leader_search.HOPS_MAX)
        self.pass_time(0.1)
        self.assertEqual(self.result(call), 0)
        self.assertIn(ADDRESSES[2], self.reactor.dialled)

    def test_a_server_that_points_at_itself_is_left_for_the_next(self) -> None:
        self.servers[0].behave = not_leader(ADDRESSES[0])
        call = self.client.query("counter", "get")
        self.pass_time(0.03)
        self.assertEqual(self.result(call), 0)
        self.assertEqual(self.reactor.dialled, [ADDRESSES[0], ADDRESSES[1]])

    def test_hints_that_are_no_address_are_overlooked(self) -> None:
        for hint in ("", "nonsense", "\x00:1", "x" * 10_000):
            client = self.make_client()
            self.servers[0].behave = not_leader(hint)
            call = client.query("counter", "get")
            self.pass_time(0.03)
            self.assertEqual(self.result(call), 0)

    def test_a_hint_of_an_unknown_kind_of_endpoint_is_a_server_not_reached(self) -> None:
        self.servers[0].behave = not_leader("carrier-pigeon:loft=3")
        call = self.client.query("counter", "get")
        self.pass_time(0.03)
        self.assertEqual(self.result(call), 0)

    def test_a_hint_to_a_dead_server_leads_back_to_the_endpoints(self) -> None:
        self.servers[0].behave = not_leader("10.9.9.9:9")
        call = self.client.query("counter", "get")
        self.pass_time(0.1)
        self.assertEqual(self.result(call), 0)
        self.assertEqual(self.reactor.dialled, [ADDRESSES[0], "10.9.9.9:9", ADDRESSES[1]])


class NoLeaderTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        for server in self.servers:
            server.behave = problem(NotApplied("no_leader", "an election is under way"))

    def test_all_are_asked_in_turn_until_one_leads(self) -> None:
        call = self.add(1)
        self.pass_time(0.5)
        self.assertNoResult(call)
        self.assertEqual(self.reactor.dialled[:4], [*ADDRESSES, ADDRESSES[0]])
        self.servers[2].behave = self.servers[2].lead
        self.pass_time(3.0)
        self.assertEqual(self.successResultOf(call), 1)

    def test_pauses_grow(self) -> None:
        self.add(1)
        self.pass_time(5.0)
        self.assertTrue(9 <= len(self.reactor.dialled) <= 16, len(self.reactor.dialled))

    def test_a_single_endpoint_keeps_its_connection(self) -> None:
        client = self.make_client(ADDRESSES[0])
        call = client.query("counter", "get")
        self.pass_time(0.5)
        self.servers[0].behave = self.servers[0].lead
        self.pass_time(1.0)
        self.assertEqual(self.successResultOf(call), 0)
        self.assertEqual(self.servers[0].accepted, 1)

    def answer_local_queries(self) -> None:
        def wrap(server: FakeServer) -> None:
            refuse = server.behave
            server.behave = lambda frame, request: (server.lead if is_local(request) else refuse)(frame, request)

        for server in self.servers:
            wrap(server)

    def test_local_queries_do_not_make_the_pauses_short(self) -> None:
        self.answer_local_queries()
        self.add(1)
        for _ in range(100):
            self.client.query("counter", "get", consistency="local").addErrback(lambda _: None)
            self.pass_time(0.05)
        self.assertLessEqual(len(self.reactor.dialled), 16)

    def test_local_queries_are_answered_all_the_same(self) -> None:
        self.answer_local_queries()
        call = self.add(1)
        self.pass_time(2.0)
        local = self.client.query("counter", "get", consistency="local")
        self.pass_time(1.1)
        self.assertEqual(self.successResultOf(local), 0)
        self.assertNoResult(call)

    def test_success_makes_the_pauses_short_again(self) -> None:
        call = self.client.query("counter", "get")
        self.pass_time(3.0)
        for server in self.servers:
            server.behave = server.lead
        self.pass_time(1.0)
        self.successResultOf(call)
        self.servers[0].hang_up()
        self.servers[1].hang_up()
        self.servers[2].hang_up()
        call = self.client.query("counter", "get")
        self.pass_time(0.03)
        self.assertEqual(self.successResultOf(call), 0)


class UnreachableTests(ClientTestCase):
    def test_a_dead_endpoint_is_passed_over(self) -> None:
        del self.reactor.servers[ADDRESSES[0]]
        call = self.add(1)
        self.pass_time(0.03)
        self.assertEqual(self.successResultOf(call), 1)

    def test_an_endpoint_that_never_answers_the_dialling_is_passed_over(self) -> None:
        self.reactor.black_holes.add(ADDRESSES[0])
        call = self.add(1)
        self.pass_time(leader_search.OPEN_S + 0.1)
        self.assertEqual(self.successResultOf(call), 1)

    def test_an_endpoint_that_never_greets_is_passed_over(self) -> None:
        self.servers[0].greets = False
        call = self.add(1)
        self.pass_time(leader_search.OPEN_S + 0.1)
        self.assertEqual(self.successResultOf(call), 1)
        self.assertEqual(self.servers[0].connections, [])

    def test_a_server_that_falls_silent_is_left_for_another(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.add(1)
        self.pass_time(3.5)
        self.assertEqual(self.successResultOf(call), 1)
        self.assertEqual(self.servers[0].connections, [])

    def test_a_quiet_connection_that_owes_nothing_is_kept(self) -> None:
        self.open_session()
        self.pass_time(60)
        self.result(self.add(1))
        self.assertEqual(self.servers[0].accepted, 1)

    def test_a_server_has_its_time_to_answer_however_long_it_was_quiet_before(self) -> None:
        self.open_session()
        self.pass_time(60)
        self.servers[0].behave = silence
        call = self.client.query("counter", "get")
        self.pass_time(2.5)
        self.servers[0].connections[0].reply(self.servers[0].requests(Ask)[0], answer_of_value(7, 1, 1))
        self.assertEqual(self.successResultOf(call), 7)
        self.assertEqual(self.servers[0].accepted, 1)

    def test_a_lost_connection_is_not_made_again_before_it_is_needed(self) -> None:
        self.open_session()
        self.servers[0].hang_up()
        self.pass_time(5.0)
        self.assertEqual(self.reactor.dialled, [ADDRESSES[0]])
        self.result(self.add(1))


class MalformedTests(ClientTestCase):
    """A server that does not speak the protocol loses the connection; the calls on it are tried elsewhere."""

    def assert_given_up(self, content: bytes) -> None:
        self.servers[0].behave = silence
        client = self.make_client()
        call = client.query("counter", "get")
        self.reactor.settle()
        self.servers[0].send(content)
        self.pass_time(0.03)
        self.assertEqual(self.successResultOf(call), 0)
        self.assertEqual(self.servers[0].connections, [])

    def test_lengths_that_are_not_allowed(self) -> None:
        self.assert_given_up(b"\0\0\0\0")
        self.assert_given_up(b"\xff\xff\xff\xff")
        self.assert_given_up((4_194_305).to_bytes(4, "big"))

    def test_bytes_that_are_no_replies(self) -> None:
        for content in (b"HTTP/1.1 400 Bad Request\r\n", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x01", b"\0\0\0\3\xa2hi"):
            self.assert_given_up(content)

    def test_an_answer_that_is_none(self) -> None:
        for answer in (
            b"\x01",
            b"\x94\x00\x01\x01\xc7\x02\x63ab",
            b"\x94\x01\x01\x01\x01",
            b"\x94\x01\x01\x01\x93\xa1c\xa1m\x81\xa4code\x01",
        ):
            replies = b"\x92\xa7replies\x91\x92\x01" + answer
            self.assert_given_up(len(replies).to_bytes(4, "big") + replies)

    def test_a_server_that_answers_the_greeting_with_something_else(self) -> None:
        for content in (b"HTTP/1.1 400 Bad Request\r\n", b"\0\0\0\1\xc0", b"\0\0\x10\x01"):
            self.servers[0].greets = False
            client = self.make_client()
            call = client.query("counter", "get")
            self.reactor.settle()
            self.servers[0].send(content)
            self.pass_time(0.03)
            self.assertEqual(self.successResultOf(call), 0)

    def test_answers_before_the_malformed_one_count(self) -> None:
        self.open_session()
        good, bad = self.client.query("counter", "get"), self.client.query("counter", "get")
        self.servers[0].behave = silence
        self.reactor.settle()
        replies = b"\x92\xa7replies\x92\x92\x03\x94\x00\x01\x01\x2a\x92\x04\x01"
        self.servers[0].send(len(replies).to_bytes(4, "big") + replies)
        self.assertEqual(self.successResultOf(good), 42)
        self.assertNoResult(bad)
        self.pass_time(0.03)
        self.assertEqual(self.successResultOf(bad), 0)

    def test_a_command_without_session_is_unknown_then(self) -> None:
        self.servers[0].behave = silence
        call = self.add(1, exactly_once=False)
        self.reactor.settle()
        self.servers[0].send(b"\0\0\0\0")
        self.assertEqual(self.problem(call, Unknown).code, "connection_lost")

    def test_answers_may_arrive_in_any_pieces(self) -> None:
        self.open_session()
        self.servers[0].behave = silence
        call = self.client.query("counter", "get")
        self.reactor.settle()
        replies = b"\x92\xa7replies\x91\x92\x03\x94\x00\x01\x01\x2a"
        for byte in len(replies).to_bytes(4, "big") + replies:
            self.assertNoResult(call)
            self.servers[0].send(bytes([byte]))
        self.assertEqual(self.successResultOf(call), 42)
