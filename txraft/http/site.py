"""The HTTP server in front of `Api`. HTTP/1.1 only."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import Site

from txraft.http.api import Api
from txraft.http.channel import ApiChannel, ApiRequest
from txraft.http.operations import Operations
from txraft.http.snapshots import Snapshots
from txraft.http.watching import Watches
from txraft.limits import Limits, Timing
from txraft.node.ports import ClientGate

__all__ = ["ApiSite", "make_site"]


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
    api = Api(gate, limits, timing, Operations(gate, reactor.seconds), Watches(gate, timing, reactor), Snapshots(gate, timing, reactor))
    return ApiSite(api, limits, timing, reactor, make_date)


class ApiSite(Site):
    """The factory of `ApiChannel`s. There is no access log, and no HTTP/2.

    Attributes:
        api: answers the requests.
        respond: does what a request asks.
        limits, timing: bounds of requests.
    """

    protocol = ApiChannel  # type: ignore[assignment]

    def __init__(self, api: Api, limits: Limits, timing: Timing, reactor: IReactorTime, make_date: Callable[[], bytes]) -> None:
        Site.__init__(self, Resource(), ApiRequest, timeout=None, reactor=reactor)
        self.api = api
        self.respond = api.respond
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
