from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txraft.client.connection import Link, OneLink
from txraft.limits import PROTOCOL_VERSION
from txraft.wire.codec import encode_replies
from txraft.wire.frames import frame_header
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, ClientWelcome, HelloRefused, decode_client_hello, encode_greeting
from txraft.wire.requests import Reply


def framed(content: bytes) -> bytes:
    return frame_header(len(content)) + content


def welcome(version: int = PROTOCOL_VERSION, frame_bytes_max: int = 100_000, requests_max: int = 10) -> bytes:
    return framed(encode_greeting(ClientWelcome(version, "c", "n1", frame_bytes_max, requests_max)))


class Owner:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.why = ""

    def link_ready(self, link: Link) -> None:
        self.heard.append("ready")

    def link_replied(self, link: Link, replies: list[Reply]) -> None:
        self.heard.append(f"{len(replies)} replies")

    def link_lost(self, link: Link, why: str) -> None:
        self.heard.append("lost")
        self.why = why


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.owner = Owner()
        self.link = Link(self.owner, "a:1", lambda: 0.0)
        self.transport = StringTransport()
        OneLink(self.link).buildProtocol(None).makeConnection(self.transport)

    def test_it_says_hello_first(self) -> None:
        said = self.transport.value()
        self.assertEqual(said[:4], CLIENT_MAGIC)
        hello = decode_client_hello(said[8:])
        self.assertIsInstance(hello, ClientHello)
        self.assertEqual((hello.version_min, hello.version_max), (PROTOCOL_VERSION, PROTOCOL_VERSION))
        self.assertTrue(hello.program.startswith("txraft.client "))

    def test_the_welcome_makes_it_ready_with_the_servers_bounds(self) -> None:
        self.link.dataReceived(welcome())
        self.assertEqual(self.owner.heard, ["ready"])
        self.assertEqual((self.link.requests_max, self.link.frame_bytes_max), (10, 100_000))

    def test_greeting_and_replies_may_come_together(self) -> None:
        self.link.dataReceived(welcome() + framed(encode_replies([])) + framed(encode_replies([])))
        self.assertEqual(self.owner.heard, ["ready", "0 replies", "0 replies"])

    def test_greetings_that_cannot_be_taken_end_it(self) -> None:
        refused = framed(encode_greeting(HelloRefused("version", "too old")))
        for greeting in (refused, welcome(version=PROTOCOL_VERSION + 1), welcome(requests_max=0), welcome(frame_bytes_max=10)):
            self.connect()
            self.link.dataReceived(greeting + framed(encode_replies([])))
            self.assertEqual(self.owner.heard, ["lost"])
            self.assertTrue(self.transport.disconnecting)

    def test_a_refusal_is_told_in_the_servers_words(self) -> None:
        self.link.dataReceived(framed(encode_greeting(HelloRefused("version", "speaks another version"))))
        self.assertIn("a:1", self.owner.why)
        self.assertIn("speaks another version", self.owner.why)

    def test_the_end_is_told_once(self) -> None:
        self.link.dataReceived(welcome())
        self.link.drop("a reason")
        self.link.drop("another")
        self.link.connectionLost()
        self.link.dataReceived(framed(encode_replies([])))
        self.assertEqual(self.owner.heard, ["ready", "lost"])
        self.assertEqual(self.owner.why, "a:1: a reason")

    @settings(deadline=None, max_examples=200)
    @given(st.booleans(), st.lists(st.binary(max_size=60), max_size=6))
    def test_no_bytes_get_an_exception_out_of_it(self, greeted: bool, pieces: list[bytes]) -> None:
        self.connect()
        if greeted:
            self.link.dataReceived(welcome())
        for piece in pieces:
            self.link.dataReceived(piece)
            self.link.dataReceived(framed(piece))
        self.assertLessEqual(self.owner.heard.count("lost"), 1)
        self.assertEqual("lost" in self.owner.heard, self.transport.disconnecting)
