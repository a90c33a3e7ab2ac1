"""What the connections of one port share: a greeting in time, a cap on those not yet greeted, and an end when the port ends."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport

from txraft.limits import Limits, Timing
from txraft.net.framing import FrameReceiver
from txraft.net.incidents import Incidents
from txraft.wire.hello import HELLO_BYTES_MAX

__all__ = ["GreetedConnection", "OpenConnections", "Places", "Port", "Turns", "tune"]


SLICE_S = 0.005
"""How long clients' bytes are looked at, about, before all else has its turn."""

GAP_S = 0.001
"""Clients' work that is further apart than this had something else between it."""


class Places:
    """How many connections may be in some state at once."""

    def __init__(self, places_max: int) -> None:
        self.taken = 0
        self._greeting_max = places_max

    def take(self) -> bool:
        """Take one; false if there is none left."""
        if self.taken >= self._greeting_max:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Give one back."""
        self.taken -= 1


class Waiting(Protocol):
    """A connection with bytes that it has not looked at."""

    def go_on(self) -> None:
        """Look at them now."""


class Turns:
    """Clients' work in portions of about `SLICE_S`, between which timers, peers and the disk are attended to.

    In one turn the reactor reads from every connection that has something to say. Where many say much, that would take seconds, in which
    a leader sends no heartbeats and hears no answers. What does not fit waits for later turns, first come, first served.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until = self._ended = float("-inf")
        self._waiting: deque[Waiting] = deque()

    def begin(self, connection: Waiting) -> bool:
        """Whether `connection` may look at its bytes now, and then call `end`; else it is told to go on in a later turn."""
        if not self._waiting:
            now = self._clock.seconds()
            if now - self._ended > GAP_S:
                self._until = now + SLICE_S
            if now < self._until:
                return True
            self._clock.callLater(0, self._next)
        self._waiting.append(connection)
        return False

    def end(self) -> None:
        """A connection has looked at its bytes."""
        self._ended = self._clock.seconds()

    def _next(self) -> None:
        self._ended = self._clock.seconds()
        self._until = self._ended + SLICE_S
        while self._waiting and self._ended < self._until:
            self._waiting.popleft().go_on()
            self.end()
        if self._waiting:
            self._clock.callLater(0, self._next)


class Closable(Protocol):
    """A connection that can be closed in good order, and surely ends soon after."""

    def close(self) -> None:
        """Begin to."""


class OpenConnections:
    """The accepted connections of a port: closing the port does not close them."""

    def __init__(self) -> None:
        self._open: set[Closable] = set()
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Closable) -> None:
        """One more."""
        self._open.add(connection)

    def closed(self, connection: Closable) -> None:
        """It has ended."""
        self._open.discard(connection)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def close_all(self) -> Deferred[None]:
        """Close each; fires when all have ended."""
        for connection in tuple(self._open):
            connection.close()
        if not self._open:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        return ended


class Port:
    """What the connections of one port share. The native client protocol and the front door may share one.

    Attributes:
        clock, limits, timing: as configured.
        incidents: what the others did wrong, for log and status.
        greeting: places for connections that have not finished their greeting.
        open: those that were accepted.
        turns: in which their bytes are looked at.
    """

    def __init__(self, reactor: IReactorTime, limits: Limits, timing: Timing, name: str) -> None:
        """`name` is for the log: `peer` or `client`."""
        self.clock = reactor
        self.limits = limits
        self.timing = timing
        self.incidents = Incidents(reactor, name)
        self.greeting = Places(limits.greeting_connections_max)
        self.open = OpenConnections()
        self.turns = Turns(reactor)

    def take_greeting_place(self, remote: str) -> bool:
        """Whether one more stranger may come in."""
        if self.greeting.take():
            return True
        self.incidents.report("greetings_full", remote, "too many connections have not said their hello: closed a new one")
        return False


class GreetedConnection(FrameReceiver):
    """A connection whose first frame is a greeting, small and in time; the frames after it are messages.

    Attributes:
        greeted: the greeting is over and was accepted.
    """

    def __init__(self, port: Port, *, magic: bytes, frame_bytes_max: int, greeting: Places | None = None) -> None:
        """`greeting`: where a place was taken for this connection, if it is one that others have opened; it is given back."""
        super().__init__(port.clock, port.incidents, magic=magic, frame_bytes_max=HELLO_BYTES_MAX, frame_s=port.timing.frame_s)
        self.greeted = False
        self._greeted_frame_bytes_max = frame_bytes_max
        self._hello_s = port.timing.hello_s
        self._greeting = greeting
        self._hello_timer: IDelayedCall | None = None

    def greeting_received(self, frame: bytes) -> None:
        """The first frame: call `greeting_done` or close the connection. May raise `RemoteProtocolError`."""
        raise NotImplementedError

    def message_received(self, frame: bytes) -> None:
        """Any later frame. May close the connection, or raise `RemoteProtocolError`."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        super().connectionMade()
        tune(self.transport)
        self._hello_timer = self._clock.callLater(self._hello_s, self._hello_overdue)

    def frame_received(self, frame: bytes) -> None:
        """The greeting, once; then messages."""
        if self.greeted:
            self.message_received(frame)
        else:
            self.greeting_received(frame)

    def greeting_done(self) -> None:
        """The other side is known: from now on it may send messages."""
        self.greeted = True
        self.frames.frame_bytes_max = self._greeted_frame_bytes_max
        self._end_greeting()

    def _hello_overdue(self) -> None:
        self._hello_timer = None
        self.reject("slow_hello", f"no whole hello within {self._hello_s:g} s")

    def _end_greeting(self) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
            self._hello_timer = None
        if self._greeting is not None:
            self._greeting.leave()
            self._greeting = None

    def _end(self) -> None:
        self._end_greeting()
        super()._end()


def tune(transport: ITransport | None, *, unacknowledged_s: float | None = None) -> None:
    """Small frames leave at once, and a machine that has vanished is noticed sooner or later even where nothing is sent.

    What a transport does not have (a Unix socket, a test's) is left alone.

    Args:
        transport: of a connection just made.
        unacknowledged_s: end the connection when the other machine's kernel has taken nothing for this long, although there is
            something to send. Without it, a connection through a healed partition may wait for the kernel's next attempt for
            minutes. Linux only.
    """
    socket_like: Any = transport
    with suppress(AttributeError, OSError):
        socket_like.setTcpNoDelay(True)
        socket_like.setTcpKeepAlive(True)
        if unacknowledged_s is not None:
            socket_like.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unacknowledged_s * 1000))
