"""The running process: its life from an unopened directory to the end, and the doors through which it is reached.

Whatever goes wrong unexpectedly on any of its ways halts the node (`_guarded`): Twisted would log it and go on.

Source: §10.1.1 (threads); Figure 10.1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.config import NodeConfig
from txraft.core.ids import ServerId
from txraft.errors import Halted, NotApplied, RestoreFailed, TxraftError
from txraft.node.backups import Backups
from txraft.node.driver import Driver
from txraft.node.gate import Gate
from txraft.node.guarded_clock import GuardedClock
from txraft.node.leadership import Leadership
from txraft.node.log_clock import LogClock
from txraft.node.opener import Opener
from txraft.node.opening import OpenDirectory, consensus_of, open_storage
from txraft.node.ports import Caller, HaltObserver, Identity, PeerGate, PeerMessage, PeerNetwork
from txraft.node.proposals import Proposals
from txraft.node.queries import Confirmable, Queries
from txraft.node.standing import Standing, identity_of
from txraft.node.status import Vitals
from txraft.node.view import Stage, View
from txraft.node.waiting_commands import Command
from txraft.node.waits import Waits
from txraft.node.worker import Workers
from txraft.statemachine import Host
from txraft.storage import Storage
from txraft.wire.hello import HelloRefused
from txraft.wire.requests import Forward, ForwardReply, Withdraw

__all__ = ["Node"]

TICK_S = 0.1
"""How often overdue requests, passed deadlines of machines and the progress of a replay are looked at."""

STOP_S = 5.0
"""How long a stopping node waits for what it has begun, and then for its disk."""


class Node(Service):
    """One server of a cluster. Reactor thread only; what blocks is done by `workers`.

    Args:
        config: whole and checked.
        clock: monotonic.
        host: the machines, empty.
        make_network: given this node, the way to its peers.
        workers: the disk's, and those of snapshots.
        random: for election timeouts.
        wall_ms: the wall clock in milliseconds, for log time only.
        on_halt: told once why this node has stopped for good.
        rest: how threads with much to do rest: see `Pace`.
        open_storage: claims and reads the data directory, on the disk's worker.

    Attributes:
        gate: the way in for clients.
        driver: None until the data directory is open.
    """

    _log = Logger()

    def __init__(
        self,
        config: NodeConfig,
        clock: IReactorTime,
        *,
        host: Host,
        make_network: Callable[[PeerGate], PeerNetwork],
        workers: Workers,
        random: Random,
        wall_ms: Callable[[], int],
        on_halt: HaltObserver,
        rest: Callable[[float], object] | None = None,
        open_storage: Callable[[NodeConfig, Callable[[float], None]], Storage] = open_storage,
    ) -> None:
        clock = GuardedClock(clock, self._guarded)
        self.config, self.clock, self.host, self.workers, self._random = config, clock, host, workers, random
        self._on_halt, self._rest = on_halt, rest
        self.server_id = ServerId(config.name)
        self.identity = Identity(config.cluster_id, self.server_id, 0, config.advertise_client)
        self.view = View()
        self.driver: Driver | None = None
        self.started_at, self.wall_ms = float(clock.seconds()), wall_ms
        opened = self._guarded(self._opened)
        self._opener = Opener(config, clock, workers.disk, host, self.view, open_storage, opened, self.halt)
        self.storage: Storage | None = None
        self._tick: IDelayedCall | None = None
        self.network = make_network(self)
        self.standing = Standing(config, self.network)
        self.proposals = Proposals(clock, config.limits, config.timing, self._guarded(self._propose))
        self.queries = Queries(clock, config.limits, config.timing, self._guarded(self._read), self._run_query)
        log_clock = LogClock(clock, wall_ms)
        self.leadership = Leadership(config.name, self.view, host, self.proposals, log_clock)
        self.waits = self._make_waits()
        self.gate = self._make_gate(log_clock)
        host.on_machine_error = self._machine_failed

    def _make_waits(self) -> Waits:
        config = self.config
        return Waits(
            self.clock,
            config.limits,
            config.timing,
            self.host,
            term=lambda: self.view.term,
            require_ready=self._require_ready,
            propose=self._propose_command,
        )

    def _make_gate(self, log_clock: LogClock) -> Gate:
        config = self.config
        return Gate(
            self.server_id,
            self.clock,
            config.limits,
            config.timing,
            self.view,
            self.host,
            self.network,
            self.proposals,
            self.queries,
            self.waits,
            log_clock.now_ms,
            Vitals(self),
            self._staleness_s,
            Backups(config.name, self.view, self.workers.transfers, lambda: self.driver),
        )

    @property
    def _driving(self) -> Driver:
        assert self.driver is not None
        return self.driver

    def _propose(self, commands: list[bytes]) -> None:
        self._driving.propose(commands)

    def _read(self, number: int) -> None:
        self._driving.read(number)

    def _run_query(self, query: Confirmable) -> bytes:
        return self.gate.run_query(query)

    def _require_ready(self) -> None:
        ready, why = self.gate.ready()
        if not ready:
            raise NotApplied("not_ready", f"node {self.config.name} is not ready: {why}")

    def _propose_command(self, command: Command, caller: Caller) -> None:
        self.gate.propose(command, caller)

    def _staleness_s(self) -> float:
        return self._driving.staleness_s()

    # --- Life ---

    @property
    def opening_progress(self) -> float:
        """How far the opening of the data directory has come, 0 to 1."""
        return self._opener.progress

    def startService(self) -> None:
        """Open the data directory on the worker, then take part."""
        Service.startService(self)
        self.view.stage = Stage.OPENING
        self._log.info("{node} opens {path}", node=self.config.name, path=str(self.config.data_dir))
        self._opener.begin()
        self._tick = self.clock.callLater(TICK_S, self._guarded(self._on_tick))

    def _opened(self, opened: OpenDirectory) -> None:
        storage = opened.storage
        if self.view.stage is not Stage.OPENING:
            self.workers.disk.perform(storage.close)  # nobody waited for it: the directory must not stay locked
            return
        self.storage = storage
        name, recovered = self.config.name, storage.recovered
        if opened.restored is not None:
            self.host.adopt(opened.restored)
        for warning in opened.warnings():
            self._log.warn("{node}: {told}", node=name, told=warning)
        own = storage.identity
        self.identity = identity_of(own, self.config.advertise_client)
        self.driver = Driver(
            self.config,
            self.clock,
            core=consensus_of(self.config, storage),
            storage=storage,
            workers=self.workers,
            host=self.host,
            network=self.network,
            view=self.view,
            proposals=self.proposals,
            queries=self.queries,
            leadership=self.leadership,
            forwarding=self.gate.forwarding,
            waits=self.waits,
            random=self._random,
            rest=self._rest,
            guard=self._guarded,
            on_failure=self.halt,
        )
        recovered.tail.clear()  # the core has taken it over
        self.view.stage = Stage.RUNNING
        self._log.info(
            "{node} of cluster {cluster_id} remembers {entries} entries up to term {term}, the first {applied} of them in a snapshot",
            node=name, cluster_id=self.identity.cluster_id, entries=recovered.last_index, term=recovered.metadata.term,
            applied=self.host.applied_index,
        )  # fmt: skip
        self.driver.start()

    def stopService(self) -> Deferred[None]:
        """Answer what has begun, flush, close. Fires when the data directory is free; a hung disk is waited for `STOP_S` only."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.leadership.ended()
        if self.view.stage in (Stage.OPENING, Stage.RUNNING):
            self.view.stage = Stage.STOPPING
            await self._finish_what_has_begun()
        if self.view.stage is Stage.STOPPING:
            if self.driver is not None:
                self.driver.step_down("it is stopping")
            self.view.stage = Stage.STOPPED
        self._be_quiet("this node has stopped")
        for worker in (self.workers.snapshots, self.workers.transfers):
            with suppress(TimeoutError):  # it is in the midst of something, and ends with it
                await worker.stop().addTimeout(STOP_S, self.clock)
        try:
            disk = self.workers.disk
            # The first job lets `_opened` run before the second looks for what it has opened.
            await disk.perform(lambda: None).addTimeout(STOP_S, self.clock)
            await disk.perform(self._close).addTimeout(STOP_S, self.clock)
            await disk.stop().addTimeout(STOP_S, self.clock)
        except Exception:
            self._log.failure("{node} could not close its data directory", node=self.config.name)
        self._log.info("{node} has stopped", node=self.config.name)

    async def _finish_what_has_begun(self) -> None:
        give_up_at = self.clock.seconds() + STOP_S
        while self.driver is not None and self.view.stage is Stage.STOPPING and self.clock.seconds() < give_up_at:
            if self.driver.durability.idle and not self.proposals.count:
                break
            await deferLater(self.clock, 0.01)

    def _close(self) -> None:
        if self.storage is not None:
            self.storage.close()

    def _be_quiet(self, why: str) -> None:
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        self._opener.stop()
        if self.driver is not None:
            self.driver.stop()
        self.proposals.lost(why)
        self.queries.stop(why)
        self.waits.stop(why)
        self.gate.forwarding.lost(None, why)

    def halt(self, failure: Failure) -> None:
        """Stop for good: something has happened after which this server must not say another word."""
        if self.view.stage is Stage.HALTED:
            return
        error = failure.value
        assert error is not None
        why = str(error) or type(error).__name__
        self.view.stage, self.view.serving, self.view.halted_because = Stage.HALTED, False, why
        if isinstance(error, RestoreFailed) and error.failure_text:
            self._machine_failed(error.machine, "restore", error.failure_text)
        if isinstance(error, TxraftError) and not isinstance(error, Halted):
            self._log.critical("{node} halts: {why}", node=self.config.name, why=why)
        else:
            self._log.failure("{node} halts", failure, node=self.config.name)
        self._be_quiet("this node has halted")
        self._on_halt(error)

    def _guarded(self, call: Callable[..., None]) -> Callable[..., None]:
        """`call`, but whatever is raised out of it halts the node. After a halt it does nothing."""

        def guarded(*args: Any) -> None:
            if self.view.stage is not Stage.HALTED:
                try:
                    call(*args)
                except BaseException:
                    self.halt(Failure())

        return guarded

    # --- Peers ---

    def message_received(self, sender: ServerId, message: PeerMessage) -> None:
        """See `PeerGate`."""
        if self.view.stage in (Stage.RUNNING, Stage.STOPPING):
            self._guarded(self._receive)(sender, message)

    def _receive(self, sender: ServerId, message: PeerMessage) -> None:
        if isinstance(message, Forward):
            self.gate.forwarded(sender, message)
        elif isinstance(message, ForwardReply):
            self.gate.forwarding.replied(sender, message)
        elif isinstance(message, Withdraw):
            self.gate.withdrawn(sender, message.id)
        else:
            self._driving.receive(sender, message)

    def peer_unreachable(self, peer: ServerId) -> None:
        """See `PeerGate`."""
        if self.view.stage in (Stage.RUNNING, Stage.STOPPING):
            self._guarded(self._driving.peer_unreachable)(peer)
            self._guarded(self.gate.peer_lost)(peer)

    def hello_refused(self, peer: ServerId, refusal: HelloRefused) -> None:
        """See `PeerGate`."""
        if self.view.stage in (Stage.RUNNING, Stage.STOPPING):
            self._guarded(self.standing.refused)(peer, refusal)

    # --- Now and then ---

    def _on_tick(self) -> None:
        self._tick = self.clock.callLater(TICK_S, self._guarded(self._on_tick))
        now = self.clock.seconds()
        self.proposals.expire(now)
        self.queries.expire(now)
        self.waits.expire(now)
        if self.driver is not None:
            self.driver.look()
            self.leadership.tick(self.driver.applier.applied)
            self.driver.directories_seen(self.identity.directory)

    def _machine_failed(self, machine: str, command: str, traceback: str) -> None:
        self._log.error(
            "{node}: {command} of machine {machine} failed; this is a bug in the machine:\n{traceback}",
            node=self.config.name, machine=machine, command=command, traceback=traceback,
        )  # fmt: skip
