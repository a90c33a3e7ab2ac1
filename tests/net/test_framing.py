from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.net.case import NetTestCase, framed, frames_in
from txraft.errors import RemoteProtocolError
from txraft.net.framing import CLOSE_GRACE_S, FrameReceiver
from txraft.net.incidents import Incidents

WISHES = (b"bad", b"close", b"cut")


class Receiver(FrameReceiver):
    """Writes frames down; `bad` is no frame of its protocol, `close` and `cut` are wishes."""

    def frame_received(self, frame: bytes) -> None:
        self.received = [*getattr(self, "received", []), frame]
        if frame == b"bad":
            raise RemoteProtocolError("this is bad")
        if frame == b"close":
            self.close()
        if frame == b"cut":
            self.abort()


class FramingTestCase(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.incidents = Incidents(self.clock, "peer")
        self.transport = StringTransport()
        self.receiver = self.connect()

    def connect(self, magic: bytes = b"") -> Receiver:
        receiver = Receiver(self.clock, self.incidents, magic=magic, frame_bytes_max=8, frame_s=30.0)
        receiver.received = []
        self.transport = StringTransport()
        receiver.makeConnection(self.transport)
        return receiver

    def lose(self) -> None:
        self.receiver.connectionLost(Failure(ConnectionLost()))
        self.assert_nothing_left()


class FrameReceiverTests(FramingTestCase):
    def test_row_05_a_frame_split_at_every_byte_and_many_frames_in_one_segment(self) -> None:
        stream = b"MAGC" + framed(b"one", b"two", b"three")
        for place in range(len(stream) + 1):
            self.receiver = self.connect(b"MAGC")
            self.receiver.dataReceived(stream[:place])
            self.receiver.dataReceived(stream[place:])
            self.assertEqual(self.receiver.received, [b"one", b"two", b"three"])
            self.assertFalse(self.transport.disconnecting)
            self.lose()

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(st.binary(min_size=1, max_size=8).filter(lambda content: content not in WISHES), max_size=6),
        st.lists(st.integers(0, 80), max_size=8),
    )
    def test_any_chunking_gives_the_same_frames(self, contents: list[bytes], cuts: list[int]) -> None:
        stream = b"MAGC" + framed(*contents)
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        self.receiver = self.connect(b"MAGC")
        for begin, end in itertools.pairwise(places):
            self.receiver.dataReceived(stream[begin:end])
        self.assertEqual(self.receiver.received, contents)
        self.lose()

    def test_row_03_length_zero_and_over_limit_close_before_the_content_arrives(self) -> None:
        for header in (b"\x00\x00\x00\x00", b"\x00\x00\x00\x09", b"\xff\xff\xff\xff"):
            self.receiver = self.connect()
            self.receiver.dataReceived(header)
            self.assert_cut(self.transport)
            self.receiver.dataReceived(b"x" * 9)
            self.assertEqual(self.receiver.received, [])
            self.lose()
        self.assertEqual(self.incidents.counts, {"malformed": 3})

    def test_row_03_length_at_the_limit_is_accepted(self) -> None:
        self.receiver.dataReceived(framed(b"12345678"))
        self.assertEqual(self.receiver.received, [b"12345678"])

    def test_row_02_another_protocol_is_cut_at_its_first_byte(self) -> None:
        for first_bytes in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"SSH-2.0-OpenSSH\r\n", b"MAGX", b"\n"):
            self.receiver = self.connect(b"MAGC")
            self.receiver.dataReceived(first_bytes)
            self.assert_cut(self.transport)
            self.lose()
        self.receiver = self.connect(b"MAGC")
        self.receiver.dataReceived(b"MAG")
        self.assertFalse(self.transport.disconnecting)

    def test_row_04_a_frame_cut_short_is_not_delivered(self) -> None:
        self.receiver.dataReceived(framed(b"1234")[:-1])
        self.lose()
        self.assertEqual(self.receiver.received, [])

    def test_row_04_a_frame_that_stays_incomplete_is_given_up(self) -> None:
        self.receiver.dataReceived(framed(b"one") + b"\x00")
        for at in framed(b"1234")[1:-1]:
            self.clock.advance(4.0)
            self.receiver.dataReceived(bytes([at]))
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(30.0 - 4.0 * 6)
        self.assert_cut(self.transport)
        self.assertEqual(self.incidents.counts, {"slow_frame": 1})
        self.lose()

    def test_silence_between_frames_is_no_fault(self) -> None:
        self.receiver.dataReceived(framed(b"1234")[:-1])
        self.receiver.dataReceived(b"4")
        self.clock.advance(1000.0)
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.receiver.received, [b"1234"])
        self.assert_nothing_left()

    def test_each_frame_has_its_own_time(self) -> None:
        half, rest = framed(b"1234")[:5], framed(b"1234")[5:]
        self.receiver.dataReceived(half)
        for _ in range(5):
            self.clock.advance(20.0)
            self.receiver.dataReceived(rest + half)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(30.0)
        self.assert_cut(self.transport)
        self.lose()

    def test_what_is_not_the_protocol_closes_this_connection_only_and_quietly(self) -> None:
        self.receiver.dataReceived(framed(b"good", b"bad", b"more"))
        self.assertEqual(self.receiver.received, [b"good", b"bad"])
        self.assert_cut(self.transport)
        self.assertEqual(self.incidents.counts, {"malformed": 1})
        self.assertIn("this is bad", self.lines()[0])
        self.assertIn("192.168.1.1:54321", self.lines()[0])

    def test_nothing_is_delivered_after_closing(self) -> None:
        for last in (b"close", b"cut"):
            self.receiver = self.connect()
            self.receiver.dataReceived(framed(last, b"more"))
            self.receiver.dataReceived(framed(b"more"))
            self.assertEqual(self.receiver.received, [last])
            self.assertTrue(self.transport.disconnecting)
            self.lose()

    def test_closing_in_good_order_does_not_wait_for_ever(self) -> None:
        self.receiver.close()
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(CLOSE_GRACE_S)
        self.assert_cut(self.transport)
        self.lose()

    def test_sending(self) -> None:
        self.receiver.send_frame(b"hello")
        self.assertEqual(frames_in(self.transport.value()), [b"hello"])
