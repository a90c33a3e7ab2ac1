"""One end of a connection that carries frames; `wire.frames` cuts them, here is what becomes of a connection that does not keep to them."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from txraft.errors import RemoteProtocolError
from txraft.net.incidents import Incidents, remote_address
from txraft.wire.frames import FrameSplitter, frame_header

__all__ = ["FrameReceiver", "cut"]

CLOSE_GRACE_S = 1.0
"""How long a connection that is closed in good order may take to send what is left before it is cut."""


def cut(transport: ITransport) -> None:
    """End the connection now, with what is unsent, if this kind of transport can; else in good order."""
    getattr(transport, "abortConnection", transport.loseConnection)()


class FrameReceiver(Protocol):
    """Whole frames to `frame_received`, in order, however the bytes arrive.

    The other side's faults end here: the connection is cut at once, counted and logged. They are a wrong first word, a length
    of 0 or beyond the limit, a frame that stays incomplete for `frame_s`, every `RemoteProtocolError` out of `frame_received`.

    Attributes:
        frames: cuts the bytes; holds the limit.
        closing: no more frames are delivered.
        remote: who is at the other end, for the log.
    """

    def __init__(self, clock: IReactorTime, incidents: Incidents, *, magic: bytes, frame_bytes_max: int, frame_s: float) -> None:
        """`magic` are the bytes the other side sends before its first frame; b"" for none."""
        self.frames = FrameSplitter(frame_bytes_max)
        self.closing = False
        self.remote = "nobody"
        self._clock = clock
        self._incidents = incidents
        self._magic = magic
        self._frame_s = frame_s
        self._frame_timer: IDelayedCall | None = None
        self._grace: IDelayedCall | None = None

    def frame_received(self, frame: bytes) -> None:
        """The content of one frame. May close the connection, or raise `RemoteProtocolError` to the same end."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        self.remote = remote_address(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self.closing:
            return
        try:
            content = self._strip_magic(data) if self._magic else data
            begun_before = self.frames.incomplete
            for frame in self.frames.split(content):
                self.frame_received(frame)
                if self.closing:
                    return
                begun_before = False
        except RemoteProtocolError as error:
            self.reject("malformed", str(error))
            return
        if self.frames.incomplete and not begun_before:
            self._frame_begun()

    def _strip_magic(self, received: bytes) -> bytes:
        """What follows the part of the first word that `received` begins with."""
        length = min(len(self._magic), len(received))
        if received[:length] != self._magic[:length]:
            raise RemoteProtocolError(f"{received[:16]!r} does not belong here: another protocol")
        self._magic = self._magic[length:]
        return received[length:]

    def _frame_begun(self) -> None:
        # The timer is not cancelled when a frame is whole but pushed on when the next begins: cheap, and done for nearly every chunk.
        if self._frame_timer is not None:
            self._frame_timer.reset(self._frame_s)
        else:
            self._frame_timer = self._clock.callLater(self._frame_s, self._frame_overdue)

    def _frame_overdue(self) -> None:
        self._frame_timer = None
        if self.frames.incomplete:
            self.reject("slow_frame", f"a frame has begun and is not whole after {self._frame_s:g} s")

    def send_frame(self, frame: bytes) -> None:
        """Write one frame, without asking whether the other side keeps up: for greetings."""
        assert self.transport is not None
        self.transport.write(frame_header(len(frame)) + frame)

    def reject(self, cause: str, sentence: str) -> None:
        """The other side is at fault: count it under `cause`, log `sentence`, cut the connection."""
        self._incidents.report(cause, self.remote, sentence)
        self.abort()

    def abort(self) -> None:
        """Cut the connection now; what is unsent is lost."""
        self.closing = True
        self._end()
        if self.transport is not None:
            cut(self.transport)

    def close(self) -> None:
        """Close the connection when what is unsent has gone, or soon in any case."""
        if self.closing or self.transport is None:
            return
        self.closing = True
        self._end()
        self._grace = self._clock.callLater(CLOSE_GRACE_S, self._grace_over)
        self.transport.loseConnection()

    def _grace_over(self) -> None:
        self._grace = None
        self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closing = True
        self._end()
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _end(self) -> None:
        """Nothing is waited for any more. May be called more than once."""
        if self._frame_timer is not None:
            self._frame_timer.cancel()
            self._frame_timer = None
