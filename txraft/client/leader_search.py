"""Finding the leader and staying connected to it: the endpoints in turn, hints of servers that know better, pauses when nobody leads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from txraft.addresses import endpoint_string
from txraft.client.connection import Link, OneLink
from txraft.client.retrying import BackOff
from txraft.errors import ConfigurationError, NotApplied, Outcome
from txraft.wire.requests import Reply

__all__ = ["LeaderSearch", "SearchOwner"]

HOPS_MAX = 5
"""Hints followed one after the other, without an answer in between: servers that point at each other lead nowhere."""

OPEN_S = 3.0
"""A connection must stand, greetings exchanged, by then."""

CLOSE_S = 1.0
"""A connection that will not end in good order is cut then."""


class SearchOwner(Protocol):
    """Who wants the leader."""

    def wake(self) -> None:
        """There is a connection, or a pause is over: send what waits."""

    def link_replied(self, link: Link, replies: list[Reply]) -> None:
        """As `LinkOwner.link_replied`."""

    def link_lost(self, link: Link, why: str) -> None:
        """What was in flight on `link` will not be answered."""

    def link_retired(self, link: Link) -> None:
        """Nothing new will be sent on `link`. What need not be answered there should be asked elsewhere."""


class LeaderSearch:
    """Holds the one connection that new requests leave on, and older ones until they are answered. It connects only when it is asked to.

    Attributes:
        link: to the server believed to lead; None while there is none.
        trouble: why requests are not getting through at present; None when they are.

    Raises:
        ConfigurationError: an endpoint is no address, or there is none.
    """

    def __init__(
        self, reactor: Any, endpoints: Sequence[str], owner: SearchOwner, *, monotonic: Callable[[], float], rng: random.Random
    ) -> None:
        if isinstance(endpoints, str):
            raise ConfigurationError(f"{endpoints!r} is no list", key="endpoints", remedy="Give a list of HOST:PORT")
        for endpoint in endpoints:
            try:
                endpoint_string(endpoint)
            except ValueError as error:
                raise ConfigurationError(str(error), key="endpoints") from None
        if not endpoints:
            raise ConfigurationError("there is no endpoint", key="endpoints", remedy="Give at least one HOST:PORT")
        self.link: Link | None = None
        self.trouble: Outcome | None = None
        self._reactor = reactor
        self._endpoints = list(endpoints)
        self._owner = owner
        self._monotonic = monotonic
        self._back_off = BackOff(rng)
        self._position = 0
        self._target = endpoints[0]
        self._hops = 0
        self._retired: set[Link] = set()
        self._opening: Link | None = None
        self._connecting: Deferred[Any] | None = None
        self._overdue: IDelayedCall | None = None
        self._pause: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None

    @property
    def pausing(self) -> bool:
        """Whether nobody was found to lead, or the leader had too much to do, just now."""
        return self._pause is not None

    def links(self) -> list[Link]:
        """All connections on which answers may come."""
        return [*self._retired, self.link] if self.link is not None else list(self._retired)

    def drop_silent(self, silence_s: float) -> None:
        """Give up connections that owe answers other than to what may wait, or their end, and have been silent for so long."""
        now_s = self._monotonic()
        for link in self.links():
            if (len(link.in_flight) > link.waits or link.retired) and now_s - link.heard_s > silence_s:
                link.drop(f"silent for {silence_s:g} s")

    def renew(self) -> None:
        """Go on over a new connection to the same server: the end of the old one rids the server of what nobody waits for any more."""
        if self.link is not None:
            self._target = self.link.address
            self._retire(self.link)

    @property
    def restless(self) -> bool:
        """Whether a connection owes answers or its end."""
        return bool(self._retired) or (self.link is not None and bool(self.link.in_flight))

    def wanted(self) -> None:
        """Something waits to be sent: connect, unless that is done, under way, or pausing."""
        if self.link is None and self._opening is None and self._pause is None and self._closed is None:
            self._open(self._target)

    def answered(self) -> None:
        """A request got through: this is the leader."""
        self.trouble = None
        self._hops = 0
        self._back_off.reset()

    def turned_away(self, link: Link, problem: Outcome) -> None:
        """The server of `link` cannot serve now. Follow its hint, or pause; requests that it turned away are sent again after that."""
        if link is not self.link:
            return
        self.trouble = problem
        if self._pause is not None:
            return
        address = problem.details.get("address") if problem.code == "not_leader" else None
        if isinstance(address, str) and self._hops < HOPS_MAX and self._is_news(address):
            self._hops += 1
            self._target = address
            self._retire(link)
            return
        if problem.code not in ("overloaded", "serial_out_of_window"):
            self._next_endpoint()
            if self._target != link.address:
                self._retire(link)
        self._begin_pause()

    def tidy(self, link: Link) -> None:
        """Close `link` if it is of no more use."""
        if link.retired and not link.in_flight:
            link.close()

    def close(self) -> Deferred[None]:
        """Disconnect, for good. Fires when all connections are gone, after a second at most."""
        self._closed = closed = Deferred[None]()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._opening is not None:
            self._opening.drop("the client was closed")
        remaining = self.links()
        if not remaining and self._opening is None:
            return succeed(None)
        for link in remaining:
            link.close()

        def cut_off() -> None:
            for link in self.links():
                link.drop("the client was closed")

        cut = self._reactor.callLater(CLOSE_S, cut_off)

        def gone(_: None) -> None:
            if cut.active():
                cut.cancel()

        return closed.addCallback(gone)

    # LinkOwner

    def link_ready(self, link: Link) -> None:
        """The greetings have been exchanged."""
        self._opened()
        self.link = link
        self._owner.wake()

    def link_replied(self, link: Link, replies: list[Reply]) -> None:
        """A frame came."""
        self._owner.link_replied(link, replies)

    def link_lost(self, link: Link, why: str) -> None:
        """A connection ended, or could not be made."""
        if link is self._opening or link is self.link:
            if link is self._opening:
                self._opened()
            self.link = None
            self.trouble = NotApplied("unreachable", why)
            self._next_endpoint()
            if self._closed is None:
                self._begin_pause()
        self._retired.discard(link)
        self._owner.link_lost(link, why)
        if self._closed is not None and not self._closed.called and self.link is None and not self._retired:
            self._closed.callback(None)

    # Connecting

    def _open(self, address: str) -> None:
        link = self._opening = Link(self, address, self._monotonic)
        self._overdue = self._reactor.callLater(OPEN_S, self._open_overdue)
        # A hint may be an endpoint string of a kind that this program does not know: that is a failure to connect like any other.
        self._connecting = maybeDeferred(lambda: clientFromString(self._reactor, endpoint_string(address)).connect(OneLink(link)))
        self._connecting.addCallbacks(self._connected, self._not_connected, errbackArgs=(link,))

    def _connected(self, _: object) -> None:
        self._connecting = None

    def _not_connected(self, failure: Failure, link: Link) -> None:
        self._connecting = None
        why = f"no connection within {OPEN_S:g} s" if failure.check(CancelledError, ConnectingCancelledError) else failure.getErrorMessage()
        self.link_lost(link, f"{link.address}: {why}")

    def _open_overdue(self) -> None:
        self._overdue = None
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._opening is not None:
            self._opening.drop(f"no greeting within {OPEN_S:g} s: is it a txraft node?")

    def _opened(self) -> None:
        """The attempt to open a connection has ended, well or not."""
        self._opening = None
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _retire(self, link: Link) -> None:
        """Send nothing new on `link`, but wait for the answers that are due."""
        link.retired = True
        self.link = None
        self._retired.add(link)
        self._owner.link_retired(link)

    def _is_news(self, address: str) -> bool:
        """Whether a hint can be followed, and elsewhere than to where it came from."""
        if self.link is not None and address == self.link.address:
            return False
        try:
            endpoint_string(address)
        except ValueError:
            return False
        return True

    def _next_endpoint(self) -> None:
        self._position = (self._position + 1) % len(self._endpoints)
        self._target = self._endpoints[self._position]

    def _begin_pause(self) -> None:
        if self._pause is None:
            self._hops = 0
            self._pause = self._reactor.callLater(self._back_off.next_s(), self._pause_over)

    def _pause_over(self) -> None:
        self._pause = None
        self._owner.wake()
