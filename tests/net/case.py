"""What the tests of the network share: gates that write down what they get, and a base class that looks for what was left behind."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.ids import ServerId
from txraft.limits import Limits, Timing
from txraft.node.ports import Caller, Identity, OpenedSnapshot, PeerMessage
from txraft.statemachine import Declaration
from txraft.statemachine.results import Answer
from txraft.wire.frames import FrameSplitter, frame_header
from txraft.wire.hello import HelloRefused
from txraft.wire.requests import Request, Requests

CLUSTER = "c" * 32


def framed(*contents: bytes) -> bytes:
    """These contents as frames."""
    return b"".join(frame_header(len(content)) + content for content in contents)


def frames_in(stream: bytes) -> list[bytes]:
    """The contents of the frames in `stream`."""
    return list(FrameSplitter(2**32 - 1).split(stream))


class RecordedPeerGate:
    """A node that only writes down what its peers say."""

    def __init__(
        self,
        server_id: str,
        *,
        cluster_id: str = CLUSTER,
        incarnation: int = 1,
        directory: str = "",
        process: str = "",
        previous_processes: tuple[str, ...] = (),
    ) -> None:
        self.identity = Identity(cluster_id, ServerId(server_id), incarnation, f"{server_id}:2379", directory, process, previous_processes)
        self.received: list[tuple[str, PeerMessage]] = []
        self.unreachable: list[str] = []
        self.refused: list[tuple[str, str]] = []

    def message_received(self, sender: ServerId, message: PeerMessage) -> None:
        self.received.append((sender, message))

    def peer_unreachable(self, peer: ServerId) -> None:
        self.unreachable.append(peer)

    def hello_refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        self.refused.append((peer, refusal.code))


class RecordedClientGate:
    """A node that only writes down what clients ask."""

    def __init__(self) -> None:
        self.identity = Identity(CLUSTER, ServerId("n1"), 1, "n1:2379")
        self.submitted: list[tuple[Caller, Requests]] = []
        self.forgotten: list[Caller] = []

    def submit(self, caller: Caller, frame: Requests) -> None:
        self.submitted.append((caller, frame))

    @property
    def asked(self) -> list[int]:
        """The ids of all requests, in order."""
        return [request.id for _, frame in self.submitted for request in frame.requests]

    def forget(self, caller: Caller) -> None:
        self.forgotten.append(caller)

    def call(self, request: Request, *, session: int = 0, first_outstanding: int = 0, timeout_s: float | None = None) -> Deferred[Answer]:
        raise NotImplementedError

    def arguments_of_json(self, machine: str, operation: str, body: bytes, *, text: bool = False) -> bytes:
        raise NotImplementedError

    def declarations(self) -> dict[str, Declaration]:
        raise NotImplementedError

    def describe_machines(self) -> dict[str, Any]:
        raise NotImplementedError

    def status(self, *, digest: bool = False) -> dict[str, Any]:
        raise NotImplementedError

    def digested_status(self) -> Deferred[dict[str, Any]]:
        raise NotImplementedError

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        raise NotImplementedError

    def open_snapshot(self) -> Deferred[OpenedSnapshot]:
        raise NotImplementedError

    def ready(self) -> tuple[bool, str]:
        raise NotImplementedError

    def alive(self) -> tuple[bool, str]:
        raise NotImplementedError


class NetTestCase(SynchronousTestCase):
    """Has a clock, default bounds and the log; nothing may be left that is to happen later."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = Limits()
        self.timing = Timing()
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def lines(self) -> list[str]:
        """What was logged by way of sentences."""
        return [str(event["log_format"]).format(**event) for event in self.events if event.get("log_format")]

    def outbox_of(self, transport: StringTransport) -> IPushProducer:
        """Whom the transport asks to pause."""
        return IPushProducer(transport.producer)

    def assert_cut(self, transport: StringTransport) -> None:
        self.assertTrue(transport.disconnected, "the connection was not cut")
