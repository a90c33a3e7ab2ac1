"""Servers to try a client against without sockets: they speak the wire's codec, share one state, and do as each test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.support.fake_history import FakeHistory
from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.statemachine.results import answer_of_problem, answer_of_value
from txraft.statemachine.values import decode_value
from txraft.wire.codec import decode_requests, encode_replies
from txraft.wire.frames import FrameSplitter, frame_header
from txraft.wire.hello import CLIENT_MAGIC, ClientWelcome, decode_client_hello, encode_greeting
from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
    PollRequest,
    Reply,
    Request,
    Requests,
    StatusRequest,
)

FRAME_BYTES_MAX = 4_194_304
REQUESTS_MAX = 4_096

Behaviour = Callable[[Requests, Request], "bytes | None"]
"""The encoded answer to a request, or None to keep silent."""


class FakeCluster:
    """What the servers agree on: one counter, and sessions that remember results.

    Attributes:
        total: of all additions.
        added: each of them.
        applied: session and serial number of each command, in the order they were applied; repetitions are not.
        sessions: results by serial number, by session.
        history: its events.
    """

    def __init__(self) -> None:
        self.total = 0
        self.added: list[int] = []
        self.applied: list[tuple[int, int]] = []
        self.sessions: dict[int, dict[int, bytes]] = {}
        self.first_outstanding: dict[int, int] = {}
        self.index = 0
        self.history = FakeHistory()

    def apply(self, frame: Requests, request: Request) -> bytes:
        self.index += 1
        if isinstance(request, OpenSessionRequest):
            self.sessions[self.index] = {}
            return answer_of_value(self.index, self.index, 1)
        if isinstance(request, InvokeRequest) and request.serial == 0:
            return answer_of_problem(Refused("serial_missing")) if frame.session else self.add(request)
        results = self.sessions.get(frame.session)
        if results is None:
            return answer_of_problem(Unknown("session_expired", "there is no such session"))
        if isinstance(request, CloseSessionRequest):
            del self.sessions[frame.session]
            return answer_of_value(None, self.index, 1)
        if isinstance(request, KeepSessionRequest):
            return answer_of_value(None, self.index, 1)
        assert isinstance(request, InvokeRequest)
        first = self.first_outstanding[frame.session] = max(self.first_outstanding.get(frame.session, 0), frame.first_outstanding)
        for serial in [serial for serial in results if serial < first]:
            del results[serial]
        if request.serial < first:
            return answer_of_problem(Unknown("serial_forgotten"))
        if request.serial not in results:
            self.applied.append((frame.session, request.serial))
            results[request.serial] = self.add(request)
        return results[request.serial]

    def add(self, request: InvokeRequest) -> bytes:
        (positional, _) = decode_value(bytes(request.arguments))
        if positional == ["refuse"]:
            return answer_of_problem(Refused("out_of_stock", "none left", left=0))
        self.total += positional[0]
        self.added.append(positional[0])
        return answer_of_value(self.total, self.index, 1)

    def expire_sessions(self) -> None:
        self.sessions.clear()


def not_leader(address: str) -> Behaviour:
    return lambda frame, request: answer_of_problem(NotApplied("not_leader", "another leads", leader="n2", address=address))


def problem(outcome: Outcome) -> Behaviour:
    return lambda frame, request: answer_of_problem(outcome)


def silence(frame: Requests, request: Request) -> None:
    return None


class FakeServer:
    """One server.

    Attributes:
        behave: answers requests; `lead` unless a test says otherwise.
        frames: all that were received, in order.
        connections: that are open.
        greets: whether it answers the hello.
        polls: that wait, with the connection they came on and when their wait is over.
        lags: how many indexes of the history it has not heard of yet.
    """

    def __init__(self, reactor: FakeReactor, address: str, cluster: FakeCluster) -> None:
        self.address = address
        self.cluster = cluster
        self.behave: Behaviour = self.lead
        self.frames: list[Requests] = []
        self.connections: list[FakeConnection] = []
        self.accepted = 0
        self.greets = True
        self.requests_max = REQUESTS_MAX
        self.frame_bytes_max = FRAME_BYTES_MAX
        self.reactor = reactor
        self.polls: list[tuple[FakeConnection, PollRequest, float]] = []
        self.lags = 0

    def poll(self, connection: FakeConnection, request: PollRequest) -> bytes | None:
        """The answer to a poll; None if it waits."""
        page = self.cluster.history.page(request, self.lags)
        if isinstance(page, NotApplied):
            return answer_of_problem(page)
        if request.wait_ms and not page["events"] and page["next"] >= request.first > self.cluster.history.newest - self.lags:
            self.polls.append((connection, request, self.reactor.seconds() + request.wait_ms / 1000))
            return None
        return answer_of_value(page, self.cluster.history.newest - self.lags, 1)

    def serve_polls(self) -> None:
        """Answer those that have something to be told, or have waited long enough."""
        waiting, self.polls = self.polls, []
        for connection, request, until_s in waiting:
            if connection.open:
                over = self.reactor.seconds() >= until_s
                answer = self.poll(connection, msgspec.structs.replace(request, wait_ms=0) if over else request)
                if answer is not None:
                    connection.reply(request, answer)
                else:
                    self.polls[-1] = (connection, request, until_s)

    def lead(self, frame: Requests, request: Request) -> bytes | None:
        """Do what is asked."""
        if isinstance(request, Ask):
            return answer_of_value(self.cluster.total, self.cluster.index, 1)
        if isinstance(request, DescribeRequest):
            return answer_of_value(DESCRIPTION, 0, 1)
        if isinstance(request, StatusRequest):
            return answer_of_value({"node": self.address, "digest": request.digest}, 0, 1)
        return self.cluster.apply(frame, request)

    def lose_answers(self, frame: Requests, request: Request) -> bytes | None:
        """Do what is asked and say nothing; sessions are opened as usual."""
        answer = self.lead(frame, request)
        return answer if isinstance(request, OpenSessionRequest) else None

    def requests(self, kind: type[Any]) -> list[Any]:
        """All requests of a kind that were received."""
        return [request for frame in self.frames for request in frame.requests if isinstance(request, kind)]

    def hang_up(self) -> None:
        """Close all connections."""
        for connection in list(self.connections):
            connection.hang_up()

    def send(self, content: bytes) -> None:
        """Send these bytes on the newest connection."""
        self.connections[-1].send(content)


DESCRIPTION: dict[str, Any] = {"counter": {"commands": {"add": {"doc": ""}}, "queries": {"get": {"doc": ""}}}}


class FakeConnection(StringTransport):
    """The client's transport, with the server at the other end of it. Bytes arrive at once; answers and ends in the next turn."""

    def __init__(self, server: FakeServer, protocol: Protocol) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.server = server
        self.protocol = protocol
        self.open = True
        self.refuses_to_close = False
        self._greeted = False
        self._magic = b""
        self._splitter = FrameSplitter(FRAME_BYTES_MAX)
        server.connections.append(self)
        server.accepted += 1

    def write(self, data: bytes) -> None:
        if not self.open:
            return
        if len(self._magic) < 4:
            self._magic, data = (self._magic + data)[:4], (self._magic + data)[4:]
            assert CLIENT_MAGIC.startswith(self._magic)
        for content in list(self._splitter.split(data)):
            self._received(content)

    def _received(self, content: bytes) -> None:
        server = self.server
        if not self._greeted:
            decode_client_hello(content)
            self._greeted = True
            if server.greets:
                welcome = ClientWelcome(1, "c" * 32, "n1", server.frame_bytes_max, server.requests_max)
                self.send_later(_framed(encode_greeting(welcome)))
            return
        assert len(content) <= server.frame_bytes_max, "the client ignored the server's bound on frames"
        frame = decode_requests(content)
        server.frames.append(frame)
        replies = []
        for request in frame.requests:
            if isinstance(request, PollRequest) and server.behave == server.lead:
                answer = server.poll(self, request)
            else:
                answer = server.behave(frame, request)
            if answer is not None:
                replies.append(Reply(request.id, msgspec.Raw(answer)))
        if replies:
            self.send_later(_framed(encode_replies(replies)))

    def reply(self, request: Request, answer: bytes) -> None:
        """Answer a request that was received before."""
        self.send(_framed(encode_replies([Reply(request.id, msgspec.Raw(answer))])))

    def send(self, content: bytes) -> None:
        if self.open:
            self.protocol.dataReceived(content)

    def send_later(self, content: bytes) -> None:
        self.server.reactor.callLater(0, self.send, content)

    def hang_up(self) -> None:
        self._end(ConnectionLost())

    def loseConnection(self) -> None:
        if not self.refuses_to_close:
            self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self._end(ConnectionLost())

    def _end(self, why: Exception) -> None:
        if self.open:
            self.open = False
            self.server.connections.remove(self)
            self.server.reactor.callLater(0, self.protocol.connectionLost, Failure(why))


