"""The few things that storage asks of the operating system, each done whole or not at all. All of them block.

Every failure is an `OSError`: the caller knows what it means.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = [
    "DIRECTORY_MODE",
    "make_directory",
    "open_private",
    "preallocate",
    "read_at",
    "replace_durably",
    "sync_directory",
    "write_at",
    "written_end",
]

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner may read, and that no child process inherits."""
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def write_at(fd: int, content: bytes, offset: int) -> None:
    """Write all of `content` at `offset`, however many calls it takes."""
    written = os.pwrite(fd, content, offset)
    while written < len(content):
        more = os.pwrite(fd, memoryview(content)[written:], offset + written)
        if more <= 0:
            raise OSError(errno.EIO, "the disk took nothing of a write")
        written += more


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Read `length` bytes at `offset`; fewer only at the end of the file. The caller has bounded `length` by the file's size."""
    content = os.pread(fd, length, offset)
    if len(content) == length or not content:
        return content
    parts = [content]
    missing = length - len(content)
    while missing and (more := os.pread(fd, missing, offset + length - missing)):
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def written_end(fd: int, size: int) -> int:
    """A position behind which there are only zeros that were never written: preallocated space need not be read to know it.

    Ask before reading the file: what is in the kernel's memory counts as written. `size` where the file system cannot tell.
    """
    end = 0
    try:
        while end < size:
            end = os.lseek(fd, os.lseek(fd, end, os.SEEK_DATA), os.SEEK_HOLE)
    except OSError as error:
        return end if error.errno == errno.ENXIO else size
    return end


def preallocate(fd: int, size: int) -> None:
    """Reserve `size` bytes of zeros where the file system can: a write then changes no file size and finds its blocks ready."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new or renamed file is not there after a power cut until this is done."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make a private directory, durably, and its missing ancestors. Another node may be making the same ones for its own."""
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    sync_directory(path.parent)


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a small file as a whole: after a crash it is the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fd = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_at(fd, content, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
    sync_directory(path.parent)
