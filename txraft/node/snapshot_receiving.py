"""Snapshots that a leader sends: pieces go into a file, the whole is verified and restored into new machines by a thread, and only then do
these take the place of the old ones. No half-restored state exists, and what has come stays through lost connections and restarts.

Source: §5.3; Figure 5.3, InstallSnapshot RPC, Receiver implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from errno import EDQUOT, ENOSPC
from zlib import crc32

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.effects import StoreChunk
from txraft.core.ids import ServerId
from txraft.core.messages import InstallSnapshot
from txraft.core.snapshot import Snapshot
from txraft.errors import CorruptState, DamagedSnapshot, RestoreFailed, SnapshotSuperseded
from txraft.node.pace import Abandoned, Pace
from txraft.node.worker import Worker
from txraft.statemachine import Host
from txraft.statemachine.host_snapshot import Restored
from txraft.storage import File
from txraft.storage.snapshot_files import SnapshotFiles

__all__ = ["SnapshotReceiving"]

BUSY_SHARE, IDLE_SHARE = 0.5, 0.8
"""The part of the time in which the thread restores. It rests after a fraction of a millisecond, and that often this node can do what else
it has to, which is little: answer heartbeats, pass requests on, serve local reads of an old state. Until it is over it is one server less.
"""

SYNC_BYTES = 16 * 1024 * 1024
"""What has come is made durable this often: the disk is not asked for everything at once in the end."""

NEWS_S = 2.0
"""How often the log tells how far a transfer has come."""


@define
class Incoming:
    """The snapshot that is being received.

    Attributes:
        sender: who sent the last piece.
        received: bytes so far.
        restoring: all is here; it is being verified and restored.
    """

    snapshot: Snapshot
    sender: ServerId
    received: int = 0
    told_s: float = 0.0
    restoring: Pace | None = None


class SnapshotReceiving:
    """One snapshot at a time; a newer transfer takes the place of an older one. Reactor thread only, but for `_store` and `_restore`, which
    are the worker's.

    Args:
        clock: monotonic.
        worker: the one of transfers.
        stored: tells the consensus module how far a transfer has come: sender, SHA-256, offset.
        received: tells it that a snapshot is whole and its machines are ready.
        refused: tells it that a snapshot is of no use: sender, SHA-256.
        rest: see `Pace`.
        on_failure: the disk failed, or this node lacks a machine, or has one that cannot take over the state.

    Attributes:
        problem: why the last transfer came to nothing; "" if it did not.

    What has been restored waits, by its SHA-256, until its record is durable; another may follow meanwhile, if the disk is slow.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        *,
        cluster_id: str,
        worker: Worker,
        files: SnapshotFiles,
        host: Host,
        stored: Callable[[ServerId, bytes, int], None],
        received: Callable[[Snapshot], None],
        refused: Callable[[ServerId, bytes], None],
        rest: Callable[[float], object] | None,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._name, self._clock, self._cluster_id, self._worker = name, clock, cluster_id, worker
        self._files, self._host, self._rest, self._on_failure = files, host, rest, on_failure
        self._stored_to, self._received, self._refused = stored, received, refused
        self.problem = ""
        self._incoming: Incoming | None = None
        self._ready: dict[bytes, Restored] = {}
        self._file: tuple[bytes, File] | None = None  # the worker's
        self._unsynced = 0  # the worker's

    @property
    def progress(self) -> dict[str, object] | None:
        """The one that is coming: `index`, `received` of `size` bytes, and whether it is being restored; None if there is none."""
        one = self._incoming
        if one is None:
            return None
        snapshot, restoring = one.snapshot, one.restoring is not None
        return {"from": one.sender, "index": snapshot.index, "received": one.received, "size": snapshot.size, "restoring": restoring}

    def store(self, effect: StoreChunk) -> None:
        """A piece has come, or the question how much is here."""
        sender, snapshot, one = effect.sender, effect.chunk.snapshot, self._incoming
        if one is None or one.snapshot.sha256 != snapshot.sha256:
            if one is not None and one.restoring is not None:
                one.restoring.abandon()
            one = self._incoming = Incoming(snapshot, sender)
        one.sender = sender
        if one.restoring is not None:
            self._stored_to(sender, snapshot.sha256, snapshot.size)
            return
        storing = self._worker.perform(lambda: self._store(effect.chunk))
        storing.addCallback(self._stored, one, sender).addErrback(self._failed, one, sender)

    def _store(self, chunk: InstallSnapshot) -> int:
        sha256, content = chunk.snapshot.sha256, chunk.content
        if self._file is None or self._file[0] != sha256:
            self._close_file()
            self._files.drop_incoming(keep=chunk.snapshot)
            self._file = sha256, self._files.incoming(chunk.snapshot)
        file = self._file[1]
        have = file.size()
        if content and chunk.offset == have and crc32(content) == chunk.crc:
            file.write(content, have)
            have += len(content)
            self._unsynced += len(content)
            if self._unsynced >= SYNC_BYTES:
                try:
                    self._files.sync_incoming(chunk.snapshot, file)
                except OSError:
                    self._close_file()  # Its name is gone: what comes next begins another.
                    raise
                self._unsynced = 0
        return have

    def _close_file(self) -> None:
        if self._file is not None:
            self._file[1].close()
            self._file, self._unsynced = None, 0

    def _stored(self, have: int, one: Incoming, sender: ServerId) -> None:
        if self._incoming is not one or one.restoring is not None:
            return
        one.received = have
        self._tell(one)
        if have >= one.snapshot.size:
            one.restoring = Pace(BUSY_SHARE, IDLE_SHARE, self._clock.seconds, self._rest)
            restoring = self._worker.perform(lambda: self._restore(one.snapshot, one.restoring))
            restoring.addCallback(self._restored, one).addErrback(self._failed, one, sender)
        self._stored_to(sender, one.snapshot.sha256, have)

    def _tell(self, one: Incoming) -> None:
        now = self._clock.seconds()
        if now - one.told_s >= NEWS_S or one.received >= one.snapshot.size:
            one.told_s = now
            self._log.info(
                "{node} receives from {sender} the snapshot up to entry {index}: {percent}%",
                node=self._name, sender=one.sender, index=one.snapshot.index, percent=100 * one.received // max(1, one.snapshot.size),
            )  # fmt: skip

    def _restore(self, snapshot: Snapshot, pace: Pace | None) -> Restored:
        assert pace is not None
        self._close_file()
        head, parts = self._files.read_incoming(snapshot)
        if head.cluster_id != self._cluster_id:
            raise CorruptState(f"it is of cluster {head.cluster_id}, not of {self._cluster_id}")
        if (head.index, head.term, head.configurations) != (snapshot.index, snapshot.term, snapshot.configurations):
            raise CorruptState(f"it is of entry {head.index} of term {head.term}, and was announced as another")
        try:
            restored = self._host.restored(_paced(parts, pace))
        except RestoreFailed as error:  # what has come stays for the next start
            raise error.read_from(str(self._files.layout.incoming(snapshot))) from error.__cause__
        self._files.keep_incoming(snapshot)
        return restored

    def _restored(self, restored: Restored, one: Incoming) -> None:
        if self._incoming is not one:
            self._forget(one.snapshot)
            return
        self._incoming, self.problem = None, ""
        self._ready[one.snapshot.sha256] = restored
        self._received(one.snapshot)

    def superseded(self, snapshot: Snapshot) -> None:
        """The consensus module has no use for a snapshot that was received: what it stands for came another way."""
        self._ready.pop(snapshot.sha256, None)
        self._forget(snapshot)

    def _forget(self, snapshot: Snapshot) -> None:
        self._worker.perform(lambda: self._files.drop(snapshot)).addErrback(self._on_failure)

    def look(self, committed: int) -> None:
        """What is committed here needs no snapshot any more, if that is still on its way. Called every now and then."""
        one = self._incoming
        if one is None or one.snapshot.index > committed:
            return
        self._incoming = None
        if one.restoring is not None:
            one.restoring.abandon()
        self._worker.perform(self._drop).addErrback(self._on_failure)

    def adopt(self, snapshot: Snapshot) -> None:
        """Its record is durable: the machines restored from it are the node's from now on."""
        self._host.adopt(self._ready.pop(snapshot.sha256))
        self._log.info("{node} has the state up to entry {index} from a snapshot", node=self._name, index=snapshot.index)

    def _failed(self, failure: Failure, one: Incoming, sender: ServerId) -> None:
        error = failure.value
        if isinstance(error, (Abandoned, SnapshotSuperseded)):
            if self._incoming is one:
                self._incoming = None
            return
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            self._come_to_nothing(one, f"no room on the disk for the snapshot of {sender}: {error}")
        elif isinstance(error, (DamagedSnapshot, CorruptState)):
            self._come_to_nothing(one, f"the snapshot that {sender} has sent is damaged: {error}")
            self._worker.perform(self._drop).addErrback(self._on_failure)
            self._refused(sender, one.snapshot.sha256)
        else:
            self._on_failure(failure)

    def _come_to_nothing(self, one: Incoming, problem: str) -> None:
        self.problem = problem
        self._log.error("{node}: {problem}", node=self._name, problem=problem)
        if self._incoming is one:
            self._incoming = None

    def _drop(self) -> None:
        self._close_file()
        self._files.drop_incoming()

    def stop(self) -> None:
        """Take no more; what has come stays for the next start."""
        if self._incoming is not None and self._incoming.restoring is not None:
            self._incoming.restoring.abandon()
        self._incoming = None
        self._worker.perform(self._close_file).addErrback(lambda _: None)


def _paced(parts: Iterable[bytes], pace: Pace) -> Iterator[bytes]:
    for part in parts:
        yield part
        pace.step()
