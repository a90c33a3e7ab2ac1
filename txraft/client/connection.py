"""One connection to one server, seen from the client: the greeting, frames out and in, and the calls that are on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from txraft import __version__
from txraft.client.calls import Call
from txraft.errors import RemoteProtocolError
from txraft.limits import PROTOCOL_VERSION
from txraft.wire.codec import decode_replies, encode_requests
from txraft.wire.frames import FrameSplitter, frame_header
from txraft.wire.hello import (
    CLIENT_MAGIC,
    HELLO_BYTES_MAX,
    ClientHello,
    HelloRefused,
    agreed_version,
    decode_client_hello_reply,
    encode_greeting,
)
from txraft.wire.requests import Reply, Requests

__all__ = ["Link", "LinkOwner", "OneLink"]

FRAME_BYTES_CEILING = 67_108_864
"""No server makes a client keep a longer frame than this, whatever it says when it greets."""

_HELLO = encode_greeting(ClientHello(PROTOCOL_VERSION, PROTOCOL_VERSION, f"txraft.client {__version__}"))


class LinkOwner(Interface):
    """Who hears of a link. Each link is reported ready at most once, and lost exactly once."""

    def link_ready(self, link: Link) -> None:
        """The greetings have been exchanged: requests may be sent."""

    def link_replied(self, link: Link, replies: list[Reply]) -> None:
        """A frame came."""

    def link_lost(self, link: Link, why: str) -> None:
        """It is over, or never came to be. What was in flight on it will not be answered."""


class Link(Protocol):
    """A connection. All calls on the reactor thread.

    Attributes:
        address: of the server, as it was configured or named by another server.
        in_flight: calls sent and not answered, by the id of the request.
        in_flight_bytes: their size.
        waits: how many of them the server may let wait on purpose.
        requests_max: more than so many in flight the server would answer `overloaded`; it says so when it greets.
        frame_bytes_max: longest frame the server takes.
        heard_s: when something came last, or when it began to owe an answer (beside those that may wait); on the monotonic clock.
        retired: no new requests are sent on it; it ends when the last one is answered.
    """

    transport: ITCPTransport | None = None  # Any stream transport, in truth: all of Twisted's can be aborted.

    def __init__(self, owner: LinkOwner, address: str, monotonic: Callable[[], float]) -> None:
        self.address = address
        self.in_flight: dict[int, Call] = {}
        self.in_flight_bytes = 0
        self.waits = 0
        self.requests_max = 0
        self.frame_bytes_max = 0
        self.heard_s = monotonic()
        self.retired = False
        self._owner = owner
        self._monotonic = monotonic
        self._splitter = FrameSplitter(HELLO_BYTES_MAX)
        self._greeted = False
        self._last_id = 0
        self._lost = False

    def enter(self, call: Call) -> int:
        """Note that `call` is about to be sent; the id for its request. Each try has its own, so that no late answer meets another try."""
        if len(self.in_flight) == self.waits:
            self.heard_s = self._monotonic()
        if call.wait_s:
            self.waits += 1
        self._last_id += 1
        self.in_flight[self._last_id] = call
        self.in_flight_bytes += call.size_bytes
        call.in_flight = True
        return self._last_id

    def answered(self, request_id: int, call: Call) -> None:
        """The try `request_id` of `call` is over."""
        del self.in_flight[request_id]
        self.in_flight_bytes -= call.size_bytes
        if call.wait_s:
            self.waits -= 1
        call.in_flight = False

    def given_up(self) -> int:
        """How many calls are in flight that nobody waits for any more."""
        return sum(call.deferred is None for call in self.in_flight.values())

    def send(self, frame: Requests) -> None:
        """Write one frame."""
        content = encode_requests(frame)
        assert self.transport is not None
        self.transport.write(frame_header(len(content)) + content)

    def close(self) -> None:
        """End the connection in good order."""
        if self.transport is not None:
            self.transport.loseConnection()

    def drop(self, why: str) -> None:
        """End the connection at once; nothing that still arrives is looked at."""
        if not self._lost:
            if self.transport is not None:
                self.transport.abortConnection()
            self._report(why)

    def connectionMade(self) -> None:
        assert self.transport is not None
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.write(CLIENT_MAGIC + frame_header(len(_HELLO)) + _HELLO)

    def dataReceived(self, data: bytes) -> None:
        if self._lost:
            return
        self.heard_s = self._monotonic()
        try:
            for frame in self._splitter.split(data):
                if self._greeted:
                    self._owner.link_replied(self, decode_replies(frame).replies)
                else:
                    self._welcome(frame)
                if self._lost:
                    return
        except RemoteProtocolError as error:
            self.drop(str(error))

    def _welcome(self, frame: bytes) -> None:
        welcome = decode_client_hello_reply(frame)
        if isinstance(welcome, HelloRefused):
            raise RemoteProtocolError(f"the server refused this client: {welcome.sentence} [{welcome.code}]")
        if agreed_version(welcome.version, welcome.version) is None:
            raise RemoteProtocolError(f"the server chose protocol version {welcome.version}, which was not offered")
        if welcome.requests_max < 1 or welcome.frame_bytes_max < HELLO_BYTES_MAX:
            raise RemoteProtocolError("the server's bounds for this connection leave no room for a request")
        self.requests_max, self.frame_bytes_max = welcome.requests_max, welcome.frame_bytes_max
        self._splitter.frame_bytes_max = min(welcome.frame_bytes_max, FRAME_BYTES_CEILING)
        self._greeted = True
        self._owner.link_ready(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._lost:
            self._report(reason.getErrorMessage())

    def _report(self, why: str) -> None:
        self._lost = True
        self._owner.link_lost(self, f"{self.address}: {why}")


class OneLink(Factory):
    """Builds the one protocol it was made for."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Link:
        return self._link
