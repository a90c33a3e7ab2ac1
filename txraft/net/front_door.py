"""The client port: one for several protocols, told apart by the first bytes a client sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from txraft.limits import Limits, Timing
from txraft.net.connections import Port
from txraft.net.descriptors import connections_possible
from txraft.net.framing import CLOSE_GRACE_S, cut
from txraft.net.incidents import remote_address
from txraft.wire.hello import CLIENT_MAGIC

__all__ = ["Dialect", "FrontDoor", "begins_with", "is_http", "is_native"]

Dialect = tuple[Callable[[bytes], bool | None], IProtocolFactory]
"""Whether these first bytes are its own (None: too few to tell), and who speaks it."""

FIRST_BYTES_MAX = 64
"""A client whose dialect is not known after so many bytes speaks none."""


def begins_with(*words: bytes) -> Callable[[bytes], bool | None]:
    """A predicate for a dialect whose connections begin with one of `words`."""

    def recognise(first_bytes: bytes) -> bool | None:
        if first_bytes.startswith(words):
            return True
        return None if any(word.startswith(first_bytes) for word in words) else False

    return recognise


is_native = begins_with(CLIENT_MAGIC)
is_http = begins_with(b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ")


class FrontDoor(ServerFactory):
    """Factory of the client port; may be given to several listening ports.

    Attributes:
        port: what its connections share.
    """

    noisy = False

    def __init__(
        self, reactor: IReactorTime, limits: Limits, timing: Timing, *, dialects: Sequence[Dialect], port: Port | None = None
    ) -> None:
        """The first of `dialects` that recognises a client's first bytes gets the connection. `port`: as for native clients."""
        self.port = port or Port(reactor, limits, timing, "client")
        self.dialects = list(dialects)
        self._connections_max = limits.client_connections_max
        self._closed = False

    def startFactory(self) -> None:
        self._connections_max = connections_possible(self.port.limits.client_connections_max)
        for _, factory in self.dialects:
            factory.doStart()

    def stopFactory(self) -> None:
        for _, factory in self.dialects:
            factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if self._closed:
            return None
        port = self.port
        if len(port.open) >= self._connections_max:
            port.incidents.report("connections_full", str(addr), "too many client connections: closed a new one")
            return None
        if not port.take_greeting_place(str(addr)):
            return None
        visitor = _Visitor(self)
        self.port.open.opened(visitor)
        return visitor

    def close(self) -> Deferred[None]:
        """Let nobody in any more and close all connections in good order; fires when they have ended, which is soon."""
        self._closed = True
        return self.port.open.close_all()


class _Visitor(Protocol):
    """A connection: first its bytes are kept until a dialect is chosen, then they go to that dialect's protocol.

    That protocol has the transport to itself: what it writes, and the producers it registers, do not pass through here.
    """

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._hello_s = door.port.timing.hello_s
        self._first_bytes = b""
        self._inner: IProtocol | None = None
        self._gone = False
        self._in_greeting = True
        self._timer: IDelayedCall | None = None
        self._grace: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timer = self._door.port.clock.callLater(self._hello_s, self._overdue)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self._gone:
            self._first_bytes += data
            self._choose()

    def _choose(self) -> None:
        undecided = False
        for recognise, factory in self._door.dialects:
            verdict = recognise(self._first_bytes)
            if verdict:
                self._hand_over(factory)
                return
            undecided = undecided or verdict is None
        if not undecided or len(self._first_bytes) > FIRST_BYTES_MAX:
            self._reject("unknown_dialect", f"speaks no protocol of this port: {self._first_bytes[:16]!r}")

    def _hand_over(self, factory: IProtocolFactory) -> None:
        assert self.transport is not None
        self._end_greeting()
        inner = factory.buildProtocol(self.transport.getPeer())
        if inner is None:
            self._gone = True
            cut(self.transport)
            return
        first_bytes, self._first_bytes = self._first_bytes, b""
        self._inner = inner
        inner.makeConnection(self.transport)
        inner.dataReceived(first_bytes)

    def _overdue(self) -> None:
        self._timer = None
        self._reject("slow_hello", f"has not said which protocol it speaks within {self._hello_s:g} s")

    def _reject(self, cause: str, sentence: str) -> None:
        self._gone = True
        self._end_greeting()
        self._door.port.incidents.report(cause, remote_address(self.transport), sentence)
        if self.transport is not None:
            cut(self.transport)

    def close(self) -> None:
        """Close in good order, by the dialect's own way if it has one; cut soon after."""
        self._gone = True
        self._end_greeting()
        if self.transport is not None and self._grace is None:
            self._grace = self._door.port.clock.callLater(CLOSE_GRACE_S, self._grace_over)
            getattr(self._inner, "close", self.transport.loseConnection)()

    def _grace_over(self) -> None:
        self._grace = None
        if self.transport is not None:
            cut(self.transport)

    def _end_greeting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_greeting:
            self._in_greeting = False
            self._door.port.greeting.leave()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._end_greeting()
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        inner, self._inner = self._inner, None
        try:
            if inner is not None:
                inner.connectionLost(reason)
        finally:
            self._door.port.open.closed(self)
