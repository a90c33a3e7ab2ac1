"""Feeds the consensus module what the world says and carries out its effects, in order, one step after the other.

Three journeys, all one-way. A proposal: gate → proposals → (end of turn) core → disk and peers at once → receipts and
replies → commit → applier → answer. A peer's message: network → core → effects. A timer: timers → core → effects.

Nothing here waits between reading and changing the core's state.

Source: §10.1.1 (threads); Figure 10.1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil, inf
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.config import NodeConfig
from txraft.core import effects as fx
from txraft.core.consensus import ConsensusModule
from txraft.core.entry import Entry
from txraft.core.ids import Index, ServerId
from txraft.core.messages import AppendEntries, Message
from txraft.core.roles import Leader
from txraft.node.applier import Applier
from txraft.node.disk_space import DiskSpace
from txraft.node.durability import Durability
from txraft.node.forwarding import Forwarding
from txraft.node.freshness import Freshness
from txraft.node.leadership import Leadership
from txraft.node.ports import PeerNetwork
from txraft.node.proposals import Proposals
from txraft.node.queries import Queries
from txraft.node.snapshots import Snapshots
from txraft.node.timers import Timers
from txraft.node.view import View
from txraft.node.waits import Waits
from txraft.node.worker import Workers
from txraft.statemachine import Host
from txraft.storage import Storage

__all__ = ["Driver"]

AGE_MS_MAX = 10**15

REPLAY_NEWS_S = 1.0
"""How often the log tells how far the replay of entries has come."""

Guard = Callable[[Callable[..., None]], Callable[..., None]]


class Driver:
    """A consensus module with its disk, timers, peers and machines. Reactor thread only.

    Args:
        guard: wraps what is called from outside, so that an exception halts the node.
        on_failure: halts the node.
    """

    _log = Logger()

    def __init__(
        self,
        config: NodeConfig,
        clock: IReactorTime,
        *,
        core: ConsensusModule,
        storage: Storage,
        workers: Workers,
        host: Host,
        network: PeerNetwork,
        view: View,
        proposals: Proposals,
        queries: Queries,
        leadership: Leadership,
        forwarding: Forwarding,
        waits: Waits,
        random: Random,
        rest: Callable[[float], object] | None,
        guard: Guard,
        on_failure: Callable[[Failure], None],
    ) -> None:
        disk = workers.disk
        self._config, self._clock, self.core, self._storage, self._disk = config, clock, core, storage, disk
        self._network, self._view, self._proposals, self._queries = network, view, proposals, queries
        self._leadership, self._forwarding, self._waits = leadership, forwarding, waits
        self._guard, self._on_failure = guard, on_failure
        self._freshness = Freshness()
        self.timers = Timers(clock, config.timing, random, guard(self._election_timeout), guard(self._heartbeat_timeout))
        self.space = DiskSpace(config.name, clock, disk, storage, view, self.step_down, on_failure)
        self.durability = Durability(clock, disk, storage.write, guard(self._durable), on_failure, guard(self.space.ran_out))
        self.applier = Applier(
            clock,
            config.timing.apply_slice_s,
            core.server.log,
            lambda first: disk.perform(lambda: storage.read(first, config.limits.append_bytes_max)),
            host,
            proposals,
            guard(self._applied),
            on_failure,
        )
        self.snapshots = self._make_snapshots(host, workers, random, rest)
        self._effects: deque[fx.Effect] = deque()
        self._persists: deque[fx.Persist] = deque()
        self._carrying_out = False
        self._replay_told = self._now
        self._carry_out = self._vocabulary()

    def _make_snapshots(self, host: Host, workers: Workers, random: Random, rest: Callable[[float], object] | None) -> Snapshots:
        return Snapshots(
            self._config,
            self._clock,
            core=self.core,
            storage=self._storage,
            host=host,
            workers=workers,
            step=self._step,
            applied=lambda: self.applier.applied,
            random=random,
            rest=rest,
            guard=self._guard,
            on_failure=self._on_failure,
        )

    def _vocabulary(self) -> dict[type, Callable[[Any], None]]:
        return {
            fx.Persist: self._persist,
            fx.Send: lambda effect: self._network.send(effect.to, effect.message),
            fx.Apply: lambda effect: self.applier.apply_through(effect.through),
            fx.ReadEntries: self._read_entries,
            fx.ReadChunk: self.snapshots.sending.read,
            fx.StoreChunk: self.snapshots.receiving.store,
            fx.Restore: self._restore,
            fx.Repaired: self._repaired,
            fx.SnapshotRefused: self.snapshots.sending.refused,
            fx.Proposed: self._proposals.proposed,
            fx.ReadsReady: self._reads_ready,
            fx.ReadsLost: lambda _: self._queries.lost("leadership was lost"),
            fx.ResetElectionTimer: lambda _: self.timers.reset_election(),
            fx.StopElectionTimer: lambda _: self.timers.stop_election(),
            fx.StartHeartbeats: lambda _: self.timers.start_heartbeats(),
            fx.StopHeartbeats: lambda _: self.timers.stop_heartbeats(),
            fx.RoleChanged: self._role_changed,
            fx.LeadershipReady: self._leadership_ready,
            fx.ConfigurationChanged: self._configuration_changed,
        }

    def stop(self) -> None:
        """Carry out nothing more."""
        self._effects.clear()
        self._persists.clear()
        self.timers.stop()
        self.applier.stop()
        self.durability.stop()
        self.snapshots.stop()

    @property
    def _now(self) -> float:
        return float(self._clock.seconds())

    # --- What the world says ---

    def start(self) -> None:
        """Take part from now on."""
        self._step(self.core.start(self._now))

    def propose(self, commands: list[bytes]) -> None:
        """The commands of one turn."""
        self._step(self.core.propose(self._now, commands))

    def read(self, number: int) -> None:
        """The queries of one turn."""
        now = self._now
        self._step(self.core.read(now, number))
        self._note_round(now)

    def receive(self, sender: ServerId, message: Message) -> None:
        """A message of the algorithm from an authenticated peer."""
        self._step(self.core.receive(self._now, sender, message))
        if isinstance(message, AppendEntries) and (self._view.leader, self._view.term) == (sender, message.term):
            self._freshness.began(message.round, self._now)
            if self.core.server.log.term_at(message.leader_commit) == message.term:
                self._freshness.heard(message.confirmed, message.leader_commit)

    def peer_unreachable(self, peer: ServerId) -> None:
        """What was last sent to `peer` may be lost."""
        self._step(self.core.peer_unreachable(peer))

    def directories_seen(self, own: str) -> None:
        """`own` is the mark of this server's directory; those of others come from the network."""
        if isinstance(self.core.server.role, Leader):
            marks = {ServerId(self._config.name): own, **self._network.directories()}
            self._step(self.core.directories_seen(self._now, marks))

    def step_down(self, why: str) -> None:
        """Lead no more."""
        self._step(self.core.step_down(why))

    def staleness_s(self) -> float:
        """Seconds since the state that is applied here held all that was acknowledged, at most; infinite if that is not known.

        But for what a leader acknowledged that was replaced meanwhile without our knowing it: that takes an election timeout at least.
        """
        server, now = self.core.server, self._now
        if not isinstance(server.role, Leader):
            return self._freshness.age_s(now, self.applier.applied)
        if not self._view.serving:
            return inf
        # Another leader can have committed something only since a majority last confirmed this one: since the rounds they answered began.
        ages_s = {peer: self._freshness.since_s(now, progress.round) for peer, progress in server.role.progress.items()}
        since_ms = {peer: AGE_MS_MAX - ceil(1000 * age_s) for peer, age_s in ages_s.items() if age_s < inf}
        reached_ms = server.configuration.majority_reached({**since_ms, server.id: AGE_MS_MAX})
        return (AGE_MS_MAX - reached_ms) / 1000 if reached_ms else inf

    def look(self) -> None:
        """See to what has no event of its own. Called every now and then."""
        self.snapshots.look(disk_is_full=bool(self._view.alarm))
        self.space.look()
        applied, target = self.applier.applied, self.applier.target
        if target - applied > self._config.limits.append_entries_max and self._now - self._replay_told >= REPLAY_NEWS_S:
            self._replay_told = self._now
            self._log.info(
                "{node} replays its log: {percent}% ({applied} of {target} entries)",
                node=self._config.name, percent=100 * applied // target, applied=applied, target=target,
            )  # fmt: skip

    def _election_timeout(self) -> None:
        if self._disk_hangs() or self._view.alarm:
            self.timers.reset_election()  # it could not even vote for itself, or not write what it would be asked to
        else:
            self._step(self.core.election_timeout(self._now))

    def _heartbeat_timeout(self) -> None:
        if self._disk_hangs():
            # Heartbeats alone would keep a leader alive for ever that can no longer commit anything.
            self.step_down(f"its disk has not answered for {self.durability.oldest_age_s():.1f} s")
        else:
            now = self._now
            self._step(self.core.heartbeat_timeout(now))
            self._note_round(now)

    def _note_round(self, now: float) -> None:
        role = self.core.server.role
        if isinstance(role, Leader):
            self._freshness.began(role.round, now)

    def _disk_hangs(self) -> bool:
        return self.durability.oldest_age_s() > self._config.timing.election_s

    # --- Steps and their effects ---

    def _step(self, effects: Sequence[fx.Effect]) -> None:
        """Carry out the effects of a step, after those of the steps before it."""
        self._effects.extend(effects)
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._effects or self._persists:
                if not self._effects:
                    self.durability.persist(self._persists.popleft())
                    continue
                effect = self._effects.popleft()
                self._carry_out[type(effect)](effect)
        finally:
            self._carrying_out = False

    def _persist(self, effect: fx.Persist) -> None:
        if effect.truncate_from is not None:
            self._log.warn(
                "{node} drops entries from {index} on: they were never committed, and the leader of term {term} has others",
                node=self._config.name, index=effect.truncate_from, term=effect.receipt.term,
            )  # fmt: skip
        if effect.base is not None and not effect.base.keeps_log:
            self.applier.rest()
        # What may leave at once does so first: the disk's thread, once awake, wants the interpreter for itself.
        self._persists.append(effect)

    def _durable(self, persists: list[fx.Persist]) -> None:
        for persist in persists:
            if persist.base is not None:
                self.snapshots.taking.recorded(persist.base.snapshot)
            self._step(self.core.persisted(self._now, persist.receipt))
            for send in persist.then:
                self._network.send(send.to, send.message)

    def _applied(self, through: Index) -> None:
        self._step(self.core.applied(through))
        self._leadership.applied(through)
        self._queries.applied(through)
        self._waits.applied()
        self._proposals.batch_applied(through)

    def _restore(self, effect: fx.Restore) -> None:
        self.snapshots.adopt(effect.snapshot)
        # Before anything else is applied: those who wait have seen nothing of the leap, and only what came before it.
        self._waits.restored()
        self.applier.restored()
        self._queries.applied(self.applier.applied)

    def _repaired(self, effect: fx.Repaired) -> None:
        self._log.info("{node} has again all that it had lost, and takes part in elections and commitment", node=self._config.name)

    def _reads_ready(self, effect: fx.ReadsReady) -> None:
        self._queries.ready(effect.through_read, effect.index)
        self._queries.applied(self.applier.applied)

    def _read_entries(self, effect: fx.ReadEntries) -> None:
        def was_read(entries: list[Entry]) -> None:
            self._step(self.core.entries_read(self._now, effect.to, effect.first_index, entries))

        reading = self._disk.perform(lambda: self._storage.read(effect.first_index, effect.bytes_max))
        reading.addCallback(self._guard(was_read)).addErrback(self._on_failure)

    def _configuration_changed(self, effect: fx.ConfigurationChanged) -> None:
        self._network.set_members(effect.configuration.members, effect.configuration.directories)

    def _leadership_ready(self, effect: fx.LeadershipReady) -> None:
        role = self.core.server.role
        if isinstance(role, Leader):
            self._leadership.began(role.first_index)
            self._leadership.applied(self.applier.applied)

    def _role_changed(self, effect: fx.RoleChanged) -> None:
        view, name = self._view, self._config.name
        led, followed = view.role == Leader.name, view.leader
        view.role, view.term, view.leader = effect.role, effect.term, effect.leader
        self._log.info(
            "{node} is {role} in term {term}, leader {leader}: {why}",
            node=name, role=effect.role, term=effect.term, leader=effect.leader or "unknown", why=effect.why,
        )  # fmt: skip
        self._freshness.reset()
        if led:
            self._leadership.ended()
            self._proposals.lost(f"{name} leads no more: {effect.why}")
            self._waits.commands.lost(f"{name} leads no more: {effect.why}")
        elif followed is not None and followed != effect.leader:
            self._forwarding.lost(followed, f"{followed} leads no more")
