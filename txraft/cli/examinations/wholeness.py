"""Whether what a data directory holds is whole: what a start would find."""

from __future__ import annotations

from pathlib import Path

from txraft.cli.examinations.findings import Finding, advice, ok, problem, size_text
from txraft.errors import DamagedDirectory, DamagedSnapshot, StorageError
from txraft.storage.inspected_log import verify_directory
from txraft.storage.inspection import Holder, patiently
from txraft.storage.layout import Layout

__all__ = ["READ_BYTES_MAX", "examine_log"]

ABOUT = "log"

READ_BYTES_MAX = 268_435_456
"""More than this is not read: it would take longer than all the rest together."""


def examine_log(layout: Layout, holder: Holder | None, *, has_peers: bool | None) -> Finding:
    """Read log and snapshot as a start does, if there is not too much of them. Nothing is changed.

    Args:
        layout: a directory that is some server's.
        holder: who has it open.
        has_peers: whether there are other voters, who could give back what is lost here; None if nobody told.

    Raises:
        OSError: the disk does not answer.
    """
    paths = [path for _, path in (*layout.segments(), *layout.snapshot_files())]
    size = sum(layout.files.size(path) for path in paths)
    if holder is not None or size > READ_BYTES_MAX:
        why = f"{holder} has it, and read it at its start" if holder is not None else size_text(size)
        return ok(ABOUT, f"not read here ({why}); txraft log verify {layout.root} checks it", bytes=size)
    try:
        recovery = patiently(layout, lambda: verify_directory(layout, lambda fraction: None))
    except (DamagedDirectory, DamagedSnapshot) as damage:
        return _damaged(damage, layout.root, has_peers)
    except StorageError as error:
        return problem(ABOUT, str(error), "Until that is mended, no node will start here.")
    if recovery is None:
        return ok(ABOUT, "none was begun here yet")
    last_index = recovery.replay.last_index
    return ok(ABOUT, f"whole ({size_text(size)}), up to entry {last_index}", bytes=size, last_index=last_index)


def _damaged(damage: DamagedDirectory | DamagedSnapshot, root: Path, has_peers: bool | None) -> Finding:
    if has_peers:
        remedy = "Start the node: it repairs itself with what the other voters have, and takes no part in votes until then."
        return advice(ABOUT, damage.found, remedy, directory=str(root))
    alone = f"A server that is alone does not start with it. It needs {damage.needed}."
    known = "" if has_peers is False else "If the server has other voters beside it, start it: it repairs itself. "
    return problem(ABOUT, damage.found, known + alone, directory=str(root))
