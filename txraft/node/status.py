"""What a node tells of itself: plain fields, for `GET /v1/status`, the command line and the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft import __version__
from txraft.core.roles import Leader
from txraft.core.server import Server
from txraft.errors import NotApplied
from txraft.node.ports import Caller, Identity
from txraft.node.view import Stage
from txraft.statemachine.results import answer_of_problem, answer_of_value

if TYPE_CHECKING:
    from txraft.node.driver import Driver
    from txraft.node.node import Node

DISK_DEAD_AFTER = 10
"""Election timeouts without an answer of the disk until the node calls itself dead."""

__all__ = ["Vitals"]


class Vitals:
    """Status, readiness and soundness of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._digested: tuple[int, str] | None = None
        self._asking: list[Deferred[dict[str, Any]]] = []
        self._digesting = False

    @property
    def identity(self) -> Identity:
        """Who this node is."""
        return self._node.identity

    def ready(self) -> tuple[bool, str]:
        """See `ClientGate.ready`."""
        node, view = self._node, self._node.view
        if view.stage is not Stage.RUNNING or node.driver is None:
            return False, view.halted_because or view.alarm or view.stage.value
        if view.alarm:
            return False, view.alarm
        if node.driver.core.server.repair is not None:
            return False, _repairing(node, node.driver.core.server)
        if view.leader is None:
            return False, node.standing.trouble() or "no leader is known: an election is under way, or no majority is reachable"
        if view.leader == node.server_id and not view.serving:
            return False, "leads, but has not yet applied what came before its term"
        if not node.driver.applier.target:
            return False, "has not heard from the leader yet how far the log is committed"
        behind = node.driver.applier.target - node.driver.applier.applied
        if behind > node.config.limits.append_entries_max:
            return False, f"replaying the log: {behind} entries left"
        return True, "ok"

    def alive(self) -> tuple[bool, str]:
        """See `ClientGate.alive`."""
        node = self._node
        if node.view.stage is Stage.HALTED:
            return False, f"halted: {node.view.halted_because}"
        age = node.driver.durability.oldest_age_s() if node.driver is not None else 0.0
        if age > DISK_DEAD_AFTER * node.config.timing.election_s:
            return False, f"the disk has not answered for {age:.1f} s"
        return True, "ok"

    def status(self, *, digest: bool = False) -> dict[str, Any]:
        """See `ClientGate.status`. Sizes in bytes, times in seconds."""
        node, view, config = self._node, self._node.view, self._node.config
        is_ready, why = self.ready()
        status: dict[str, Any] = {
            "name": config.name,
            "version": __version__,
            "cluster": config.cluster,
            "cluster_id": node.identity.cluster_id,
            "stage": view.stage.value,
            "role": view.role,
            "term": view.term,
            "leader": view.leader,
            "leader_client_address": _leader_address(node),
            "alarm": view.alarm,
            "ready": is_ready,
            "reason": why,
            "wall_ms": node.wall_ms(),
            "uptime_s": round(node.clock.seconds() - node.started_at, 3),
            "opening_progress": round(node.opening_progress, 3),
            "waits": node.waits.count,
            "requests_waiting": node.proposals.count + node.queries.count + node.gate.forwarding.count,
            **node.host.status(),
        }
        if node.driver is not None:
            status |= _log_status(node, node.driver)
        if digest:
            status["digest"] = self._digest()
        return status

    def _digest(self) -> str:
        # It takes a pass over the state, and many may ask at once.
        index = self._node.host.applied_index
        if self._digested is None or self._digested[0] != index:
            self._digested = (index, self._node.host.digest())
        return self._digested[1]

    def digested_status(self) -> Deferred[dict[str, Any]]:
        """See `ClientGate.digested_status`. The state is gone through by the thread of transfers, once for all who ask meanwhile."""
        asked: Deferred[dict[str, Any]] = Deferred()
        self._asking.append(asked)
        if not self._digesting:
            self._begin_digest()
        return asked

    def _begin_digest(self) -> None:
        asking, self._asking = self._asking, []
        status = self.status()
        try:
            digest = self._node.host.capture_digest()
        except NotApplied as problem:
            for one in asking:
                one.errback(problem)
            return

        def done(found: str | Failure) -> None:
            self._digesting = False
            for one in asking:
                if isinstance(found, str):
                    one.callback({**status, "digest": found})
                else:
                    one.errback(found)
            if self._asking:
                self._begin_digest()

        self._digesting = True
        self._node.workers.transfers.perform(digest).addBoth(done)

    def answer_with_digest(self, caller: Caller, request_id: int) -> None:
        """Answer a request for the status with its digest, when that is there."""
        index, term = self._node.host.applied_index, self._node.view.term

        def answer(encoded: bytes) -> None:
            caller.answer(request_id, encoded)
            caller.flush()

        def problem(failure: Failure) -> None:
            failure.trap(NotApplied)
            assert isinstance(failure.value, NotApplied)
            answer(answer_of_problem(failure.value))

        answering = self.digested_status().addCallback(lambda told: answer(answer_of_value(told, index, term)))
        answering.addErrback(problem).addErrback(self._node.halt)


