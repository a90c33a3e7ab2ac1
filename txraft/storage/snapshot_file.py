"""A snapshot as a file: what it is of, then the parts of the state; written by one server, sent to others as it is, kept as a backup.

A file is whole or it is none: every frame has a checksum that goes on from the one before, and the end has the size and the SHA-256 of
everything. Nothing here holds more than a part in memory, or some hundred KiB: so much is hashed, written and read at a time, beside the
interpreter, because each return to it makes other threads wait. Byte by byte in `docs/disk-format.md`.

Source: Figure 5.3; §5.1.3.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import msgspec

from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, Halted, NoSnapshot
from txraft.limits import INDEX_MAX
from txraft.storage.files import File, FileSystem

__all__ = ["FRAME_BYTES_MAX", "PART_BYTES_MAX", "SnapshotHead", "open_snapshot", "verify_snapshot", "write_snapshot"]

MAGIC = b"txraftS1"
FRAME_BYTES_MAX = 1_048_576
"""Longest body of a frame; a longer part takes several."""

PART_BYTES_MAX = 134_217_728
"""Longest part: what a reader must be able to hold."""

SYNC_BYTES = 8_388_608
"""So much is written before it is made durable: the disk is never asked for a lot at once, for the log has to wait meanwhile."""

AT_ONCE_BYTES = 524_288
"""So much is gathered before it is hashed and written, and read and hashed at a time."""

_FRAME = struct.Struct(">II")
_MORE = 1 << 31
_TOTAL = struct.Struct(">Q")
_SHA_BYTES = 32
_END_BYTES = _FRAME.size + _TOTAL.size + _SHA_BYTES

_Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]


class SnapshotHead(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot is of: the first part of the file.

    Attributes:
        program: that wrote it, for people.
        cluster_id: whose state it is.
        index, term: of the last entry it includes.
        configurations: see `Snapshot`.
        log_time_ms: log time at that entry.
        machines: name, plug-in and version of each.
    """

    program: str
    cluster_id: str
    index: _Number
    term: _Number
    configurations: list[tuple[_Number, bytes]]
    log_time_ms: _Number
    machines: list[tuple[str, str, _Number]]


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(SnapshotHead).decode


def write_snapshot(
    files: FileSystem,
    path: Path,
    head: SnapshotHead,
    parts: Iterable[bytes],
    *,
    progress: Callable[[int], None] = lambda _: None,
    pause: Callable[[], None] = lambda: None,
) -> Snapshot:
    """Write a snapshot to `path`, durably but for its name, and read it back.

    Args:
        files: where.
        path: a name for the time being, in place of whatever has it; removed again when this raises.
        head: what it is of.
        parts: the state, as `Host.restored` will be given it.
        progress: told how many bytes are written.
        pause: called after each part, when it is written and when it is read.

    Raises:
        DamagedSnapshot: what was read back is not what was written.
        OSError: the disk is full, or fails.
        Exception: what `parts`, `progress` and `pause` raise.
    """
    file = files.open(path, create=True, empty=True)
    try:
        with closing(file):
            writer = _Writer(file)
            for part in chain((_encode_head(head),), parts):
                writer.part(part)
                progress(writer.size)
                pause()
            sha256 = writer.end()
        written = Snapshot(head.index, head.term, writer.size, sha256, head.configurations)
        _, found = verify_snapshot(files, path, pause=pause)
        if found != written:
            raise DamagedSnapshot(str(path), 0, "what was read back is not what was written")
    except BaseException:
        with suppress(OSError):
            files.remove(path)
        raise
    return written


