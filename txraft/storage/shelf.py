"""Where snapshots are, on disk: one that is recorded in the log, one in the making, those that are being received.

The files themselves are `snapshot_file.py`'s. A snapshot counts once the log has a record of it; until then it is worth nothing, and it is
removed at the next start. Paths may be asked for, and the file that is new be kept, from any thread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, DiskFailed, SnapshotSuperseded
from txraft.storage.layout import Layout

__all__ = ["Shelf"]

_CHUNK_BYTES = 1024 * 1024


@frozen
class Shelf:
    """The snapshots of one directory."""

    layout: Layout

    def keep(self, snapshot: Snapshot, path: Path) -> Path:
        """Give a snapshot, whole and durable under another name, its final name, durably.

        Never in place of another: own ones and those of a leader are kept by different threads, and the log may have a record of either.

        Raises:
            SnapshotSuperseded: another has that name. This one is removed.
            OSError: it does not have it; a full disk, say.
            DiskFailed: it may or may not have it.
        """
        files, final = self.layout.files, self.layout.snapshot(snapshot.index)
        try:
            files.link(path, final)
        except FileExistsError:
            files.remove(path)
            raise SnapshotSuperseded(f"{final}: there is a snapshot of entry {snapshot.index} already") from None
        try:
            files.sync_directory(self.layout.snapshots)
            files.remove(path)
        except OSError as error:
            # Even for want of room: a sync is not tried again, and what is written to the other name next would be written to this one.
            raise DiskFailed(f"{final}: {error}. Nobody knows whether it has its name on the disk: this server must stop") from error
        return final

    def has(self, snapshot: Snapshot) -> bool:
        """Whether a file of its size has its final name."""
        path = self.layout.snapshot(snapshot.index)
        return self.layout.files.is_file(path) and self.layout.files.size(path) == snapshot.size

    def require_whole(self, snapshot: Snapshot, progress: Callable[[float], None]) -> None:
        """The file of a recorded snapshot must be there, and be that very one, to the last bit.

        Raises:
            DamagedSnapshot: it is not.
            OSError: the disk does not answer.
        """
        path, files = self.layout.snapshot(snapshot.index), self.layout.files
        if not files.is_file(path):
            raise DamagedSnapshot(str(path), 0, "the file is missing, but the log has a record of it")
        digest, offset = sha256(), 0
        try:
            with closing(files.open(path)) as file:
                if (size := file.size()) != snapshot.size:
                    raise DamagedSnapshot(str(path), min(size, snapshot.size), f"it has {size} bytes, but the log says {snapshot.size}")
                while offset < size and (content := file.read(min(_CHUNK_BYTES, size - offset), offset)):
                    digest.update(content)
                    offset += len(content)
                    progress(offset / size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedSnapshot(str(path), offset, "the disk does not give it back") from error
        if digest.digest() != snapshot.sha256:
            raise DamagedSnapshot(str(path), 0, "its SHA-256 is not the one that the log has a record of")

    def clear(self, recorded: Snapshot | None) -> None:
        """Remove what is worth nothing: a snapshot in the making, snapshots that are not recorded, and what was received of them.

        What was received of a snapshot stays if nothing newer is recorded: the leader may go on sending it.

        Raises:
            OSError: something may or may not be gone.
        """
        files, layout = self.layout.files, self.layout
        files.remove(layout.new_snapshot)
        for index, path in layout.snapshot_files():
            if recorded is None or index != recorded.index:
                files.remove(path)
        for index, path in layout.incoming_files():
            if index <= (recorded.index if recorded is not None else 0):
                files.remove(path)

    def clear_older(self, recorded: Snapshot) -> None:
        """A newer snapshot is recorded: those before it are no longer needed. Who is reading one can do so to its end.

        Raises:
            OSError: something may or may not be gone.
        """
        for index, path in self.layout.snapshot_files():
            if index < recorded.index:
                self.layout.files.remove(path)
