"""Three nodes of one cluster in this process, on loopback, that can be stopped and started anew with other machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from txraft.cli.local_cluster import free_ports
from txraft.cli.output import json_line
from txraft.cli.settings import UsageProblem
from txraft.config import NodeConfig
from txraft.core.entry import Entry
from txraft.embed import RaftNode
from txraft.errors import NotApplied

__all__ = ["DevNodes", "peer_ports"]

NAMES = ("n1", "n2", "n3")

TIMING = {"heartbeat_s": 0.1, "election_s": 0.4}
"""Shorter than on a network: a reload waits for an election. Not too short: a long command holds up all three at once."""

NEVER = 1 << 40

LIMITS = {"segment_bytes": 4_194_304, "snapshot_log_bytes": NEVER, "trailing_entries": NEVER, "trailing_bytes": NEVER, "reserve_bytes": 1}
"""The whole log is kept, whatever is made a snapshot of: it is applied from its beginning to each new version of a machine."""


def peer_ports(directory: Path) -> list[int]:
    """Where the nodes of a directory talk to each other: chosen once, because the addresses belong to the cluster's identity.

    Raises:
        UsageProblem: the directory holds something else.
    """
    file = directory / "peers.json"
    if file.exists():
        ports = json.loads(file.read_text("utf-8"))
        if not isinstance(ports, list) or len(ports) != len(NAMES) or not all(isinstance(port, int) for port in ports):
            raise UsageProblem(f"{file} does not hold the ports of {len(NAMES)} nodes: name another directory")
        return ports
    if any(directory.iterdir()):
        raise UsageProblem(f"{directory} is not empty, and not of an earlier txraft dev: name another directory")
    ports = free_ports(len(NAMES))
    file.write_text(json_line(ports) + "\n", "utf-8")
    return ports


class DevNodes:
    """The nodes; `start` and `stop` in turns.

    Args:
        directory: of their logs.
        machines: plug-in by name.
        client_ports: one for each.
        reactor: theirs.
        on_halt: told when one of them has stopped for good: its name, and why.
    """

    def __init__(
        self,
        directory: Path,
        machines: Mapping[str, str],
        client_ports: Sequence[int],
        reactor: Any,
        on_halt: Callable[[str, BaseException], None],
    ) -> None:
        addresses = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, peer_ports(directory), strict=True)}
        self.endpoints = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, client_ports, strict=True)}
        self._configs = [
            NodeConfig.of(
                name=name,
                data_dir=directory / name,
                peer=f"tcp:{address.rpartition(':')[2]}:interface=127.0.0.1",
                client=f"tcp:{client_port}:interface=127.0.0.1",
                bootstrap=addresses,
                machines=machines,
                timing=TIMING,
                limits=LIMITS,
            )
            for (name, address), client_port in zip(addresses.items(), client_ports, strict=True)
        ]
        self._reactor, self._on_halt = reactor, on_halt
        self._nodes: list[RaftNode] = []

    async def start(self) -> None:
        """Start all, with the machines as they can be imported now; returns when they serve.

        Raises:
            ConfigurationError: a port is taken, or a machine cannot be loaded. None of them runs then.
            NotApplied: they do not come to serve.
        """
        try:
            for config in self._configs:
                node = RaftNode(config, self._reactor, on_halt=lambda why, name=config.name: self._on_halt(name, why))  # type: ignore[misc]
                node.privilegedStartService()
                self._nodes.append(node)
                node.startService()
            await gatherResults([node.when_ready() for node in self._nodes], consumeErrors=True)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all that run; returns when their directories are free."""
        nodes, self._nodes = self._nodes, []
        await gatherResults([node.stopService() for node in nodes], consumeErrors=True)

    def state(self) -> tuple[int, str]:
        """How far the node that is ahead has applied the log, and the digest of its state; "" if a machine cannot give it."""
        ahead = self._ahead()
        try:
            status = ahead.status(digest=True)
        except NotApplied:
            return ahead.status()["applied_index"], ""
        return status["applied_index"], status["digest"]

    def read_log(self, first_index: int) -> Deferred[list[Entry]]:
        """Some entries from an index on."""
        return self._ahead().read_log(first_index)

    def _ahead(self) -> RaftNode:
        applied = {node: node.status().get("applied_index", -1) for node in self._nodes}
        if not applied:
            raise NotApplied("not_ready", "no node runs")
        return max(applied, key=lambda node: applied[node])
