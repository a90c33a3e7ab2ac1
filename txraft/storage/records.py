"""How bytes on disk say that they are whole: records of the log, and small sealed files.

A record is a header and a body. The header has a checksum of its own, so that a reader who has lost his place can tell a header from
chance, at once and without trusting a length. Both checksums start from the directory's *mark*, a random number: bytes that look like a
record but come from elsewhere (another directory's file, a command that somebody stored to that end) are not one here.
Byte by byte in `docs/disk-format.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, NamedTuple
from zlib import crc32

import msgspec

from txraft.core.effects import Base
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import Halted
from txraft.limits import INDEX_MAX
from txraft.storage.files import File

__all__ = [
    "BODY_BYTES_MAX",
    "HEADER_BYTES",
    "Record",
    "Rest",
    "Run",
    "decode_body",
    "encode_record",
    "encode_run",
    "inspect_rest",
    "parse_header",
    "scan",
    "seal",
    "unseal",
]

MAGIC = b"\xabTxR"
_HEADER = struct.Struct(">4sIQQI")
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CRC.size

BODY_BYTES_MAX = 2**31 - 1
"""No body is longer, so that a length is never negative in anybody's language."""

_BODY_BYTES_AIM = 4 * 1024 * 1024
"""Longer runs are split over several records: recovery and reads hold one record in memory."""

_WINDOW_BYTES = 256 * 1024
_ZEROS = bytes(_WINDOW_BYTES)

_SEAL = struct.Struct(">8sII")

_encoder = msgspec.msgpack.Encoder()

_Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]


class Run(NamedTuple):
    """What one record says: the log begins with `base` now, if there is one; then it has these entries from this index on, and nothing
    behind them.
    """

    first_index: int
    entries: list[Entry]
    base: Base | None = None


class _StoredBase(msgspec.Struct, frozen=True, array_like=True):
    """How a base stands in a record; its fields as in `docs/disk-format.md`."""

    index: _Number
    term: _Number
    keeps_log: bool
    snapshot_index: _Number
    snapshot_term: _Number
    snapshot_bytes: _Number
    sha256: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    configurations: list[tuple[_Number, bytes]]

    @classmethod
    def of(cls, base: Base) -> _StoredBase:
        snapshot = base.snapshot
        return cls(
            base.index,
            base.term,
            base.keeps_log,
            snapshot.index,
            snapshot.term,
            snapshot.size,
            snapshot.sha256,
            snapshot.configurations,
        )

    def base(self) -> Base:
        snapshot = Snapshot(self.snapshot_index, self.snapshot_term, self.snapshot_bytes, self.sha256, self.configurations)
        return Base(Index(self.index), Term(self.term), snapshot, self.keeps_log)


_decoder = msgspec.msgpack.Decoder(tuple[int, list[Entry], _StoredBase | None])


class Header(NamedTuple):
    """The header of a record; its fields as in `docs/disk-format.md`."""

    length: int
    sequence: int
    durable_upto: int
    body_crc: int


class Record(NamedTuple):
    """A whole record in a segment, from byte `offset` to byte `end`."""

    offset: int
    end: int
    header: Header
    body: memoryview


class Rest(NamedTuple):
    """What is behind the last good record of a segment.

    Attributes:
        data_end: behind the last byte that is not zero.
        proof: where the header of a later record stands that proves the unreadable one to have been durable; None without any.
    """

    data_end: int
    proof: int | None


def encode_record(body: bytes, *, sequence: int, durable_upto: int, seed: int) -> bytes:
    """Put a body into its frame.

    Raises:
        Halted: a number is out of range: the caller's bug, and better found before it is on disk.
    """
    if not (len(body) <= BODY_BYTES_MAX and 0 <= durable_upto < sequence <= INDEX_MAX):
        raise Halted(f"record {sequence} of {len(body)} bytes, durable up to {durable_upto}, does not fit the disk format")
    header = _HEADER.pack(MAGIC, len(body), sequence, durable_upto, crc32(body, seed))
    return b"".join((header, _CRC.pack(crc32(header, seed)), body))


