"""One HTTP connection and its requests: twisted.web's channel, with bodies and times bounded.

Nothing a client does raises past it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from txraft.errors import NotApplied, Outcome, Unknown
from txraft.http.api import Response
from txraft.http.asked import Asked
from txraft.http.replies import Reply, reply_of_problem
from txraft.http.streams import Stream
from txraft.limits import Limits, Timing

__all__ = ["ApiChannel", "ApiRequest", "Served"]

_IDLE_S = 300.0
"""A connection without a request is closed after this long."""

_CLOSING_S = 15.0
"""What a client has not read this long after that is dropped."""

_LENGTH_DIGITS_MAX = 18


class Served(Protocol):
    """What a connection belongs to. Implemented by `http.site.ApiSite`.

    Attributes:
        respond: does what is asked; raises the `Outcome` of a request that did not come to the node.
    """

    respond: Callable[[Asked], Response]
    limits: Limits
    timing: Timing
    reactor: IReactorTime

    def date(self) -> bytes:
        """The `Date` header."""


class ApiRequest(Request):
    """One request. Its body is counted while it arrives; too long, it is answered 413 at once and the rest is dropped.

    Attributes:
        arrived: whole, and being answered.
    """

    channel: ApiChannel | None = None  # type: ignore[assignment]
    content: BytesIO
    arrived = False
    _log = Logger()
    _refused = False
    _room = 0
    _awaited: Deferred[None] | None = None
    _stream: Stream | None = None

    def gotLength(self, length: int | None) -> None:
        """The headers are there; `length` is None when the body comes in chunks."""
        self.content = BytesIO()
        self._room = self._site.limits.http_body_bytes_max
        if length is not None and length > self._room:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body arrived."""
        self._room -= len(data)
        if self._room < 0:
            self._refuse()
        elif not self._refused:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it arrived: ask the API."""
        if self.channel is None:
            return
        self.arrived = True
        self.channel.request_arrived()
        if self._refused:
            Request.finish(self)
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        method = "GET" if command == b"HEAD" else command.decode("ascii", "replace")
        asked = Asked(method, self.path, query, self.content.getvalue(), self._header_values)
        try:
            response = self._site.respond(asked)
        except Exception:
            self._failed(Failure())
            return
        if isinstance(response, Deferred):
            self._awaited = response.addCallbacks(self._send, self._failed).addErrback(self._failed)
        else:
            self._send(response)

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone: what is waited for on its behalf is not wanted any more."""
        Request.connectionLost(self, reason)
        if self._stream is not None:
            self._stream.stop()
        if self._awaited is not None:
            self._awaited.cancel()

    def write_part(self, part: bytes) -> None:
        """Some more of a stream."""
        if self.channel is not None:
            self.channel.touch()
            Request.write(self, part)

    def end(self) -> None:
        """The end of a stream."""
        self._stream = None
        if self.channel is not None:
            self.channel.touch()
            self.unregisterProducer()
            Request.finish(self)

    def abort(self) -> None:
        """Close the connection without sending what is left."""
        if self.channel is not None:
            self.channel.abort()

    @property
    def _site(self) -> Served:
        assert self.channel is not None
        return self.channel.site

    def _header_values(self, name: str) -> list[str]:
        values = self.requestHeaders.getRawHeaders(name.encode()) or []
        return [value.decode("ascii", "replace") for value in values]

    def _failed(self, failure: Failure) -> None:
        if self.channel is None and failure.check(CancelledError):
            return  # By ourselves, because the client has gone.
        problem = failure.value
        if not isinstance(problem, Outcome):
            self._log.failure("HTTP request failed: {method!r} {uri!r}", failure, method=self.method, uri=self.uri[:200])
            problem = Unknown("internal_error", "this server failed to answer; its log says more")
        self._send(reply_of_problem(problem))

    def _send(self, reply: Reply | Stream) -> None:
        if not isinstance(reply, Reply):
            self._begin_stream(reply)
            return
        if self.channel is None:
            return  # The client has gone.
        if self.startedWriting:
            self.channel.abort()  # What follows half an answer would be taken for its rest.
            return
        self._write(reply)
        self.channel.touch()
        Request.finish(self)

    def _begin_stream(self, stream: Stream) -> None:
        channel = self.channel
        if channel is None:
            stream.stop()  # The client has gone.
            return
        self._set_headers(200, stream.headers)
        if self.method == b"HEAD":
            stream.stop()
            Request.finish(self)
            return
        self._stream = stream
        self.registerProducer(stream, True)
        stream.begin(self, full=channel.full)

    def _write(self, reply: Reply) -> None:
        length = b"%d" % len(reply.body)
        self._set_headers(reply.status, {b"Content-Type": reply.content_type, b"Content-Length": length, **reply.headers})
        Request.write(self, reply.body)

    def _set_headers(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """These, and those of every answer."""
        self.setResponseCode(status)
        set_header = self.responseHeaders.setRawHeaders
        for name, value in headers.items():
            set_header(name, [value])
        set_header(b"Date", [self._site.date()])
        set_header(b"Cache-Control", [b"no-store"])
        set_header(b"X-Content-Type-Options", [b"nosniff"])

    def _refuse(self) -> None:
        """Answer 413 before the body is there. The connection ends when the rest, dropped, has arrived, or `Timing.frame_s` is over."""
        if self._refused or self.channel is None:
            return
        self._refused = True
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"Expect")  # or else the channel asks for the body
        self.channel.persistent = 0
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        bytes_max = self._site.limits.http_body_bytes_max
        reply = reply_of_problem(NotApplied("too_large", f"a body may have {bytes_max} bytes", bytes_max=bytes_max))
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self._write(reply)


