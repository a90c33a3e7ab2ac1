"""Disks that fail or hang under a process that runs already: strace puts into the mouth of a system call what a bad disk would say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from attrs import define
from twisted.trial.unittest import SkipTest

__all__ = ["SpoiledDisk", "require_strace"]

CALLS = "fdatasync,fsync,pwrite64"
"""What makes bytes durable, and what writes them; all of it is recorded, and what is spoiled, too."""

DETACH_S = 0.5

UNFINISHED = " <unfinished ...>"
RESUMED = re.compile(r" *<\.\.\. \w+ resumed>")


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
    """strace, attached to all threads of one process or of several.

    Attributes:
        record: what it saw, a call a line.
    """

    record: Path
    _tracing: subprocess.Popen[str]

    @classmethod
    def of(cls, pids: Sequence[int], fault: str, record: Path, *, paths: Sequence[Path] = ()) -> SpoiledDisk:
        """Attach, as good as at once.

        Args:
            pids: of the processes.
            fault: what to inject, as strace has it: `fdatasync:error=EIO:when=3`.
            record: a file for what it sees.
            paths: only calls on these files are seen and spoiled; all if there are none.
        """
        command = [
            require_strace(),
            "-f",
            "-y",
            "-o",
            str(record),
            "-e",
            f"trace={CALLS},{fault.partition(':')[0]}",
            "-e",
            f"inject={fault}",
        ]
        command += [word for pid in pids for word in ("-p", str(pid))]
        command += [word for path in paths for word in ("-P", str(path))]
        tracing = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracing.stderr is not None
        # With filters it says so before it attaches.
        attached = (said for said in tracing.stderr if "attached" in said)
        if len(list(islice(attached, len(pids)))) < len(pids):
            tracing.stderr.close()
            raise RuntimeError(f"strace did not attach to all of {list(pids)}: it ended with {tracing.wait()}")
        return cls(record, tracing)

    def calls(self) -> list[str]:
        """The calls so far, whole; what was injected is marked, `(INJECTED)` or `(DELAYED)`. At the end those that have not returned."""
        return joined(self.record.read_text("utf-8", "replace").splitlines())

    def end(self) -> None:
        """Detach: from now on the disk is a good one, and a call that hangs goes on."""
        self._tracing.terminate()
        try:
            self._tracing.wait(DETACH_S)
        except subprocess.TimeoutExpired:
            # It delays a call of a process that was killed, and keeps both waiting.
            self._tracing.kill()
            self._tracing.wait()
        assert self._tracing.stderr is not None
        self._tracing.stderr.close()


def joined(lines: list[str]) -> list[str]:
    """What strace wrote, with both halves of a call that another thread interrupted in one line, at the place of the second."""
    whole, begun = [], {}
    for line in lines:
        thread, _, call = line.partition(" ")
        if call.endswith(UNFINISHED):
            begun[thread] = call.removesuffix(UNFINISHED)
        elif resumed := RESUMED.match(call):
            whole.append(begun.pop(thread, "") + call[resumed.end() :])
        elif "(" in call:
            whole.append(call)
    return [*whole, *begun.values()]
