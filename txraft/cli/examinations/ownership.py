"""Whether the user who will run the node may use the data directory, and whether nobody else may."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

from txraft.cli.examinations.findings import Finding, advice, ok, problem

__all__ = ["examine_ownership", "existing_ancestor"]

ABOUT = "directory"

STRANGERS_NAMED_MAX = 3


def existing_ancestor(path: Path) -> Path:
    """The path itself or the nearest directory above it that exists, without symbolic links."""
    return next(one for one in (path, *path.parents) if one.exists()).resolve()


def examine_ownership(
    root: Path, uid: int, may_use: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK | os.X_OK)
) -> Finding:
    """Look at the directory and all that is in it.

    Args:
        root: the data directory; it need not exist.
        uid: of the user who asks, and so will run the node, unless that is root.
        may_use: whether that user may list, enter and write to a directory.
    """
    if not root.exists():
        return _examine_place(root, may_use)
    if not root.is_dir():
        return problem(ABOUT, f"{root} is not a directory", "Name another one, or move the file away.")
    found = root.stat()
    mode, owner = stat.S_IMODE(found.st_mode), _name(found.st_uid)
    told, figures = f"{root}: mode {mode:04o}, owner {owner}", {"path": str(root), "mode": f"{mode:04o}", "owner": owner}
    if not may_use(root):
        return problem(
            ABOUT, f"{told}: it may not be written to", f"Run the node, and this, as {owner}, or give it another owner.", **figures
        )
    strangers = [path for path in _below(root) if path.stat().st_uid != found.st_uid]
    if strangers:
        named = ", ".join(str(path) for path in strangers[:STRANGERS_NAMED_MAX]) + (", …" if len(strangers) > STRANGERS_NAMED_MAX else "")
        remedy = f"Was the node started once as another user? Stop it, then: chown -R {owner} {root}"
        return problem(ABOUT, f"{told}, but in it belongs to others: {named}", remedy, **figures)
    if found.st_uid != uid:
        return advice(ABOUT, told, f"You are {_name(uid)}: run the node as {owner}, or give it the directory.", **figures)
    if mode & 0o077:
        return advice(ABOUT, f"{told}: other users may look into it", f"Its content is the cluster's: chmod 0700 {root}", **figures)
    return ok(ABOUT, told, **figures)


def _examine_place(root: Path, may_use: Callable[[Path], bool]) -> Finding:
    above = existing_ancestor(root)
    if not above.is_dir():
        return problem(ABOUT, f"{root} cannot be made: {above} is not a directory", "Name another data directory.", path=str(root))
    if not may_use(above):
        remedy = "Make it, and give it to the user who runs the node."
        return problem(ABOUT, f"{root} does not exist, and {above} may not be written to", remedy, path=str(root))
    return ok(ABOUT, f"{root} does not exist yet and can be made", path=str(root))


def _below(root: Path) -> list[Path]:
    """Everything in a data directory: it is a few levels deep and has no links."""
    found = []
    for directory, directories, names in os.walk(root):
        found += [Path(directory, name) for name in (*directories, *names)]
    return sorted(path for path in found if path.exists())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
