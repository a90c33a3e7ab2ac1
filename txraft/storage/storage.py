"""The disk of one server: term, vote and log behind a single door.

Blocking, and for one thread only: the disk worker's, from `open` to `close`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import define

from txraft.core.effects import Metadata, Persist
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.core.snapshot import Snapshot
from txraft.errors import DiskFailed, DiskFull, Halted, StorageError
from txraft.limits import Limits
from txraft.storage.files import REAL_FILES, FileSystem, is_full
from txraft.storage.identity import Claim, DirectoryIdentity, DirectoryLock
from txraft.storage.layout import Layout
from txraft.storage.log_files import Batch, LogFiles
from txraft.storage.metadata import MetadataFiles
from txraft.storage.opening import Opening
from txraft.storage.records import Run
from txraft.storage.repair import Repair
from txraft.storage.repair_note import RepairNote
from txraft.storage.replay import Recovered
from txraft.storage.reserve import Reserve
from txraft.storage.runs import Runs
from txraft.storage.shelf import Shelf

__all__ = ["Storage"]


def _ignore_progress(fraction: float) -> None:
    """Nobody wants to know."""


@define
class Storage:
    """An open data directory.

    Attributes:
        identity: whose directory it is.
        recovered: what it held when it was opened.
    """

    identity: DirectoryIdentity
    recovered: Recovered
    _layout: Layout
    _lock: DirectoryLock
    _metadata: MetadataFiles
    _log: LogFiles
    _reserve: Reserve
    _failure: str = ""
    _closed: bool = False

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        cluster_id: str,
        server_id: str,
        bootstrap: list[Entry],
        limits: Limits,
        progress: Callable[[float], None] = _ignore_progress,
        files: FileSystem = REAL_FILES,
        repairable: bool = False,
    ) -> Storage:
        """Claim a directory, read back what it holds and make that durable.

        Args:
            root: the directory; made if it does not exist.
            cluster_id: whose cluster's it must be.
            server_id: whose it must be.
            bootstrap: the first entries, of term 1, of a log that does not exist yet.
            limits: sizes.
            progress: called with 0 to 1 while the log is read, in this thread.
            files: where the directory is.
            repairable: there are peers who have what is damaged here: move that aside, and open with what is left.

        Raises:
            DataDirectoryInUse: somebody has it open.
            ForeignDirectory: it is another server's.
            DamagedDirectory: something durable is unreadable or missing, and it is not repairable; nothing was changed.
            DiskFull: there is no room to open it, not even what was kept in reserve. It may be tried again.
            StorageError: it cannot be used or trusted for another reason.
        """
        layout = Layout(root.absolute(), files)
        reserve = Reserve(layout, limits.reserve_bytes)

        def claimed() -> Opening:
            return Opening(layout, Claim.stake(layout, cluster_id, server_id), bootstrap, limits, progress)

        try:
            try:
                return cls._open(layout, claimed, reserve, repairable)
            except (OSError, DiskFull) as error:
                if not (isinstance(error, DiskFull) or is_full(error)) or not reserve.exists():
                    raise
                reserve.release()
                return cls._open(layout, claimed, reserve, repairable)
        except OSError as error:
            raise _cannot_be_opened(root, error, limits) from error

    @classmethod
    def _open(cls, layout: Layout, claimed: Callable[[], Opening], reserve: Reserve, repairable: bool) -> Storage:
        """Lock, claim, read, mend, make durable. Whatever fails, nothing stays open."""
        with ExitStack() as undo:
            layout.prepare()
            lock = DirectoryLock.take(layout)
            undo.callback(lock.release)
            opening = claimed()
            undo.callback(opening.close)
            repair = Repair(opening)
            (repair if repairable else opening).examine()
            log, recovered = opening.finish(repair.moved)
            undo.callback(log.close)
            storage = cls(opening.claim.next_incarnation(), recovered, layout, lock, opening.metadata, log, reserve)
            reserve.make()
            undo.pop_all()
            return storage

    def write(self, persists: Sequence[Persist]) -> None:
        """Make all of this durable: first term and vote if they changed, then all entries with one write and one fdatasync.

        Of several changes of term and vote only the last is written: it replaces the others, and is durable before any entry.

        Raises:
            DiskFull: there is no room. Nothing is lost: the same may be written again once there is room.
            DiskFailed: a write or fsync failed, now or earlier. Nobody knows what is on disk; nothing is tried again.
            Halted: the caller asked for what no log can be (a hole, a term that was not made durable); nothing was written.
        """
        self._require_usable()
        changes = [persist.metadata for persist in persists if persist.metadata is not None]
        metadata = changes[-1] if changes else None
        term = self._require_no_step_back(changes)
        log = self._log
        runs = Runs.of(
            persists,
            last_index=log.last_index,
            base_index=log.base_index,
            snapshot_index=log.snapshot.index if log.snapshot is not None else 0,
            term=term,
        )
        self._require_snapshots(runs)
        batch = self._log.prepare(runs) if runs else None
        try:
            if metadata is not None:
                self._metadata.write(metadata, log.last_sequence)
            if batch is not None:
                self._append(batch)
            self._tidy_up(runs)
            if any(persist.repaired for persist in persists):
                RepairNote.remove(self._layout)
        except OSError as error:
            self._failure = _sentence(self._layout.root, error)
            raise DiskFailed(self._failure) from error
        except (Halted, DiskFull):
            # Term and vote do not fit, or there is no room: either is found before anything is changed.
            raise
        except BaseException:
            self._failure = f"a write to {self._layout.root} was interrupted; nobody knows what is on disk"
            raise

    def _append(self, batch: Batch) -> None:
        """Write records. A segment once begun is known to the metadata, too: if the file is lost later, its absence tells."""
        log = self._log
        newest = log.segments[-1]
        log.append(batch)
        if log.segments[-1] is not newest:
            with suppress(DiskFull):  # the records are durable, and only the loss of the whole file would go unnoticed
                self._metadata.note_durable(log.last_sequence)

    def read(self, first_index: Index, bytes_max: int) -> list[Entry]:
        """Consecutive entries from `first_index` on: at least one if it exists, at most about `bytes_max`.

        It works after a failed write, too.

        Raises:
            DamagedLog: they were durable and are unreadable.
            StorageError: the disk does not give them, or the storage is closed.
            Halted: there is no entry 0 or below.
        """
        if self._closed:
            raise StorageError(f"{self._layout.root} was closed")
        if first_index < 1:
            raise Halted(f"asked for the entry at index {first_index}; the first has index 1")
        try:
            return self._log.read(first_index, bytes_max)
        except OSError as error:
            raise StorageError(f"{error.filename or self._layout.log}: {error.strerror or error}; the log cannot be read") from error

    def usage(self) -> dict[str, int]:
        """What the directory takes, in bytes but for `segments`: `bytes` of the log, preallocated space not counted, `live_bytes` of it
        behind its beginning, `snapshot_bytes`, and the `free_bytes` that are left on the disk. May be asked from any thread.
        """
        log, snapshot = self._log, self._log.snapshot
        return {
            "bytes": log.used_bytes(),
            "segments": len(log.segments),
            "live_bytes": log.bytes_behind(log.base_index),
            "snapshot_bytes": snapshot.size if snapshot is not None else 0,
            "free_bytes": self._layout.files.free_bytes(self._layout.root),
        }

    def bytes_behind(self, index: int) -> int:
        """About how many bytes of log hold the entries behind `index`, up to 64 KiB too many. May be asked from any thread."""
        return self._log.bytes_behind(index)

    @property
    def files(self) -> FileSystem:
        """Where the directory is."""
        return self._layout.files

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot that the log has a record of. May be asked from any thread."""
        return self._log.snapshot

    def new_snapshot_path(self) -> Path:
        """Where a snapshot is made. Only one is made at a time."""
        return self._layout.new_snapshot

    def incoming_path(self, snapshot: Snapshot) -> Path:
        """Where a snapshot is received; there may be a part of it from before."""
        return self._layout.incoming(snapshot)

    def snapshot_path(self, index: int) -> Path:
        """Where the snapshot up to this entry is."""
        return self._layout.snapshot(index)

    def release_reserve(self) -> None:
        """Give up the space that is kept for a full disk.

        Raises:
            OSError: it may or may not be free.
        """
        self._reserve.release()

    def restore_reserve(self) -> bool:
        """Set it aside again if there is room; whether it is there.

        Raises:
            OSError: the disk does not answer.
        """
        return self._reserve.make()

    def keep_snapshot(self, snapshot: Snapshot, path: Path | None = None) -> Path:
        """Give a snapshot that is whole and durable its final name, durably: then it can be recorded in the log.

        For the thread that made it.

        Args:
            snapshot: which one.
            path: what it is called now; `new_snapshot_path()` if not said.

        Raises:
            SnapshotSuperseded: another has that name. This one is removed.
            OSError: it does not have its name; a full disk, say.
            DiskFailed: it may or may not have its name.
        """
        return Shelf(self._layout).keep(snapshot, path if path is not None else self._layout.new_snapshot)

    def close(self) -> None:
        """Note how far the log is durable, close all files and let others have the directory.

        Raises:
            DiskFailed: the note could not be written; everything is closed nevertheless.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failure:
                self._metadata.note_durable(self._log.last_sequence)
        except OSError as error:
            raise DiskFailed(_sentence(self._layout.root, error)) from error
        finally:
            self._log.close()
            self._metadata.close()
            self._lock.release()

    def _require_usable(self) -> None:
        if self._failure:
            raise DiskFailed(self._failure)
        if self._closed:
            raise StorageError(f"{self._layout.root} was closed")

    def _require_snapshots(self, runs: Sequence[Run]) -> None:
        """What is to be recorded must be there."""
        for run in runs:
            if run.base is not None and not Shelf(self._layout).has(run.base.snapshot):
                path = self._layout.snapshot(run.base.snapshot.index)
                raise Halted(f"asked to record a snapshot of {run.base.snapshot.size} bytes, but {path} is no such file")

    def _tidy_up(self, runs: Sequence[Run]) -> None:
        """Remove what these records have made needless: older snapshots; of the segments one with each write, so that none takes long."""
        if self._log.snapshot is not None and any(run.base is not None for run in runs):
            Shelf(self._layout).clear_older(self._log.snapshot)
        self._log.remove_oldest()

    def _require_no_step_back(self, changes: list[Metadata]) -> int:
        """The term once `changes` are made. Terms only grow, and a vote is given once in a term. Source: §3.4, §3.8."""
        before = self._metadata.current
        for metadata in changes:
            if before is not None and metadata.term < before.term:
                raise Halted(f"asked to store term {metadata.term} after term {before.term}")
            if before is not None and metadata.term == before.term and before.voted_for not in (None, metadata.voted_for):
                raise Halted(f"asked to change the vote of term {metadata.term} from {before.voted_for!r} to {metadata.voted_for!r}")
            before = metadata
        return before.term if before is not None else 0


def _cannot_be_opened(root: Path, error: OSError, limits: Limits) -> StorageError:
    sentence = f"{error.filename or root}: {error.strerror or error}; the data directory cannot be opened"
    if not is_full(error):
        return StorageError(sentence)
    needed = 2 * limits.segment_bytes + limits.reserve_bytes
    return DiskFull(f"{sentence}. Free some space: about {needed >> 20} MiB, and what log and snapshot grow by")


def _sentence(root: Path, error: OSError) -> str:
    remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "look after the disk"
    return (
        f"writing to {root} failed: {error.strerror or error}. It is not tried again, because nobody knows what is on disk now: "
        f"this server must stop. First {remedy}, then start it again"
    )