def encode_run(run: Run) -> list[tuple[int, bytes]]:
    """The bodies of the records that say `run`, each with the index it begins at: one, or several when it is very long.

    Raises:
        Halted: a number is out of range.
    """
    first_index, entries, base = run
    try:
        body = _encoder.encode((first_index, entries, None if base is None else _StoredBase.of(base)))
    except OverflowError as error:
        raise Halted(f"an entry from index {first_index} on has a number that does not fit 64 bits") from error
    if len(body) <= _BODY_BYTES_AIM or len(entries) < 2:
        return [(first_index, body)]
    middle = len(entries) // 2
    return encode_run(Run(first_index, entries[:middle], base)) + encode_run(Run(first_index + middle, entries[middle:]))


def decode_body(body: memoryview) -> Run | None:
    """What a body says, None if it says nothing that makes sense; allocates no more than it holds."""
    try:
        first_index, entries, base = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not 1 <= first_index <= INDEX_MAX - len(entries):
        return None
    return Run(first_index, entries, None if base is None else base.base())


def parse_header(header: bytes | memoryview, seed: int) -> Header | None:
    """Read a header; None unless it is whole and from this directory."""
    if len(header) != HEADER_BYTES or crc32(header[: _HEADER.size], seed) != _CRC.unpack_from(header, _HEADER.size)[0]:
        return None
    magic, length, sequence, durable_upto, body_crc = _HEADER.unpack_from(header)
    return Header(length, sequence, durable_upto, body_crc) if magic == MAGIC else None


def scan(file: File, offset: int, stop: int, sequence: int, seed: int) -> Iterator[Record]:
    """The records of a segment from `offset` on, the first of which has the number `sequence`, up to the first place where there is no
    whole record with the number that is due, or to `stop` (no more than the file's size). Holds one record or 256 KiB in memory.
    """
    window, window_at = memoryview(b""), offset

    def look(at: int, length: int) -> memoryview:
        nonlocal window, window_at
        if at + length > window_at + len(window):
            window, window_at = memoryview(file.read(min(max(length, _WINDOW_BYTES), stop - at), at)), at
        return window[at - window_at : at - window_at + length]

    while True:
        header = parse_header(look(offset, HEADER_BYTES), seed)
        body_at = offset + HEADER_BYTES
        if header is None or header.sequence != sequence or header.length > stop - body_at:
            return
        body = look(body_at, header.length)
        if len(body) != header.length or crc32(body, seed) != header.body_crc:
            return
        yield Record(offset, body_at + header.length, header, body)
        offset = body_at + header.length
        sequence += 1


def inspect_rest(file: File, offset: int, stop: int, sequence: int, seed: int) -> Rest:
    """Look at what is behind the last good record, where the record numbered `sequence` should be; behind `stop` there are only zeros.

    A header found anywhere in it whose `durable_upto` reaches `sequence` proves that the record was durable once.
    """
    data_end = offset
    while offset < stop:
        chunk = file.read(min(_WINDOW_BYTES, stop - offset), offset)
        if chunk != _ZEROS[: len(chunk)]:
            data_end = offset + len(chunk.rstrip(b"\0"))
        at = chunk.find(MAGIC)
        while at >= 0:
            header = parse_header(chunk[at : at + HEADER_BYTES], seed)
            if header is not None and header.durable_upto >= sequence:
                return Rest(data_end, offset + at)
            at = chunk.find(MAGIC, at + 1)
        if len(chunk) < _WINDOW_BYTES:
            break
        # A header may lie across two chunks, so the next begins within this one.
        offset += _WINDOW_BYTES - HEADER_BYTES + 1
    return Rest(data_end, None)


def seal(magic: bytes, content: bytes, seed: int = 0) -> bytes:
    """A small file: magic, length, checksum, content."""
    return _SEAL.pack(magic, len(content), crc32(content, crc32(magic, seed))) + content


def unseal(magic: bytes, sealed: bytes, seed: int = 0) -> bytes | None:
    """The content of a small file; None if it is not whole. What follows the content is not looked at."""
    if len(sealed) < _SEAL.size:
        return None
    found, length, crc = _SEAL.unpack_from(sealed)
    content = sealed[_SEAL.size : _SEAL.size + length]
    if found != magic or len(content) != length or crc32(content, crc32(magic, seed)) != crc:
        return None
    return content
