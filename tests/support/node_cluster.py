"""Whole nodes in one process on a test's clock: real storage and machines, messages through the real codec; only the sockets, the threads
and the time are the test's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.support.pumped_worker import PumpedWorker
from txraft.config import NodeConfig
from txraft.core.ids import ServerId
from txraft.limits import Limits, Timing
from txraft.node import opening
from txraft.node.node import Node
from txraft.node.opening import OpenStorage
from txraft.node.ports import PeerGate, PeerMessage, PeerNetwork
from txraft.node.worker import Workers
from txraft.statemachine import Host
from txraft.statemachine.results import Answer
from txraft.statemachine.values import encode_value
from txraft.storage import REAL_FILES, FileSystem
from txraft.wire.codec import decode_peer_message, encode_peer_message
from txraft.wire.hello import HelloRefused
from txraft.wire.requests import Ask, InvokeRequest, Request

HOUR_MS = 3_600_000
LATENCY_S = 0.001


class MemoryNetwork:
    """The wires between the nodes; a cut one loses what is sent and says so, as a lost connection does."""

    def __init__(self, cluster: NodeCluster, gate: PeerGate) -> None:
        self.cluster, self.gate = cluster, gate
        self.members: Mapping[str, str] = {}

    def set_members(self, addresses: Mapping[str, str], directories: Mapping[str, str]) -> None:
        self.members = addresses

    def send(self, to: ServerId, message: PeerMessage) -> None:
        sender = self.gate.identity.server_id
        assert message.sender == sender
        frame = encode_peer_message(message)
        self.cluster.clock.callLater(LATENCY_S, self.cluster.deliver, sender, to, frame)

    def client_address(self, server: ServerId) -> str:
        return f"{server}.example:2379"

    def directories(self) -> Mapping[ServerId, str]:
        return {}

    def refusals(self) -> Mapping[ServerId, HelloRefused]:
        return {}

    def status(self) -> dict[str, Any]:
        return {}

    def connected(self) -> Mapping[str, bool]:
        sender = self.gate.identity.server_id
        return {peer: (sender, peer) not in self.cluster.cut for peer in self.members if peer != sender}


class NodeCluster:
    """A few nodes.

    Attributes:
        clock: monotonic time of all of them.
        wall_ms: the wall clock; moves with `clock`, and may be set.
        cut: pairs (from, to) whose messages are lost.
        hung: nodes whose disk does not answer.
        halted: why a node has halted.
    """

    def __init__(
        self,
        directory: str,
        size: int,
        *,
        machines: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        files: FileSystem = REAL_FILES,
    ) -> None:
        self.clock = Clock()
        self._files = files
        self.wall_offset_ms = 1_000 * HOUR_MS
        self.cut: set[tuple[str, str]] = set()
        self.hung: set[str] = set()
        self.halted: dict[str, BaseException] = {}
        self.nodes: dict[str, Node] = {}
        self._workers: dict[str, dict[str, PumpedWorker]] = {}
        bootstrap = {f"n{number}": f"127.0.0.1:{7000 + number}" for number in range(1, size + 1)}
        self.configs = {
            name: NodeConfig.of(
                name=name,
                data_dir=str(Path(directory) / name),
                bootstrap=bootstrap,
                peer=f"tcp:{address.split(':')[1]}:interface=127.0.0.1",
                client="tcp:0:interface=127.0.0.1",
                advertise_client=f"{name}.example:2379",
                machines=dict(machines or {"counter": "counter"}),
                timing=Timing(heartbeat_s=0.1, election_s=1.0),
                limits=limits or Limits(segment_bytes=65_536),
            )
            for name, address in bootstrap.items()
        }

    def wall_ms(self) -> int:
        return self.wall_offset_ms + int(self.clock.seconds() * 1000)

    def start(self, *names: str, open_storage: OpenStorage | None = None) -> None:
        for name in names or self.configs:
            pumped = self._workers[name] = {purpose: PumpedWorker() for purpose in ("disk", "snapshot", "transfer")}
            node = self.nodes[name] = Node(
                self.configs[name],
                self.clock,
                host=Host(self.configs[name].machines, limits=self.configs[name].limits),
                make_network=partial(self._make_network, name),
                workers=Workers.of(pumped.__getitem__),
                random=Random(f"{name} {len(self.clock.getDelayedCalls())}"),
                wall_ms=self.wall_ms,
                on_halt=partial(self._halted, name),
                rest=lambda seconds: None,
                open_storage=open_storage or partial(opening.open_storage, files=self._files),
            )
            node.startService()

    def worker(self, name: str, purpose: str) -> PumpedWorker:
        """One of a node's: for its `disk`, its own `snapshot`, or the `transfer` of those between servers."""
        return self._workers[name][purpose]

    def _make_network(self, name: str, gate: PeerGate) -> PeerNetwork:
        return MemoryNetwork(self, gate)

    def _halted(self, name: str, why: BaseException) -> None:
        self.halted.setdefault(name, why)

    def crash(self, *names: str) -> None:
        """The process is gone, at once: jobs not begun are never done, but what the disk was told stays."""
        for name in names:
            node = self.nodes.pop(name)
            self._workers.pop(name)
            node.view.stage = type(node.view.stage).HALTED
            node._be_quiet("crashed")
            if node.storage is not None:
                node.storage.close()

    def stop_all(self) -> None:
        self.hung.clear()
        stopping = [node.stopService() for node in self.nodes.values()]
        self.advance(12)
        assert all(d.called for d in stopping)

    def deliver(self, sender: str, to: str, frame: bytes) -> None:
        if (sender, to) in self.cut or to not in self.nodes:
            if sender in self.nodes:
                self.nodes[sender].peer_unreachable(ServerId(to))
            return
        self.nodes[to].message_received(ServerId(sender), decode_peer_message(frame))

    def advance(self, seconds: float, step: float = 0.01) -> None:
        for _ in range(max(1, round(seconds / step))):
            self.clock.advance(step)
            for name, workers in list(self._workers.items()):
                for purpose, worker in workers.items():
                    if name not in self.hung or purpose != "disk":
                        worker.flush()

    def isolate(self, name: str) -> None:
        for other in self.configs:
            self.cut |= {(name, other), (other, name)}

    def leader(self) -> Node:
        """The node that serves; time passes until there is one."""
        for _ in range(1000):
            serving = [node for node in self.nodes.values() if node.view.serving]
            if serving:
                return max(serving, key=lambda node: node.view.term)
            self.advance(0.05)
        raise AssertionError({name: node.gate.status() for name, node in self.nodes.items()})

    def followers(self) -> list[Node]:
        leader = self.leader()
        return [node for node in self.nodes.values() if node is not leader]

    def invoke(
        self, node: Node, command: str, *, machine: str = "counter", serial: int = 0, session: int = 0, **arguments: Any
    ) -> Deferred[Answer]:
        request: Request = InvokeRequest(0, serial, machine, command, Raw(encode_value(arguments)))
        return node.gate.call(request, session=session, first_outstanding=serial)

    def ask(self, node: Node, query: str, *, consistency: Any = "linearizable", **arguments: Any) -> Deferred[Answer]:
        return node.gate.call(Ask(0, "counter", query, Raw(encode_value(arguments)), consistency))

    def digests(self) -> set[str]:
        return {node.host.digest() for node in self.nodes.values()}
