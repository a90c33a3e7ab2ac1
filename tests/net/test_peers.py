from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from tests.net.case import NetTestCase, RecordedPeerGate
from tests.support.bytes_pump import PumpNetwork, PumpTransport
from txraft.core.entry import Entry
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, RequestVoteReply
from txraft.limits import Limits
from txraft.net.framing import CLOSE_GRACE_S
from txraft.net.peer_link import STEADY_S, PeerConnection
from txraft.net.peers import Peers
from txraft.node.ports import PeerMessage
from txraft.statemachine.results import answer_of_value, decode_answer
from txraft.wire.codec import encode_peer_message
from txraft.wire.requests import Forward, ForwardReply, InvokeRequest

N1, N2, N3 = ServerId("n1"), ServerId("n2"), ServerId("n3")
LONG_ENOUGH_S = 1.0


class Server:
    """A server of which there is nothing but the network."""

    def __init__(self, test: ClusterTestCase, name: str, *, address: str = "", **identity: Any) -> None:
        self.name = ServerId(name)
        self.address = address or f"{name}:2380"
        self.gate = RecordedPeerGate(name, **identity)
        self.peers = Peers(test.clock, self.gate, test.limits, test.timing, endpoint=test.network.endpoint, jitter=test.jitter)
        self.network = test.network

    def start(self, directories: Mapping[str, str] = MappingProxyType({}), /, **members: str) -> Server:
        self.network.listen(self.address, self.peers.factory)
        self.peers.set_members(members, directories)
        self.peers.startService()
        return self

    def stop(self) -> Deferred[None]:
        self.network.close(self.address)
        return self.peers.stopService()

    def vote(self) -> RequestVoteReply:
        """A message that this server may send."""
        return RequestVoteReply(1, self.name, True)

    def connection_to(self, peer: ServerId) -> PeerConnection:
        connection = self.peers._members[peer].link._connection
        assert connection is not None
        return connection

    def transport_to(self, peer: ServerId) -> PumpTransport:
        transport = self.connection_to(peer).transport
        assert isinstance(transport, PumpTransport)
        return transport


