"""Whole nodes that greet each other: as `NodeCluster`, with the real network of peers on connections without sockets."""

from __future__ import annotations

import shutil
from pathlib import Path

from attrs import evolve
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from tests.support.bytes_pump import PumpNetwork
from tests.support.node_cluster import NodeCluster
from txraft.net.peers import Peers
from txraft.node.node import Node
from txraft.node.ports import PeerGate, PeerNetwork

NOWHERE = "nowhere:1"


class GreetingCluster(NodeCluster):
    """Nodes whose directories may be wiped, copied and put back. A node that halts ends as its process would.

    Attributes:
        apart: (node, address): that node cannot dial that address.
    """

    def __init__(self, directory: str, size: int) -> None:
        super().__init__(directory, size)
        self.pump = PumpNetwork()
        self.apart: set[tuple[str, str]] = set()
        self._peers: dict[str, Peers] = {}

    # What the world does.

    def _make_network(self, name: str, gate: PeerGate) -> PeerNetwork:
        def endpoint(reactor: IReactorTime, address: str) -> IStreamClientEndpoint:
            return self.pump.endpoint(reactor, NOWHERE if (name, address) in self.apart else address)

        config = self.configs[name]
        peers = self._peers[name] = Peers(self.clock, gate, config.limits, config.timing, endpoint=endpoint, jitter=lambda: 0.5)
        self.pump.listen(self.address(name), peers.factory)
        peers.startService()
        return peers

    def _halted(self, name: str, why: BaseException) -> None:
        super()._halted(name, why)
        self.clock.callLater(0, self.crash, name)

    def crash(self, *names: str) -> None:
        for name in names:
            if name in self.nodes:
                super().crash(name)
                self.pump.close(self.address(name))
                self._peers.pop(name).stopService()

    def advance(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(max(1, round(seconds / step))):
            super().advance(step, step)
            self.pump.flush(settle=lambda: self.clock.advance(0))

    # What people do.

    def address(self, name: str) -> str:
        """Where its peer port is."""
        port = self.configs[name].peer.split(":")[1]
        return f"127.0.0.1:{port}"

    def directory(self, name: str) -> Path:
        return Path(self.configs[name].data_dir)

    def wipe(self, name: str) -> None:
        shutil.rmtree(self.directory(name))

    def copy(self, name: str, place: str) -> Path:
        """A copy of its directory, beside it."""
        copy = self.directory(name).with_name(place)
        shutil.copytree(self.directory(name), copy)
        return copy

    def put_back(self, name: str, copy: Path) -> None:
        """A copy takes the place of the directory."""
        self.wipe(name)
        shutil.copytree(copy, self.directory(name))

    def add_copy(self, name: str, called: str, directory: Path) -> None:
        """Another node of the same name, on a copy of its directory and with a peer port of its own; not yet started."""
        self.configs[called] = evolve(self.configs[name], data_dir=directory, peer=f"tcp:{8000 + len(self.configs)}:interface=127.0.0.1")

    # What can be seen.

    def marks(self, node: Node) -> dict[str, str]:
        """The marks of the members' directories, as this node has them in its configuration."""
        assert node.driver is not None
        return node.driver.core.server.configuration.directories

    def await_marks(self) -> dict[str, str]:
        """All nodes that run have put down the directories of all members."""
        size = len(self.configs["n1"].bootstrap)
        for _ in range(200):
            known = [self.marks(node) for node in self.nodes.values() if node.driver is not None]
            if known and all(marks == known[0] and len(marks) == size for marks in known):
                return known[0]
            self.advance(0.1)
        raise AssertionError(f"the directories do not become known: {known}")

    def ready(self, name: str) -> tuple[bool, str]:
        return self.nodes[name].gate.ready()
