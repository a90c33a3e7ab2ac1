"""Disks that fail or hang under a process that runs already: strace puts into the mouth of a system call what a bad disk would say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from attrs import define
from twisted.trial.unittest import SkipTest

__all__ = ["SpoiledDisk", "require_strace"]

CALLS = "fdatasync,fsync,pwrite64"
"""What makes bytes durable, and what writes them; all of it is recorded."""

STOP_S = 10.0


def require_strace() -> str:
    """Where strace is. Raises `SkipTest` where it may not attach to a process."""
    strace = shutil.which("strace")
    if strace is None:
        raise SkipTest("strace is not installed")
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        tracing = subprocess.Popen([strace, "-p", str(victim.pid), "-o", "/dev/null"], stderr=subprocess.PIPE, text=True)
        assert tracing.stderr is not None
        said = tracing.stderr.readline()
        tracing.terminate()
        tracing.wait()
        tracing.stderr.close()
        if "attached" not in said:
            raise SkipTest(f"strace may not trace here: {said.strip()}")
    finally:
        victim.kill()
        victim.communicate()
    return strace


@define
class SpoiledDisk:
    """strace, attached to all threads of one process.

    Attributes:
        record: what it saw, a call a line.
    """

    record: Path
    _tracing: subprocess.Popen[str]

    @classmethod
    def of(cls, pid: int, fault: str, record: Path, *, paths: tuple[Path, ...] = ()) -> SpoiledDisk:
        """Attach to a process.

        Args:
            pid: of the process.
            fault: what to inject, as strace has it: `fdatasync:error=EIO:when=3`.
            record: a file for what it sees.
            paths: only calls on these files are seen and spoiled; all if there are none.
        """
        filters = [word for path in paths for word in ("-P", str(path))]
        command = [
            require_strace(),
            "-f",
            "-y",
            "-p",
            str(pid),
            "-o",
            str(record),
            "-e",
            f"trace={CALLS}",
            "-e",
            f"inject={fault}",
            *filters,
        ]
        tracing = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracing.stderr is not None
        # With filters it says so before it attaches.
        for said in tracing.stderr:
            if "attached" in said:
                return cls(record, tracing)
        tracing.stderr.close()
        raise RuntimeError(f"strace did not attach to process {pid}: it ended with {tracing.wait()}")

    def calls(self) -> list[str]:
        """The calls so far; what was injected is marked, `(INJECTED)` or `(DELAYED)`."""
        return [line for line in self.record.read_text("utf-8", "replace").splitlines() if "(" in line]

    def end(self) -> None:
        """Detach: from now on the disk is a good one, and a call that hangs goes on."""
        if self._tracing.poll() is None:
            self._tracing.terminate()
            self._tracing.wait(STOP_S)
        assert self._tracing.stderr is not None
        self._tracing.stderr.close()
