"""A node without log, disk and network: a real `Host` behind the `ClientGate` port. Every command is applied at once, as the next entry."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from msgspec import structs
from twisted.internet.defer import Deferred, fail, succeed

from txraft.core.snapshot import Snapshot
from txraft.errors import NotApplied, Outcome
from txraft.limits import Limits
from txraft.node.ports import Caller, OpenedSnapshot
from txraft.statemachine import Declaration
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import CloseSession, HostMachine, Invoke, KeepSession, LogCommand, OpenSession
from txraft.statemachine.results import OK, Answer, answer_of_problem, answer_of_value, decode_answer
from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
    PollRequest,
    ReadIndexRequest,
    Request,
    Requests,
    StatusRequest,
)

TERM = 3


class FakeGate:
    """Implements `txraft.node.ports.ClientGate`.

    Attributes:
        requests: every request taken by `call`, in order.
        timeouts_s: the `timeout_s` of each.
        held: set to a list, the answers are not given but wait in it: fire its Deferreds with `answer_to(request)` or anything else.
        problem: set, it is every answer.
        polls: polls that wait for events, in order: each is answered once there is one, and forgotten when its Deferred is cancelled.
        time_ms: wall clock of the leader.
        snapshot: the file of the newest; None while none was taken.
        snapshots_taken, snapshots_open: how many were asked for, and are being read.
        pieces: of a snapshot, asked for and not read yet; `give_piece` gives the first.
        pieces_read: offset and length of all.
    """

    def __init__(self, machines: Mapping[str, str], limits: Limits | None = None) -> None:
        self.host = Host(machines, limits=limits or Limits())
        self.requests: list[Request] = []
        self.timeouts_s: list[float | None] = []
        self.descriptions = 0
        self.held: list[Deferred[Answer]] | None = None
        self.problem: Outcome | None = None
        self.polls: dict[Deferred[Answer], PollRequest] = {}
        self.readiness = (True, "")
        self.soundness = (True, "")
        self.time_ms = 1_700_000_000_000
        self.snapshot: bytes | None = None
        self.snapshots_taken = self.snapshots_open = 0
        self.pieces: list[tuple[Deferred[bytes], bytes]] = []
        self.pieces_read: list[tuple[int, int]] = []
        for name, plugin, version in self.host.unhosted():
            self._apply(HostMachine(self.time_ms, name, plugin, version))

    def submit(self, caller: Caller, frame: Requests) -> None:
        for request in frame.requests:
            caller.answer(request.id, self.answer_to(request, frame.session, frame.first_outstanding))
        caller.flush()

    def forget(self, caller: Caller) -> None:
        raise AssertionError("only connections of native clients are forgotten")

    def call(self, request: Request, *, session: int = 0, first_outstanding: int = 0, timeout_s: float | None = None) -> Deferred[Answer]:
        self.requests.append(request)
        self.timeouts_s.append(timeout_s)
        if self.held is not None:
            self.held.append(Deferred())
            return self.held[-1]
        if isinstance(request, PollRequest) and request.wait_ms and self.problem is None:
            return self._wait(request)
        return succeed(decode_answer(self.answer_to(request, session, first_outstanding)))

    def end_waits(self) -> None:
        """The time of all polls is over: they are answered with what there is."""
        waiting = dict(self.polls)
        self.polls.clear()
        for deferred, request in waiting.items():
            deferred.callback(decode_answer(self.answer_to(request)))

    def _wait(self, request: PollRequest) -> Deferred[Answer]:
        answer = decode_answer(self.answer_to(request))
        if answer.outcome != OK or answer.value()["events"]:
            return succeed(answer)
        place = answer.value()
        deferred: Deferred[Answer] = Deferred(self.polls.__delitem__)
        self.polls[deferred] = structs.replace(request, first=place["next"], skip=place["skip"])
        return deferred

    def _wake(self) -> None:
        for deferred, request in list(self.polls.items()):
            answer = decode_answer(self.answer_to(request))
            if deferred in self.polls and (answer.outcome != OK or answer.value()["events"]):
                del self.polls[deferred]
                deferred.callback(answer)

    def answer_to(self, request: Request, session: int = 0, first_outstanding: int = 0) -> bytes:
        """The encoded answer that a leader would give."""
        if self.problem is not None:
            return answer_of_problem(self.problem)
        try:
            match request:
                case InvokeRequest():
                    arguments = self.host.prepare(request.machine, request.command, bytes(request.arguments))
                    return self._apply(
                        Invoke(self.time_ms, session, request.serial, first_outstanding, request.machine, request.command, arguments)
                    )
                case Ask():
                    arguments = self.host.prepare_query(request.machine, request.query, bytes(request.arguments))
                    return self.host.query(request.machine, request.query, bytes(arguments), TERM)
                case PollRequest():
                    page = self.host.hosted(request.machine).read_events(request.topic, request.prefix, request.first, request.skip)
                    place = {"events": page.events, "next": page.next, "skip": page.skip}
                    return answer_of_value(place, self.host.applied_index, TERM)
                case ReadIndexRequest():
                    return answer_of_value(None, self.host.applied_index, TERM)
                case OpenSessionRequest():
                    return self._apply(OpenSession(self.time_ms, request.timeout_ms or 3_600_000))
                case KeepSessionRequest():
                    return self._apply(KeepSession(self.time_ms, session))
                case CloseSessionRequest():
                    return self._apply(CloseSession(self.time_ms, session))
                case StatusRequest():
                    return answer_of_value(self.status(digest=request.digest), 0, 0)
                case DescribeRequest():
                    return answer_of_value(self.describe_machines(), 0, 0)
        except NotApplied as problem:
            return answer_of_problem(problem)

    def arguments_of_json(self, machine: str, operation: str, body: bytes, *, text: bool = False) -> bytes:
        return self.host.arguments_of_json(machine, operation, body, text=text)

    def declarations(self) -> dict[str, Declaration]:
        return self.host.declarations()

    def describe_machines(self) -> dict[str, Any]:
        self.descriptions += 1
        return self.host.describe()

    def status(self, *, digest: bool = False) -> dict[str, Any]:
        return {"name": "n1", **self.host.status(), **({"digest": self.host.digest()} if digest else {})}

    def digested_status(self) -> Deferred[dict[str, Any]]:
        return succeed(self.status(digest=True))

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        self.snapshots_taken += 1
        if self.problem is not None:
            return fail(self.problem)
        found = self.snapshot_at(self.host.applied_index)
        return succeed({"index": found.index, "term": found.term, "bytes": found.size, "sha256": found.sha256.hex()})

    def open_snapshot(self) -> Deferred[OpenedSnapshot]:
        if self.snapshot is None:
            return fail(NotApplied("no_snapshot", "no snapshot has been taken yet"))
        self.snapshots_open += 1
        return succeed(OpenedSnapshot(self.snapshot_at(self.host.applied_index), self._read_snapshot, self._close_snapshot))

    def snapshot_at(self, index: int) -> Snapshot:
        content = self.snapshot or b""
        return Snapshot(index, TERM, len(content), sha256(content).digest(), [])

    def _read_snapshot(self, offset: int, length: int) -> Deferred[bytes]:
        self.pieces_read.append((offset, length))
        piece: Deferred[bytes] = Deferred()
        self.pieces.append((piece, (self.snapshot or b"")[offset : offset + length]))
        return piece

    def give_piece(self) -> None:
        """The disk has read what was asked for first."""
        piece, content = self.pieces.pop(0)
        piece.callback(content)

    def _close_snapshot(self) -> None:
        self.snapshots_open -= 1

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def alive(self) -> tuple[bool, str]:
        return self.soundness

    def _apply(self, command: LogCommand) -> bytes:
        answer = self.host.apply(self.host.applied_index + 1, TERM, command)
        self._wake()
        return answer
