"""The disk of one server: term, vote and log behind a single door.

Blocking, and for one thread only: the disk worker's, from `open` to `close`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import define

from txraft.core.effects import Metadata, Persist
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.errors import DiskFailed, Halted, StorageError
from txraft.limits import Limits
from txraft.storage.files import REAL_FILES, FileSystem
from txraft.storage.identity import Claim, DirectoryIdentity, DirectoryLock
from txraft.storage.layout import Layout
from txraft.storage.log_files import LogFiles, encode
from txraft.storage.metadata import MetadataFiles
from txraft.storage.records import Run
from txraft.storage.recovery import Recovery
from txraft.storage.replay import Recovered, Replay
from txraft.storage.segment import Segment

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

        Raises:
            DataDirectoryInUse: somebody has it open.
            ForeignDirectory: it is another server's.
            DamagedLog: something durable in the log is unreadable; nothing was changed.
            StorageError: it cannot be used or trusted for another reason.
        """
        layout = Layout(root.absolute(), files)
        try:
            with ExitStack() as undo:
                layout.prepare()
                lock = DirectoryLock.take(layout)
                undo.callback(lock.release)
                storage = cls._open_locked(layout, lock, undo, Claim.stake(layout, cluster_id, server_id), bootstrap, limits, progress)
                undo.pop_all()
                return storage
        except OSError as error:
            raise StorageError(f"{error.filename or root}: {error.strerror or error}; the data directory cannot be opened") from error

    @classmethod
    def _open_locked(
        cls,
        layout: Layout,
        lock: DirectoryLock,
        undo: ExitStack,
        claim: Claim,
        bootstrap: list[Entry],
        limits: Limits,
        progress: Callable[[float], None],
    ) -> Storage:
        begun, opened_before = bool(layout.segments()), claim.identity.incarnation > 0
        metadata = MetadataFiles.read(layout, claim.origin.seed, required=begun or opened_before)
        undo.callback(metadata.close)
        if not begun:
            if opened_before:
                raise StorageError(
                    f"{layout.log} is empty, but this server had a log: its entries are lost. Put its very files back, "
                    "or keep this server down: an older copy or an empty directory has forgotten what it acknowledged"
                )
            _begin(layout, claim, metadata, bootstrap, limits.segment_bytes)
        recovery = Recovery(layout, claim.origin, Replay(limits.log_cache_bytes_max), metadata.durable_upto, progress)
        recovery.read()
        current, replay = metadata.current, recovery.replay
        if current is None or replay.last_term > current.term:
            raise StorageError(
                f"{layout.metadata[0]} and {layout.metadata[1].name} are older than the log (term {metadata.term} against "
                f"{replay.last_term}): votes are forgotten. Put all its files back from one copy of the same moment, "
                "or keep this server down: an older copy or an "
                "empty directory has forgotten what it acknowledged"
            )
        log = recovery.repair(limits.segment_bytes)
        undo.callback(log.close)
        metadata.write(current, log.last_sequence)
        tail = replay.tail()
        recovered = Recovered(
            metadata=current,
            last_index=Index(replay.last_index),
            term_runs=replay.term_runs,
            configurations=replay.configurations,
            tail_first_index=Index(replay.last_index + 1 - len(tail)),
            tail=tail,
            torn_tail=recovery.torn_tail,
        )
        return cls(claim.next_incarnation(), recovered, layout, lock, metadata, log)

    def write(self, persists: Sequence[Persist]) -> None:
        """Make all of this durable: first term and vote if they changed, then all entries with one write and one fdatasync.

        Of several changes of term and vote only the last is written: it replaces the others, and is durable before any entry.

        Raises:
            DiskFailed: a write or fsync failed, now or earlier. Nobody knows what is on disk; nothing is tried again.
            Halted: the caller asked for what no log can be (a hole, a term that was not made durable); nothing was written.
        """
        self._require_usable()
        changes = [persist.metadata for persist in persists if persist.metadata is not None]
        metadata = changes[-1] if changes else None
        term = self._require_no_step_back(changes)
        runs = runs_of(persists, self._log.last_index, term)
        batch = self._log.prepare(runs) if runs else None
        try:
            if metadata is not None:
                self._metadata.write(metadata, self._log.last_sequence)
            if batch is not None:
                self._log.append(batch)
        except OSError as error:
            self._failure = _sentence(self._layout.root, error)
            raise DiskFailed(self._failure) from error
        except Halted:
            # Raised by what checks before it writes: term and vote do not fit.
            raise
        except BaseException:
            self._failure = f"a write to {self._layout.root} was interrupted; nobody knows what is on disk"
            raise

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
        """`bytes` of the log, preallocated space not counted, and its `segments`. May be asked from any thread."""
        return {"bytes": self._log.used_bytes(), "segments": len(self._log.segments)}

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


def _begin(layout: Layout, claim: Claim, metadata: MetadataFiles, bootstrap: list[Entry], segment_bytes: int) -> None:
    """Make the first term and the first segment. The log has begun when the segment has its name, not earlier."""
    metadata.write(Metadata(Term(1 if bootstrap else 0), None), 0)
    batch = encode([(1, bootstrap)], last_index=0, last_sequence=0, seed=claim.origin.seed)
    Segment.create(layout, claim.origin, first_sequence=1, next_index=1, records=batch.records, size=segment_bytes)


def runs_of(persists: Sequence[Persist], last_index: int, term: int) -> list[Run]:
    """What the log has to take in, in as few records as possible: consecutive appends are one.

    Args:
        persists: in their order; their lists are not changed.
        last_index: the last index of the log.
        term: the current term once they are durable.

    Raises:
        Halted: they leave a hole, or an entry has a term that would not be durable before it.
    """
    runs: list[Run] = []
    owned = False
    for persist in persists:
        entries, first_index = persist.entries, persist.first_index
        if persist.truncate_from is not None:
            if entries and first_index != persist.truncate_from:
                raise Halted(f"asked to truncate from entry {persist.truncate_from} and to append from entry {first_index}")
            first_index = persist.truncate_from
            if not 1 <= first_index <= last_index + 1:
                raise Halted(f"asked to truncate from entry {first_index} a log that ends with entry {last_index}")
        elif entries and first_index != last_index + 1:
            raise Halted(f"asked to append entry {first_index} behind entry {last_index}")
        if not entries and (persist.truncate_from is None or first_index == last_index + 1):
            continue
        if entries and entries[-1].term > term:
            raise Halted(f"asked to append an entry of term {entries[-1].term} in term {term}")
        if not runs or first_index <= last_index:
            runs.append((first_index, entries))
            owned = False
        elif owned:
            runs[-1][1].extend(entries)
        else:
            runs[-1] = (runs[-1][0], runs[-1][1] + entries)
            owned = True
        last_index = first_index - 1 + len(entries)
    return runs


def _sentence(root: Path, error: OSError) -> str:
    remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "look after the disk"
    return (
        f"writing to {root} failed: {error.strerror or error}. It is not tried again, because nobody knows what is on disk now: "
        f"this server must stop. First {remedy}, then start it again"
    )
