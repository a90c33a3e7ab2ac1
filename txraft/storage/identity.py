"""Whose directory this is, and who has it open.

A directory belongs to one server of one cluster for ever: with the log of another server a vote or an answer would be worth nothing.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import Annotated

import msgspec
from attrs import define, evolve, frozen

from txraft.errors import DataDirectoryInUse, ForeignDirectory, StorageError
from txraft.limits import INDEX_MAX
from txraft.storage.files import File, is_full, replace_durably
from txraft.storage.layout import FORMAT_VERSION, Layout
from txraft.storage.records import seal, unseal
from txraft.storage.segment import Origin

__all__ = ["Claim", "STARTS_REMEMBERED", "DirectoryIdentity", "DirectoryLock"]

_MAGIC = b"txraftI%d" % FORMAT_VERSION
_FILE_BYTES_MAX = 4096
_MARK_BYTES = 16
_PROCESS_BYTES = 8

STARTS_REMEMBERED = 32
"""Of so many starts before the last a directory can say by which process they were. Peers compare them with what they have seen: a copy
that was put back has others, and after so many starts of its own it could no longer be told from the directory that it is not.
"""


@frozen
class DirectoryIdentity:
    """Which server of which cluster lives in a directory.

    Attributes:
        cluster_id: the cluster.
        server_id: the server.
        incarnation: how many times the directory has been opened.
        mark: 32 hexadecimal digits, drawn by lot when the directory was claimed: no other directory has them, but a copy of this one.
        process: 16 hexadecimal digits, drawn by lot at this opening: no copy of this directory has them for the same incarnation.
        previous_processes: those of the openings before this one, the last first; the older ones are forgotten.
    """

    cluster_id: str
    server_id: str
    incarnation: int
    mark: str
    process: str = ""
    previous_processes: tuple[str, ...] = ()


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """The content of the identity file."""

    cluster_id: str
    server_id: str
    incarnation: Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
    mark: Annotated[bytes, msgspec.Meta(min_length=_MARK_BYTES, max_length=_MARK_BYTES)]
    processes: list[Annotated[bytes, msgspec.Meta(min_length=_PROCESS_BYTES, max_length=_PROCESS_BYTES)]] = []


@define
class DirectoryLock:
    """A lock on the directory that ends with the process, however it ends."""

    _file: File

    @classmethod
    def take(cls, layout: Layout) -> DirectoryLock:
        """Lock the directory.

        Raises:
            DataDirectoryInUse: somebody has it, maybe within this process.
        """
        file = layout.files.open(layout.lock, create=True)
        try:
            if not file.lock():
                pid = file.read(20, 0).strip()
                holder = f"process {int(pid)}" if pid.isdigit() else "another process"
                raise DataDirectoryInUse(f"{layout.root} is in use by {holder}; stop it first, or name another data directory")
            try:
                file.truncate(0)
                file.write(b"%d\n" % os.getpid(), 0)
            except OSError as error:
                # The number is for people; the lock holds without it.
                if not is_full(error):
                    raise
        except BaseException:
            file.close()
            raise
        return cls(file)

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


@define
class Claim:
    """The identity file as read or first written.

    An incarnation of 0 means that the directory was claimed but never opened to the end: its log may not have been begun. From 1 on term,
    vote and log must be there.
    """

    layout: Layout
    identity: DirectoryIdentity
    origin: Origin

    @classmethod
    def read(cls, layout: Layout) -> Claim | None:
        """Read the identity; None if there is none. Nothing is changed.

        Raises:
            StorageError: it cannot be read, or is missing where a server has run.
        """
        try:
            with closing(layout.files.open(layout.identity)) as file:
                content = file.read(_FILE_BYTES_MAX, 0)
        except FileNotFoundError:
            if layout.segments() or any(layout.files.is_file(path) for path in layout.metadata):
                raise StorageError(
                    f"{layout.identity} is missing, but there are a log or votes of some server; put it back from a copy, "
                    "or name an empty data directory"
                ) from None
            return None
        if content[:7] == _MAGIC[:7] and content[7:8].isdigit() and content[:8] != _MAGIC:
            version = content[7:8].decode()
            raise StorageError(f"{layout.root} has the format of version {version}, but this txraft reads version {FORMAT_VERSION} only")
        stored = _decode(content)
        if stored is None:
            raise StorageError(
                f"{layout.identity} is damaged; put it back from a copy, "
                "or keep this server down: an older copy or an empty directory has forgotten what it acknowledged"
            )
        return cls._of(layout, stored)

    @classmethod
    def stake(cls, layout: Layout, cluster_id: str, server_id: str) -> Claim:
        """Read the identity, or claim a directory that has none.

        Raises:
            ForeignDirectory: it is another server's, or another cluster's.
            StorageError: it cannot be read, or is missing where a server has run.
        """
        claim = cls.read(layout)
        if claim is None:
            claim = cls.draw(layout, cluster_id, server_id)
            claim.write()
            return claim
        found = claim.identity
        if (found.cluster_id, found.server_id) != (cluster_id, server_id):
            raise ForeignDirectory(_foreign(layout, found, cluster_id, server_id))
        return claim

    @classmethod
    def draw(cls, layout: Layout, cluster_id: str, server_id: str) -> Claim:
        """A new claim, with a mark that no other directory has. It is not written."""
        return cls._of(layout, _Stored(cluster_id, server_id, 0, os.urandom(_MARK_BYTES)))

    def write(self) -> None:
        """Claim the directory, durably."""
        _write(self.layout, _Stored(self.identity.cluster_id, self.identity.server_id, self.identity.incarnation, self.origin.mark))

    @classmethod
    def _of(cls, layout: Layout, stored: _Stored) -> Claim:
        process, *previous = [process.hex() for process in stored.processes] or [""]
        identity = DirectoryIdentity(stored.cluster_id, stored.server_id, stored.incarnation, stored.mark.hex(), process, tuple(previous))
        return cls(layout, identity, Origin(stored.mark))

    def next_incarnation(self) -> DirectoryIdentity:
        """Count one more opening, durably, before anybody can be told of it."""
        last = self.identity
        processes = [process for process in (last.process, *last.previous_processes) if process][:STARTS_REMEMBERED]
        self.identity = evolve(
            last, incarnation=last.incarnation + 1, process=os.urandom(_PROCESS_BYTES).hex(), previous_processes=tuple(processes)
        )
        identity = self.identity
        drawn = [bytes.fromhex(process) for process in (identity.process, *identity.previous_processes)]
        _write(self.layout, _Stored(identity.cluster_id, identity.server_id, identity.incarnation, self.origin.mark, drawn))
        return identity


def _foreign(layout: Layout, found: DirectoryIdentity, cluster_id: str, server_id: str) -> str:
    """What is not as it should be, and which keys of the configuration that comes from."""
    holds = f"{layout.root} holds server {found.server_id!r} of cluster {found.cluster_id}"
    if found.cluster_id == cluster_id:
        return f"{holds}, not {server_id!r}; check the keys name and data_dir of the configuration"
    wrong = "is" if found.server_id == server_id else "or name are"
    return (
        f"{holds}, but server {server_id!r} of cluster {cluster_id} was to use it. The keys cluster and bootstrap of the configuration "
        "make that id: both must be as they were at the first start of this directory, with every name and address in bootstrap. "
        f"Or data_dir {wrong} not the right one"
    )


def _decode(sealed: bytes) -> _Stored | None:
    content = unseal(_MAGIC, sealed)
    try:
        return None if content is None else msgspec.msgpack.decode(content, type=_Stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(layout: Layout, stored: _Stored) -> None:
    replace_durably(layout.files, layout.identity, seal(_MAGIC, msgspec.msgpack.encode(stored)))
