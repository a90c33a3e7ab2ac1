"""Damage to the files of a node that is not running, as disks, people and power cuts do it."""

from __future__ import annotations

import random
import re
from pathlib import Path

from attrs import frozen

__all__ = ["RECORD_MAGIC", "SECTOR_BYTES", "NodeFiles", "cut", "flip_bit", "lose_unsynced"]

SECTOR_BYTES = 512

RECORD_MAGIC = b"\xabTxR"
_RECORDS_SPARED = 3
"""As many as one write of a quiet server may consist of."""

_HEADER_PADDING = range(60, 64)
"""Of a segment; nobody reads it."""


@frozen
class NodeFiles:
    """The directory of one node."""

    root: Path

    @property
    def segments(self) -> list[Path]:
        """Of the log, oldest first."""
        return sorted((self.root / "log").glob("*.segment"))

    @property
    def snapshots(self) -> list[Path]:
        """Oldest first."""
        return sorted((self.root / "snapshots").glob("*.snapshot"))

    @property
    def metadata(self) -> list[Path]:
        """Term and vote, twice."""
        return [self.root / "metadata-0", self.root / "metadata-1"]

    @property
    def note_of_repair(self) -> Path:
        """Is there as long as the node must not vote."""
        return self.root / "repair"

    @property
    def moved_aside(self) -> list[Path]:
        """Damaged files that the node has moved out of the way."""
        return sorted(path for path in (self.root / "damaged").rglob("*") if path.is_file())


def flip_bit(path: Path, rng: random.Random) -> str:
    """Flip one bit of a file that must be noticed; what was done.

    The newest records of a segment are spared: a bad last write looks like one that a crash interrupted.

    Raises:
        ValueError: there is no such bit.
    """
    content = bytearray(path.read_bytes())
    end = len(content)
    if path.suffix == ".segment":
        for _ in range(_RECORDS_SPARED):
            end = content.rindex(RECORD_MAGIC, 0, end)
    offset = rng.randrange(end)
    bit = rng.randrange(8)
    if path.suffix == ".segment" and offset in _HEADER_PADDING:
        offset = 0
    content[offset] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {offset} of {path.name} is flipped"


def cut(path: Path, size: int) -> None:
    """Shorten a file."""
    with path.open("r+b") as file:
        file.truncate(size)


_CALL = re.compile(r"(pwrite64|fdatasync|fsync)\(\d+<([^>]*)>")
_PLACE = re.compile(r", (\d+), (\d+)(?:\)|$)")


def lose_unsynced(calls: list[str], rng: random.Random) -> int:
    """Lose some of what a killed node had written to its segments and not yet synced: each 512-byte sector of it is there or is zeros.

    Args:
        calls: what strace saw of it, to the end, with paths.
        rng: decides for each sector.

    Returns:
        How many sectors were lost.
    """
    unsynced: dict[str, list[tuple[int, int]]] = {}
    for call in calls:
        if (found := _CALL.search(call)) is None or not found[2].endswith(".segment"):
            continue
        if found[1] == "pwrite64":
            place = _PLACE.search(call, found.end())
            assert place is not None, call
            unsynced.setdefault(found[2], []).append((int(place[2]), int(place[1])))
        elif "= 0" in call:
            unsynced.pop(found[2], None)
    return sum(_zero_sectors(Path(path), start, length, rng) for path, writes in unsynced.items() for start, length in writes)


def _zero_sectors(path: Path, start: int, length: int, rng: random.Random) -> int:
    lost = 0
    with path.open("r+b") as file:
        for sector in range(start // SECTOR_BYTES, (start + length - 1) // SECTOR_BYTES + 1):
            if rng.random() < 0.5:
                first, end = max(start, sector * SECTOR_BYTES), min(start + length, (sector + 1) * SECTOR_BYTES)
                file.seek(first)
                file.write(bytes(end - first))
                lost += 1
    return lost
