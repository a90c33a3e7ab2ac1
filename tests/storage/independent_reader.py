"""A reader of data directories, written from `txraft/docs/disk-format.md` alone: nothing of txraft is used. Call it with a directory."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from msgspec import msgpack


def number(content: bytes, at: int, length: int = 8) -> int:
    return int.from_bytes(content[at : at + length], "big")


def rule(holds: object, broken: str) -> None:
    if not holds:
        raise ValueError(broken)


def small_file(content: bytes, magic: bytes, seed: int) -> list[Any] | None:
    """The frame of small files; None if it is not whole."""
    body = content[16 : 16 + number(content, 8, 4)]
    whole = content[:8] == magic and len(body) == number(content, 8, 4) and crc32(body, crc32(magic, seed)) == number(content, 12, 4)
    return msgpack.decode(body) if whole else None


def has_header(content: bytes, at: int, seed: int) -> bool:
    """Whether the header of a record is there, whole."""
    return content[at : at + 4] == b"\xabTxR" and crc32(content[at : at + 28], seed) == number(content, at + 28, 4)


def records(content: bytes, due: int, seed: int) -> Iterator[tuple[int, int, list[Any]]]:
    """The whole records of a segment: where each ends, its "durable up to", its body."""
    at = 64
    while has_header(content, at, seed) and number(content, at + 8) == due:
        body = content[at + 32 : at + 32 + number(content, at + 4, 4)]
        if len(body) != number(content, at + 4, 4) or crc32(body, seed) != number(content, at + 24, 4):
            return
        yield at + 32 + len(body), number(content, at + 16), msgpack.decode(body)
        at, due = at + 32 + len(body), due + 1


def snapshot_file(content: bytes) -> dict[str, Any]:
    """The head, and how many parts follow; every checksum is checked."""
    rule(content[:8] == b"txraftS1", "the magic of a snapshot")
    at, crc, parts = 8, crc32(content[:8]), [b""]
    while at < len(content) - 48:
        body = content[at + 8 : at + 8 + (number(content, at, 4) & 0x7FFFFFFF)]
        crc = crc32(body, crc32(content[at : at + 4], crc))
        rule(0 < len(body) <= 1 << 20 and crc == number(content, at + 4, 4), "the length or the checksum of a frame")
        parts[-1] += body
        parts += [] if content[at] & 0x80 else [b""]
        at += 8 + len(body)
    size, sha256 = number(content, at + 8), hashlib.sha256(content[: at + 16]).digest()
    rule(parts.pop() == b"" and content[at : at + 4] == bytes(4) and crc32(bytes(4), crc) == number(content, at + 4, 4), "its end")
    rule(size == len(content) == at + 48 and content[at + 16 :] == sha256, "the size or the SHA-256 in a snapshot")
    return {"head": msgpack.decode(parts[0]), "parts": len(parts) - 1, "size": size, "sha256": hashlib.sha256(content).digest()}


def read_log(files: dict[str, bytes], mark: bytes, durable: int) -> dict[str, Any]:
    """Rules 2 to 5 of "Reading a directory", and what of 8 is about the log."""
    entries: dict[int, list[Any]] = {}
    seed, recorded, last, due, rest = crc32(mark), None, 0, 0, b""
    base: tuple[int, ...] = (0, 0)
    for place, name in enumerate(names := sorted(name for name in files if re.fullmatch(r"log/\d{20}\.segment", name))):
        content, end = files[name], 64
        rule(content[:24] == b"txraftL2" + mark and crc32(content[:56], seed) == number(content, 56, 4), f"the header of {name}")
        begins = tuple(number(content, at) for at in (24, 32, 40, 48))
        if place == 0:
            due, last, base = begins[0], begins[1] - 1, begins[2:]
        rule(int(name[4:-8]) == due and begins == (due, last + 1, *base), f"{name} does not follow the one before")
        durable = max(durable, due - 1)
        for end, upto, (first, fresh, moved) in records(content, due, seed):  # noqa: B007
            if moved is not None:
                recorded, base = moved, tuple(moved[:2] if moved[2] else moved[3:5])
                last, entries = (last, entries) if moved[2] else (moved[3], {})
            rule((recorded[3] if recorded else base[0]) < first <= last + 1, f"record {due} in {name} makes no sense")
            entries = {index: entries[index] for index in entries if index < first} if first <= last else entries
            entries.update(enumerate(fresh, first))
            last, due, durable = first - 1 + len(fresh), due + 1, max(durable, upto)
        rest = content[end:].rstrip(b"\0")
        headers = [end + at for at in range(len(rest)) if rest[at] == 0xAB and has_header(content, end + at, seed)]
        rule(all(number(content, at + 16) < due for at in headers), f"record {due} in {name} was durable: a later one says so")
        rule(place == len(names) - 1 or not rest, f"record {due} in {name} was durable: there is a later segment")
    rule(durable < due, f"record {due} was durable")
    log = [(index, entry) for index, entry in sorted(entries.items()) if index > base[0]]
    terms = [base[1], *(entry[0] for _, entry in log)]
    rule([index for index, _ in log] == list(range(base[0] + 1, last + 1)) and (recorded or base == (0, 0)), "a segment is missing")
    rule(terms == sorted(terms), "a term decreases")
    return {"base": base, "entries": log, "recorded": recorded, "last": last, "term": terms[-1], "records": due - 1, "torn": bool(rest)}


def read_directory(files: dict[str, bytes]) -> dict[str, Any]:
    """What files of these names below a data directory hold. Raises `ValueError` for a rule that is broken."""
    identity = small_file(files.get("identity", b""), b"txraftI2", 0)
    mark = identity[3] if identity else b""
    rule(mark, "the identity is missing or damaged")
    copies = [small_file(files.get(f"metadata-{one}", b""), b"txraftM2", crc32(mark)) or [0, 0, None, 0] for one in (0, 1)]
    version, term, voted_for, durable = max(copies, key=lambda copy: copy[0])
    rule(version, "votes are lost")
    log = read_log(files, mark, durable)
    rule(log["records"] > 0, "the log is lost")
    snapshots = {name[10:-9]: snapshot_file(files[name]) for name in files if re.fullmatch(r"snapshots/\d{20}\.snapshot", name)}
    if recorded := log["recorded"]:
        found = snapshots.get(f"{recorded[3]:020d}", {})
        rule([found.get("size"), found.get("sha256")] == recorded[5:7], "the recorded snapshot is missing, or another one")
    rule(term >= max(log["term"], recorded[4] if recorded else 0), "votes are lost")
    note = (small_file(files["repair"], b"txraftR2", crc32(mark)) or [[], True, []]) if "repair" in files else None
    return {"identity": identity, "term": term, "voted_for": voted_for, "log": log, "snapshots": snapshots, "repair": note}


if __name__ == "__main__":
    root = Path(sys.argv[1])
    print(read_directory({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}))