class _Writer:
    """Writes an empty file from its beginning.

    Attributes:
        size: how much there is, or is about to be written.
    """

    def __init__(self, file: File) -> None:
        self._file, self._crc, self._whole = file, crc32(MAGIC), hashlib.sha256()
        self.size = self._written = self._synced = 0
        self._gathered: list[bytes] = []
        self._put(MAGIC)

    def part(self, part: bytes) -> None:
        """Write a part. Raises `Halted` for what cannot be one: the caller's bug."""
        if not 0 < len(part) <= PART_BYTES_MAX:
            raise Halted(f"a part of a snapshot has 1 to {PART_BYTES_MAX} bytes, not {len(part)}")
        for at in range(0, len(part), FRAME_BYTES_MAX):
            body = part[at : at + FRAME_BYTES_MAX]
            word = len(body) | (_MORE if at + len(body) < len(part) else 0)
            self._crc = crc32(body, _crc_of_word(word, self._crc))
            self._put(_FRAME.pack(word, self._crc))
            self._put(body)
        if self._written - self._synced >= SYNC_BYTES:
            self._file.sync_content()
            self._synced = self._written

    def end(self) -> bytes:
        """Finish the file, durably; the SHA-256 of all of it."""
        self._put(_FRAME.pack(0, _crc_of_word(0, self._crc)) + _TOTAL.pack(self.size + _END_BYTES))
        self._write()
        self._put(self._whole.digest())
        self._write()
        self._file.sync()
        return self._whole.digest()

    def _put(self, content: bytes) -> None:
        self._gathered.append(content)
        self.size += len(content)
        if self.size - self._written >= AT_ONCE_BYTES:
            self._write()

    def _write(self) -> None:
        content = b"".join(self._gathered)
        self._gathered.clear()
        self._whole.update(content)
        self._file.write(content, self._written)
        self._written = self.size


def _crc_of_word(word: int, crc: int) -> int:
    return crc32(word.to_bytes(4, "big"), crc)


def open_snapshot(files: FileSystem, path: Path, expected: Snapshot | None = None) -> tuple[SnapshotHead, Generator[bytes, None, None]]:
    """What a file is a snapshot of, and its parts. The file is open until these are read, or closed.

    Nothing of it is to be trusted before the iterator has come to its end: it checks the sums of the whole there.

    Raises:
        DamagedSnapshot: it is no snapshot, or not the expected one; out of the iterator: it is not whole.
        OSError: it cannot be opened or read.
    """
    contents = _contents(files.open(path), str(path), expected)
    head: SnapshotHead = next(contents)
    return head, contents


def verify_snapshot(
    files: FileSystem, path: Path, *, progress: Callable[[int], None] = lambda _: None, pause: Callable[[], None] = lambda: None
) -> tuple[SnapshotHead, Snapshot]:
    """Read a file from its beginning to its end; what it is a snapshot of, and which one it is. `progress` is told how many bytes are read.

    Raises:
        DamagedSnapshot: it is no snapshot, or not whole.
        OSError: it cannot be opened or read.
    """
    with closing(files.open(path)) as file:
        reader = _Reader(file, str(path))
        parts = reader.parts()
        head = reader.head(parts)
        for _ in parts:
            progress(reader.at)
            pause()
    return head, Snapshot(head.index, head.term, reader.size, reader.whole.digest(), head.configurations)


def _contents(file: File, path: str, expected: Snapshot | None) -> Generator[Any, None, None]:
    """The head, then the parts."""
    with closing(file):
        reader = _Reader(file, path)
        if expected is not None and reader.size != expected.size:
            raise DamagedSnapshot(path, min(reader.size, expected.size), f"it has {reader.size} bytes and should have {expected.size}")
        parts = reader.parts()
        head = reader.head(parts)
        if expected is not None and (head.index, head.term) != (expected.index, expected.term):
            wanted = f"index {expected.index}, term {expected.term}"
            raise DamagedSnapshot(path, len(MAGIC), f"it is of index {head.index}, term {head.term}, and should be of {wanted}")
        yield head
        yield from parts
        if expected is not None and reader.whole.digest() != expected.sha256:
            raise DamagedSnapshot(path, 0, f"its SHA-256 is {reader.whole.hexdigest()} and should be {expected.sha256.hex()}")


