"""One machine in the host: runs its operations, turns whatever happens into an answer, and knows when it next wants to run."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, field

from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.statemachine.context import Context
from txraft.statemachine.declared import StateMachine
from txraft.statemachine.interfaces import IStateMachine
from txraft.statemachine.operations import Operation
from txraft.statemachine.plugin import LoadedMachine
from txraft.statemachine.results import answer_of_problem, answer_of_value
from txraft.statemachine.sessions import NEVER_MS
from txraft.statemachine.values import RESULT_BYTES_MAX, decode_value_as

__all__ = ["EXPIRE_PAUSE_MS", "EXPIRE_ROUNDS_MAX", "HALTING", "Hosted"]

HALTING = (MemoryError, OSError, RecursionError)
"""What differs from server to server: out of a machine it halts this server, and the command does not count as applied here."""

BUGS = (BaseException,)
"""What else comes out of a machine is a bug: the same on every server, so it must not stop one after the other."""

EXPIRE_ROUNDS_MAX = 100
"""How often `expire` is called for one entry while its deadline is still past."""

EXPIRE_PAUSE_MS = 1_000
"""How long, in log time, a machine waits whose `expire` failed or did not come to an end."""

_TRACEBACK_MAX = 8_000
_LINE_MAX = 300


@define(eq=False)
class Hosted:
    """A machine that exists, with what the host keeps beside its state.

    Attributes:
        name: what it is hosted as.
        loaded: its kind.
        machine: the state.
        report: told of bugs: machine, operation, traceback.
        errors: how many of its commands failed with a bug; part of the snapshot.
        not_before_ms: it does not run by itself before this log time; part of the snapshot.
        deadline_ms: the log time at which it next wants to run.
        last_error: one line.
        has_deadlines: it ever wants to run by itself; asking costs time after each command.
    """

    name: str
    loaded: LoadedMachine
    machine: IStateMachine
    report: Callable[[str, str, str], None]
    errors: int = 0
    not_before_ms: int = 0
    deadline_ms: int = NEVER_MS
    last_error: str = ""
    has_deadlines: bool = field(init=False)

    @has_deadlines.default
    def _look_for_deadline(self) -> bool:
        return getattr(type(self.machine), "deadline", None) is not StateMachine.deadline

    def run(self, ctx: Context, operation: Operation, arguments: msgspec.Struct) -> bytes:
        """Run a command; the encoded answer. What it raises is of `HALTING`."""
        refusal = None
        try:
            value = self.machine.apply_command(ctx, operation.name, arguments)
        except Refused as raised:
            refusal = raised
        except HALTING:
            raise
        except BUGS as error:
            return self._failed(operation.name, error, ctx)
        try:
            if refusal is not None:
                return _bounded(answer_of_problem(_checked(refusal), ctx.index, ctx.term))
            return _bounded(answer_of_value(value, ctx.index, ctx.term))
        except MemoryError:
            raise
        except BUGS as error:  # RecursionError too: a value that contains itself does so on every server
            return self._failed(operation.name, error, ctx)

    def ask(self, operation: Operation, arguments: bytes | msgspec.Raw, index: int, term: int) -> bytes:
        """Run a query; the encoded answer. It changes nothing, so nothing it raises halts a server."""
        try:
            value = self.machine.run_query(operation.name, decode_value_as(arguments, operation.decoder))
            return _bounded(answer_of_value(value, index, term))
        except Refused as refusal:
            problem: Outcome = refusal
        except BUGS as error:
            self._note(operation.name, error)
            problem = NotApplied("machine_error", self._sentence(operation.name, error))
        try:
            return _bounded(answer_of_problem(_checked(problem), index, term))
        except BUGS as error:
            self._note(operation.name, error)
            return answer_of_problem(NotApplied("machine_error", self._sentence(operation.name, error)), index, term)

    def expire(self, ctx: Context) -> None:
        """Log time has reached the deadline: let the machine run."""
        for _ in range(EXPIRE_ROUNDS_MAX):
            try:
                self.machine.expire(ctx)
            except HALTING:
                raise
            except BUGS as error:
                self._failed("expire", error, ctx)
                break
            self.note_deadline()
            if self.deadline_ms > ctx.time_ms:
                return
        self.not_before_ms = ctx.time_ms + EXPIRE_PAUSE_MS
        self.note_deadline()

    def note_deadline(self) -> bool:
        """Ask the machine when it next wants to run; whether that has changed."""
        before = self.deadline_ms
        try:
            self.deadline_ms = max(_milliseconds(self.machine.deadline()), self.not_before_ms)
        except HALTING:
            raise
        except BUGS as error:
            self.errors += 1
            self._note("deadline", error)
            self.deadline_ms = NEVER_MS
        return self.deadline_ms != before

    def capture(self, encode: Callable[[Any], bytes]) -> bytes:
        """The encoded state. Raises `NotApplied` `machine_error` when the machine cannot give it."""
        try:
            return encode(self.machine.snapshot())
        except MemoryError:
            raise
        except BUGS as error:
            self._note("snapshot", error)
            raise NotApplied("machine_error", self._sentence("snapshot", error)) from error

    def _failed(self, operation: str, error: BaseException, ctx: Context) -> bytes:
        self.errors += 1
        self._note(operation, error)
        return answer_of_problem(Unknown("machine_error", self._sentence(operation, error)), ctx.index, ctx.term)

    def _sentence(self, operation: str, error: BaseException) -> str:
        # No more of the error than its type: the sentence is part of a result, which must be the same on every server.
        return f"{self.name}.{operation} failed with {type(error).__name__}: a bug in the plug-in; the server's log has the traceback"

    def _note(self, operation: str, error: BaseException) -> None:
        line = traceback.format_exception_only(error)[-1].strip()  # unlike str(error), this never raises
        self.last_error = f"{operation}: {line}"[:_LINE_MAX]
        self.report(self.name, operation, "".join(traceback.format_exception(error))[-_TRACEBACK_MAX:])


def _bounded(answer: bytes) -> bytes:
    if len(answer) > RESULT_BYTES_MAX:
        raise ValueError(f"the result takes {len(answer)} bytes, more than the {RESULT_BYTES_MAX} allowed")
    return answer


def _checked(problem: Outcome) -> Outcome:
    """A `Refused` as clients can read it; authors may have given it anything."""
    if type(problem.code) is not str or type(problem.message) is not str:
        raise TypeError(f"code and message of Refused are texts, not {problem.code!r} and {problem.message!r}")
    return problem


def _milliseconds(deadline: float | None) -> int:
    """The first whole millisecond at which `ctx.time` has reached a deadline."""
    if deadline is None or deadline == math.inf:
        return NEVER_MS
    milliseconds = math.ceil(deadline * 1000)
    if milliseconds / 1000 < deadline:  # the product was rounded down
        milliseconds += 1
    return min(milliseconds, NEVER_MS)
