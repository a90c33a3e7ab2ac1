"""Connections without sockets: what one end writes is carried to the other when the test says so, in pieces of any size.

Like Twisted's own transports: nothing is delivered or lost in the turn in which it is written, a streaming producer is paused beyond 64 KiB
and resumed when all has gone, and a connection closed in good order first sends what was written, unless a paused producer hangs on to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

BUFFER_BYTES = 65_536


@implementer(ITransport, IConsumer, IPushProducer)
class PumpTransport:
    """One end of a connection.

    Attributes:
        outgoing: written and not carried to the other end.
        held: nothing is carried from here for now, as if the other end did not read.
        reading: the protocol at this end wants to receive.
        lost: the protocol at this end was told that the connection has ended.
    """

    disconnecting = False

    def __init__(self, protocol: IProtocol, host: int, peer: int) -> None:
        self.protocol = protocol
        self.outgoing = bytearray()
        self.held = False
        self.reading = True
        self.lost = False
        self.aborted = False
        self.producer: IProducer | None = None
        self._producer_paused = False
        self._host = IPv4Address("TCP", "127.0.0.1", host)
        self._peer = IPv4Address("TCP", "127.0.0.1", peer)

    def write(self, data: bytes) -> None:
        if self.lost or self.aborted:
            return
        self.outgoing += data
        if self.producer is not None and len(self.outgoing) > BUFFER_BYTES:
            self._producer_paused = True
            IPushProducer(self.producer).pauseProducing()

    def writeSequence(self, iovec: Sequence[bytes]) -> None:  # type: ignore[override]
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = self.aborted = True
        self.outgoing.clear()

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return self._host

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        assert self.producer is None and streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def take(self, bytes_max: int) -> bytes:
        """What is carried next."""
        taken = bytes(self.outgoing[:bytes_max])
        del self.outgoing[:bytes_max]
        if not self.outgoing and self._producer_paused and self.producer is not None:
            self._producer_paused = False
            IPushProducer(self.producer).resumeProducing()
        return taken

    @property
    def finished(self) -> bool:
        """Whether this end closes the connection now."""
        return self.aborted or (self.disconnecting and not self.outgoing and not (self.producer and self._producer_paused))

    def end(self, reason: Exception) -> None:
        """Tell the protocol that it is over."""
        if not self.lost:
            self.lost = True
            self.outgoing.clear()
            if self.producer is not None:
                self.producer.stopProducing()
                self.producer = None
            self.protocol.connectionLost(Failure(reason))


class Connection:
    """Two ends. `dialled` is the one that connected, `accepted` the other."""

    def __init__(self, dialled: IProtocol, accepted: IProtocol, number: int = 1) -> None:
        self.dialled = PumpTransport(dialled, 40_000 + number, 2380)
        self.accepted = PumpTransport(accepted, 2380, 40_000 + number)
        self._ends = ((self.dialled, self.accepted), (self.accepted, self.dialled))
        accepted.makeConnection(self.accepted)
        dialled.makeConnection(self.dialled)

    @property
    def over(self) -> bool:
        """Whether both ends know that it has ended."""
        return self.dialled.lost and self.accepted.lost

    def step(self, bytes_max: int = BUFFER_BYTES) -> bool:
        """Carry something each way, or an end; whether there was anything to do."""
        moved = False
        for here, there in self._ends:
            if here.outgoing and not here.held and there.reading and not there.lost and not there.disconnecting:
                there.protocol.dataReceived(here.take(bytes_max))
                moved = True
            elif there.aborted and here.outgoing:
                here.outgoing.clear()
        for here, there in self._ends:
            if not here.lost and here.finished:
                here.end(ConnectionAborted() if here.aborted else ConnectionDone())
                there.end(ConnectionLost() if here.aborted else ConnectionDone())
                moved = True
        return moved

    def cut(self) -> None:
        """The network between the two breaks, and both notice."""
        self.dialled.end(ConnectionLost())
        self.accepted.end(ConnectionLost())


class PumpNetwork:
    """Addresses to listen at and to dial.

    Attributes:
        connections: all that were made, oldest first.
        attempts: how often an address was dialled, with or without success.
    """

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.attempts: list[str] = []
        self._factories: dict[str, IProtocolFactory] = {}

    def listen(self, address: str, factory: IProtocolFactory) -> None:
        self._factories[address] = factory

    def close(self, address: str) -> None:
        del self._factories[address]

    def endpoint(self, reactor: IReactorTime, address: str) -> IStreamClientEndpoint:
        """For `Peers(endpoint=…)`."""
        return _Endpoint(self, address)

    def dial(self, address: str, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self.attempts.append(address)
        listening = self._factories.get(address)
        number = len(self.connections) + 1
        accepted = listening.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40_000 + number)) if listening else None
        if accepted is None:
            return fail(ConnectionRefusedError())
        dialled = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 2380))
        assert dialled is not None
        self.connections.append(Connection(dialled, accepted, number))
        return succeed(dialled)

    def flush(self, bytes_max: int = BUFFER_BYTES, settle: Callable[[], object] = lambda: None) -> None:
        """Carry everything until nothing moves; `settle` runs what the protocols left for the next turn."""
        moved = True
        while moved:
            moved = sum(connection.step(bytes_max) for connection in self.connections if not connection.over) > 0
            settle()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, network: PumpNetwork, address: str) -> None:
        self._network = network
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._network.dial(self._address, protocolFactory)
