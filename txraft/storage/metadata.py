"""Term and vote on disk: one record in two files that are written in turn.

The file that is not the newest is overwritten and made durable first; whatever a crash does to it, the other still holds what was
durable before. Then the same goes into the other file too, without waiting: should a disk lose one of the two later, the older vote does
not come back in its place (two votes in one term).

With term and vote stands how far the log was durable then. A log that does not reach that far has lost what was durable.

Source: Figure 3.1, persistent state; §3.8.
"""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
from attrs import define, field

from txraft.core.effects import Metadata
from txraft.core.ids import ServerId, Term
from txraft.errors import DiskFull, Halted
from txraft.limits import INDEX_MAX
from txraft.storage.files import File, is_full
from txraft.storage.layout import FORMAT_VERSION, Layout
from txraft.storage.records import seal, unseal

__all__ = ["MetadataFiles"]

_MAGIC = b"txraftM%d" % FORMAT_VERSION
_FILE_BYTES = 1024
_Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """The content of a metadata file."""

    version: _Number
    term: _Number
    voted_for: str | None
    durable_upto: _Number


@define
class MetadataFiles:
    """Both files.

    Attributes:
        current: what is durable; None before the first write.
        durable_upto: the last record of the log that was durable when it was written.
    """

    layout: Layout
    seed: int
    current: Metadata | None = None
    durable_upto: int = 0
    _version: int = 0
    _newest: int = 1
    _content: bytes = b""
    _open_files: list[File] = field(factory=list)

    @classmethod
    def read(cls, layout: Layout, seed: int) -> MetadataFiles:
        """Find out what the files hold; nothing is changed.

        Raises:
            OSError: the disk does not answer.
        """
        files = cls(layout, seed)
        found = [_read(layout, path, seed) for path in layout.metadata]
        for number, stored in enumerate(found):
            if stored is not None and stored.version > files._version:
                files.current = Metadata(Term(stored.term), ServerId(stored.voted_for) if stored.voted_for is not None else None)
                files.durable_upto, files._version, files._newest = stored.durable_upto, stored.version, number
                files._content = files._seal(stored)
        return files

    def write(self, metadata: Metadata, durable_upto: int) -> None:
        """Make term and vote durable: one write and one fdatasync, and a write to the other file that nobody waits for.

        Raises:
            Halted: they do not fit.
            DiskFull: there is no room; what was durable still is. The same may be written again.
            OSError: they may or may not be on disk.
        """
        if not self._open_files:
            self._open()
        stored = _Stored(self._version + 1, metadata.term, metadata.voted_for, durable_upto)
        content = self._seal(stored)
        oldest = 1 - self._newest
        self._put(oldest, content)
        self._open_files[oldest].sync_content()
        self.current, self.durable_upto = metadata, durable_upto
        self._version, self._newest = stored.version, oldest
        self._put(1 - oldest, content)

    @property
    def term(self) -> Term:
        """The current term; 0 before the first write."""
        return self.current.term if self.current is not None else Term(0)

    def note_durable(self, durable_upto: int) -> None:
        """Write the same term and vote again, and that the log is durable up to this record."""
        if self.current is not None and durable_upto != self.durable_upto:
            self.write(self.current, durable_upto)

    def _open(self) -> None:
        """Open the files for writing.

        What was read from the newest may have been in the kernel's memory only, and of the other file nothing is known. So the newest is
        written once more, and durable, before the other one is touched.
        """
        files = self.layout.files
        for path in self.layout.metadata:
            self._open_files.append(files.open(path, create=True))
        files.sync_directory(self.layout.root)
        if self._content:
            self._open_files[self._newest].write(self._content, 0)
            self._open_files[self._newest].sync_content()

    def _put(self, number: int, content: bytes) -> None:
        """Write one of the files; the other is whole, and holds what is durable."""
        try:
            self._open_files[number].write(content, 0)
        except OSError as error:
            if not is_full(error):
                raise
            raise DiskFull(f"there is no room in {self.layout.metadata[number]} for term and vote") from error

    def _seal(self, stored: _Stored) -> bytes:
        content = seal(_MAGIC, msgspec.msgpack.encode(stored), self.seed).ljust(_FILE_BYTES, b"\0")
        if len(content) > _FILE_BYTES or not 0 <= stored.term <= INDEX_MAX:
            raise Halted(f"term {stored.term} and vote for {stored.voted_for!r} do not fit the disk format")
        return content

    def close(self) -> None:
        """Close both files."""
        while self._open_files:
            self._open_files.pop().close()


def _read(layout: Layout, path: Path, seed: int) -> _Stored | None:
    """What one file holds; None if it is not there, not whole, or not given back by the disk."""
    try:
        with closing(layout.files.open(path)) as file:
            content = unseal(_MAGIC, file.read(_FILE_BYTES, 0), seed)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
    try:
        return None if content is None else msgspec.msgpack.decode(content, type=_Stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