class _Connector:
    """What a client factory may be handed."""

    def __init__(self) -> None:
        self.stopped = False

    def stopConnecting(self) -> None:
        self.stopped = True

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)


class FakeReactor(MemoryReactorClock):
    """A reactor with a clock to be advanced, on which addresses of fake servers can be connected to.

    Attributes:
        servers: by address.
        black_holes: addresses that neither accept nor refuse.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.servers: dict[str, FakeServer] = {}
        self.black_holes: set[str] = set()
        self.dialled: list[str] = []

    def serve(self, cluster: FakeCluster, *addresses: str) -> list[FakeServer]:
        """Start a server at each address."""
        servers = [FakeServer(self, address, cluster) for address in addresses]
        self.servers.update({server.address: server for server in servers})
        return servers

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.advance(0)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        connector = _Connector()
        factory.startedConnecting(connector)
        self.dialled.append(f"{host}:{port}")
        if f"{host}:{port}" not in self.black_holes:
            self.callLater(0, self._connect, f"{host}:{port}", factory, connector)
        return connector

    def _connect(self, address: str, factory: Any, connector: _Connector) -> None:
        if connector.stopped:
            return
        server = self.servers.get(address)
        if server is None:
            factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            return
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        protocol.makeConnection(FakeConnection(server, protocol))


def _framed(content: bytes) -> bytes:
    return frame_header(len(content)) + content
