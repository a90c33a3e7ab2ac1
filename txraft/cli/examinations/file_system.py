"""On what kind of file system a directory lies, by the kernel's table of mounts.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from txraft.cli.examinations.findings import Finding, advice, ok, problem

__all__ = ["Mount", "examine_file_system", "mount_of"]

ABOUT = "file system"

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs", "vboxsf"}
)
WITHOUT_JOURNAL = frozenset({"exfat", "ext2", "msdos", "ntfs", "vfat"})
IN_LAYERS = frozenset({"aufs", "overlay"})

_ESCAPED = re.compile(r"\\([0-7]{3})")
_SYNCS_IN_VAIN = frozenset({"nobarrier", "barrier=0"})


@frozen
class Mount:
    """A line of the table.

    Attributes:
        point: where it is mounted.
        kind: `ext4`, `nfs4`, …
        options: of the mount and of the file system.
    """

    point: str
    kind: str
    options: frozenset[str]


def mount_of(path: Path, table: str) -> Mount | None:
    """The mount that an absolute `path` lies on; None if the table does not tell. Of several at one place the last lies on top."""
    found = None
    for line in table.splitlines():
        mount = _parse(line)
        if mount is None:
            continue
        within = mount.point == "/" or str(path) == mount.point or str(path).startswith(mount.point + "/")
        if within and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _parse(line: str) -> Mount | None:
    """`36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any number of optional fields before the hyphen."""
    fields = line.split(" ")
    if len(fields) < 10 or "-" not in fields[6:]:
        return None
    kind, _, more = (*fields[fields.index("-", 6) + 1 :], "", "", "")[:3]
    point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return Mount(point, kind, frozenset([*fields[5].split(","), *more.split(",")]))


def examine_file_system(directory: Path, table: str) -> Finding:
    """Judge the file system below an existing directory, given without symbolic links."""
    mount = mount_of(directory, table)
    if mount is None:
        return advice(ABOUT, f"what kind {directory} lies on cannot be told", "See that it is a local disk with a journal (ext4, XFS).")
    found, figures = f"{mount.kind}, mounted at {mount.point}", {"kind": mount.kind, "mounted_at": mount.point}
    if "ro" in mount.options:
        return problem(
            ABOUT, f"{found}, read-only", "Mount it for writing; the kernel may have made it read-only after a disk error.", **figures
        )
    if mount.kind in IN_MEMORY:
        remedy = "All of it is gone after a restart of the computer, votes included: name a directory on a disk."
        return advice(ABOUT, f"{found}: memory", remedy, **figures)
    if mount.kind in NETWORK or mount.kind.startswith("fuse"):
        remedy = "Locks and syncs may not keep there what they promise, and each one takes a while: name a directory on a local disk."
        return advice(ABOUT, f"{found}: not a local disk", remedy, **figures)
    if mount.options & _SYNCS_IN_VAIN:
        remedy = "What is synced may be in the disk's own cache only: mount it with barriers, unless that cache has a battery."
        return advice(ABOUT, f"{found}, without write barriers", remedy, **figures)
    if mount.kind in IN_LAYERS:
        remedy = "It goes with the container: mount a volume for the data directory."
        return advice(ABOUT, f"{found}: the layers of a container", remedy, **figures)
    if mount.kind in WITHOUT_JOURNAL:
        remedy = "After a power cut it may need repair that loses files: use one with a journal (ext4, XFS)."
        return advice(ABOUT, f"{found}: no journal", remedy, **figures)
    return ok(ABOUT, found, **figures)