class _Reader:
    """Reads an open file from its beginning.

    Attributes:
        size: of the file.
        at: how far it is read.
        whole: SHA-256 of everything, in the end.
    """

    def __init__(self, file: File, path: str) -> None:
        self._file, self._path = file, path
        self.size, self.at = file.size(), 0
        self.whole = hashlib.sha256()
        self._window, self._window_at, self._hashed = b"", 0, 0
        magic = self._take(len(MAGIC)) if self.size >= len(MAGIC) else b""
        if magic[:-1] == MAGIC[:-1] and magic != MAGIC:
            raise NoSnapshot(path, f"is a snapshot of version {magic[-1:]!r}, which this program does not know")
        if magic != MAGIC:
            raise NoSnapshot(path, "is no snapshot of txraft")
        self._crc = crc32(MAGIC)

    def head(self, parts: Iterator[bytes]) -> SnapshotHead:
        """The first part."""
        encoded = next(parts, None)
        try:
            head = _decode_head(encoded or b"")
        except (ValueError, RecursionError) as error:
            raise self._damaged(len(MAGIC), f"its head cannot be read: {error}") from error
        indexes = [index for index, _ in head.configurations]
        if indexes != sorted(set(indexes)) or (indexes and indexes[-1] > head.index):
            raise self._damaged(len(MAGIC), f"it is of index {head.index} and has configurations of indexes {indexes}")
        return head

    def parts(self) -> Iterator[bytes]:
        """All parts; what is behind them has been checked when they end."""
        frames: list[bytes] = []
        size = 0
        while True:
            begin = self.at
            word, crc = self._frame(begin)
            length = word & ~_MORE
            if word == 0 and not frames:
                self._end(begin, crc)
                return
            size += length
            if not 0 < length <= min(FRAME_BYTES_MAX, self.size - self.at) or size > PART_BYTES_MAX:
                raise self._damaged(begin, f"a frame of {length} bytes")
            body = self._take(length)
            self._crc = crc32(body, self._crc)
            if self._crc != crc:
                raise self._damaged(begin, f"the checksum of {length} bytes is wrong")
            frames.append(body)
            if not word & _MORE:
                yield frames[0] if len(frames) == 1 else b"".join(frames)
                frames, size = [], 0

    def _frame(self, begin: int) -> tuple[int, int]:
        """The header of a frame: length and flag in a word, and the CRC; its share of the CRC is reckoned in."""
        if self.size - begin < _END_BYTES:
            raise self._damaged(begin, "the end is missing")
        word, crc = _FRAME.unpack(self._take(_FRAME.size))
        self._crc = _crc_of_word(word, self._crc)
        return word, crc

    def _end(self, begin: int, crc: int) -> None:
        if self._crc != crc:
            raise self._damaged(begin, "the checksum of the end is wrong")
        total = self._take(_TOTAL.size)
        sha256 = self.whole.digest()
        if total != _TOTAL.pack(self.size) or self.size != begin + _END_BYTES:
            raise self._damaged(begin, f"it says that the file has {_TOTAL.unpack(total)[0]} bytes; it ends here and has {self.size}")
        found = self._take(_SHA_BYTES)
        if found != sha256:
            raise self._damaged(self.size - _SHA_BYTES, "the SHA-256 of the whole is wrong")
        self.whole.update(found)

    def _take(self, length: int) -> bytes:
        if self.at + length > self._window_at + len(self._window):
            self._look_on(length)
        begin = self.at - self._window_at
        self.at += length
        return self._window[begin : begin + length]

    def _look_on(self, length: int) -> None:
        """Read on, so much at least. What it says of itself in the end is not hashed along with the rest."""
        wanted = min(max(length, AT_ONCE_BYTES), self.size - self.at)
        self._window, self._window_at = self._file.read(wanted, self.at), self.at
        if len(self._window) != wanted:
            raise self._damaged(self.at, "the file has become shorter")
        end = min(self.at + wanted, self.size - _SHA_BYTES)
        if end > self._hashed:
            self.whole.update(memoryview(self._window)[self._hashed - self.at : end - self.at])
            self._hashed = end

    def _damaged(self, offset: int, why: str) -> DamagedSnapshot:
        return DamagedSnapshot(self._path, offset, why)
