"""Real processes for the end-to-end tests: twistd, the `txraft` command, HTTP; each in its own folder, all ended with the test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txraft.cli.local_cluster import TWISTD, LocalCluster, LocalNode, free_ports, node_environment

__all__ = ["ROOT", "TXRAFT", "Finished", "ProcessTestCase", "free_ports", "post_json", "taken"]

T = TypeVar("T")

ROOT = str(Path(__file__).resolve().parents[2])
TXRAFT = (sys.executable, "-c", f"import sys; sys.path[0] = {ROOT!r}; from txraft.cli.main import main; sys.exit(main())")
COMMAND_S = 30.0

Finished = subprocess.CompletedProcess[str]


def post_json(endpoint: str, path: str, content: Any, timeout_s: float = 10.0) -> tuple[int, Any]:
    """Status and JSON of the answer to a POST, as curl would send it."""
    request = urllib.request.Request(f"http://{endpoint}{path}", json.dumps(content).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def taken(*ports: int) -> int | None:
    """The first of these ports of the loopback interface that somebody listens on."""
    for port in ports:
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                return port
    return None


class ProcessTestCase(SynchronousTestCase):
    """A folder, and processes that do not outlive the test.

    Attributes:
        folder: of this test, below the temporary one of trial.
        command_s: how long a command may run.
    """

    command_s = COMMAND_S

    def setUp(self) -> None:
        try:
            free_ports(1)
        except Exception as error:
            raise SkipTest(f"nothing can listen on the loopback interface: {error}") from None
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def cluster(self, count: int = 3, **options: Any) -> LocalCluster:
        """A cluster, not yet started."""
        cluster = LocalCluster.make(self.folder, count, **options)
        self.addCleanup(cluster.kill)
        return cluster

    def node(self, **settings: Any) -> LocalNode:
        """A cluster of one node, started and ready."""
        cluster = self.cluster(1, settings=settings)
        cluster.start()
        return cluster.leader(COMMAND_S)

    def run_command(self, *command: str | Path, **environment: str) -> Finished:
        """Run to the end, in the folder."""
        return subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=node_environment() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.command_s,
            check=False,
        )

    def twistd(self, *arguments: str | Path, **environment: str) -> Finished:
        """Run twistd until it ends (or is a daemon)."""
        return self.run_command(*TWISTD, *arguments, **environment)

    def txraft(self, *arguments: str, **environment: str) -> Finished:
        """Run the `txraft` command."""
        return self.run_command(*TXRAFT, *arguments, **environment)

    def start(self, command: Sequence[str | Path], **environment: str) -> subprocess.Popen[str]:
        """Start a process whose output is in the file `output` of the folder."""
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env=node_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        return process

    @property
    def output(self) -> str:
        """What the process of `start` has said so far."""
        return (self.folder / "output").read_text()

    def wait_for(self, look: Callable[[], T | None], what: str, timeout_s: float = COMMAND_S) -> T:
        """What `look` returns once it is something; fails the test otherwise."""
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            if found := look():
                return found
            time.sleep(0.02)
        raise self.failureException(f"not within {timeout_s:g} s: {what}")

    def gone(self, pid: int) -> bool:
        """Whether a process that is not our child has ended."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] in "ZX"  # ended, but whoever adopted it has not asked how
