"""A cluster of real node processes on this computer: started, killed, started again, and asked how they are.

Blocking; standard library only. The demo lives on it, and so do the end-to-end tests and the benchmarks.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from txraft.cli.output import json_line
from txraft.cli.status import ask_status
from txraft.errors import Outcome, TxraftError

T = TypeVar("T")

__all__ = ["TWISTD", "ClusterTrouble", "LocalCluster", "LocalNode", "free_ports", "node_environment"]

_ROOT = str(Path(__file__).resolve().parents[2])

TWISTD = (sys.executable, "-c", f"import sys; sys.path[0] = {_ROOT!r}; from twisted.scripts.twistd import run; run()")
"""twistd of the environment that runs us, wherever its scripts are, with the txraft that we are, wherever it is started."""

FREE_PORTS = range(20_000, 32_000)
"""Below the ports that outgoing connections are given: a killed node finds its own free when it comes back."""

LOOK_S = 0.02
STATUS_S = 2.0
STOP_S = 20.0


class ClusterTrouble(TxraftError):
    """The local cluster did not do what it should in time; the sentence says which node, and where its log is."""

    exit_code = 75


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on. No other process that asks here is given them before this one has ended."""
    found: list[int] = []
    claims = _claims()
    with ExitStack() as held:
        for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
            candidate = held.enter_context(socket.socket())
            with suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                # A node that is not started yet, or was killed, must not find another in its place: tests would talk to each other.
                fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                found.append(port)
            if len(found) == count:
                return found
    raise ClusterTrouble(f"no {count} free ports between {FREE_PORTS.start} and {FREE_PORTS.stop}")


@cache
def _claims() -> int:
    """A file in which a process locks the byte of each port that it is given; open until it ends."""
    path = Path(tempfile.gettempdir()) / f"txraft-ports-{os.getuid()}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ClusterTrouble(f"{path}: {error.strerror}; ports are claimed in it: remove what is there, or set TMPDIR") from error


def node_environment() -> dict[str, str]:
    """Our environment, without what would configure the nodes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TXRAFT_")}


@define
class LocalNode:
    """One node as a process.

    Attributes:
        name: of the server.
        client_port: its port for clients.
        file: its configuration.
        log: where its output goes; it is appended to.
        command: what runs twistd.
        environment: what it has besides ours.
        process: None before the first start.
    """

    name: str
    client_port: int
    file: Path
    log: Path
    command: Sequence[str] = TWISTD
    environment: Mapping[str, str] = field(factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.client_port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was last started."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process; does not wait."""
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal is for whoever started us, and nodes may outlive it.
            self.process = subprocess.Popen(
                [*self.command, "-n", "--pidfile=", "txraft", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=node_environment() | dict(self.environment),
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit code."""
        assert self.process is not None
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ClusterTrouble(f"{self.name} did not end within {STOP_S:g} s of SIGTERM; see {self.log}") from None

    def status(self, *, digest: bool = False) -> dict[str, Any] | None:
        """What it says of itself; None when it does not answer."""
        if not self.running:
            return None
        try:
            return ask_status(self.endpoint, STATUS_S, digest=digest)
        except Outcome:
            return None


@define
class LocalCluster:
    """Nodes n1, n2, … that know each other.

    Attributes:
        directory: holds everything of theirs.
        nodes: in order of their names.
    """

    directory: Path
    nodes: list[LocalNode] = field(factory=list)

    @classmethod
    def make(
        cls, directory: Path, count: int = 3, *, machines: Mapping[str, str] | None = None, settings: Mapping[str, Any] | None = None
    ) -> LocalCluster:
        """Write the configuration files; starts nothing.

        Args:
            directory: made if need be.
            count: how many nodes.
            machines: plug-in by machine; those of a node without configuration if not given.
            settings: further keys of the configuration.
        """
        directory.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * count)
        addresses = {f"n{number + 1}": f"127.0.0.1:{ports[number]}" for number in range(count)}
        cluster = cls(directory)
        for (name, address), client_port in zip(addresses.items(), ports[count:], strict=True):
            configuration = {
                "name": name,
                "data_dir": str(directory / name),
                "peer": f"tcp:{address.partition(':')[2]}:interface=127.0.0.1",
                "client": f"tcp:{client_port}:interface=127.0.0.1",
                "bootstrap": addresses,
                **({"machines": dict(machines)} if machines else {}),
                **(settings or {}),
            }
            file = directory / f"{name}.yaml"
            # JSON values are YAML values.
            file.write_text("".join(f"{key}: {json_line(value)}\n" for key, value in configuration.items()))
            cluster.nodes.append(LocalNode(name, client_port, file, directory / f"{name}.log"))
        return cluster

    @property
    def endpoints(self) -> list[str]:
        """Where clients reach the nodes."""
        return [node.endpoint for node in self.nodes]

    def start(self) -> None:
        """Start all that do not run."""
        for node in self.nodes:
            if not node.running:
                node.start()

    def kill(self) -> None:
        """SIGKILL for all that run."""
        for node in self.nodes:
            if node.running:
                node.process.kill()  # type: ignore[union-attr]
        for node in self.nodes:
            node.kill()

    def leader(self, timeout_s: float, *, other_than: str = "") -> LocalNode:
        """The node that leads and serves, as soon as there is one. Raises `ClusterTrouble`."""

        def found() -> LocalNode | None:
            for node in self.nodes:
                status = node.status() if node.name != other_than else None
                if status and status.get("role") == "leader" and status.get("ready"):
                    return node
            return None

        return self.wait_until(found, timeout_s, "there is no leader")

    def level(self, timeout_s: float) -> list[dict[str, Any]]:
        """The status, with digest, of all nodes once they have applied the same entries. Raises `ClusterTrouble`."""

        def found() -> list[dict[str, Any]] | None:
            # First without the digest: it takes a pass over the state.
            if not _alike([node.status() for node in self.nodes]):
                return None
            statuses = [node.status(digest=True) for node in self.nodes]
            return [status for status in statuses if status] if _alike(statuses) else None

        return self.wait_until(found, timeout_s, "the nodes have not all applied the same entries")

    def wait_until(self, look: Callable[[], T | None], timeout_s: float, otherwise: str) -> T:
        """What `look` returns once it is neither None nor empty.

        Raises:
            ClusterTrouble: not within `timeout_s`, or a node has ended by itself.
        """
        give_up_at = time.monotonic() + timeout_s
        killed = {node.name for node in self.nodes if not node.running}
        while True:
            if found := look():
                return found
            ended = [node for node in self.nodes if not node.running and node.name not in killed]
            if ended:
                raise ClusterTrouble(f"{ended[0].name} has ended with {ended[0].process.poll()}: {_last_line(ended[0].log)}")  # type: ignore[union-attr]
            if time.monotonic() > give_up_at:
                raise ClusterTrouble(f"{otherwise} after {timeout_s:g} s; see the logs in {self.directory}")
            time.sleep(LOOK_S)


def _alike(statuses: Iterable[Mapping[str, Any] | None]) -> bool:
    """Whether all answered, and have applied everything there is."""
    seen = list(statuses)
    return all(status and status.get("ready") and status["applied_index"] == status["last_index"] for status in seen) and (
        len({status["applied_index"] for status in seen if status}) == 1
    )


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    # What a node says to people stands apart from the dated lines of its log.
    return next((line for line in reversed(lines) if line.startswith("txraft: ")), lines[-1] if lines else "it said nothing")
