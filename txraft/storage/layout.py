"""The data directory of one server, drawn. Everything that names a file in it is here.

```
<root>/                             0700, one server of one cluster
    lock                            flock by the process that has it open; its pid as text
    identity                        cluster id, server id, incarnation, mark
    metadata-0, metadata-1          term and vote, written in turn
    log/                            0700
        00000000000000000001.segment    named by the sequence number of its first record
        00000000000000004711.segment
        new                         a segment in the making: worthless until it has its name
    snapshots/                      0700
        00000000000000123456.snapshot   named by the index of the last entry it includes
        new                             a snapshot in the making
        incoming-00000000000000123456-<sha256>    one that a leader is sending
    repair                          what was lost and is not yet restored: this server takes no part in votes and commitments
    damaged/                        0700, what was moved out of the way
    reserve                         space to give up when the disk is full
    identity.new, repair.new        likewise in the making
```
"""

from __future__ import annotations

import errno
from pathlib import Path

from attrs import frozen

from txraft.core.snapshot import Snapshot
from txraft.errors import StorageError
from txraft.storage.files import REAL_FILES, FileSystem

__all__ = ["FORMAT_VERSION", "Layout"]

FORMAT_VERSION = 2
"""The version of everything in the directory; it stands in the magic of each file."""

_DIGITS = 20
_SUFFIX = ".segment"
_SNAPSHOT_SUFFIX = ".snapshot"
_INCOMING = "incoming-"


@frozen
class Layout:
    """Where things are below `root`, and how they are reached."""

    root: Path
    files: FileSystem = REAL_FILES

    @property
    def lock(self) -> Path:
        """The file that is locked."""
        return self.root / "lock"

    @property
    def identity(self) -> Path:
        """Whose directory it is."""
        return self.root / "identity"

    @property
    def metadata(self) -> tuple[Path, Path]:
        """Term and vote, twice."""
        return self.root / "metadata-0", self.root / "metadata-1"

    @property
    def log(self) -> Path:
        """The directory of segments."""
        return self.root / "log"

    @property
    def new_segment(self) -> Path:
        """A segment before it is durable and gets its name."""
        return self.log / "new"

    @property
    def snapshots(self) -> Path:
        """The directory of snapshots."""
        return self.root / "snapshots"

    @property
    def new_snapshot(self) -> Path:
        """A snapshot before it is durable and gets its name."""
        return self.snapshots / "new"

    @property
    def repair(self) -> Path:
        """The note of what was lost."""
        return self.root / "repair"

    @property
    def damaged(self) -> Path:
        """Where damaged files are moved."""
        return self.root / "damaged"

    @property
    def reserve(self) -> Path:
        """Space to give up when the disk is full."""
        return self.root / "reserve"

    def snapshot(self, index: int) -> Path:
        """The snapshot whose last included entry is this one."""
        return self.snapshots / f"{index:0{_DIGITS}d}{_SNAPSHOT_SUFFIX}"

    def incoming(self, snapshot: Snapshot) -> Path:
        """A snapshot that is being received."""
        return self.snapshots / f"{_INCOMING}{snapshot.index:0{_DIGITS}d}-{snapshot.sha256.hex()}"

    def snapshot_files(self) -> list[tuple[int, Path]]:
        """All snapshots with the index in their name, oldest first. Whether they are worth anything is another question."""
        found = []
        for name in self.files.names(self.snapshots):
            digits = name.removesuffix(_SNAPSHOT_SUFFIX)
            if name.endswith(_SNAPSHOT_SUFFIX) and len(digits) == _DIGITS and digits.isascii() and digits.isdigit():
                found.append((int(digits), self.snapshots / name))
        return found

    def incoming_files(self) -> list[tuple[int, Path]]:
        """All that is there of snapshots that were being received, by the index in their name; 0 if there is none in it."""
        names = [name for name in self.files.names(self.snapshots) if name.startswith(_INCOMING)]
        indexes = [name.removeprefix(_INCOMING).split("-")[0] for name in names]
        return [
            (int(digits) if digits.isascii() and digits.isdigit() else 0, self.snapshots / name)
            for name, digits in zip(names, indexes, strict=True)
        ]

    def segment(self, first_sequence: int) -> Path:
        """The segment whose first record has this sequence number."""
        return self.log / f"{first_sequence:0{_DIGITS}d}{_SUFFIX}"

    def segments(self) -> list[tuple[int, Path]]:
        """All segments with the sequence number in their name, oldest first.

        Raises:
            StorageError: a file has the suffix of a segment but no number: somebody renamed it.
        """
        found = []
        for name in self.files.names(self.log):
            if not name.endswith(_SUFFIX):
                continue
            path, digits = self.log / name, name.removesuffix(_SUFFIX)
            if len(digits) != _DIGITS or not (digits.isascii() and digits.isdigit()):
                raise StorageError(f"{path}: not the name of a segment; give it its number back, or move it out of the directory")
            found.append((int(digits), path))
        return sorted(found)

    def prepare(self) -> None:
        """Make the directories, private to their owner.

        A directory that exists is made private only if it is empty or already ours: nobody wants /var/lib at 0700.

        Raises:
            StorageError: it holds other things and others can enter it.
            OSError: it cannot be made.
        """
        if not self.files.is_directory(self.root):
            self.files.make_directory(self.root)
        elif not self.files.is_private(self.root):
            others = set(self.files.names(self.root)) - {"lost+found"}
            if others and not others & {"identity", "log"}:
                raise StorageError(
                    f"{self.root} is not empty, is no data directory of txraft and is open to other users; "
                    "name a directory that is empty or does not exist"
                )
            self.files.make_private(self.root)
        if not self.files.is_file(self.identity):
            self._sync_ancestors()
        for path in (self.log, self.snapshots):
            if not self.files.is_directory(path):
                self.files.make_directory(path)

    def _sync_ancestors(self) -> None:
        """Make the name of the directory durable: who made it, with those above it, may have been killed before.

        What others may enter, or this server may not read, was made by somebody else; and not every file system can sync a directory.
        """
        for path in self.root.parents:
            try:
                self.files.sync_directory(path)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS):
                    raise
            if not self.files.is_private(path):
                return
