"""Pieces of snapshots for followers that are far behind: read when the consensus module asks for one, and no faster than allowed.

Memory holds one piece for each such follower, however large the state is.

Source: §5.3 (sending snapshots); Figure 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from zlib import crc32

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.core.effects import ReadChunk, SnapshotRefused
from txraft.core.ids import ServerId
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot
from txraft.limits import Limits
from txraft.node.worker import Worker
from txraft.storage import File
from txraft.storage.snapshot_files import SnapshotFiles

__all__ = ["SnapshotSending"]

IDLE_S = 30.0
"""A file of which nothing was asked for so long is closed; it is opened again if it must be."""

NEWS_S = 2.0
"""How often the log tells how far a transfer has come."""


@define
class Transfer:
    """A snapshot on its way to a follower.

    Attributes:
        sha256: which snapshot.
        index, size: see `Snapshot`.
        offset: how far it has come.
        asked_s, told_s: when the turn of the piece asked for last is or was, and when the log last told of it.
    """

    sha256: bytes
    index: int
    size: int
    offset: int
    asked_s: float
    told_s: float


class SnapshotSending:
    """Reactor thread only, but for `_read` and `_close_others`, which are the worker's.

    Args:
        clock: monotonic.
        worker: the one of transfers.
        was_read: given a piece and its CRC; an empty one if the snapshot is not there any more.
        on_failure: the disk failed.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        limits: Limits,
        *,
        worker: Worker,
        files: SnapshotFiles,
        was_read: Callable[[ReadChunk, bytes, int], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._name, self._clock, self._limits = name, clock, limits
        self._worker, self._snapshot_files = worker, files
        self._was_read, self._on_failure = was_read, on_failure
        self._transfers: dict[ServerId, Transfer] = {}
        self._files: dict[bytes, File] = {}  # the worker's
        self._free_at = 0.0
        self._verifying = False

    @property
    def progress(self) -> dict[str, dict[str, int]]:
        """By follower: `index` of the snapshot, `sent` bytes of `size`."""
        return {to: {"index": one.index, "sent": one.offset, "size": one.size} for to, one in self._transfers.items()}

    def read(self, effect: ReadChunk) -> None:
        """Read a piece, once the bytes sent so far leave room for it."""
        now = self._clock.seconds()
        begin_at = max(now, self._free_at)
        self._note(effect, now, begin_at)
        self._free_at = begin_at + effect.bytes_max / self._limits.snapshot_bytes_per_s
        if begin_at > now:
            self._clock.callLater(begin_at - now, self._begin, effect)
        else:
            self._begin(effect)

    def _note(self, effect: ReadChunk, now: float, begin_at: float) -> None:
        snapshot, one = effect.snapshot, self._transfers.get(effect.to)
        if one is None or one.sha256 != snapshot.sha256:
            one = self._transfers[effect.to] = Transfer(snapshot.sha256, snapshot.index, snapshot.size, 0, now, now)
            self._log.info(
                "{node} sends {peer} the snapshot up to entry {index}, {size} bytes, from byte {offset} on: its log begins too late for it",
                node=self._name, peer=effect.to, index=snapshot.index, size=snapshot.size, offset=effect.offset,
            )  # fmt: skip
        one.offset, one.asked_s = effect.offset, begin_at
        if now - one.told_s >= NEWS_S:
            one.told_s = now
            self._log.info(
                "{node} sends {peer} a snapshot: {percent}%",
                node=self._name, peer=effect.to, percent=100 * effect.offset // max(1, snapshot.size),
            )  # fmt: skip

    def _begin(self, effect: ReadChunk) -> None:
        if effect.to in self._transfers:
            reading = self._worker.perform(lambda: self._read(effect))
            reading.addCallback(lambda read: self._was_read(effect, *read)).addErrback(self._failed, effect)

    def _read(self, effect: ReadChunk) -> tuple[bytes, int]:
        sha256 = effect.snapshot.sha256
        file = self._files.get(sha256)
        if file is None:
            file = self._files[sha256] = self._snapshot_files.open(effect.snapshot)
        content = file.read(min(effect.bytes_max, max(0, effect.snapshot.size - effect.offset)), effect.offset)
        return content, crc32(content)

    def _failed(self, failure: Failure, effect: ReadChunk) -> None:
        if failure.check(FileNotFoundError) and not self._is_recorded(effect.snapshot):
            self._transfers.pop(effect.to, None)
            self._was_read(effect, b"", 0)
        elif failure.check(FileNotFoundError):
            missing = str(getattr(failure.value, "filename", ""))
            self._on_failure(Failure(DamagedSnapshot(missing, 0, "the file is missing, but the log has a record of it")))
        else:
            self._on_failure(failure)

    def refused(self, effect: SnapshotRefused) -> None:
        """A follower could make nothing of a snapshot: see whether it is still what it was. If not, this server must mend it, too."""
        self._transfers.pop(effect.by, None)
        self._log.warn("{node}: {peer} has refused the snapshot up to entry {index}",
                       node=self._name, peer=effect.by, index=effect.snapshot.index)  # fmt: skip
        if self._is_recorded(effect.snapshot) and not self._verifying:
            self._verifying = True
            self._worker.perform(lambda: self._snapshot_files.verify(effect.snapshot)).addCallback(self._verified).addErrback(
                self._on_failure
            )

    def _verified(self, _: None) -> None:
        self._verifying = False

    def _is_recorded(self, snapshot: Snapshot) -> bool:
        recorded = self._snapshot_files.recorded
        return recorded is not None and recorded.sha256 == snapshot.sha256

    def look(self, needed: Collection[ServerId]) -> None:
        """Forget what has ended: what was asked for long ago, and followers that need no snapshot any more. Called every now and then."""
        now = self._clock.seconds()
        ended = [to for to, one in self._transfers.items() if now - one.asked_s > IDLE_S or to not in needed]
        if ended:
            for to in ended:
                one = self._transfers.pop(to)
                if to not in needed:
                    self._log.info("{node} has sent {peer} what it lacked up to entry {index}", node=self._name, peer=to, index=one.index)
            self._close_but({one.sha256 for one in self._transfers.values()})

    def stop(self) -> None:
        """Send nothing more."""
        self._transfers.clear()
        self._close_but(set())

    def _close_but(self, needed: set[bytes]) -> None:
        self._worker.perform(lambda: self._close_others(needed)).addErrback(lambda _: None)  # it was open for reading only

    def _close_others(self, needed: set[bytes]) -> None:
        for sha256 in self._files.keys() - needed:
            self._files.pop(sha256).close()
