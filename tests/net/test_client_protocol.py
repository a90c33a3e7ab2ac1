from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.net.case import CLUSTER, NetTestCase, RecordedClientGate, framed, frames_in
from tests.wire.messages import mutated, requests
from txraft.limits import Limits
from txraft.net.client_protocol import ClientProtocol, ClientProtocolFactory
from txraft.node.ports import Caller
from txraft.statemachine.results import Answer, answer_of_value, decode_answer
from txraft.wire.codec import decode_replies, encode_requests
from txraft.wire.hello import (
    CLIENT_MAGIC,
    PEER_MAGIC,
    ClientHello,
    ClientWelcome,
    HelloRefused,
    decode_client_hello_reply,
    encode_greeting,
)
from txraft.wire.requests import InvokeRequest, Request, Requests, StatusRequest

HELLO = CLIENT_MAGIC + framed(encode_greeting(ClientHello(1, 1, "a test")))


def invoke(request_id: int) -> InvokeRequest:
    return InvokeRequest(request_id, request_id, "counter", "add", msgspec.Raw(b"\x80"))


def asking(*ids: int) -> bytes:
    return framed(encode_requests(Requests(5, 1, [invoke(request_id) for request_id in ids])))


class ClientTestCase(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.assert_nothing_left)
        self.gate = RecordedClientGate()
        self.limits = Limits(
            greeting_connections_max=3,
            requests_per_connection_max=10,
            client_frame_bytes_max=10_000,
            client_unsent_bytes_max=50_000,
        )
        self.factory = ClientProtocolFactory(self.clock, self.gate, self.limits, self.timing)

    @property
    def counts(self) -> dict[str, int]:
        return self.factory.port.incidents.counts

    def connect(self) -> tuple[ClientProtocol, StringTransport]:
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport(lenient=True)
        protocol.makeConnection(transport)
        self.addCleanup(self.lose, protocol)
        return protocol, transport

    def greet(self) -> tuple[ClientProtocol, StringTransport]:
        protocol, transport = self.connect()
        protocol.dataReceived(HELLO)
        transport.clear()
        return protocol, transport

    def lose(self, protocol: ClientProtocol) -> None:
        protocol.connectionLost(Failure(ConnectionLost()))

    def answers_in(self, transport: StringTransport) -> dict[int, Answer]:
        return {
            reply.id: decode_answer(bytes(reply.answer))
            for frame in frames_in(transport.value())
            for reply in decode_replies(frame).replies
        }


