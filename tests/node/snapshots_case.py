"""Whole nodes with a short log, so that snapshots are what servers start from and send each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node_cluster import NodeCluster
from txraft.limits import Limits
from txraft.node.driver import Driver
from txraft.node.node import Node
from txraft.storage import REAL_FILES, FileSystem

SHORT = Limits(
    segment_bytes=4096,
    log_cache_bytes_max=2000,
    append_bytes_max=1000,
    snapshot_log_bytes=1 << 40,  # none is taken but when a test says so
    snapshot_chunk_bytes=50,
    trailing_entries=3,
    reserve_bytes=1,
)


class SnapshotsCase(SynchronousTestCase):
    size = 3
    machines = {"counter": "counter"}
    limits = SHORT

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.cluster = NodeCluster(str(self.directory), self.size, machines=self.machines, limits=self.limits, files=self.file_system())
        self.cluster.start()
        self.addCleanup(self.cluster.stop_all)
        self.cluster.leader()

    def file_system(self) -> FileSystem:
        """Where the nodes have their data directories."""
        return REAL_FILES

    def node(self, name: str) -> Node:
        return self.cluster.nodes[name]

    def driver(self, node: Node) -> Driver:
        assert node.driver is not None
        return node.driver

    def add(self, count: int, name: str = "a") -> Any:
        """Add one to a counter so many times; its value then."""
        value = None
        for _ in range(count):
            value = self.wait(self.cluster.invoke(self.cluster.leader(), "add", name=name, amount=1)).value()
        return value

    def wait(self, answer: Deferred[Any], seconds: float = 5) -> Any:
        for _ in range(round(seconds / 0.05)):
            if answer.called:
                break
            self.cluster.advance(0.05)
        return self.successResultOf(answer)

    def take(self, *nodes: Node) -> None:
        """These nodes take a snapshot each, and their logs begin later."""
        for node in nodes or tuple(self.cluster.nodes.values()):
            self.wait(node.gate.take_snapshot())

    def level(self, seconds: float = 10) -> None:
        """All nodes have the same state within so much time, and none has halted."""
        for _ in range(round(seconds / 0.1)):
            self.cluster.advance(0.1)
            applied = {node.host.applied_index for node in self.cluster.nodes.values()}
            if len(applied) == 1 and len(self.cluster.nodes) == self.size:
                break
        self.assertEqual(self.cluster.halted, {})
        self.assertEqual({node.host.applied_index for node in self.cluster.nodes.values()}, applied)
        self.assertEqual(len(self.cluster.digests()), 1, {name: node.gate.status() for name, node in self.cluster.nodes.items()})

    def base(self, node: Node) -> int:
        return int(self.driver(node).core.server.log.base_index)
