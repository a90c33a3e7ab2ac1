"""Who listens on a TCP port, by the kernel's tables: what `ss -ltnp` shows. Only the processes that we may look at can be told.

Source: proc_pid_net(5), proc_pid_fd(5).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from txraft.cli.examinations.ports import Listener

__all__ = ["listener_on"]

LISTENING = "0A"
COMMAND_LENGTH_MAX = 200


def listener_on(port: int, proc: Path = Path("/proc")) -> Listener | None:
    """The process that listens on `port`, on whatever interface; None if it cannot be told."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening_inodes(proc / "net" / table, port)}
    if not inodes:
        return None
    for process in proc.iterdir():
        if process.name.isdigit() and _holds(process / "fd", inodes):
            return Listener(int(process.name), _command(process))
    return None


def _listening_inodes(table: Path, port: int) -> list[str]:
    """From lines like `0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 31337 …`."""
    found = []
    with suppress(OSError):
        for line in table.read_text("ascii", "replace").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING and fields[1].rpartition(":")[2] == f"{port:04X}":
                found.append(fields[9])
    return found


def _holds(descriptors: Path, inodes: set[str]) -> bool:
    with suppress(OSError):  # not ours to look at, or gone
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False


def _command(process: Path) -> str:
    try:
        content = (process / "cmdline").read_bytes()[:COMMAND_LENGTH_MAX]
    except OSError:
        return "?"
    text = content.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return text if text.isprintable() else repr(text)