class GreetingTests(ClientTestCase):
    def test_a_client_is_told_whom_it_has_reached_and_what_it_may(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(HELLO)
        (frame,) = frames_in(transport.value())
        self.assertEqual(decode_client_hello_reply(frame), ClientWelcome(1, CLUSTER, "n1", 10_000, 10))
        self.clock.advance(1000.0)
        self.assertFalse(transport.disconnecting)

    def test_row_06_an_unknown_version_is_refused_with_a_sentence(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(CLIENT_MAGIC + framed(encode_greeting(ClientHello(4, 5, "from\nlater"))) + asking(1))
        (frame,) = frames_in(transport.value())
        reply = decode_client_hello_reply(frame)
        assert isinstance(reply, HelloRefused)
        self.assertEqual(reply.code, "version")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.gate.asked, [])
        self.assertEqual(self.counts, {"refused_version": 1})

    def test_row_01_silence_is_dropped_and_strangers_are_few(self) -> None:
        for _ in range(3):
            self.connect()
        self.assertIs(self.factory.buildProtocol(None), None)
        self.clock.advance(self.timing.hello_s)
        self.assertEqual(self.counts, {"greetings_full": 1, "slow_hello": 3})
        self.connect()

    def test_row_02_what_is_no_native_client_is_cut_at_once(self) -> None:
        for first_bytes in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", PEER_MAGIC, b"\n"):
            protocol, transport = self.connect()
            protocol.dataReceived(first_bytes)
            self.assert_cut(transport)
            self.lose(protocol)


class TurnsTests(ClientTestCase):
    """Each frame that the node takes costs it 3 ms."""

    def setUp(self) -> None:
        super().setUp()
        submit = self.gate.submit

        def slow_submit(caller: Caller, frame: Requests) -> None:
            self.clock.rightNow += 0.003
            submit(caller, frame)

        self.patch(self.gate, "submit", slow_submit)
        self.clients = [self.greet() for _ in range(6)]
        self.clock.advance(1)

    def test_what_does_not_fit_into_a_turn_waits_for_later_ones_in_order(self) -> None:
        for number, (protocol, _) in enumerate(self.clients):
            protocol.dataReceived(asking(number))
        asked_before_others: list[list[int]] = [self.gate.asked]
        self.clock.callLater(0, lambda: asked_before_others.append(self.gate.asked))
        self.clock.advance(0)
        self.assertEqual(asked_before_others, [[0, 1], [0, 1, 2, 3]])
        self.assertEqual(self.gate.asked, [0, 1, 2, 3, 4, 5])

    def test_a_connection_that_waits_is_not_read_and_loses_nothing(self) -> None:
        for number, (protocol, _) in enumerate(self.clients[:3]):
            protocol.dataReceived(asking(number))
        waiting, transport = self.clients[2]
        self.assertEqual([transport.producerState for _, transport in self.clients[:3]], ["producing", "producing", "paused"])
        waiting.dataReceived(asking(7)[:9])
        self.clock.advance(0)
        self.assertEqual((self.gate.asked, transport.producerState), ([0, 1, 2], "producing"))
        waiting.dataReceived(asking(7)[9:])
        self.assertEqual(self.gate.asked, [0, 1, 2, 7])

    def test_one_that_does_not_read_its_answers_stays_paused_after_its_turn(self) -> None:
        for number, (protocol, _) in enumerate(self.clients[:3]):
            protocol.dataReceived(asking(number))
        _, transport = self.clients[2]
        self.outbox_of(transport).pauseProducing()
        self.clock.advance(0)
        self.assertEqual((self.gate.asked, transport.producerState), ([0, 1, 2], "paused"))
        self.outbox_of(transport).resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_one_that_has_gone_while_it_waited_is_not_looked_at(self) -> None:
        for number, (protocol, _) in enumerate(self.clients[:3]):
            protocol.dataReceived(asking(number))
        self.lose(self.clients[2][0])
        self.clock.advance(0)
        self.assertEqual(self.gate.asked, [0, 1])


class RequestTests(ClientTestCase):
    def test_a_frame_reaches_the_node_as_it_is(self) -> None:
        protocol, _ = self.greet()
        frame = Requests(5, 3, [invoke(1), StatusRequest(2)])
        protocol.dataReceived(framed(encode_requests(frame)))
        self.assertEqual(self.gate.submitted, [(protocol, frame)])

    def test_row_05_frames_arrive_whole_in_pieces_of_any_size(self) -> None:
        stream = HELLO + asking(1, 2) + asking(3)
        for size in (1, 3, 1000):
            self.gate.submitted.clear()
            protocol, _ = self.connect()
            for at in range(0, len(stream), size):
                protocol.dataReceived(stream[at : at + size])
            self.assertEqual(self.gate.asked, [1, 2, 3])
            self.lose(protocol)

    def test_answers_of_one_turn_leave_in_one_frame_when_flushed(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(1, 2, 3))
        protocol.answer(2, answer_of_value("two", 8, 1))
        protocol.answer(1, answer_of_value("one", 7, 1))
        self.assertEqual(transport.value(), b"")
        protocol.flush()
        self.assertEqual(len(frames_in(transport.value())), 1)
        self.assertEqual({number: answer.value() for number, answer in self.answers_in(transport).items()}, {1: "one", 2: "two"})
        transport.clear()
        protocol.flush()
        self.assertEqual(transport.value(), b"")

    def test_an_id_may_be_used_again_once_it_is_answered(self) -> None:
        protocol, transport = self.greet()
        for _ in range(3):
            protocol.dataReceived(asking(1))
            protocol.answer(1, answer_of_value(1, 1, 1))
        self.assertEqual(self.gate.asked, [1, 1, 1])
        self.assertFalse(transport.disconnecting)

    def test_an_id_that_is_not_answered_yet_may_not(self) -> None:
        for stream in (asking(1) + asking(1), asking(1, 2, 1)):
            protocol, transport = self.greet()
            protocol.dataReceived(stream)
            self.assert_cut(transport)
        self.assertEqual(self.gate.asked, [1])

    def test_answers_come_at_most_once_and_only_to_what_was_asked(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(1))
        for request_id in (1, 1, 7):
            protocol.answer(request_id, answer_of_value("once", 1, 1))
        protocol.flush()
        (frame,) = frames_in(transport.value())
        self.assertEqual([reply.id for reply in decode_replies(frame).replies], [1])

    def test_answers_for_a_client_that_has_gone_are_dropped(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(1, 2))
        protocol.answer(1, answer_of_value(1, 1, 1))
        self.lose(protocol)
        protocol.answer(2, answer_of_value(1, 1, 1))
        protocol.flush()
        self.assertEqual(transport.value(), b"")

    def test_a_frame_without_requests_is_no_fault(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking())
        self.assertFalse(transport.disconnecting)


class OverloadTests(ClientTestCase):
    def test_row_21_requests_beyond_the_room_are_answered_overloaded_at_once(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(*range(1, 8)) + asking(*range(8, 14)))
        self.assertEqual(self.gate.asked, list(range(1, 11)))
        answers = self.answers_in(transport)
        self.assertEqual(sorted(answers), [11, 12, 13])
        for answer in answers.values():
            problem = answer.problem()
            self.assertEqual((problem.outcome, problem.code), ("not_applied", "overloaded"))
        self.assertFalse(transport.disconnecting)

    def test_row_21_room_comes_back_with_answers(self) -> None:
        protocol, _ = self.greet()
        protocol.dataReceived(asking(*range(10)))
        protocol.dataReceived(asking(10))
        for request_id in range(10):
            protocol.answer(request_id, answer_of_value(1, 1, 1))
        protocol.dataReceived(asking(*range(20, 30)))
        self.assertEqual(self.gate.asked, [*range(10), *range(20, 30)])

    def test_the_session_of_a_divided_frame_is_kept(self) -> None:
        protocol, _ = self.greet()
        protocol.dataReceived(asking(*range(9)) + asking(9, 10))
        _, divided = self.gate.submitted[-1]
        self.assertEqual((divided.session, divided.first_outstanding, len(divided.requests)), (5, 1, 1))

    def test_row_21_a_frame_of_more_than_may_ever_be_unanswered_is_cut(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(*range(11)))
        self.assert_cut(transport)
        self.assertEqual(self.gate.asked, [])

    def test_row_22_a_request_longer_than_a_frame_is_cut(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(b"\x00\x00\x27\x11")
        self.assert_cut(transport)

    def test_row_23_an_unknown_kind_of_request_is_cut(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(framed(msgspec.msgpack.encode(["requests", 0, 0, [["later", 1]]])))
        self.assert_cut(transport)
        self.assertEqual(self.counts, {"malformed": 1})

    @settings(deadline=None, max_examples=150)
    @given(
        mutated(st.lists(st.lists(requests, max_size=4), max_size=3).map(lambda frames: framed(*(as_frame(asked) for asked in frames)))),
        st.integers(1, 60),
    )
    def test_fuzz_only_requests_or_the_end_of_the_connection(self, stream: bytes, size: int) -> None:
        protocol, transport = self.greet()
        for at in range(0, len(stream), size):
            protocol.dataReceived(stream[at : at + size])
        self.clock.advance(self.timing.frame_s)
        self.assertEqual(transport.disconnected, protocol.closing)
        self.lose(protocol)
        self.assert_nothing_left()


def as_frame(asked: list[Request]) -> bytes:
    return encode_requests(Requests(1, 2, asked))


class LongAnswerTests(ClientTestCase):
    def test_answers_are_divided_into_frames_the_client_takes(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(*range(10)))
        for request_id in range(10):
            protocol.answer(request_id, answer_of_value(bytes(3_000), 1, 1))
        protocol.flush()
        frames = frames_in(transport.value())
        self.assertEqual(len(frames), 4)
        self.assertLessEqual(max(map(len, frames)), 10_000)
        self.assertEqual(sorted(self.answers_in(transport)), list(range(10)))

    def test_an_answer_longer_than_a_frame_is_replaced_by_saying_so(self) -> None:
        protocol, transport = self.greet()
        protocol.dataReceived(asking(1, 2))
        protocol.answer(1, answer_of_value(bytes(10_000), 1, 1))
        protocol.answer(2, answer_of_value("short", 1, 1))
        protocol.flush()
        answers = self.answers_in(transport)
        problem = answers[1].problem()
        self.assertEqual((problem.outcome, problem.code), ("unknown", "answer_too_large"))
        self.assertEqual(answers[2].value(), "short")


class SlowReaderTests(ClientTestCase):
    def answer_all(self, protocol: ClientProtocol, ids: range) -> None:
        protocol.dataReceived(asking(*ids))
        for request_id in ids:
            protocol.answer(request_id, answer_of_value(bytes(900), 1, 1))
        protocol.flush()

    def test_row_26_while_answers_wait_no_more_requests_are_read(self) -> None:
        protocol, transport = self.greet()
        outbox = self.outbox_of(transport)
        outbox.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        self.answer_all(protocol, range(10))
        self.assertEqual(transport.value(), b"")
        outbox.resumeProducing()
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(sorted(self.answers_in(transport)), list(range(10)))

    def test_row_26_beyond_a_size_that_client_is_dropped(self) -> None:
        protocol, transport = self.greet()
        other, other_transport = self.greet()
        self.outbox_of(transport).pauseProducing()
        for turn in range(5):
            self.answer_all(protocol, range(turn * 10, turn * 10 + 10))
        self.assertFalse(transport.disconnecting)
        self.answer_all(protocol, range(100, 110))
        self.assert_cut(transport)
        self.assertEqual(self.counts, {"slow_reader": 1})
        self.answer_all(other, range(10))
        self.assertEqual(len(self.answers_in(other_transport)), 10)

    def test_row_26_a_client_that_has_stopped_reading_is_dropped_after_a_while(self) -> None:
        _, transport = self.greet()
        self.outbox_of(transport).pauseProducing()
        self.clock.advance(self.timing.frame_s / 2)
        self.outbox_of(transport).resumeProducing()
        self.outbox_of(transport).pauseProducing()
        self.clock.advance(self.timing.frame_s * 0.9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(self.timing.frame_s * 0.1)
        self.assert_cut(transport)

    def test_closing_in_good_order_does_not_wait_for_a_client_that_does_not_read(self) -> None:
        protocol, transport = self.greet()
        self.outbox_of(transport).pauseProducing()
        protocol.close()
        self.assertIs(transport.producer, None)
        self.assertTrue(transport.disconnecting)
