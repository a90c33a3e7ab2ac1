"""The way in for clients: takes their requests, answers at once what needs no consensus, and hands on the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from txraft.core.ids import ServerId
from txraft.errors import NotApplied, Outcome, RemoteProtocolError
from txraft.limits import Limits, Timing
from txraft.node.backups import Backups
from txraft.node.forwarding import DeferredCaller, ForwardedCaller, Forwarding
from txraft.node.ports import Caller, Identity, PeerNetwork
from txraft.node.proposals import Proposals
from txraft.node.queries import Confirmable, Queries
from txraft.node.status import Vitals
from txraft.node.view import Stage, View
from txraft.node.waiting_commands import Command
from txraft.node.waits import Waits
from txraft.statemachine import Declaration, Host
from txraft.statemachine.log_commands import CloseSession, Invoke, KeepSession, LogCommand, OpenSession
from txraft.statemachine.results import OK, Answer, answer_of_problem, answer_of_value, decode_answer
from txraft.wire.codec import decode_requests, encode_requests
from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    Forward,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
    PollRequest,
    ReadIndexRequest,
    Request,
    Requests,
    StatusRequest,
)

__all__ = ["Gate"]

_OVERLOADED = answer_of_problem(NotApplied("overloaded", "too many commands are waiting on this node already; try again later"))
"""Encoded once, and said before anything is looked at: refusing must cost a small part of serving, or a node that is asked too much
does nothing else."""


class Gate:
    """Implements `ports.ClientGate`. Reactor thread only.

    Args:
        now_ms: what to stamp into commands: see `LogClock`.
        vitals: status, readiness and soundness of this node.
        staleness_s: how old the state may be that is applied here.
    """

    def __init__(
        self,
        own_id: ServerId,
        clock: IReactorTime,
        limits: Limits,
        timing: Timing,
        view: View,
        host: Host,
        network: PeerNetwork,
        proposals: Proposals,
        queries: Queries,
        waits: Waits,
        now_ms: Callable[[], int],
        vitals: Vitals,
        staleness_s: Callable[[], float],
        backups: Backups,
    ) -> None:
        self._own_id, self._clock, self._limits, self._timing = own_id, clock, limits, timing
        self._view, self._host = view, host
        self._network, self._proposals, self._queries = network, proposals, queries
        self._waits, self._now_ms, self._vitals, self._staleness_s = waits, now_ms, vitals, staleness_s
        self.status, self.ready, self.alive, self.digested_status = vitals.status, vitals.ready, vitals.alive, vitals.digested_status
        self.take_snapshot, self.open_snapshot = backups.take_snapshot, backups.open_snapshot
        self.forwarding = Forwarding(network, own_id, lambda: vitals.identity.incarnation)

    @property
    def identity(self) -> Identity:
        """Who this node is, for the greeting of its clients."""
        return self._vitals.identity

    def submit(self, caller: Caller, frame: Requests) -> None:
        """See `ClientGate`."""
        session, first_outstanding, host, take = frame.session, frame.first_outstanding, self._host, self._proposals.take
        waiting_commands = host.waiting_commands
        time_ms, serving, room = self._now_ms(), self._view.serving, self._proposals.room
        answered = False
        for request in frame.requests:
            if serving and type(request) is InvokeRequest and request.command not in waiting_commands:
                if room <= 0:
                    caller.answer(request.id, _OVERLOADED)
                    answered = True
                    continue
                try:
                    arguments = host.prepare(request.machine, request.command, request.arguments)
                    take(
                        caller,
                        request.id,
                        Invoke(time_ms, session, request.serial, first_outstanding, request.machine, request.command, arguments),
                    )
                    room -= 1
                except NotApplied as problem:
                    caller.answer(request.id, answer_of_problem(problem))
                    answered = True
            else:
                answered |= self._take(caller, request.id, request, session, first_outstanding)
        if answered:
            caller.flush()
        self._proposals.frame_taken()

    def call(self, request: Request, *, session: int = 0, first_outstanding: int = 0, timeout_s: float | None = None) -> Deferred[Answer]:
        """See `ClientGate`."""
        try:
            # What a program calls is held to what the wire would let through: it goes into the log, and to other servers.
            request = _as_from_the_wire(request, session, first_outstanding, self._limits.command_bytes_max)
        except NotApplied as problem:
            return succeed(decode_answer(answer_of_problem(problem)))
        if timeout_s is None:
            timeout_s = self._timing.request_s + self._wait_s(request)
        caller = DeferredCaller(self._clock, request, timeout_s, self._gone)
        leader = self._view.leader
        elsewhere = leader is not None and leader != self._own_id and self._view.stage is Stage.RUNNING
        if not elsewhere or _is_local(request):
            self._take(caller, 0, request, session, first_outstanding)
        elif isinstance(request, Ask):
            self._ask_once_confirmed(caller, request, timeout_s)
        else:
            self._forward(caller, request, session, first_outstanding)
        return caller.deferred

    def _forward(self, caller: DeferredCaller, request: Request, session: int = 0, first_outstanding: int = 0) -> None:
        assert self._view.leader is not None
        self.forwarding.forward(self._view.leader, self._view.term, caller, request, session, first_outstanding)

    def _ask_once_confirmed(self, caller: DeferredCaller, query: Ask, timeout_s: float) -> None:
        """Answer a linearizable query here, from a state that the leader has said is new enough. Source: §6.4."""

        def confirmed(answer: Answer) -> None:
            try:
                if answer.outcome != OK:
                    raise answer.problem()
                self._queries.take_after(answer.index, caller, 0, partial(self.run_query, prepared))
                self._queries.applied(self._host.applied_index)
            except Outcome as problem:
                caller.answer(0, answer_of_problem(problem))

        try:
            prepared = self._prepared(query)
        except NotApplied as problem:
            caller.answer(0, answer_of_problem(problem))
            return
        asking = DeferredCaller(self._clock, query, timeout_s, self._gone)
        self._forward(asking, ReadIndexRequest(0))
        asking.deferred.addCallback(confirmed)

    def _wait_s(self, request: Request) -> float:
        """How long a request may wait of itself."""
        if isinstance(request, PollRequest):
            return request.wait_ms / 1000
        if isinstance(request, InvokeRequest) and request.command in self._host.waiting_commands:
            with suppress(NotApplied):  # it will be said when the request is taken
                arguments = self._host.prepare(request.machine, request.command, request.arguments)
                wait = self._host.wait_of(request.machine, request.command, arguments)
                return wait.wait_s if wait is not None else 0.0
        return 0.0

    def forget(self, caller: Caller) -> None:
        """See `ClientGate`."""
        self._waits.forget(caller)

    def _gone(self, caller: DeferredCaller) -> None:
        self._waits.forget(caller)
        self.forwarding.withdraw(caller, self._view.term)

    def arguments_of_json(self, machine: str, operation: str, body: bytes, *, text: bool = False) -> bytes:
        """See `ClientGate`."""
        return self._host.arguments_of_json(machine, operation, body, text=text)

    def describe_machines(self) -> dict[str, Any]:
        """See `ClientGate`."""
        return self._host.describe()

    def declarations(self) -> Mapping[str, Declaration]:
        """See `ClientGate`."""
        return self._host.declarations()

    def forwarded(self, sender: ServerId, forward: Forward) -> None:
        """Another server took this for the leader and passed a request on. It is not passed on again: whoever is wrong learns it."""
        self._take(self._forwarded_by(sender, forward.id), 0, forward.request, forward.session, forward.first_outstanding)

    def withdrawn(self, sender: ServerId, forward_id: int) -> None:
        """Whoever asked what another server passed on to this one has gone."""
        self._waits.forget(self._forwarded_by(sender, forward_id))

    def peer_lost(self, peer: ServerId) -> None:
        """The connection to another server was lost: what it has passed on, and what was passed on to it."""
        why = f"the connection to {peer} was lost"
        self.forwarding.lost(peer, why)
        unreachable = NotApplied("unreachable", f"{why} while this waited there; nothing was proposed, send it again")
        self._waits.dismiss(unreachable, lambda caller: isinstance(caller, ForwardedCaller) and caller.sender == peer)

    def _forwarded_by(self, sender: ServerId, forward_id: int) -> ForwardedCaller:
        return ForwardedCaller(sender, forward_id, self._network, self._own_id, lambda: self._view.term)

    def _take(self, caller: Caller, request_id: int, request: Request, session: int, first_outstanding: int) -> bool:
        """Take one request; whether it was answered at once."""
        try:
            if isinstance(request, (StatusRequest, DescribeRequest)):
                if self._view.stage is not Stage.RUNNING:
                    caller.answer(request_id, self._tell(request))
                    return True
                if isinstance(request, StatusRequest) and request.digest:
                    self._vitals.answer_with_digest(caller, request_id)
                    return False
                self._queries.take_question(caller, request_id, partial(self._tell, request))
            elif isinstance(request, Ask):
                self._take_query(caller, request_id, request)
            elif isinstance(request, PollRequest):
                self._require_running()
                self._waits.polls.take(caller, request_id, request)
            elif isinstance(request, ReadIndexRequest):
                self._require_serving()
                self._queries.take(caller, request_id, request)
            elif isinstance(request, InvokeRequest) and request.command in self._host.waiting_commands:
                self._require_serving()
                arguments = self._host.prepare(request.machine, request.command, request.arguments)
                prepared = InvokeRequest(request_id, request.serial, request.machine, request.command, arguments)
                self._waits.commands.take(Command(caller, prepared, session, first_outstanding))
            else:
                self._require_serving()
                self._proposals.take(caller, request_id, self._log_command(request, session, first_outstanding))
        except Outcome as problem:
            caller.answer(request_id, answer_of_problem(problem))
            return True
        return False

    def _take_query(self, caller: Caller, request_id: int, request: Ask) -> None:
        query = self._prepared(request)
        if request.consistency != "local" or self._view.stage is not Stage.RUNNING:
            self._require_serving()
            self._queries.take(caller, request_id, query)
            return
        question = partial(self.run_query, query)
        if request.max_staleness_ms:
            staleness_max_s = request.max_staleness_ms / 1000
            self._require_fresh(staleness_max_s)
            question = partial(self._run_if_fresh, query, staleness_max_s)
        if request.at_least > self._host.applied_index:
            self._queries.take_after(request.at_least, caller, request_id, question)
        else:
            self._queries.take_question(caller, request_id, question)

    def _run_if_fresh(self, query: Ask, staleness_max_s: float) -> bytes:
        """Answer a query that has waited for its turn, or for an index: what counts is how old the state is when it is answered."""
        try:
            self._require_fresh(staleness_max_s)
        except NotApplied as stale:
            return answer_of_problem(stale)
        return self.run_query(query)

    def _require_fresh(self, staleness_max_s: float) -> None:
        staleness_s = self._staleness_s()
        if staleness_s > staleness_max_s:
            known = f"may be {staleness_s:.3g} s old" if staleness_s < inf else "is older than can be told"
            raise NotApplied("stale", f"what node {self._own_id} has {known}; ask another node, or allow more than {staleness_max_s:g} s")

    def _tell(self, request: StatusRequest | DescribeRequest) -> bytes:
        told = self.describe_machines() if isinstance(request, DescribeRequest) else self._vitals.status()
        return answer_of_value(told, self._host.applied_index, self._view.term)

    def _prepared(self, request: Ask) -> Ask:
        arguments = self._host.prepare_query(request.machine, request.query, request.arguments)
        return Ask(request.id, request.machine, request.query, arguments, request.consistency)

    def propose(self, command: Command, caller: Caller) -> None:
        """Put a command that has waited into the log. Raises `NotApplied`."""
        self._require_serving()
        request, first_outstanding = command.request, command.first_outstanding
        invoke = Invoke(
            self._now_ms(), command.session, request.serial, first_outstanding, request.machine, request.command, request.arguments
        )
        self._proposals.take(caller, request.id, invoke, patient=self._host.is_patient(request.machine, request.command))

    def run_query(self, query: Confirmable) -> bytes:
        """Answer a query from the state as it is now; or nothing, from which the index is taken."""
        if isinstance(query, ReadIndexRequest):
            return answer_of_value(None, self._host.applied_index, self._view.term)
        return self._host.query(query.machine, query.query, query.arguments, self._view.term)

    def _log_command(self, request: Request, session: int, first_outstanding: int) -> LogCommand:
        time_ms = self._now_ms()
        if isinstance(request, InvokeRequest):
            arguments = self._host.prepare(request.machine, request.command, request.arguments)
            return Invoke(time_ms, session, request.serial, first_outstanding, request.machine, request.command, arguments)
        if isinstance(request, OpenSessionRequest):
            return OpenSession(time_ms, request.timeout_ms or int(self._timing.session_s * 1000))
        if isinstance(request, KeepSessionRequest):
            return KeepSession(time_ms, session)
        assert isinstance(request, CloseSessionRequest)
        return CloseSession(time_ms, session)

    def _require_running(self) -> None:
        stage = self._view.stage
        if stage is not Stage.RUNNING:
            code = "not_ready" if stage in (Stage.NEW, Stage.OPENING) else "shutting_down"
            raise NotApplied(code, f"node {self._own_id} is {stage.value}; ask another node")

    def _require_serving(self) -> None:
        view = self._view
        if view.serving:
            return
        self._require_running()
        if view.alarm and view.leader is None:
            raise NotApplied("disk_full", f"node {self._own_id} takes no commands: {view.alarm}")
        if view.leader == self._own_id:
            raise NotApplied("not_ready", f"node {self._own_id} leads but has not yet applied what came before its term; try again")
        if view.leader is None:
            raise NotApplied("no_leader", f"node {self._own_id} knows no leader: an election is under way, or no majority is reachable")
        raise NotApplied(
            "not_leader",
            f"node {self._own_id} does not lead, {view.leader} does",
            leader=view.leader,
            address=self._network.client_address(view.leader),
        )


def _as_from_the_wire(request: Request, session: int, first_outstanding: int, arguments_bytes_max: int) -> Request:
    if isinstance(request, (InvokeRequest, Ask)) and len(request.arguments) > arguments_bytes_max:
        raise NotApplied("too_large", f"{len(request.arguments)} bytes of arguments are more than the {arguments_bytes_max} allowed")
    try:
        return decode_requests(encode_requests(Requests(session, first_outstanding, [request]))).requests[0]
    except (RemoteProtocolError, OverflowError) as error:
        raise NotApplied("invalid_arguments", f"this request cannot be sent: {error}") from None


def _is_local(request: Request) -> bool:
    if isinstance(request, Ask):
        return request.consistency == "local"
    return isinstance(request, (StatusRequest, DescribeRequest, PollRequest))
