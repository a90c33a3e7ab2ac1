from __future__ import annotations

import attrs
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.net.case import CLUSTER, NetTestCase, RecordedPeerGate, framed, frames_in
from tests.support.bytes_pump import PumpNetwork
from tests.wire.messages import mutated, peer_messages
from txraft.core.ids import ServerId
from txraft.core.messages import RequestVoteReply
from txraft.limits import Limits
from txraft.net.peer_protocol import PeerProtocol
from txraft.net.peers import Peers
from txraft.wire.codec import PeerMessage, decode_peer_message, encode_peer_message
from txraft.wire.hello import PEER_MAGIC, HelloRefused, PeerHello, PeerWelcome, decode_peer_hello_reply, encode_greeting

HELLO = PeerHello(1, 1, CLUSTER, "n2", "n1", 5, "n2:2379")
VOTE = RequestVoteReply(3, "n2", True)


class AcceptingTestCase(NetTestCase):
    """n1 of three servers; n2 and n3 cannot be reached from here, so that nothing but accepted connections matters."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = RecordedPeerGate("n1")
        limits = Limits(greeting_connections_max=4)
        self.peers = Peers(self.clock, self.gate, limits, self.timing, endpoint=PumpNetwork().endpoint)
        self.peers.startService()
        self.addCleanup(self.stop)
        self.begin()

    def begin(self) -> None:
        self.peers.set_members({"n1": "a:1", "n2": "a:2", "n3": "a:3"}, {})

    def stop(self) -> None:
        stopped = self.peers.stopService()
        for connection in list(self.peers.port.open._open):
            assert isinstance(connection, PeerProtocol)
            self.lose(connection)
        self.successResultOf(stopped)
        self.assert_nothing_left()

    @property
    def counts(self) -> dict[str, int]:
        return self.peers.port.incidents.counts

    def connect(self) -> tuple[PeerProtocol, StringTransport]:
        protocol = self.peers.factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def greet(self, hello: PeerHello = HELLO) -> tuple[PeerProtocol, StringTransport]:
        protocol, transport = self.connect()
        protocol.dataReceived(PEER_MAGIC + framed(encode_greeting(hello)))
        return protocol, transport

    def say(self, protocol: PeerProtocol, *messages: PeerMessage) -> None:
        protocol.dataReceived(framed(*map(encode_peer_message, messages)))

    def lose(self, protocol: PeerProtocol) -> None:
        protocol.connectionLost(Failure(ConnectionLost()))

    def answer(self, transport: StringTransport) -> PeerWelcome | HelloRefused:
        (frame,) = frames_in(transport.value())
        return decode_peer_hello_reply(frame)


class HelloTests(AcceptingTestCase):
    def test_a_member_is_welcome_and_its_messages_reach_the_node(self) -> None:
        protocol, transport = self.greet()
        self.assertEqual(self.answer(transport), PeerWelcome(1, CLUSTER, "n1", 1, "n1:2379"))
        self.say(protocol, VOTE, VOTE)
        self.assertEqual(self.gate.received, [("n2", VOTE)] * 2)
        self.assertEqual(self.peers.client_address(ServerId("n2")), "n2:2379")
        self.assertTrue(self.peers.status()["links"]["n2"]["receiving"])

    def test_hello_and_messages_may_come_in_one_segment(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(PEER_MAGIC + framed(encode_greeting(HELLO), encode_peer_message(VOTE)))
        self.assertEqual(self.gate.received, [("n2", VOTE)])

    def refused(self, code: str, hello: PeerHello) -> None:
        protocol, transport = self.greet(hello)
        reply = self.answer(transport)
        assert isinstance(reply, HelloRefused)
        self.assertEqual(reply.code, code)
        self.assertTrue(transport.disconnecting)
        self.say(protocol, VOTE)
        self.assertEqual(self.gate.received, [])
        self.assertEqual(self.counts, {f"refused_{code}": 1})
        self.assertIn("192.168.1.1:54321", self.lines()[-1])
        self.lose(protocol)

    def test_row_06_an_unknown_version_is_refused(self) -> None:
        self.refused("version", msgspec.structs.replace(HELLO, version_min=7, version_max=9))

    def test_row_07_a_wrong_cluster_is_refused(self) -> None:
        self.refused("cluster", msgspec.structs.replace(HELLO, cluster_id="d" * 32))
        self.assertIn("another cluster", self.lines()[-1])

    def test_row_08_a_wrong_receiver_is_refused(self) -> None:
        self.refused("receiver", msgspec.structs.replace(HELLO, receiver="n3"))

    def test_row_09_an_unknown_sender_is_refused(self) -> None:
        self.refused("member", msgspec.structs.replace(HELLO, sender="n9"))

    def test_row_09_a_removed_sender_is_closed_and_refused(self) -> None:
        protocol, transport = self.greet()
        self.peers.set_members({"n1": "a:1", "n3": "a:3"}, {})
        self.assertTrue(transport.disconnecting)
        self.say(protocol, VOTE)
        self.lose(protocol)
        self.refused("member", HELLO)

    def test_row_09_an_older_incarnation_is_refused_and_the_existing_connection_stays(self) -> None:
        protocol, transport = self.greet()
        self.refused("incarnation", msgspec.structs.replace(HELLO, incarnation=4))
        self.assertFalse(transport.disconnecting)
        self.say(protocol, VOTE)
        self.assertEqual(len(self.gate.received), 1)

    def test_row_09_another_directory_is_refused_and_the_existing_connection_stays(self) -> None:
        protocol, transport = self.greet(msgspec.structs.replace(HELLO, directory="0d" * 16))
        self.refused("directory", msgspec.structs.replace(HELLO, directory="ae" * 16, incarnation=6))
        self.assertIn("put the old directory back", self.lines()[-1])
        self.assertFalse(transport.disconnecting)
        self.say(protocol, VOTE)
        self.assertEqual(len(self.gate.received), 1)

    def test_a_directory_stays_known_though_an_older_server_does_not_tell_it(self) -> None:
        self.greet(msgspec.structs.replace(HELLO, directory="0d" * 16))
        _, transport = self.greet()
        self.assertIsInstance(self.answer(transport), PeerWelcome)
        self.refused("directory", msgspec.structs.replace(HELLO, directory="ae" * 16))

    def test_a_member_removed_and_added_again_may_have_a_new_directory(self) -> None:
        self.greet(msgspec.structs.replace(HELLO, directory="0d" * 16))
        self.peers.set_members({"n1": "a:1", "n3": "a:3"}, {})
        self.begin()
        _, transport = self.greet(msgspec.structs.replace(HELLO, directory="ae" * 16, incarnation=1))
        self.assertIsInstance(self.answer(transport), PeerWelcome)

    def test_row_09_an_equal_or_newer_incarnation_replaces_the_existing_connection(self) -> None:
        old, old_transport = self.greet()
        for incarnation in (5, 6):
            new, new_transport = self.greet(msgspec.structs.replace(HELLO, incarnation=incarnation))
            self.assertTrue(old_transport.disconnecting)
            self.say(old, VOTE)
            self.lose(old)
            self.assertTrue(self.peers.status()["links"]["n2"]["receiving"])
            old, old_transport = new, new_transport
        self.assertEqual(self.gate.received, [])
        self.say(new, VOTE)
        self.assertEqual(len(self.gate.received), 1)

    def test_a_server_that_has_our_own_name_is_refused(self) -> None:
        self.refused("member", msgspec.structs.replace(HELLO, sender="n1"))

    def test_row_30_a_senders_name_cannot_forge_a_line_of_the_log(self) -> None:
        self.refused("member", msgspec.structs.replace(HELLO, sender="n2\n2026 [-] n2 won term 9\x1b[1m"))
        self.assertTrue(self.lines()[-1].isprintable())


class StartingTests(AcceptingTestCase):
    def begin(self) -> None:
        """The members are not known yet."""

    def test_nobody_is_blamed_while_this_server_is_starting(self) -> None:
        _, transport = self.greet()
        reply = self.answer(transport)
        assert isinstance(reply, HelloRefused)
        self.assertEqual((reply.code, self.counts), ("not_ready", {}))


class HostileInputTests(AcceptingTestCase):
    def test_row_01_silence_is_dropped_when_the_hello_is_overdue(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(PEER_MAGIC)
        self.clock.advance(self.timing.hello_s - 0.1)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.1)
        self.assert_cut(transport)
        self.assertEqual(self.counts, {"slow_hello": 1})

    def test_row_01_one_byte_a_minute_is_no_hello(self) -> None:
        protocol, transport = self.connect()
        for at in PEER_MAGIC + framed(encode_greeting(HELLO)):
            protocol.dataReceived(bytes([at]))
            self.clock.advance(60.0)
        self.assert_cut(transport)
        self.assertEqual(self.gate.received, [])

    def test_row_01_only_so_many_connections_may_be_without_a_hello(self) -> None:
        waiting = [self.connect()[0] for _ in range(4)]
        self.assertIs(self.peers.factory.buildProtocol(None), None)
        self.assertEqual(self.counts, {"greetings_full": 1})
        waiting[0].dataReceived(PEER_MAGIC + framed(encode_greeting(HELLO)))
        self.lose(waiting[1])
        self.connect()
        self.connect()
        self.assertIs(self.peers.factory.buildProtocol(None), None)

    def test_row_01_a_place_is_given_back_once_however_a_greeting_ends(self) -> None:
        for stream in (b"", b"SSH", PEER_MAGIC + framed(b"nonsense"), PEER_MAGIC + framed(encode_greeting(HELLO))):
            protocol, _ = self.connect()
            protocol.dataReceived(stream)
            self.lose(protocol)
            self.assertEqual(self.peers.port.greeting.taken, 0)

    def test_row_02_plain_text_is_cut_at_once(self) -> None:
        for first_bytes in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n", b"TXRC\x00\x00\x00\x01"):
            protocol, transport = self.connect()
            protocol.dataReceived(first_bytes)
            self.assert_cut(transport)
            self.lose(protocol)
        self.assertEqual(self.counts, {"malformed": 4})

    def test_row_03_before_the_hello_only_small_frames_are_taken(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(PEER_MAGIC + b"\x00\x10\x00\x00")
        self.assert_cut(transport)
        protocol, transport = self.greet()
        protocol.dataReceived(b"\x00\x10\x00\x00")
        self.assertFalse(transport.disconnecting)

    def test_row_12_a_message_in_anothers_name_is_not_delivered_and_counted(self) -> None:
        protocol, transport = self.greet()
        self.say(protocol, RequestVoteReply(3, "n3", True), VOTE)
        self.assertEqual(self.gate.received, [])
        self.assert_cut(transport)
        self.assertEqual(self.counts, {"wrong_sender": 1})

    def test_one_broken_peer_does_not_disturb_another(self) -> None:
        broken, transport = self.greet()
        sound, sound_transport = self.greet(msgspec.structs.replace(HELLO, sender="n3"))
        broken.dataReceived(framed(b"\xc1"))
        self.assert_cut(transport)
        self.say(sound, RequestVoteReply(3, "n3", True))
        self.assertEqual([sender for sender, _ in self.gate.received], ["n3"])
        self.assertFalse(sound_transport.disconnecting)

    def test_a_second_hello_is_no_message(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(framed(encode_greeting(HELLO)))
        self.assert_cut(transport)

    @settings(deadline=None, max_examples=150)
    @given(
        mutated(st.lists(peer_messages, max_size=4).map(lambda said: framed(*(encode_peer_message(as_of_n2(one)) for one in said)))),
        st.lists(st.integers(1, 50), min_size=1, max_size=5),
    )
    def test_fuzz_only_messages_or_the_end_of_the_connection(self, stream: bytes, sizes: list[int]) -> None:
        protocol, transport = self.greet()
        already = len(self.gate.received)
        begin, turn = 0, 0
        while begin < len(stream):
            size = sizes[turn % len(sizes)]
            protocol.dataReceived(stream[begin : begin + size])
            begin, turn = begin + size, turn + 1
        for sender, message in self.gate.received[already:]:
            self.assertEqual((sender, message.sender), ("n2", "n2"))
            self.assertEqual(decode_peer_message(encode_peer_message(message)), message)
        if not transport.disconnected:
            self.clock.advance(self.timing.frame_s)
        self.assertEqual(transport.disconnected, protocol.closing)
        self.lose(protocol)

    @settings(deadline=None, max_examples=100)
    @given(mutated(st.just(PEER_MAGIC + framed(encode_greeting(HELLO)))))
    def test_fuzz_only_a_greeting_or_the_end_of_the_connection(self, stream: bytes) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(stream)
        self.clock.advance(self.timing.hello_s)
        self.assertTrue(protocol.greeted or transport.disconnecting)
        self.lose(protocol)
        self.assertEqual(self.peers.port.greeting.taken, 0)


def as_of_n2(message: PeerMessage) -> PeerMessage:
    return msgspec.structs.replace(message, sender="n2")


class LifeTests(AcceptingTestCase):
    def test_nobody_is_let_in_before_the_start_or_after_the_stop(self) -> None:
        peers = Peers(self.clock, self.gate, self.limits, self.timing)
        self.assertIs(peers.factory.buildProtocol(None), None)
        peers.startService()
        self.successResultOf(peers.stopService())
        self.assertIs(peers.factory.buildProtocol(None), None)

    def test_stopping_closes_what_was_accepted_and_waits_for_it(self) -> None:
        protocol, transport = self.greet()
        stopped = self.peers.stopService()
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopped)
        self.lose(protocol)
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_the_identity_is_asked_for_when_it_is_needed(self) -> None:
        self.gate.identity = attrs.evolve(self.gate.identity, incarnation=9, directory="0d" * 16)
        _, transport = self.greet()
        reply = self.answer(transport)
        assert isinstance(reply, PeerWelcome)
        self.assertEqual((reply.incarnation, reply.directory), (9, "0d" * 16))
