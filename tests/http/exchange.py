"""Raw requests into a channel of the site, raw responses out of it: no sockets."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field, frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.server import Site

from tests.support.fake_gate import FakeGate
from txraft.http import make_site
from txraft.http.site import ApiSite
from txraft.limits import Limits, Timing

LIMITS = Limits(http_body_bytes_max=4_000, session_results_max=10)
TIMING = Timing(frame_s=30.0, session_s=600.0)


@frozen
class Response:
    """One response as a client reads it."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return self.headers.getRawHeaders(name, [None])[0]


class Transport(StringTransport):
    """Remembers whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


@define
class Exchange:
    """A connection to the site."""

    site: ApiSite
    transport: Transport = field(factory=Transport)
    protocol: Any = None

    def __attrs_post_init__(self) -> None:
        self.protocol = Site.buildProtocol(self.site, None)
        self.protocol.makeConnection(self.transport)

    def send(self, raw: bytes) -> None:
        self.protocol.dataReceived(raw)

    def hang_up(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def responses(self, *methods: str) -> list[Response]:
        """What came back so far, all of it whole; `methods` of the requests, where one is HEAD."""
        found: list[Response] = []
        rest = self.transport.value()
        self.transport.clear()
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            status_line, *lines = head.split(b"\r\n")
            headers = Headers()
            for line in lines:
                name, _, value = line.partition(b": ")
                headers.addRawHeader(name, value)
            length = int((headers.getRawHeaders("Content-Length") or ["0"])[0])
            if methods[len(found) : len(found) + 1] == ("HEAD",):
                length = 0
            body, rest = rest[:length], rest[length:]
            assert len(body) == length, "a response is cut"
            assert b"Transfer-Encoding" not in head
            found.append(Response(int(status_line.split(b" ")[1]), headers, body))
        return found

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Response:
        """Send one request, which is answered at once."""
        self.send(raw_request(method, path, body, headers))
        (response,) = self.responses(method)
        return response


def raw_request(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: n1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class HttpTestCase(SynchronousTestCase):
    """A site in front of a fake node with the machines `counter` and `shelf`, and one connection to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.date = "Tue, 14 Nov 2023 22:13:20 GMT"
        self.gate = FakeGate({"counter": "counter", "shelf": "tests.http.shelf.Shelf"})
        self.site = make_site(self.gate, limits=LIMITS, timing=TIMING, reactor=self.clock, make_date=self.make_date)
        self.exchange = Exchange(self.site)

    def make_date(self) -> bytes:
        return self.date.encode()

    def get(self, path: str, **headers: str) -> Response:
        return self.exchange.ask("GET", path, headers=headers)

    def post(self, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None) -> Response:
        return self.exchange.ask("POST", path, body.encode() if isinstance(body, str) else body, headers)

    def assert_problem(self, response: Response, status: int, code: str, outcome: str, *words: str) -> None:
        """It is a problem document that says just this."""
        self.assertEqual(response.header("Content-Type"), "application/problem+json")
        document = response.json
        self.assertEqual((response.status, document["status"], document["code"], document["outcome"]), (status, status, code, outcome))
        self.assertEqual(document["type"], f"urn:txraft:problem:{code}")
        self.assertTrue(document["title"])
        for word in words:
            self.assertIn(word, document["detail"])
