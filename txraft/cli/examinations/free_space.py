"""Whether the data directory may grow to what it will need, by the limits and by how large the state is now."""

from __future__ import annotations

from pathlib import Path

from txraft.cli.examinations.findings import Finding, advice, ok, problem, size_text
from txraft.limits import Limits
from txraft.storage.files import FileSystem

__all__ = ["examine_free_space", "occupied_bytes", "wanted_bytes"]

ABOUT = "free space"


def wanted_bytes(limits: Limits, snapshot_bytes: int) -> int:
    """What a data directory takes when it is largest: the log just before it is compacted, with a segment begun and one prepared; the
    snapshot, its successor in the making and one being received; the reserve.
    """
    log_bytes = max(limits.snapshot_log_bytes, limits.snapshot_log_factor * snapshot_bytes) + limits.trailing_bytes
    return log_bytes + 2 * limits.segment_bytes + 3 * snapshot_bytes + limits.reserve_bytes


def occupied_bytes(files: FileSystem, directory: Path) -> int:
    """The length of all files in a directory and below it."""
    total = 0
    for name in files.names(directory):
        path = directory / name
        total += occupied_bytes(files, path) if files.is_directory(path) else files.size(path) if files.is_file(path) else 0
    return total


def examine_free_space(files: FileSystem, root: Path, snapshots: Path, above: Path, limits: Limits) -> Finding:
    """Compare what there is with what there may have to be.

    Args:
        files: where all this is.
        root: the data directory; it need not exist.
        snapshots: where its snapshots are.
        above: a directory that exists, on the same disk.
        limits: of the node.
    """
    free = files.free_bytes(above)
    newest = max((files.size(snapshots / name) for name in files.names(snapshots) if name.endswith(".snapshot")), default=0)
    occupied = occupied_bytes(files, root)
    lacking = max(wanted_bytes(limits, newest) - occupied, 0)
    found = f"{size_text(free)} free; {size_text(occupied)} are taken, and {size_text(lacking)} more may be"
    figures = {"free_bytes": free, "occupied_bytes": occupied, "snapshot_bytes": newest, "more_bytes": lacking}
    least = limits.segment_bytes + newest
    if free < min(least, lacking):
        remedy = f"Less than the next segment and snapshot ({size_text(least)}): free space, or the node soon takes no more commands."
        return problem(ABOUT, found, remedy, **figures)
    if free < lacking:
        return advice(ABOUT, found, "Free space, or make the volume larger, before the log and the state grow to that.", **figures)
    return ok(ABOUT, found, **figures)
