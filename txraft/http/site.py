"""The HTTP server: twisted.web's channel, with bodies and times bounded, in front of `Api`.

HTTP/1.1 only. Nothing a client does raises past the channel.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import Site

from txraft.errors import NotApplied, Outcome, Unknown
from txraft.http.api import Api, Asked
from txraft.http.operations import Operations
from txraft.http.replies import Reply, reply_of_problem
from txraft.limits import Limits, Timing
from txraft.node.ports import ClientGate

__all__ = ["ApiChannel", "ApiRequest", "ApiSite", "make_site"]

_IDLE_S = 300.0
"""A connection without a request is closed after this long."""

_CLOSING_S = 15.0
"""What a client has not read this long after that is dropped."""

_LENGTH_DIGITS_MAX = 18


def make_site(
    gate: ClientGate, *, limits: Limits, timing: Timing, reactor: IReactorTime, make_date: Callable[[], bytes] = datetimeToString
) -> ApiSite:
    """The protocol factory for HTTP connections to the client port.

    Args:
        gate: the node.
        limits: `http_body_bytes_max` bounds a body, `session_results_max` what a session keeps.
        timing: `frame_s` bounds the arrival of a request once begun; `session_s` is the default of new sessions.
        reactor: for timeouts; its clock may be monotonic.
        make_date: for the `Date` header, from the wall clock.
    """
    return ApiSite(Api(gate, limits, timing, Operations(gate, reactor.seconds)), limits, timing, reactor, make_date)


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
            response = self._site.api.respond(asked)
        except Exception:
            self._failed(Failure())
            return
        if isinstance(response, Deferred):
            response.addCallbacks(self._send, self._failed).addErrback(self._failed)
        else:
            self._send(response)

    @property
    def _site(self) -> ApiSite:
        assert self.channel is not None
        return self.channel.site

    def _header_values(self, name: str) -> list[str]:
        values = self.requestHeaders.getRawHeaders(name.encode()) or []
        return [value.decode("ascii", "replace") for value in values]

    def _failed(self, failure: Failure) -> None:
        problem = failure.value
        if not isinstance(problem, Outcome):
            self._log.failure("HTTP request failed: {method!r} {uri!r}", failure, method=self.method, uri=self.uri[:200])
            problem = Unknown("internal_error", "this server failed to answer; its log says more")
        self._send(reply_of_problem(problem))

    def _send(self, reply: Reply) -> None:
        if self.channel is None:
            return  # The client has gone.
        if self.startedWriting:
            self.channel.abort()  # What follows half an answer would be taken for its rest.
            return
        self._write(reply)
        self.channel.touch()
        Request.finish(self)

    def _write(self, reply: Reply) -> None:
        self.setResponseCode(reply.status)
        set_header = self.responseHeaders.setRawHeaders
        set_header(b"Content-Type", [reply.content_type])
        set_header(b"Content-Length", [b"%d" % len(reply.body)])
        set_header(b"Date", [self._site.date()])
        set_header(b"Cache-Control", [b"no-store"])
        set_header(b"X-Content-Type-Options", [b"nosniff"])
        for name, value in reply.headers.items():
            set_header(name, [value])
        Request.write(self, reply.body)

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
    """

    site: ApiSite
    requests: list[ApiRequest]
    requestFactory = ApiRequest
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


class ApiSite(Site):
    """The factory of `ApiChannel`s. There is no access log, and no HTTP/2.

    Attributes:
        api: answers the requests.
        limits, timing: bounds of requests.
    """

    protocol = ApiChannel  # type: ignore[assignment]

    def __init__(self, api: Api, limits: Limits, timing: Timing, reactor: IReactorTime, make_date: Callable[[], bytes]) -> None:
        Site.__init__(self, Resource(), ApiRequest, timeout=None, reactor=reactor)
        self.api = api
        self.limits = limits
        self.timing = timing
        self._make_date = make_date
        self._date = (-1, b"")

    def date(self) -> bytes:
        """The `Date` header, made once a second."""
        now = int(self.reactor.seconds())
        if self._date[0] != now:
            self._date = (now, self._make_date())
        return self._date[1]

    def startFactory(self) -> None:
        """Nothing to prepare: the base class would begin an access log."""

    def stopFactory(self) -> None:
        """Nothing was prepared."""

    def log(self, request: Request) -> None:
        """No access log."""

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may negotiate."""
        return [b"http/1.1"]
