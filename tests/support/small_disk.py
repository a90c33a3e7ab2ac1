"""A disk of a few megabytes that can be filled: a tmpfs in a mount namespace of its own, which ends with the process that holds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from attrs import define
from twisted.trial.unittest import SkipTest

__all__ = ["SmallDisk"]


@define
class SmallDisk:
    """A mounted file system. Nobody's own mounts change, and no rights are needed but those in a user namespace.

    Attributes:
        root: its directory, as every process of this user reaches it.
    """

    root: Path
    _holder: subprocess.Popen[str]

    @classmethod
    def mount(cls, bytes_max: int, at: Path) -> SmallDisk:
        """Make one.

        Args:
            bytes_max: its size.
            at: an empty directory, where the holding process sees it.

        Raises:
            SkipTest: the kernel does not let this user mount anything.
        """
        if shutil.which("unshare") is None:
            raise SkipTest("unshare is not installed")
        script = 'mount -t tmpfs -o "size=$1,mode=700" none "$2" && echo mounted && exec cat'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(bytes_max), str(at)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert holder.stdout is not None
        said = holder.stdout.readline()
        root = Path(f"/proc/{holder.pid}/root{at}")
        if said != "mounted\n" or not root.is_dir():
            holder.kill()
            holder.communicate()
            raise SkipTest(f"nothing can be mounted here: {said.strip()}")
        return cls(root, holder)

    @property
    def free_bytes(self) -> int:
        """Room that is left."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    @property
    def ballast(self) -> Path:
        """The file that fills it."""
        return self.root / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all the room but so much."""
        with self.ballast.open("ab") as file:
            if (wanted := self.free_bytes - leave_bytes) > 0:
                os.posix_fallocate(file.fileno(), file.tell(), wanted)

    def empty(self) -> None:
        """Give back the room that `fill` has taken."""
        self.ballast.unlink(missing_ok=True)

    def end(self) -> None:
        """Unmount it; what is on it is gone."""
        self._holder.kill()
        self._holder.communicate()
