"""One segment file: a header, records behind one another, zeros up to its preallocated size.

A segment gets its name only when it is durable with its first records in it. So a segment that has a name has a good header, and its
mere presence proves that every record before it is durable.
"""

from __future__ import annotations

import errno
import struct
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from attrs import define, field

from txraft.errors import DamagedLog, DiskFull, StorageError
from txraft.storage.files import File, is_full
from txraft.storage.layout import FORMAT_VERSION, Layout

__all__ = ["SEGMENT_HEADER_BYTES", "Begin", "OpenSegment", "Origin", "Segment"]

_MAGIC = b"txraftL%d" % FORMAT_VERSION
_HEADER = struct.Struct(">8s16sQQQQ")
_CRC = struct.Struct(">I")
SEGMENT_HEADER_BYTES = 64

_ZEROS = bytes(256 * 1024)


@define
class Origin:
    """Which directory files belong to.

    Attributes:
        mark: 16 random bytes drawn when the directory was first claimed.
        seed: where the checksums of this directory start.
    """

    mark: bytes
    seed: int = field(init=False)

    @seed.default
    def _seed_of_mark(self) -> int:
        return crc32(self.mark)


class Begin(NamedTuple):
    """Where the log stood when a segment was begun; the fields are those of `Segment`."""

    first_sequence: int
    next_index: int
    base_index: int = 0
    base_term: int = 0


@define
class Segment:
    """A segment as known in memory.

    Attributes:
        path: the file.
        first_sequence: number of its first record.
        next_index: index behind the last entry of the log when the segment was begun.
        base_index: of the last entry that the log no longer had at its beginning then; 0 if it had all.
        base_term: the term of that entry.
        end: where the next record goes.
        dead: nothing in it is needed any more, because the log was emptied behind it.
    """

    path: Path
    first_sequence: int
    next_index: int
    base_index: int = 0
    base_term: int = 0
    end: int = SEGMENT_HEADER_BYTES
    dead: bool = False

    @classmethod
    def create(cls, layout: Layout, origin: Origin, begin: Begin, *, records: bytes, size: int) -> Segment:
        """Make a segment durable together with its first records; a crash leaves it whole or not there at all.

        Raises:
            DiskFull: there is no room for it, and it is not there.
            OSError: it may or may not be there.
        """
        header = _HEADER.pack(_MAGIC, origin.mark, *begin)
        header += _CRC.pack(crc32(header, origin.seed))
        content = header.ljust(SEGMENT_HEADER_BYTES, b"\0") + records
        path = layout.segment(begin.first_sequence)
        try:
            # A crash may have left it as a second name of a segment.
            layout.files.remove(layout.new_segment)
            with closing(layout.files.open(layout.new_segment, create=True, empty=True)) as file:
                file.preallocate(size)
                file.write(content, 0)
                _sync(file)
            layout.files.rename(layout.new_segment, path)
        except OSError as error:
            if not is_full(error):
                raise
            layout.files.remove(layout.new_segment)
            raise DiskFull(f"there is no room in {layout.log} for another segment of the log") from error
        layout.files.sync_directory(layout.log)
        return cls(path, *begin, end=len(content))

    @classmethod
    def from_file(cls, path: Path, file: File, origin: Origin) -> Segment:
        """Read the header.

        Raises:
            DamagedLog: it is unreadable.
            StorageError: the file is from another directory, or of another version of the format.
        """
        raw = file.read(SEGMENT_HEADER_BYTES, 0)
        if len(raw) == SEGMENT_HEADER_BYTES:
            magic, mark, *begin = _HEADER.unpack_from(raw)
            if magic == _MAGIC and _is_whole(raw, origin.seed):
                return cls(path, *begin)
            if magic == _MAGIC and _is_whole(raw, crc32(mark)):
                raise StorageError(f"{path}: the segment is from another data directory; put the one back that belongs here")
            is_spoiled_only = _is_whole(_MAGIC + raw[len(_MAGIC) :], origin.seed)
            if magic[:-1] == _MAGIC[:-1] and magic != _MAGIC and not is_spoiled_only:
                raise StorageError(f"{path}: its format is of version {magic[-1:]!r}, which this version of txraft cannot read")
        raise DamagedLog(str(path), 0, SEGMENT_HEADER_BYTES, "the header of the segment is unreadable")


def _sync(file: File) -> None:
    """Sync a file, and let no failure of it pass for a full disk: nobody knows what is on it then."""
    try:
        file.sync()
    except OSError as error:
        raise (OSError(errno.EIO, f"fsync: {error.strerror or error}") if is_full(error) else error) from error


def _is_whole(raw: bytes, seed: int) -> bool:
    return bool(crc32(raw[: _HEADER.size], seed) == _CRC.unpack_from(raw, _HEADER.size)[0])


@define
class OpenSegment:
    """The newest segment, open for appending.

    Attributes:
        segment: which one.
        file: the same, open.
        size: how much of it is preallocated.
    """

    segment: Segment
    file: File
    size: int
    _zeroed_upto: int = 0

    @classmethod
    def open(cls, layout: Layout, segment: Segment, size: int) -> OpenSegment:
        """Open it; nothing is changed."""
        return cls(segment, layout.files.open(segment.path, write=True), size)

    def append(self, records: bytes) -> None:
        """Write records behind the last one and wait until they are durable: one write, one fdatasync.

        The first write into preallocated blocks makes the file system note that they are in use now, which doubles the price of an
        fdatasync. So zeros are written ahead, 256 KiB at a time, together with the records that first get there.

        Raises:
            DiskFull: there is no room, and nothing of them is left in the file.
            OSError: they may or may not be on disk.
        """
        offset, end = self.segment.end, self.segment.end + len(records)
        ahead = 0
        if end > self._zeroed_upto:
            ahead = max(0, min(len(_ZEROS), self.size - end))
            records += _ZEROS[:ahead]
        try:
            self.file.write(records, offset)
        except OSError as error:
            if not is_full(error):
                raise
            # What there was room for would fit behind another record of the same length one day.
            self.file.truncate(offset)
            self._zeroed_upto = offset
            raise DiskFull(f"there is no room in {self.segment.path} for more of the log") from error
        self.file.sync_content()
        self._zeroed_upto = max(self._zeroed_upto, end + ahead)
        self.segment.end = end

    def close(self) -> None:
        """Close the file."""
        self.file.close()