class ClusterTestCase(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.assert_nothing_left)  # called last, when the servers have stopped
        self.network = PumpNetwork()
        self.jitter = Random(1).random
        self.members = {"n1": "n1:2380", "n2": "n2:2380"}

    def server(self, name: str, *, address: str = "", **identity: Any) -> Server:
        """Of this identity: see `RecordedPeerGate`."""
        server = Server(self, name, address=address, **identity)
        self.addCleanup(self.stop_quietly, server)
        return server

    def stop_quietly(self, server: Server) -> None:
        stopped = server.peers.stopService()
        self.settle()
        self.clock.advance(CLOSE_GRACE_S)
        self.settle()
        self.successResultOf(stopped)

    def stop_now(self, server: Server) -> None:
        stopped = server.stop()
        self.settle()
        self.successResultOf(stopped)

    def settle(self) -> None:
        self.network.flush(settle=lambda: self.clock.advance(0))

    def pass_time(self, seconds: float) -> None:
        """Let timers fire and bytes arrive, in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.settle()

    def pair(self) -> tuple[Server, Server]:
        one, two = self.server("n1").start(**self.members), self.server("n2").start(**self.members)
        self.pass_time(LONG_ENOUGH_S)
        return one, two


class TwoServersTests(ClusterTestCase):
    def test_they_say_hello_and_exchange_messages(self) -> None:
        one, two = self.pair()
        self.assertEqual((one.peers.connected(), two.peers.connected()), ({"n2": True}, {"n1": True}))
        self.assertEqual(one.peers.client_address(N2), "n2:2379")
        self.assertEqual(one.peers.client_address(N1), "n1:2379")
        one.peers.send(N2, one.vote())
        two.peers.send(N1, two.vote())
        self.settle()
        self.assertEqual(two.gate.received, [("n1", one.vote())])
        self.assertEqual(one.gate.received, [("n2", two.vote())])
        self.assertEqual(one.gate.unreachable + two.gate.unreachable, [])
        self.assertEqual(one.peers.status()["incidents"], {})

    def test_each_sends_on_the_connection_it_has_dialled(self) -> None:
        one, two = self.pair()
        one.peers.send(N2, one.vote())
        ends = [end for connection in self.network.connections for end in (connection.dialled, connection.accepted)]
        self.assertEqual([end for end in ends if end.outgoing], [one.transport_to(N2)])
        self.settle()
        self.assertEqual(len(two.gate.received), 1)

    def test_row_05_messages_arrive_whole_in_pieces_of_any_size(self) -> None:
        one, two = self.pair()
        messages: list[PeerMessage] = [
            AppendEntries(1, "n1", 0, 0, 0, number, [Entry(1, 1, bytes(number))] * number) for number in range(20)
        ]
        for size in (1, 7, 1000):
            two.gate.received.clear()
            for message in messages:
                one.peers.send(N2, message)
            self.network.flush(size)
            self.assertEqual([message for _, message in two.gate.received], messages)

    def test_messages_are_sent_in_the_order_of_sending_even_through_a_full_transport(self) -> None:
        one, two = self.pair()
        messages: list[PeerMessage] = [AppendEntries(1, "n1", 0, 0, 0, number, [Entry(1, 1, bytes(50_000))]) for number in range(30)]
        for message in messages:
            one.peers.send(N2, message)
        self.assertGreater(one.peers.status()["links"]["n2"]["unsent_bytes"], 1_000_000)
        self.settle()
        self.assertEqual([message for _, message in two.gate.received], messages)
        self.assertEqual(one.peers.status()["links"]["n2"]["unsent_bytes"], 0)

    def test_a_message_to_nobody_is_dropped(self) -> None:
        one, _ = self.pair()
        one.peers.send(ServerId("n9"), one.vote())
        one.peers.send(N1, one.vote())
        self.settle()
        self.assertEqual(one.gate.received, [])


class ConnectionsComeAndGoTests(ClusterTestCase):
    def test_a_server_that_comes_later_is_found_soon(self) -> None:
        one = self.server("n1").start(**self.members)
        self.pass_time(60.0)
        self.assertEqual(one.peers.connected(), {"n2": False})
        two = self.server("n2").start(**self.members)
        self.pass_time(1.05)
        self.assertEqual((one.peers.connected(), two.peers.connected()), ({"n2": True}, {"n1": True}))

    def test_attempts_become_rarer_and_do_not_cease(self) -> None:
        self.server("n1").start(**self.members)
        self.pass_time(1.0)
        self.assertIn(len(self.network.attempts), range(3, 7))
        self.network.attempts.clear()
        self.pass_time(60.0)
        self.assertIn(len(self.network.attempts), range(58, 80))

    def test_why_a_peer_cannot_be_reached_is_logged_once(self) -> None:
        self.server("n1").start(**self.members)
        self.pass_time(60.0)
        self.assertEqual(len(self.lines()), 1, self.lines())
        self.assertIn("n2 at n2:2380 cannot be reached", self.lines()[0])

    def test_a_lost_connection_is_told_and_dialled_anew_at_once(self) -> None:
        one, _ = self.pair()
        self.pass_time(STEADY_S)
        self.network.connections[-1].cut()
        self.network.connections[-2].cut()
        self.settle()
        self.assertEqual(one.peers.connected(), {"n2": False})
        self.assertEqual(one.gate.unreachable, ["n2"])
        self.pass_time(0.3)
        self.assertEqual(one.peers.connected(), {"n2": True})

    def test_after_a_steady_connection_the_waits_begin_anew_after_a_short_one_they_do_not(self) -> None:
        one = self.server("n1").start(**self.members)
        self.pass_time(20.0)
        self.server("n2").start(**self.members)
        for lasts_s, expected in ((0.5, False), (STEADY_S, True)):
            self.pass_time(LONG_ENOUGH_S + lasts_s)
            one.connection_to(N2).abort()
            self.pass_time(0.3)
            self.assertEqual(one.peers.connected(), {"n2": expected})

    def test_messages_without_a_connection_are_told_once_and_not_from_within_send(self) -> None:
        one = self.server("n1").start(**self.members)
        for _ in range(3):
            one.peers.send(N2, one.vote())
            one.peers.send(N2, one.vote())
            self.assertLessEqual(len(one.gate.unreachable), 1)
            self.clock.advance(0)
            self.assertEqual(one.gate.unreachable, ["n2"])
        self.assertEqual(one.peers.status()["links"]["n2"]["dropped"], 6)

    def test_after_a_connection_the_next_loss_is_told_again(self) -> None:
        one, _ = self.pair()
        for expected in (1, 2):
            self.network.connections[-1].cut()
            self.network.connections[-2].cut()
            one.peers.send(N2, one.vote())
            self.clock.advance(0)
            self.assertEqual(len(one.gate.unreachable), expected)
            self.pass_time(LONG_ENOUGH_S)
            for connection in self.network.connections[:-2]:
                self.assertTrue(connection.over)

    def test_a_removed_member_is_dialled_no_more(self) -> None:
        one, two = self.pair()
        attempts = self.network.attempts.count("n2:2380")
        one.peers.set_members({"n1": "n1:2380"}, {})
        self.pass_time(10.0)
        self.assertEqual(one.peers.connected(), {})
        self.assertEqual(two.peers.connected(), {"n1": False})
        self.assertEqual(self.network.attempts.count("n2:2380"), attempts)

    def test_a_member_that_moved_is_dialled_where_it_is(self) -> None:
        one, two = self.pair()
        self.network.listen("elsewhere:1", two.peers.factory)
        one.peers.set_members({"n1": "n1:2380", "n2": "elsewhere:1"}, {})
        self.pass_time(LONG_ENOUGH_S)
        self.assertEqual(one.peers.connected(), {"n2": True})
        self.assertEqual(self.network.attempts[-1], "elsewhere:1")
        one.peers.send(N2, one.vote())
        self.settle()
        self.assertEqual(len(two.gate.received), 1)

    def test_an_address_that_cannot_be_understood_is_one_that_cannot_be_reached(self) -> None:
        gate = RecordedPeerGate("n1")
        peers = Peers(self.clock, gate, self.limits, self.timing)
        peers.set_members({"n1": "x:1", "n2": "no address", "n3": "flatland:port=1"}, {})
        peers.startService()
        self.clock.advance(0.5)
        peers.send(N2, RequestVoteReply(1, "n1", True))
        self.assertEqual(peers.connected(), {"n2": False, "n3": False})
        self.assertTrue(any("write HOST:PORT" in line for line in self.lines()), self.lines())
        self.successResultOf(peers.stopService())

    def test_stopping_in_any_state_leaves_nothing(self) -> None:
        one = self.server("n1").start(**self.members, n3="n3:2380")
        self.server("n2").start(**self.members)
        self.clock.advance(0.3)  # connected, and no hello has arrived; n3 waits for its next attempt
        stopped = one.stop()
        self.settle()
        self.successResultOf(stopped)

    def test_stopping_does_not_wait_for_a_peer_that_does_not_read(self) -> None:
        one, two = self.pair()
        one.transport_to(N2).held = True
        for _ in range(10):
            one.peers.send(N2, AppendEntries(1, "n1", 0, 0, 0, 0, [Entry(1, 1, bytes(100_000))]))
        stopped = one.stop()
        self.settle()
        self.assertNoResult(stopped)
        self.clock.advance(CLOSE_GRACE_S)
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(two.gate.received, [])

    def test_stopping_sends_what_the_transport_has_and_no_more(self) -> None:
        one, two = self.pair()
        one.transport_to(N2).held = True
        for number in range(10):
            one.peers.send(N2, AppendEntries(1, "n1", 0, 0, 0, number, [Entry(1, 1, bytes(100_000))]))
        transport = one.transport_to(N2)
        stopped = one.stop()
        transport.held = False
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(len(two.gate.received), 1)

    def test_it_can_be_started_again(self) -> None:
        one, _ = self.pair()
        stopped = one.stop()
        self.settle()
        self.successResultOf(stopped)
        one.start(**self.members)
        self.pass_time(LONG_ENOUGH_S)
        self.assertEqual(one.peers.connected(), {"n2": True})


class WrongServerTests(ClusterTestCase):
    def assert_apart(self, one: Server, two: Server, one_says: str, two_says: str) -> None:
        """Neither takes the other's messages, both know why, and they do not ask each other all the time."""
        self.pass_time(60.0)
        self.assertEqual(one.peers.connected()[two.name], False)
        one.peers.send(two.name, one.vote())
        self.settle()
        self.assertEqual(two.gate.received, [])
        self.assertIn(one_says, one.peers.status()["incidents"])
        self.assertIn(two_says, two.peers.status()["incidents"])
        for server in (one, two):
            self.assertLess(self.network.attempts.count(server.address), 80)
        self.assertLess(len(self.lines()), 60)

    def test_row_07_another_cluster(self) -> None:
        one = self.server("n1").start(**self.members)
        two = self.server("n2", cluster_id="d" * 32).start(**self.members)
        self.assert_apart(one, two, "hello_refused", "refused_cluster")
        self.assertTrue(any("belongs to another cluster" in line and "127.0.0.1" in line for line in self.lines()))

    def test_row_08_an_address_that_is_another_servers(self) -> None:
        one = self.server("n1").start(n1="n1:2380", n2="n3:2380", n3="n3:2380")
        three = self.server("n3").start(n1="n1:2380", n3="n3:2380")
        self.pass_time(60.0)
        self.assertEqual(one.peers.connected(), {"n2": False, "n3": True})
        self.assertIn("refused_receiver", three.peers.status()["incidents"])
        self.assertTrue(any("n2 at n3:2380" in line and "check the addresses" in line for line in self.lines()))

    def test_row_09_an_unknown_sender(self) -> None:
        one = self.server("n1").start(**self.members, n9="n9:2380")
        nine = self.server("n9").start(**self.members, n9="n9:2380")
        one.peers.set_members(self.members, {})
        self.assert_apart(nine, one, "hello_refused", "refused_member")

    def test_row_09_a_wiped_directory_is_refused_by_both_ends_whatever_its_incarnation(self) -> None:
        old, new = "0d" * 16, "ae" * 16
        one = self.server("n1", directory="11" * 16).start(**self.members)
        two = self.server("n2", incarnation=3, directory=old).start(**self.members)
        self.pass_time(LONG_ENOUGH_S)
        self.stop_now(two)
        for incarnation in (3, 4):
            one.peers.port.incidents.counts.clear()
            self.network.attempts.clear()
            wiped = self.server("n2", incarnation=incarnation, directory=new).start(**self.members)
            self.assert_apart(wiped, one, "hello_refused", "refused_directory")
            self.assertEqual(one.peers.connected(), {"n2": False})
            self.assertIn("wrong_peer", one.peers.status()["incidents"])
            one.peers.send(N2, one.vote())
            self.settle()
            self.assertEqual(wiped.gate.received, [])
            self.stop_now(wiped)
        self.assertTrue(any("refuses our hello (directory)" in line and "put the old directory back" in line for line in self.lines()))
        self.assertTrue(any("should be n2, has another data directory" in line for line in self.lines()))
        restarted = self.server("n2", incarnation=4, directory=old).start(**self.members)
        self.pass_time(LONG_ENOUGH_S + 0.1)
        self.assertEqual((one.peers.connected(), restarted.peers.connected()), ({"n2": True}, {"n1": True}))

    def test_a_directory_known_only_from_a_welcome_or_only_from_a_hello_is_known(self) -> None:
        nowhere = "nowhere:1"
        for dials, as_one_sees_it, as_two_sees_it in (
            ("n1", self.members, self.members | {"n1": nowhere}),
            ("n2", self.members | {"n2": nowhere}, self.members),
        ):
            self.network.attempts.clear()
            one = self.server("n1").start(**as_one_sees_it)
            two = self.server("n2", directory="0d" * 16).start(**as_two_sees_it)
            self.pass_time(LONG_ENOUGH_S)
            self.assertEqual((one.peers.connected(), two.peers.connected()), ({"n2": dials == "n1"}, {"n1": dials == "n2"}))
            self.stop_now(two)
            wiped = self.server("n2", directory="ae" * 16).start(**self.members)
            self.assert_apart(wiped, one, "hello_refused", "refused_directory")
            self.stop_now(wiped)
            self.stop_now(one)

    def test_row_09_an_older_incarnation(self) -> None:
        one = self.server("n1").start(**self.members)
        two = self.server("n2", incarnation=5).start(**self.members)
        self.pass_time(LONG_ENOUGH_S)
        self.stop_now(two)
        older = self.server("n2", incarnation=1).start(**self.members)
        self.assert_apart(older, one, "hello_refused", "refused_incarnation")
        self.assertEqual(one.peers.connected(), {"n2": False})
        self.assertIn("wrong_peer", one.peers.status()["incidents"])
        self.stop_now(older)
        restarted = self.server("n2", incarnation=6).start(**self.members)
        self.pass_time(LONG_ENOUGH_S + 0.1)
        self.assertEqual((one.peers.connected(), restarted.peers.connected()), ({"n2": True}, {"n1": True}))

    def test_a_server_that_is_starting_is_waited_for_without_blame(self) -> None:
        one = self.server("n1").start(**self.members)
        two = self.server("n2")
        self.network.listen(two.address, two.peers.factory)
        two.peers.startService()
        self.pass_time(20.0)
        self.assertEqual(one.peers.status()["incidents"] | two.peers.status()["incidents"], {})
        two.peers.set_members(self.members, {})
        self.pass_time(1.05)
        self.assertEqual(one.peers.connected(), {"n2": True})

    def test_what_is_no_server_at_all(self) -> None:
        one = self.server("n1").start(**self.members)
        self.network.listen("n2:2380", Server(self, "n2").peers.factory)  # not running: closes at once
        self.pass_time(5.0)
        self.assertEqual(one.peers.connected(), {"n2": False})

    def test_a_message_on_a_connection_for_sending_only_ends_it(self) -> None:
        one, _ = self.pair()
        one.connection_to(N2).dataReceived(b"\x00\x00\x00\x01x")
        self.settle()
        self.assertEqual(one.peers.connected(), {"n2": False})
        self.assertEqual(one.peers.status()["incidents"], {"malformed": 1})

    def test_a_peer_that_never_answers_a_hello_is_given_up_and_tried_again(self) -> None:
        one, two = self.pair()
        stopped = two.stop()
        self.settle()
        self.successResultOf(stopped)
        self.network.listen("n2:2380", Factory.forProtocol(Protocol))
        self.pass_time(LONG_ENOUGH_S)
        attempts = len(self.network.attempts)
        self.pass_time(self.timing.hello_s)
        self.assertEqual(one.peers.connected(), {"n2": False})
        self.assertEqual(len(self.network.attempts), attempts + 1)
        self.assertEqual(one.peers.status()["incidents"], {"slow_hello": 1})


