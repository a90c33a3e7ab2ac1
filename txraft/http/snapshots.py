"""Snapshots over HTTP: taken when asked for, and read as a file, no faster than the client takes it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txraft.errors import NotApplied
from txraft.http.asked import Asked
from txraft.http.parameters import bad_request, parse_query_string
from txraft.http.replies import Reply, method_not_allowed, reply_of_json
from txraft.http.streams import Outlet
from txraft.limits import Timing
from txraft.node.ports import ClientGate, OpenedSnapshot

__all__ = ["PIECE_BYTES", "READ_AT_ONCE_MAX", "SnapshotStream", "Snapshots"]

PIECE_BYTES = 65_536
"""Read from the disk, and written to the client, at a time: what a stream has in memory."""

READ_AT_ONCE_MAX = 4
"""Clients that read a snapshot at the same time: each takes the disk from the log."""


@define
class Snapshots:
    """Answers `/v1/snapshot`. Reactor thread."""

    gate: ClientGate
    timing: Timing
    clock: IReactorTime
    _reading: int = 0

    def respond(self, asked: Asked) -> Reply | Deferred[Reply] | Deferred[SnapshotStream]:
        """Do what is asked. Raises `NotApplied`."""
        if asked.method not in ("GET", "POST"):
            return method_not_allowed("GET, HEAD, POST")
        if parse_query_string(asked.query):
            raise bad_request("a snapshot has no parameters")
        if asked.method == "POST":
            return self.gate.take_snapshot().addCallback(reply_of_json)
        if self._reading >= READ_AT_ONCE_MAX:
            raise NotApplied("overloaded", f"{self._reading} clients read the snapshot of this node already; ask another node, or later")
        self._reading += 1
        return self.gate.open_snapshot().addCallbacks(self._stream_of, self._not_opened)

    def _stream_of(self, opened: OpenedSnapshot) -> SnapshotStream:
        def closed() -> None:
            self._reading -= 1
            opened.close()

        return SnapshotStream(opened._replace(close=closed), self.clock, self.timing.frame_s)

    def _not_opened(self, failure: Failure) -> Failure:
        self._reading -= 1
        return failure


@implementer(IPushProducer)
@define(eq=False)
class SnapshotStream:
    """One snapshot on its way to one client. The next piece is only read when the connection has taken the one before.

    Attributes:
        opened: the snapshot.
        stalled_s: how long a client may take to read what waits for it.
    """

    opened: OpenedSnapshot
    clock: IReactorTime
    stalled_s: float
    _outlet: Outlet | None = None
    _offset: int = 0
    _paused: bool = False
    _closed: bool = False
    _piece: Deferred[bytes] | None = None
    _waiting: bool = False
    _busy: bool = False
    _stalled: IDelayedCall | None = None
    _log: Logger = field(factory=Logger)

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """What it is, so that whoever reads it can tell whether it is whole."""
        snapshot = self.opened.snapshot
        return {
            b"Content-Type": b"application/octet-stream",
            b"Content-Length": b"%d" % snapshot.size,
            b"Content-Disposition": b'attachment; filename="%d.snapshot"' % snapshot.index,
            b"Txraft-Snapshot-Index": b"%d" % snapshot.index,
            b"Txraft-Snapshot-Term": b"%d" % snapshot.term,
            b"Txraft-Snapshot-Sha256": snapshot.sha256.hex().encode(),
        }

    def begin(self, outlet: Outlet, *, full: bool) -> None:
        """Write to `outlet`; `full`: when it has taken what it already has to send."""
        self._outlet = outlet
        if full:
            self.pauseProducing()
        else:
            self._go_on()

    def stop(self) -> None:
        """The client has gone, or wants no more."""
        self._outlet = None
        self._taken()
        if self._waiting and self._piece is not None:
            self._piece.cancel()
        self._close()

    def pauseProducing(self) -> None:
        """The connection is full."""
        self._paused = True
        if self._outlet is not None and self._stalled is None:
            self._stalled = self.clock.callLater(self.stalled_s, self._give_up)

    def resumeProducing(self) -> None:
        """The connection has taken everything."""
        self._paused = False
        self._taken()
        self._go_on()

    def stopProducing(self) -> None:
        """The connection has ended."""
        self.stop()

    def _go_on(self) -> None:
        """Read on, in a loop: pieces that are there at once must not nest."""
        if self._busy:
            return
        self._busy = True
        while self._outlet is not None and not self._paused and not self._waiting:
            left = self.opened.snapshot.size - self._offset
            if left:
                self._waiting = True
                self._piece = self.opened.read(self._offset, min(left, PIECE_BYTES))
                self._piece.addCallback(self._write).addErrback(self._failed)
            else:
                self._end(self._outlet)
        self._busy = False

    def _write(self, piece: bytes) -> None:
        self._waiting = False
        outlet = self._outlet
        if outlet is not None:
            self._offset += len(piece)
            outlet.write_part(piece)
            self._go_on()

    def _failed(self, failure: Failure) -> None:
        self._waiting = False
        if not failure.check(CancelledError):
            self._log.failure("a snapshot that a client reads cannot be read on", failure)
        self._give_up()

    def _end(self, outlet: Outlet) -> None:
        self._outlet = None
        self._taken()
        self._close()
        outlet.end()

    def _give_up(self) -> None:
        """The answer is cut short, and its length tells the client so."""
        outlet = self._outlet
        if self._stalled is not None and not self._stalled.active():
            self._stalled = None
        self.stop()
        if outlet is not None:
            outlet.abort()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self.opened.close()

    def _taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
