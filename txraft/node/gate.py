"""The way in for clients: takes their requests, answers at once what needs no consensus, and hands on the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txraft.core.ids import ServerId
from txraft.errors import NotApplied, Outcome, RemoteProtocolError
from txraft.limits import Limits, Timing
from txraft.node.forwarding import DeferredCaller, ForwardedCaller, Forwarding
from txraft.node.ports import Caller, Identity, PeerNetwork
from txraft.node.proposals import Proposals
from txraft.node.queries import Queries
from txraft.node.status import Vitals
from txraft.node.view import Stage, View
from txraft.statemachine import Declaration, Host
from txraft.statemachine.log_commands import CloseSession, Invoke, KeepSession, LogCommand, OpenSession
from txraft.statemachine.results import Answer, answer_of_problem, answer_of_value
from txraft.wire.codec import decode_requests, encode_requests
from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    Forward,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
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
        now_ms: Callable[[], int],
        vitals: Vitals,
    ) -> None:
        self._own_id, self._clock, self._limits, self._timing = own_id, clock, limits, timing
        self._view, self._host = view, host
        self._network, self._proposals, self._queries = network, proposals, queries
        self._now_ms, self._vitals = now_ms, vitals
        self.status, self.ready, self.alive = vitals.status, vitals.ready, vitals.alive
        self.forwarding = Forwarding(network, own_id)

    @property
    def identity(self) -> Identity:
        """Who this node is, for the greeting of its clients."""
        return self._vitals.identity

    def submit(self, caller: Caller, frame: Requests) -> None:
        """See `ClientGate`."""
        session, first_outstanding, host, take = frame.session, frame.first_outstanding, self._host, self._proposals.take
        time_ms, serving, room = self._now_ms(), self._view.serving, self._proposals.room
        answered = False
        for request in frame.requests:
            if serving and type(request) is InvokeRequest:
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
        caller = DeferredCaller(self._clock, request, self._timing.request_s if timeout_s is None else timeout_s)
        try:
            # What a program calls is held to what the wire would let through: it goes into the log, and to other servers.
            request = _as_from_the_wire(request, session, first_outstanding, self._limits.command_bytes_max)
        except NotApplied as problem:
            caller.answer(0, answer_of_problem(problem))
            return caller.deferred
        leader = self._view.leader
        elsewhere = leader is not None and leader != self._own_id and self._view.stage is Stage.RUNNING
        if elsewhere and not _is_local(request):
            assert leader is not None
            self.forwarding.forward(leader, self._view.term, caller, request, session, first_outstanding)
        else:
            self._take(caller, 0, request, session, first_outstanding)
        return caller.deferred

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
        caller = ForwardedCaller(self._network, self._own_id, sender, forward.id, lambda: self._view.term)
        self._take(caller, 0, forward.request, forward.session, forward.first_outstanding)

    def _take(self, caller: Caller, request_id: int, request: Request, session: int, first_outstanding: int) -> bool:
        """Take one request; whether it was answered at once."""
        try:
            if isinstance(request, (StatusRequest, DescribeRequest)):
                if self._view.stage is not Stage.RUNNING:
                    caller.answer(request_id, self._tell(request))
                    return True
                self._queries.take_question(caller, request_id, partial(self._tell, request))
            elif isinstance(request, Ask):
                self._take_query(caller, request_id, request)
            else:
                self._require_serving()
                self._proposals.take(caller, request_id, self._log_command(request, session, first_outstanding))
        except Outcome as problem:
            caller.answer(request_id, answer_of_problem(problem))
            return True
        return False

    def _take_query(self, caller: Caller, request_id: int, request: Ask) -> None:
        query = Ask(request.id, request.machine, request.query, self._prepare_query(request), request.consistency)
        if request.consistency == "local" and self._view.stage is Stage.RUNNING:
            self._queries.take_question(caller, request_id, partial(self.run_query, query))
        else:
            self._require_serving()
            self._queries.take(caller, request_id, query)

    def _tell(self, request: StatusRequest | DescribeRequest) -> bytes:
        digest = isinstance(request, StatusRequest) and request.digest
        told = self.describe_machines() if isinstance(request, DescribeRequest) else self._vitals.status(digest=digest)
        return answer_of_value(told, self._host.applied_index, self._view.term)

    def _prepare_query(self, request: Ask) -> Raw:
        return self._host.prepare_query(request.machine, request.query, request.arguments)

    def run_query(self, query: Ask) -> bytes:
        """Answer a query from the state as it is now."""
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

    def _require_serving(self) -> None:
        view = self._view
        if view.serving:
            return
        if view.stage is not Stage.RUNNING:
            code = "not_ready" if view.stage in (Stage.NEW, Stage.OPENING) else "shutting_down"
            raise NotApplied(code, f"node {self._own_id} is {view.stage.value}; ask another node")
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
    return isinstance(request, (StatusRequest, DescribeRequest)) or (isinstance(request, Ask) and request.consistency == "local")