def _repairing(node: Node, server: Server) -> str:
    sentence = "repairing: has lost part of what it acknowledged and waits until the other servers have given it all that again"
    connected, needs_all = node.network.connected(), server.repair is not None and server.repair.votes_lost
    missing = sorted(name for name in server.configuration.voters if name != server.id and not connected.get(name))
    if not missing or (node.view.leader is not None and not needs_all):
        return sentence
    return (
        f"{sentence}. It does not reach {' and '.join(missing)}: see that they run, for it needs {'all' if needs_all else 'most'} of them"
    )


def _leader_address(node: Node) -> str:
    leader = node.view.leader
    if leader is None:
        return ""
    return node.config.advertise_client if leader == node.server_id else node.network.client_address(leader)


def _log_status(node: Node, driver: Driver) -> dict[str, Any]:
    server, applier, durability = driver.core.server, driver.applier, driver.durability
    return {
        "incarnation": node.identity.incarnation,
        "base_index": server.log.base_index,
        "last_index": server.log.last_index,
        "last_term": server.log.last_term,
        "durable_index": server.log.durable_index,
        "commit_index": server.commit_index,
        "applied_index": applier.applied,
        "replay_progress": round(applier.applied / max(applier.target, 1), 4),
        "snapshot": driver.snapshots.status(),
        "members": _members(node, server),
        "peers": node.network.status(),
        "loop_lag_s": round(driver.timers.lag_s, 6),
        "loop_lag_max_s": round(driver.timers.lag_max_s, 6),
        "disk": {
            "oldest_job_s": round(durability.oldest_age_s(), 6),
            "writes": durability.writes,
            "write_s": round(durability.write_s, 6),
            "write_max_s": round(durability.write_max_s, 6),
            "reserve": driver.space.has_reserve,
            **(node.storage.usage() if node.storage is not None else {}),
        },
    }


def _members(node: Node, server: Server) -> dict[str, Any]:
    configuration, connected = server.configuration, node.network.connected()
    members: dict[str, dict[str, Any]] = {
        name: {
            "address": address,
            "voter": name in configuration.voters,
            "directory_known": name in configuration.directories,
            "connected": name == server.id or bool(connected.get(name, False)),
        }
        for name, address in configuration.members.items()
    }
    if isinstance(server.role, Leader):
        now = node.clock.seconds()
        for name, progress in server.role.progress.items():
            members[name] |= {
                "match_index": progress.match_index,
                "next_index": progress.next_index,
                "state": progress.state.value,
                "in_flight": progress.in_flight,
                "last_heard_s": round(now - progress.last_heard, 3),
            }
    return members
