"""The way out to one other server: a connection that is dialled again for as long as the link exists, and an outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.application.internet import ClientService
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, clientFromString
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.addresses import endpoint_string, host_and_port
from txraft.core.ids import ServerId
from txraft.errors import RemoteProtocolError
from txraft.net.connections import GreetedConnection, Port, tune
from txraft.net.outbox import Outbox
from txraft.wire.codec import PeerMessage
from txraft.wire.hello import (
    HELLO_BYTES_MAX,
    NOT_READY,
    PEER_MAGIC,
    HelloRefused,
    PeerHello,
    PeerWelcome,
    decode_peer_hello_reply,
    encode_greeting,
)

__all__ = ["Dialler", "EndpointOf", "PeerLink", "client_endpoint"]

CONNECT_S = 3.0
"""How long one attempt to connect may take."""

DELAY_FIRST_S, DELAY_MAX_S, DELAY_JITTER_S = 0.05, 0.8, 0.2
"""Waits between attempts double from the first to the greatest, each with a random part: at most 1 s, as elections wait for it."""

STEADY_S = 5.0
"""A connection that has lasted this long was a good one: the waits begin at the first again."""

UNACKNOWLEDGED_S = 5.0
"""A peer whose machine takes nothing for this long is dialled anew."""


EndpointOf = Callable[[IReactorTime, str], IStreamClientEndpoint]
"""Where to dial an address; see `client_endpoint`."""


class Dialler(Protocol):
    """Whose links these are. Implemented by `peers.Peers`."""

    def hello_to(self, peer: ServerId) -> PeerHello:
        """What to say to `peer`."""

    def accept_welcome(self, peer: ServerId, welcome: PeerWelcome) -> str | None:
        """Note what `peer` said of itself; or why it is not `peer` that has answered."""

    def encode(self, message: PeerMessage) -> bytes:
        """The frame content for `message`; b"" when it cannot be sent."""

    def peer_unreachable(self, peer: ServerId) -> None:
        """What was sent to `peer` may be lost. Called in a turn of its own."""

    def hello_refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        """`peer` does not take the hello."""


def client_endpoint(reactor: IReactorTime, address: str) -> IStreamClientEndpoint:
    """Where to dial `address`: `HOST:PORT` or a Twisted client endpoint string. Raises `ValueError` when it is neither.

    A numeric host needs no resolver, whose threads may all be waiting for a name server.
    """
    description = endpoint_string(address)
    parts = host_and_port(address)
    if parts is None or description == address:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
        return endpoint
    if isIPAddress(parts[0]) or isIPv6Address(parts[0]):
        return TCP4ClientEndpoint(reactor, *parts, timeout=CONNECT_S)
    return HostnameEndpoint(reactor, *parts, timeout=CONNECT_S)


class PeerConnection(GreetedConnection):
    """The dialled end: says hello, checks who answers, and from then on only sends."""

    def __init__(self, link: PeerLink) -> None:
        super().__init__(link.port, magic=b"", frame_bytes_max=HELLO_BYTES_MAX)
        self.outbox: Outbox | None = None
        self._link = link

    def connectionMade(self) -> None:
        super().connectionMade()
        tune(self.transport, unacknowledged_s=UNACKNOWLEDGED_S)
        assert self.transport is not None
        self.transport.write(PEER_MAGIC)
        self.send_frame(encode_greeting(self._link.hello()))
        self._link.dialled(self)

    def greeting_received(self, frame: bytes) -> None:
        """The answer to the hello."""
        reply = decode_peer_hello_reply(frame)
        link = self._link
        if isinstance(reply, HelloRefused):
            if reply.code == NOT_READY.code:
                link.attempt_failed(NOT_READY.sentence)
                self.abort()
                return
            self.reject("hello_refused", f"{link.peer} at {link.address} refuses our hello ({reply.code}): {reply.sentence}")
            link.refused(reply)
            return
        problem = link.welcomed(reply)
        if problem is not None:
            self.reject("wrong_peer", f"the server at {link.address}, which should be {link.peer}, {problem}")
            return
        self.greeting_done()
        assert self.transport is not None
        self.outbox = Outbox(self.transport)
        link.established(self.outbox)

    def message_received(self, frame: bytes) -> None:
        """There are none in this direction."""
        raise RemoteProtocolError("a message on a connection that is for sending only")

    def close(self) -> None:
        if self.outbox is not None and not self.closing:
            self.outbox.close()
        super().close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._link.lost(reason.getErrorMessage())


@implementer(ILogObserver)
def _unheard(event: LogEvent) -> None:
    pass


class _QuietClientService(ClientService):
    # Twisted logs every attempt, for ever; the link says what matters, once.
    _log = Logger(observer=_unheard)


@implementer(IStreamClientEndpoint)
class _Dialling(Factory):
    """One attempt after the other for a link."""

    noisy = False

    def __init__(self, link: PeerLink, endpoint: EndpointOf) -> None:
        self._link = link
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        # The address comes out of the log: one that cannot be understood is one that cannot be reached.
        try:
            attempt: Deferred[IProtocol] = self._endpoint(self._link.port.clock, self._link.address).connect(protocolFactory)
        except Exception:
            attempt = fail(Failure())
        return attempt.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self._link.attempt_failed(failure.getErrorMessage().rstrip("."))
        return failure

    def buildProtocol(self, addr: IAddress | None) -> PeerConnection:
        return PeerConnection(self._link)


class PeerLink:
    """Sends to one server; what cannot be sent is dropped, for the algorithm repeats itself.

    Attributes:
        peer: that server.
        address: where it is dialled.
        dropped: messages dropped so far.
        refusal: what the server said when it last refused the hello; None since it has taken one.
    """

    log = Logger()

    def __init__(
        self,
        port: Port,
        dialler: Dialler,
        peer: ServerId,
        address: str,
        *,
        endpoint: EndpointOf,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives a number from 0 to 1."""
        self.port = port
        self.peer = peer
        self.address = address
        self.dropped = 0
        self.refusal: HelloRefused | None = None
        self._dialler = dialler
        self._jitter = jitter
        self._connection: PeerConnection | None = None
        self._outbox: Outbox | None = None
        self._established_at = 0.0
        self._attempts = 0
        self._trouble = ""
        self._loss_told = False
        self._loss_call: IDelayedCall | None = None
        # The hello is the protocol's affair and not prepareConnection's: when a connection ends while that one waits, ClientService raises
        # NoTransition out of connectionLost.
        dialling = _Dialling(self, endpoint)
        self._service = _QuietClientService(dialling, dialling, retryPolicy=self._delay_s, clock=port.clock)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._outbox is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait here."""
        return self._outbox.unsent_bytes if self._outbox is not None else 0

    def start(self) -> None:
        """Dial, and dial again whenever the connection ends."""
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """Send what the transport holds, close, dial no more. Fires when the connection has ended, which is soon."""
        stopped = self._service.stopService() if self._service.running else succeed(None)
        if self._connection is not None:
            self._connection.close()
        if self._loss_call is not None:
            self._loss_call.cancel()
            self._loss_call = None
        self._outbox = None
        return stopped

    def send(self, message: PeerMessage) -> None:
        """Send, or drop."""
        outbox = self._outbox
        frame = self._dialler.encode(message) if outbox is not None else b""
        if outbox is None or not frame:
            self.dropped += 1
            self._tell_loss()
            return
        outbox.write(frame)
        # Heartbeats wait behind what is queued, so this bound is also one on time: a link that needs an election timeout for so much is too
        # slow to replicate on anyway. What one leader has under way to one follower is usually a small part of it.
        while outbox.unsent_bytes > self.port.limits.outbox_bytes_max:
            outbox.drop_oldest()
            self.dropped += 1
            self._tell_loss()

    def hello(self) -> PeerHello:
        """What to say first on a new connection."""
        return self._dialler.hello_to(self.peer)

    def dialled(self, connection: PeerConnection) -> None:
        """`connection` is there, but nobody has answered on it."""
        self._connection = connection

    def welcomed(self, welcome: PeerWelcome) -> str | None:
        """The other side has answered; why it is not the right one, or None."""
        return self._dialler.accept_welcome(self.peer, welcome)

    def refused(self, refusal: HelloRefused) -> None:
        """The other side does not take the hello."""
        self.refusal = refusal
        self._dialler.hello_refused(self.peer, refusal)

    def redial(self) -> None:
        """Whoever was reached is not, or no longer, the peer: see who answers next. An attempt under way will see by itself."""
        if self._outbox is not None and self._connection is not None:
            self._connection.abort()

    def established(self, outbox: Outbox) -> None:
        """Messages may be sent."""
        self._outbox = outbox
        self.refusal = None
        self._established_at = self.port.clock.seconds()
        self._trouble = ""
        self._loss_told = False
        self.log.info("connected to {peer} at {address}", peer=self.peer, address=self.address)

    def attempt_failed(self, why: str) -> None:
        """Nobody was reached. One line in the log for each new reason."""
        if self._service.running and why != self._trouble:
            self._trouble = why
            self.log.warn("{peer} at {address} cannot be reached: {why}; trying on", peer=self.peer, address=self.address, why=why)

    def lost(self, why: str) -> None:
        """The connection has ended."""
        self._connection = None
        if self._outbox is None:
            return
        self._outbox = None
        if self.port.clock.seconds() - self._established_at >= STEADY_S:
            self._attempts = 0
        self.log.info("lost the connection to {peer} at {address}: {why}", peer=self.peer, address=self.address, why=why)
        self._tell_loss()

    def _delay_s(self, _attempts_of_service: int) -> float:
        delay_s: float = min(DELAY_FIRST_S * 2 ** min(self._attempts, 10), DELAY_MAX_S)
        self._attempts += 1
        return delay_s + DELAY_JITTER_S * self._jitter()

    def _tell_loss(self) -> None:
        """Say once that messages are lost: once while there is no connection, once a turn while there is too much for it.

        In a turn of its own: whoever sends is in the middle of a step of the algorithm.
        """
        if self._loss_call is None and not self._loss_told and self._service.running:
            self._loss_told = self._outbox is None
            self._loss_call = self.port.clock.callLater(0, self._loss_due)

    def _loss_due(self) -> None:
        self._loss_call = None
        self._dialler.peer_unreachable(self.peer)
