"""How long the disk below the data directory takes to make a small write durable: each batch of commands waits for one on every server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from txraft.cli.examinations.findings import Finding, advice, ok, problem
from txraft.storage.files import FileSystem

__all__ = ["examine_disk_speed", "measure_syncs"]

ABOUT = "disk speed"

SYNCS = 100
BLOCK_BYTES = 4096
SLOW_S = 0.010
"""The 99th percentile of a disk made for this is below."""

TOO_FAST_S = 0.000_010
"""No disk is: the write has not left the memory."""


def measure_syncs(files: FileSystem, directory: Path, clock: Callable[[], float], count: int = SYNCS) -> list[float]:
    """Seconds of each of `count` small writes made durable, ascending. The file they go to is removed.

    As in the log, the blocks have been written before: the first write to a block costs more.
    """
    path = directory / "doctor.scratch"
    taken = []
    try:
        file = files.open(path, create=True, empty=True)
        try:
            file.write(bytes(BLOCK_BYTES * count), 0)
            file.sync()
            for number in range(count):
                began = clock()
                file.write(b"doctor%04d" % number * 50, BLOCK_BYTES * number)
                file.sync_content()
                taken.append(clock() - began)
        finally:
            file.close()
    finally:
        files.remove(path)
    return sorted(taken)


def examine_disk_speed(files: FileSystem, directory: Path, clock: Callable[[], float], election_s: float) -> Finding:
    """Measure in an existing directory and judge by the election timeout: a leader whose disk takes longer is no leader for long."""
    try:
        taken = measure_syncs(files, directory, clock)
    except OSError as error:
        remedy = "See that there is space, that it may be written to, and what the kernel's log says of the disk."
        return problem(ABOUT, f"writing to {directory} failed: {error.strerror or error}", remedy)
    median, late = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    found = f"an fdatasync takes {_text(median)} (median), {_text(late)} (99th percentile of {len(taken)}) in {directory}"
    figures = {"median_s": round(median, 6), "p99_s": round(late, 6), "count": len(taken)}
    if late > election_s / 2:
        remedy = f"Elections will be lost to it (timing.election_s is {election_s:g}): use a faster disk, or raise it on all servers alike."
        return problem(ABOUT, found, remedy, **figures)
    if late > SLOW_S:
        return advice(ABOUT, found, "Every command waits for it: use a solid-state disk that nothing else keeps busy.", **figures)
    if median < TOO_FAST_S:
        remedy = "That is memory, not a disk: see that syncs are not ignored there, or a power cut takes what was acknowledged."
        return advice(ABOUT, found, remedy, **figures)
    return ok(ABOUT, found, **figures)


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
