"""What storage asks of the operating system, as a port: the real one is here, one in memory for tests in `tests/support`.

All of it blocks, and is done whole or not at all. Every failure is an `OSError`: the caller knows what it means. Nothing else below
`txraft/storage` touches a disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from attrs import define

__all__ = ["REAL_FILES", "File", "FileSystem", "is_full", "replace_durably"]

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class File(Protocol):
    """An open file."""

    def read(self, length: int, offset: int) -> bytes:
        """Read `length` bytes at `offset`; fewer only at the end of the file. The caller has bounded `length` by the file's size."""

    def write(self, content: bytes, offset: int) -> None:
        """Write all of `content` at `offset`, however many calls it takes."""

    def size(self) -> int:
        """Its length in bytes."""

    def truncate(self, size: int) -> None:
        """Make it this long."""

    def preallocate(self, size: int) -> None:
        """Reserve `size` bytes of zeros where the file system can: a write then changes no file size and finds its blocks ready."""

    def written_end(self) -> int:
        """A position behind which there are only zeros that were never written: preallocated space need not be read to know it.

        Ask before reading the file: what is in the kernel's memory counts as written. The size where the file system cannot tell.
        """

    def sync(self) -> None:
        """Make content and size durable (fsync)."""

    def sync_content(self) -> None:
        """Make the content durable, and of the rest what is needed to read it (fdatasync)."""

    def lock(self) -> bool:
        """Lock the file for this opening of it, until it is closed or the process ends. False if another opening has it."""

    def close(self) -> None:
        """Let go of it."""


class FileSystem(Protocol):
    """Names, and the files behind them. New files are for their owner only, and no child process inherits one."""

    def open(self, path: Path, *, write: bool = False, create: bool = False, empty: bool = False) -> File:
        """Open a file for reading; with `write` for writing, too, with `create` made if it is missing, with `empty` emptied."""

    def names(self, directory: Path) -> list[str]:
        """What is in a directory, sorted; nothing if it does not exist."""

    def is_file(self, path: Path) -> bool:
        """Whether there is a file of this name."""

    def is_directory(self, path: Path) -> bool:
        """Whether there is a directory of this name."""

    def is_private(self, path: Path) -> bool:
        """Whether only its owner may enter a directory."""

    def make_private(self, path: Path) -> None:
        """See to it that only its owner may enter a directory."""

    def size(self, path: Path) -> int:
        """The length of a file in bytes."""

    def make_directory(self, path: Path) -> None:
        """Make a private directory, durably, and its missing ancestors. Another node may be making the same ones for its own."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of what had it."""

    def link(self, path: Path, new: Path) -> None:
        """Give a file one more name, which nothing has."""

    def remove(self, path: Path) -> None:
        """Remove a file; it may be missing."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable: a new or renamed file is not there after a power cut until this is done."""

    def free_bytes(self, path: Path) -> int:
        """How much room is left where `path` is."""


@define
class _RealFile:
    """A file descriptor."""

    _fd: int

    def read(self, length: int, offset: int) -> bytes:
        content = os.pread(self._fd, length, offset)
        if len(content) == length or not content:
            return content
        parts = [content]
        missing = length - len(content)
        while missing and (more := os.pread(self._fd, missing, offset + length - missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)

    def write(self, content: bytes, offset: int) -> None:
        written = os.pwrite(self._fd, content, offset)
        while written < len(content):
            more = os.pwrite(self._fd, memoryview(content)[written:], offset + written)
            if more <= 0:
                raise OSError(errno.EIO, "the disk took nothing of a write")
            written += more

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def preallocate(self, size: int) -> None:
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise

    def written_end(self) -> int:
        end, size = 0, self.size()
        try:
            while end < size:
                end = os.lseek(self._fd, os.lseek(self._fd, end, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError as error:
            return end if error.errno == errno.ENXIO else size
        return end

    def sync(self) -> None:
        os.fsync(self._fd)

    def sync_content(self) -> None:
        os.fdatasync(self._fd)

    def lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._fd)


class _RealFiles:
    """The file system of the operating system."""

    def open(self, path: Path, *, write: bool = False, create: bool = False, empty: bool = False) -> File:
        flags = os.O_RDWR if write or create or empty else os.O_RDONLY
        flags |= (os.O_CREAT if create else 0) | (os.O_TRUNC if empty else 0)
        return _RealFile(os.open(path, flags | os.O_CLOEXEC, FILE_MODE))

    def names(self, directory: Path) -> list[str]:
        try:
            return sorted(path.name for path in directory.iterdir())
        except FileNotFoundError:
            return []

    def is_file(self, path: Path) -> bool:
        return path.is_file()

    def is_directory(self, path: Path) -> bool:
        return path.is_dir()

    def is_private(self, path: Path) -> bool:
        return not stat.S_IMODE(path.stat().st_mode) & 0o077

    def make_private(self, path: Path) -> None:
        path.chmod(DIRECTORY_MODE)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def make_directory(self, path: Path) -> None:
        if not path.parent.is_dir():
            self.make_directory(path.parent)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        self.sync_directory(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def link(self, path: Path, new: Path) -> None:
        new.hardlink_to(path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize


REAL_FILES: FileSystem = _RealFiles()
"""The operating system's."""


def is_full(error: BaseException) -> bool:
    """Whether it means that there is no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def replace_durably(files: FileSystem, path: Path, content: bytes) -> None:
    """Replace a small file as a whole: after a crash it is the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    # A crash may have left both names of an earlier file: emptying it by the one would empty it by the other.
    files.remove(fresh)
    file = files.open(fresh, create=True, empty=True)
    try:
        file.write(content, 0)
        file.sync()
    finally:
        file.close()
    files.rename(fresh, path)
    files.sync_directory(path.parent)
