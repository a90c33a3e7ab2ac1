from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.net.case import NetTestCase, RecordedClientGate, framed, frames_in
from txraft.limits import Limits
from txraft.net.client_protocol import ClientProtocolFactory
from txraft.net.connections import Port
from txraft.net.framing import CLOSE_GRACE_S
from txraft.net.front_door import Dialect, FrontDoor, begins_with, is_http, is_native
from txraft.wire.codec import encode_requests
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, ClientWelcome, decode_client_hello_reply, encode_greeting
from txraft.wire.requests import Requests, StatusRequest

HELLO = CLIENT_MAGIC + framed(encode_greeting(ClientHello(1, 1)))
STATUS = framed(encode_requests(Requests(0, 0, [StatusRequest(1)])))
GET = b"GET /livez HTTP/1.1\r\nHost: n1\r\n\r\n"


class Livez(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        path: bytes = request.path
        return b"alive at " + path


class Full(ServerFactory):
    """Lets nobody in."""

    def buildProtocol(self, addr: object) -> None:
        return None


class PredicateTests(NetTestCase):
    def test_decided_as_soon_as_it_can_be(self) -> None:
        recognise = begins_with(b"GET ", b"GO ")
        self.assertEqual([recognise(first) for first in (b"", b"G", b"GE", b"GET", b"GET ", b"GET /")], [None] * 4 + [True] * 2)
        self.assertEqual([recognise(first) for first in (b"X", b"GX", b"GOT", b"get ")], [False] * 4)

    def test_every_method_of_http_and_nothing_else(self) -> None:
        for method in (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"):
            self.assertIs(is_http(method + b" / HTTP/1.1"), True)
        for other in (b"\x16\x03\x01", b"SSH-2.0-x", b"PRI * HTTP/2.0", CLIENT_MAGIC, b"\r\n"):
            self.assertIs(is_http(other), False)
        self.assertIs(is_native(CLIENT_MAGIC), True)


class FrontDoorTestCase(NetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.assert_nothing_left)
        self.gate = RecordedClientGate()
        self.limits = Limits(greeting_connections_max=3, client_connections_max=5)
        native = ClientProtocolFactory(self.clock, self.gate, self.limits, self.timing)
        self.site = Site(Livez(), reactor=self.clock)
        dialects: list[Dialect] = [(is_native, native), (is_http, self.site)]
        self.door = FrontDoor(self.clock, self.limits, self.timing, dialects=dialects, port=native.port)
        self.door.doStart()
        self.addCleanup(self.door.doStop)

    @property
    def port(self) -> Port:
        return self.door.port

    def connect(self) -> tuple[Protocol, StringTransport]:
        protocol = self.door.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport(lenient=True)
        protocol.makeConnection(transport)
        self.addCleanup(self.lose, protocol)
        return protocol, transport

    def lose(self, protocol: Protocol) -> None:
        protocol.connectionLost(Failure(ConnectionDone()))


class DialectTests(FrontDoorTestCase):
    def assert_welcome(self, transport: StringTransport) -> None:
        (frame,) = frames_in(transport.value())
        self.assertIsInstance(decode_client_hello_reply(frame), ClientWelcome)

    def test_native_clients(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(HELLO + STATUS)
        self.assert_welcome(transport)
        protocol.dataReceived(framed(encode_requests(Requests(0, 0, [StatusRequest(2)]))))
        self.assertEqual(self.gate.asked, [1, 2])

    def test_http_clients(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(GET)
        self.assertIn(b"200 OK", transport.value())
        self.assertIn(b"alive at /livez", transport.value())
        protocol.dataReceived(GET.replace(b"livez", b"again"))
        self.assertIn(b"alive at /again", transport.value())

    def test_either_byte_by_byte(self) -> None:
        protocol, transport = self.connect()
        for at in HELLO + STATUS:
            protocol.dataReceived(bytes([at]))
        self.assert_welcome(transport)
        self.assertEqual(self.gate.asked, [1])
        protocol, transport = self.connect()
        for at in GET:
            protocol.dataReceived(bytes([at]))
        self.assertIn(b"alive at /livez", transport.value())

    def test_producers_and_the_transport_belong_to_the_dialect(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(HELLO)
        self.assertIsNot(transport.producer, None)
        self.outbox_of(transport).pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        self.outbox_of(transport).resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_the_end_of_a_connection_reaches_the_dialect(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(HELLO + STATUS)
        ((caller, _),) = self.gate.submitted
        self.lose(protocol)
        caller.answer(1, b"\xc0")
        caller.flush()
        self.assertEqual(len(self.port.open), 0)

    def test_a_dialect_that_takes_no_more_closes_the_connection(self) -> None:
        self.door = FrontDoor(self.clock, self.limits, self.timing, dialects=[(is_http, Full())])
        protocol, transport = self.connect()
        protocol.dataReceived(GET)
        self.assert_cut(transport)
        protocol.dataReceived(GET)
        self.assertEqual(transport.value(), b"")


class StrangerTests(FrontDoorTestCase):
    def test_row_02_what_speaks_no_dialect_is_cut_at_once(self) -> None:
        for first_bytes in (b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-OpenSSH_9\r\n", b"PRI * HTTP/2.0\r\n", b"\x00\x00\x00\x05", b"TXRP"):
            protocol, transport = self.connect()
            protocol.dataReceived(first_bytes)
            self.assert_cut(transport)
            protocol.dataReceived(GET)
            self.assertEqual(transport.value(), b"")
            self.lose(protocol)
        self.assertEqual(self.port.incidents.counts, {"unknown_dialect": 5})
        (line,) = [line for line in self.lines() if line.startswith("client port")]
        self.assertIn("192.168.1.1:54321", line)

    def test_row_01_silence_is_dropped(self) -> None:
        for first_bytes in (b"", b"PO", b"TX"):
            protocol, transport = self.connect()
            if first_bytes:
                protocol.dataReceived(first_bytes)
            self.clock.advance(self.timing.hello_s)
            self.assert_cut(transport)
            self.lose(protocol)
        self.assertEqual(self.port.incidents.counts, {"slow_hello": 3})

    def test_row_01_a_native_client_without_a_hello_is_dropped_too(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(CLIENT_MAGIC)
        self.clock.advance(self.timing.hello_s)
        self.assert_cut(transport)

    def test_row_01_only_so_many_connections_may_be_undecided(self) -> None:
        undecided = [self.connect()[0] for _ in range(3)]
        self.assertIs(self.door.buildProtocol(None), None)
        undecided[0].dataReceived(GET)
        undecided[1].dataReceived(HELLO)
        self.lose(undecided[2])
        self.assertEqual(self.port.greeting.taken, 0)
        self.connect()

    def test_only_so_many_connections_at_all(self) -> None:
        connected = []
        for stream in (GET, HELLO, GET, HELLO, GET):
            protocol, _ = self.connect()
            protocol.dataReceived(stream)
            connected.append(protocol)
        self.assertIs(self.door.buildProtocol(None), None)
        self.assertEqual(self.port.incidents.counts, {"connections_full": 1})
        self.lose(connected[0])
        self.connect()

    def test_closed_before_a_decision(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(b"GE")
        self.lose(protocol)
        self.assertEqual((len(self.port.open), self.port.greeting.taken), (0, 0))


class ClosingTests(FrontDoorTestCase):
    def test_all_connections_are_closed_and_nobody_else_is_let_in(self) -> None:
        connections = []
        for stream in (b"", GET, HELLO):
            protocol, transport = self.connect()
            if stream:
                protocol.dataReceived(stream)
            connections.append((protocol, transport))
        closed = self.door.close()
        self.assertIs(self.door.buildProtocol(None), None)
        for protocol, transport in connections:
            self.assertTrue(transport.disconnecting)
            self.assertNoResult(closed)
            self.lose(protocol)
        self.successResultOf(closed)

    def test_a_connection_that_does_not_end_is_cut(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(GET)
        self.door.close()
        self.assertFalse(transport.disconnected)
        self.clock.advance(CLOSE_GRACE_S)
        self.assert_cut(transport)

    def test_the_factories_of_the_dialects_live_as_long_as_the_door(self) -> None:
        self.assertEqual(self.site.numPorts, 1)
        self.door.doStart()
        self.assertEqual(self.site.numPorts, 1)
        self.door.doStop()
        self.assertEqual(self.site.numPorts, 1)