class ApiChannel(HTTPChannel):
    """One connection. A request once begun must arrive whole within `Timing.frame_s`, however slowly its bytes drip.

    The base class's idle timeout is not used: it takes two new timers for every request.

    Attributes:
        full: it has more to send than the client has room for.
    """

    site: Served
    requests: list[ApiRequest]
    requestFactory = ApiRequest
    full = False
    _arrivals = 0
    _deadline: IDelayedCall | None = None
    _idle: IDelayedCall | None = None
    _touched_s = 0.0
    _log = Logger()

    def connectionMade(self) -> None:
        """The connection is ours."""
        HTTPChannel.connectionMade(self)
        self.touch()
        self._idle = self.site.reactor.callLater(_IDLE_S, self._look_whether_idle)

    def touch(self) -> None:
        """Something happened on this connection."""
        self._touched_s = self.site.reactor.seconds()

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        self.touch()
        arrivals = self._arrivals
        try:
            HTTPChannel.dataReceived(self, data)
        except Exception:
            self._log.failure("HTTP connection from {peer} failed", peer=HTTPChannel.getPeer(self))
            self.abort()
            return
        if self._arrivals == arrivals and self._deadline is None and not self._is_answering():
            self._deadline = self.site.reactor.callLater(self.site.timing.frame_s, self._too_slow)

    def request_arrived(self) -> None:
        """A request is whole."""
        self._arrivals += 1
        self._end_deadline()

    def headerReceived(self, line: bytes) -> bool:
        """One header, whole. A body whose length has too many digits for a number is refused here: the base class would raise."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS_MAX:
            HTTPChannel.write(self, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            HTTPChannel.loseConnection(self)
            return False
        return bool(HTTPChannel.headerReceived(self, line))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has gone; requests being answered are told."""
        self._end_deadline()
        if self._idle is not None:
            self._idle.cancel()
        HTTPChannel.connectionLost(self, reason)

    def pauseProducing(self) -> None:
        """More is to be sent than the client has room for."""
        self.full = True
        HTTPChannel.pauseProducing(self)

    def resumeProducing(self) -> None:
        """All of it was taken."""
        self.full = False
        HTTPChannel.resumeProducing(self)

    def abort(self) -> None:
        """Close without sending what is left."""
        cast("ITCPTransport", self.transport).abortConnection()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_answering(self) -> bool:
        return bool(self.requests) and self.requests[-1].arrived

    def _look_whether_idle(self) -> None:
        left_s = _IDLE_S if self._is_answering() else self._touched_s + _IDLE_S - self.site.reactor.seconds()
        if left_s > 0:
            self._idle = self.site.reactor.callLater(left_s, self._look_whether_idle)
        else:
            HTTPChannel.loseConnection(self)
            self._idle = self.site.reactor.callLater(_CLOSING_S, self._drop)

    def _drop(self) -> None:
        self._idle = None
        self.abort()

    def _too_slow(self) -> None:
        self._deadline = None
        self.abort()