class OutboxOverflowTests(ClusterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.limits = Limits(outbox_bytes_max=1_000_000)

    def test_the_oldest_are_dropped_and_the_node_is_told_once_a_turn(self) -> None:
        one, two = self.pair()
        sent: list[PeerMessage] = [AppendEntries(1, "n1", 0, 0, 0, number, [Entry(1, 1, bytes(100_000))]) for number in range(100)]
        for message in sent:
            one.peers.send(N2, message)
            self.assertEqual(one.gate.unreachable, [])
            self.assertLessEqual(one.peers.status()["links"]["n2"]["unsent_bytes"], 1_000_000)
        self.clock.advance(0)
        self.assertEqual(one.gate.unreachable, ["n2"])
        self.settle()
        arrived = [message for _, message in two.gate.received]
        self.assertEqual(arrived, [sent[0], *sent[-9:]])
        self.assertEqual(one.peers.status()["links"]["n2"]["dropped"], 90)
        self.assertEqual(one.gate.unreachable, ["n2"])

    def test_a_slow_peer_does_not_slow_another(self) -> None:
        self.members["n3"] = "n3:2380"
        one, two = self.pair()
        three = self.server("n3").start(**self.members)
        self.pass_time(LONG_ENOUGH_S)
        one.transport_to(N2).held = True
        for number, peer in itertools.product(range(50), (N2, N3)):
            one.peers.send(peer, AppendEntries(1, "n1", 0, 0, 0, number, [Entry(1, 1, bytes(10_000))]))
        self.settle()
        self.assertEqual((len(two.gate.received), len(three.gate.received)), (0, 50))


class FrameLimitTests(ClusterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.limits = Limits(peer_frame_bytes_max=10_000)

    def test_an_answer_too_long_to_pass_on_is_replaced_by_saying_so(self) -> None:
        one, two = self.pair()
        one.peers.send(N2, ForwardReply(1, "n1", 7, msgspec.Raw(answer_of_value(bytes(20_000), 1, 1))))
        self.settle()
        ((_, reply),) = two.gate.received
        assert isinstance(reply, ForwardReply)
        problem = decode_answer(bytes(reply.answer)).problem()
        self.assertEqual((reply.id, problem.outcome, problem.code), (7, "unknown", "answer_too_large"))

    def test_a_message_too_long_is_not_sent_and_the_connection_stays(self) -> None:
        one, two = self.pair()
        request = InvokeRequest(0, 0, "m", "c", msgspec.Raw(msgspec.msgpack.encode(bytes(20_000))))
        one.peers.send(N2, Forward(1, "n1", 7, 0, 0, request))
        one.peers.send(N2, one.vote())
        self.settle()
        self.assertEqual([message for _, message in two.gate.received], [one.vote()])
        self.assertEqual(one.peers.status()["incidents"], {"oversized": 1})

    def test_a_message_of_just_the_limit_arrives(self) -> None:
        one, two = self.pair()
        message = AppendEntries(1, "n1", 0, 0, 0, 0, [Entry(1, 1, b"")])
        room = 10_000 - len(encode_peer_message(message)) - 1  # a longer payload has a longer length field
        message = AppendEntries(1, "n1", 0, 0, 0, 0, [Entry(1, 1, bytes(room))])
        self.assertEqual(len(encode_peer_message(message)), 10_000)
        one.peers.send(N2, message)
        self.settle()
        self.assertEqual([message for _, message in two.gate.received], [message])
