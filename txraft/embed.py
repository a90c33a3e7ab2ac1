"""A whole node as one Twisted service: for `twistd txraft`, and for programs that carry a server of the cluster inside.

    node = RaftNode(NodeConfig.of(name="n1", data_dir="n1", peer="tcp:7001:interface=127.0.0.1", client=()), reactor)
    node.startService()
    await node.when_ready()
    await node.machine("counter").add("visits", 2)

Several live happily in one process.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.client.events import Place
from txraft.client.watch import Watch
from txraft.client.watches import Watches
from txraft.config import NodeConfig
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.errors import ConfigurationError, NotApplied
from txraft.http import make_site
from txraft.net.client_protocol import ClientProtocolFactory
from txraft.net.front_door import FrontDoor, is_http, is_native
from txraft.net.peers import Peers
from txraft.node.monotonic import MonotonicReactor
from txraft.node.node import Node
from txraft.node.ports import HaltObserver, PeerGate, PeerNetwork
from txraft.node.worker import ThreadWorker, Workers
from txraft.statemachine import Host
from txraft.statemachine.results import Answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import Ask, InvokeRequest, PollRequest, Request

__all__ = ["EmbeddedMachine", "RaftNode", "require_endpoints"]

READY_LOOK_S = 0.02
"""How often `when_ready` looks."""


def require_endpoints(config: NodeConfig, reactor: Any = None) -> None:
    """See that Twisted can make something of every endpoint string; opens nothing.

    Raises:
        ConfigurationError: one of them is none.
    """
    for key, endpoint in (("peer", config.peer), *(("client", one) for one in config.client)):
        try:
            serverFromString(reactor, endpoint)
        except Exception as error:  # the parsers are plug-ins, and raise what they like
            raise ConfigurationError(
                f"{endpoint!r} is no server endpoint: {error}",
                origin=_origin(config, key),
                key=key,
                remedy="Write it as Twisted does, e.g. tcp:2380:interface=127.0.0.1",
            ) from None


def _origin(config: NodeConfig, key: str) -> str:
    """Where a key was given; a peer endpoint that was not follows from `bootstrap`."""
    for origin in (config.origins.get(key, ""), config.origins.get("bootstrap", "") if key == "peer" else ""):
        if origin not in ("", "default", "derived"):
            return origin
    return ""


class RaftNode(MultiService):
    """A server of a cluster: consensus, disk, peer port, client port with its HTTP API. All methods on the reactor thread.

    Args:
        config: `NodeConfig.load` or `NodeConfig.of`.
        reactor: None for the global one.
        on_halt: told once if the node stops for good because of a failure; by default it is only logged.

    Raises:
        MachineUnavailable: a configured state machine is missing or broken; it is named.
    """

    _log = Logger()

    def __init__(self, config: NodeConfig, reactor: Any = None, *, on_halt: HaltObserver | None = None) -> None:
        MultiService.__init__(self)
        if reactor is None:
            from twisted.internet import reactor
        self.config = config
        self.on_halt = on_halt
        require_endpoints(config, reactor)
        self._reactor = reactor
        self._clock = MonotonicReactor(reactor)
        self._ports: dict[str, list[IListeningPort]] = {}
        self._listening: list[Deferred[Any]] = []
        self._workers = Workers.of(lambda purpose: ThreadWorker(f"txraft-{purpose}-{config.name}", reactor.callFromThread))
        self._node = Node(
            config,
            self._clock,
            host=Host(config.machines, limits=config.limits),
            make_network=self._make_network,
            workers=self._workers,
            random=Random(),
            wall_ms=lambda: int(time.time() * 1000),
            on_halt=self._halted,
        )
        Service.setServiceParent(self._peers, self)
        Service.setServiceParent(self._node, self)
        self._watches = Watches(self._clock, self._clock.seconds, Random(), self._poll)
        gate = self._node.gate
        site = make_site(gate, limits=config.limits, timing=config.timing, reactor=self._clock)
        native = ClientProtocolFactory(self._clock, gate, config.limits, config.timing)
        self._front_door = FrontDoor(
            self._clock, config.limits, config.timing, dialects=[(is_native, native), (is_http, site)], port=native.port
        )

    def _make_network(self, gate: PeerGate) -> PeerNetwork:
        self._peers = Peers(self._clock, gate, self.config.limits, self.config.timing)
        return self._peers

    # --- Life ---

    def privilegedStartService(self) -> None:
        """Listen. Ports below 1024 are bound while twistd still may.

        Raises:
            ConfigurationError: a port is taken or its address is not this machine's; nothing has been started.
        """
        MultiService.privilegedStartService(self)
        self._listen("peer", self.config.peer, self._peers.factory)
        for endpoint in self.config.client:
            self._listen("client", endpoint, self._front_door)

    def _listen(self, key: str, endpoint: str, factory: IProtocolFactory) -> None:
        def listening(port: IListeningPort) -> None:
            self._ports.setdefault(key, []).append(port)
            self._log.info("{node} listens for {key}s at {where}", node=self.config.name, key=key, where=port.getHost())

        failures: list[Failure] = []
        self._listening.append(serverFromString(self._reactor, endpoint).listen(factory).addCallback(listening).addErrback(failures.append))
        if failures:
            self._stop_listening()
            failures[0].trap(CannotListenError)
            why = getattr(failures[0].value, "socketError", failures[0].value)
            remedy = "Stop whatever uses that port, or choose another one"
            if getattr(why, "errno", None) == errno.EADDRNOTAVAIL:
                remedy = f"This computer does not have that address: correct it, or listen on all with {key}: tcp:PORT"
            raise ConfigurationError(f"cannot listen at {endpoint}: {why}", origin=_origin(self.config, key), key=key, remedy=remedy)

    def startService(self) -> None:
        """Listen, unless `privilegedStartService` has; open the data directory; take part."""
        if not self._listening:
            self.privilegedStartService()
        MultiService.startService(self)

    def stopService(self) -> Deferred[None]:
        """Stop listening, answer what has begun, flush, close. Fires when the data directory is free."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stop_listening()
        self._watches.close(NotApplied("shutting_down", f"node {self.config.name} stops"))
        await Service.disownServiceParent(self._node)
        await self._front_door.close()
        await MultiService.stopService(self)
        self._clock.stop()

    def _stop_listening(self) -> None:
        for ports in self._ports.values():
            for port in ports:
                port.stopListening()
        self._ports.clear()
        self._listening.clear()

    def _halted(self, why: BaseException) -> None:
        self._watches.close(NotApplied("shutting_down", f"node {self.config.name} has halted: {why}"))
        if self.on_halt is not None:
            self.on_halt(why)

    # --- Use ---

    @property
    def peer_port(self) -> int:
        """The TCP port where peers connect; 0 before the start or when it is none."""
        return next((getattr(port.getHost(), "port", 0) for port in self._ports.get("peer", [])), 0)

    @property
    def client_ports(self) -> list[int]:
        """The TCP ports where clients connect."""
        return [getattr(port.getHost(), "port", 0) for port in self._ports.get("client", [])]

    def when_ready(self, timeout_s: float = 60.0) -> Deferred[None]:
        """Fires when this node can serve: log replayed, a leader known.

        Fails with `NotApplied("not_ready")`, saying why, after `timeout_s` or when the node has halted.
        """
        return Deferred.fromCoroutine(self._ready_within(timeout_s))

    async def _ready_within(self, timeout_s: float) -> None:
        give_up_at = self._clock.seconds() + timeout_s
        while True:
            ready, why = self._node.gate.ready()
            if ready:
                return
            if self._clock.seconds() > give_up_at or not self._node.gate.alive()[0]:
                raise NotApplied("not_ready", f"{self.config.name} is not ready: {why}")
            await deferLater(self._clock, READY_LOOK_S)

    def status(self, *, digest: bool = False) -> dict[str, Any]:
        """What `GET /v1/status` shows. With `digest`, also a digest of the state, which takes a pass over it."""
        return self._node.gate.status(digest=digest)

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        """Take a snapshot of the machines now: `index`, `term`, `bytes` and `sha256` of it, once it is durable and in the log. Fails with
        `NotApplied`: `not_ready`, `machine_error`, `disk_full`.
        """
        return self._node.gate.take_snapshot()

    def read_log(self, first_index: int) -> Deferred[list[Entry]]:
        """Some entries from `first_index` on, committed or not, as this node's disk has them; none behind the end of the log. For tools.

        Fails with `NotApplied`: `not_ready` before the data directory is open, `compacted` (with `oldest`) for what only a snapshot has any
        more; with a `StorageError` if the disk does not give them.
        """
        storage, driver = self._node.storage, self._node.driver
        if storage is None or driver is None:
            return fail(NotApplied("not_ready", f"{self.config.name} has not opened its data directory yet"))
        oldest = driver.core.server.log.base_index + 1
        if first_index < oldest:
            return fail(NotApplied("compacted", f"the log of {self.config.name} begins with entry {oldest}", oldest=oldest))
        return self._workers.disk.perform(lambda: storage.read(Index(first_index), self.config.limits.append_bytes_max))

    def machine(self, name: str) -> EmbeddedMachine:
        """The machine `name`; its commands and queries are methods of what this returns."""
        return EmbeddedMachine(name, self._call_operation)

    def watch(
        self, machine: str, topic: str | bytes | None = None, *, prefix: str | bytes | None = None, from_index: int | Place | None = None
    ) -> Watch:
        """Be told the events of a machine as this node applies them; see `txraft.client.Client.watch`.

        When the node stops or halts, the watch ends by `NotApplied` `shutting_down`.
        """
        return self._watches.begin(machine, topic, prefix, from_index)

    def _poll(self, request: PollRequest) -> Deferred[Any]:
        return self.call(request).addCallback(Answer.value)

    def call(self, request: Request, **options: Any) -> Deferred[Answer]:
        """See `node.ports.ClientGate.call`: for those who need index, term or a session of their own."""
        return self._node.gate.call(request, **options)

    def _call_operation(self, machine: str, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred[Any]:
        described = self._node.gate.describe_machines().get(machine, {})
        arguments = msgspec.Raw(encode_value([list(args), kwargs]))
        request: Request = InvokeRequest(0, 0, machine, operation, arguments)
        if operation in described.get("queries", {}):
            request = Ask(0, machine, operation, arguments)
        return self.call(request).addCallback(Answer.value)


class EmbeddedMachine:
    """A machine as seen from the program that embeds a node: `await node.machine("counter").add("a", 2)`.

    Each call returns a Deferred of the value, which fails with `Refused`, `NotApplied` or `Unknown`. There is no session around it: after
    `Unknown`, only `txraft.client.Client` can try again without the danger of doing it twice.
    """

    def __init__(self, name: str, call: Callable[[str, str, tuple[Any, ...], dict[str, Any]], Deferred[Any]]) -> None:
        self._name, self._call = name, call

    def __getattr__(self, operation: str) -> Callable[..., Deferred[Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        return lambda *args, **kwargs: self._call(self._name, operation, args, kwargs)
