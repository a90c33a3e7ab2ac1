"""The files of snapshots as a node works with them: written, received piece by piece, read. Beside the log, and in threads of their own.

A file becomes a snapshot when it has its final name (`Storage.keep_snapshot`) and the log a record of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from attrs import frozen

from txraft.core.snapshot import Snapshot
from txraft.errors import DiskFailed
from txraft.storage.files import File
from txraft.storage.layout import Layout
from txraft.storage.shelf import Shelf
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, write_snapshot
from txraft.storage.storage import Storage

__all__ = ["SnapshotFiles"]


@frozen
class SnapshotFiles:
    """Those of one data directory. All methods block; each kind of work belongs to one thread at a time.

    Every method raises `OSError` when the disk does not do what it is asked. When that says that there is no room, the same may be asked
    again: what could not be synced is gone. `DiskFailed` says that nothing may be.
    """

    storage: Storage
    layout: Layout

    def write(self, head: SnapshotHead, parts: Iterable[bytes], *, progress: Callable[[int], None], pause: Callable[[], None]) -> Snapshot:
        """Write a snapshot of this server's own, durably and read back, under its final name. See `write_snapshot`.

        Raises `SnapshotSuperseded` when a leader has sent one of the same entry meanwhile.
        """
        snapshot = write_snapshot(self.layout.files, self.layout.new_snapshot, head, parts, progress=progress, pause=pause)
        self.storage.keep_snapshot(snapshot)
        return snapshot

    def open(self, snapshot: Snapshot) -> File:
        """A snapshot, to be read: it can be, to its end, even when a newer one has taken its place."""
        return self.layout.files.open(self.layout.snapshot(snapshot.index))

    def read(self, snapshot: Snapshot) -> tuple[SnapshotHead, Iterator[bytes]]:
        """The head and the parts of a snapshot. Raises `DamagedSnapshot`."""
        return open_snapshot(self.layout.files, self.layout.snapshot(snapshot.index), snapshot)

    @property
    def recorded(self) -> Snapshot | None:
        """The newest that the log has a record of. From any thread."""
        return self.storage.snapshot

    def verify(self, snapshot: Snapshot) -> None:
        """Read a recorded snapshot whole. Raises `DamagedSnapshot` when it is not what it was."""
        Shelf(self.layout).require_whole(snapshot, lambda fraction: None)

    def incoming(self, snapshot: Snapshot) -> File:
        """What has been received of a snapshot, to be added to; as long as that is much."""
        return self.layout.files.open(self.layout.incoming(snapshot), create=True)

    def read_incoming(self, snapshot: Snapshot) -> tuple[SnapshotHead, Iterator[bytes]]:
        """The head and the parts of a snapshot that has been received. Raises `DamagedSnapshot`."""
        return open_snapshot(self.layout.files, self.layout.incoming(snapshot), snapshot)

    def sync_incoming(self, snapshot: Snapshot, file: File) -> None:
        """Make durable what has been received.

        If that fails, be it for want of room, it is removed. The kernel takes it for written then: it would be found whole, and synced
        without an error, until the power goes. The file is to be closed.

        Raises:
            OSError: it was not made durable, and is gone.
            DiskFailed: nor could it be removed.
        """
        path = self.layout.incoming(snapshot)
        try:
            file.sync_content()
        except OSError as problem:
            try:
                self.layout.files.remove(path)
            except OSError as error:
                raise DiskFailed(f"{path} could not be synced ({problem}), nor removed ({error}): this server must stop") from problem
            raise

    def keep_incoming(self, snapshot: Snapshot) -> None:
        """Give a snapshot that has been received and found whole its final name, durably.

        Raises `SnapshotSuperseded` when this server has made one of the same entry meanwhile.
        """
        path = self.layout.incoming(snapshot)
        with closing(self.layout.files.open(path, write=True)) as file:
            self.sync_incoming(snapshot, file)
        self.storage.keep_snapshot(snapshot, path)

    def drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot that has its final name, but is not needed: the log will have no record of it."""
        recorded = self.storage.snapshot
        if recorded is None or recorded.index != snapshot.index:
            self.layout.files.remove(self.layout.snapshot(snapshot.index))

    def drop_incoming(self, keep: Snapshot | None = None) -> None:
        """Forget what has been received, but of this one."""
        kept = self.layout.incoming(keep) if keep is not None else None
        for _, path in self.layout.incoming_files():
            if path != kept:
                self.layout.files.remove(path)
