"""Looking into a data directory from outside: nothing in it is changed, and a node may have it open meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from attrs import frozen

from txraft.errors import StorageError
from txraft.storage.identity import Claim, DirectoryIdentity
from txraft.storage.layout import Layout

__all__ = ["Holder", "holder_of", "identity_of", "patiently"]

T = TypeVar("T")

ATTEMPTS = 4


@frozen
class Holder:
    """The process that has a directory open.

    Attributes:
        pid: its number; None if it did not write it down.
    """

    pid: int | None

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid}"


def holder_of(layout: Layout) -> Holder | None:
    """Who has the directory open; None if nobody has.

    The lock is tried for a moment, on a file opened for reading only.

    Raises:
        OSError: the lock file cannot be read.
    """
    if not layout.files.is_file(layout.lock):
        return None
    with closing(layout.files.open(layout.lock)) as file:
        if file.lock():
            return None
        pid = file.read(20, 0).strip()
        return Holder(int(pid) if pid.isdigit() else None)


def identity_of(layout: Layout) -> DirectoryIdentity | None:
    """Whose directory it is; None if it is nobody's.

    Raises:
        StorageError: that cannot be read.
    """
    claim = Claim.read(layout)
    return None if claim is None else claim.identity


def patiently(layout: Layout, look: Callable[[], T]) -> T:
    """What `look` finds. What fails in a directory that is in use is tried again: files come and go there, and their ends move on.

    Raises:
        StorageError: it fails each time, or nobody has the directory open.
        OSError: likewise.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return look()
        except (StorageError, OSError):
            if holder_of(layout) is None:
                raise
    return look()
