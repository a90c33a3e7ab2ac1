"""One machine in the host: runs its operations, turns whatever happens into an answer, and knows when it next wants to run."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from attrs import define, field

from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.limits import WAIT_MS_MAX
from txraft.statemachine.context import Context
from txraft.statemachine.declared import StateMachine
from txraft.statemachine.events import EventHistory, History, Page, checked_page, encode_event, topic_bytes
from txraft.statemachine.interfaces import IStateMachine, ISupplier, IWatched
from txraft.statemachine.operations import WAIT_PARAMETER, Operation
from txraft.statemachine.plain import LEAVES, require_plain, require_plain_sample
from txraft.statemachine.plugin import LoadedMachine
from txraft.statemachine.results import answer_of_problem, answer_of_value
from txraft.statemachine.sessions import NEVER_MS
from txraft.statemachine.state_parts import is_stream
from txraft.statemachine.values import RESULT_BYTES_MAX, decode_value_as, refuse_deep_nesting

__all__ = ["EXPIRE_PAUSE_MS", "EXPIRE_ROUNDS_MAX", "HALTING", "Hosted", "Wait"]

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


class Wait(NamedTuple):
    """What a command waits for: some of the supply of a topic, `demand` at the most, for so many seconds."""

    topic: bytes
    wait_s: float
    demand: int


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
        kept: the events it emitted, if it has no history of its own; part of the snapshot.
        on_signal: told of topics that something happened to: machine, topic.
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
    kept: EventHistory = field(factory=EventHistory)
    on_signal: Callable[[str, bytes], None] | None = None
    has_deadlines: bool = field(init=False)
    _own_events: Callable[[], History | None] = field(init=False)
    _told: list[tuple[bytes, bytes | None]] = field(factory=list)
    _last_deadline: float | None = None

    @has_deadlines.default
    def _look_for_deadline(self) -> bool:
        return getattr(type(self.machine), "deadline", None) is not StateMachine.deadline

    @_own_events.default
    def _look_for_events(self) -> Callable[[], History | None]:
        return self.machine.events if IWatched.providedBy(self.machine) else lambda: None

    @property
    def history(self) -> History:
        """The events of this machine. Raises what the machine raises."""
        own = self._own_events()
        return self.kept if own is None else own

    def run(self, ctx: Context, operation: Operation, arguments: msgspec.Struct) -> bytes:
        """Run a command; the encoded answer. What it raises is of `HALTING`."""
        ctx.tell = self._tell
        answer = self._run(ctx, operation, arguments)
        if self._told:
            self._publish(ctx.index)
        return answer

    def _tell(self, topic: str | bytes, fields: dict[str, Any] | None) -> None:
        """The command that runs has told something; encoded at once, for it may be the live state."""
        if fields is not None and not isinstance(topic, str):
            raise TypeError(f"the topic of an event is text, not {topic!r:.100}")
        self._told.append((topic_bytes(topic), None if fields is None else encode_event(fields)))

    def _publish(self, index: int) -> None:
        told, self._told = self._told, []
        for topic, fields in told:
            if fields is not None:
                self.kept.append(index, topic, fields)
            if self.on_signal is not None:
                self.on_signal(self.name, topic)

    def _run(self, ctx: Context, operation: Operation, arguments: msgspec.Struct) -> bytes:
        refusal = None
        try:
            value = self.machine.apply_command(ctx, operation.name, arguments)
        except Refused as raised:
            refusal = raised
            self._told.clear()  # nothing has happened
        except HALTING:
            raise
        except BUGS as error:
            return self._failed(operation.name, error, ctx)
        try:
            if refusal is not None:
                value = refusal.details
                answer = _bounded(answer_of_problem(_checked(refusal), ctx.index, ctx.term))
            else:
                answer = _bounded(answer_of_value(value, ctx.index, ctx.term))
            refuse_deep_nesting(answer)
            if type(value) not in LEAVES:  # most are
                require_plain(value)
            return answer
        except MemoryError:
            raise
        except RecursionError:  # at a depth that differs from server to server, but beyond what `refuse_deep_nesting` allows
            return self._failed(operation.name, ValueError("the result is nested too deep, or within itself"), ctx)
        except BUGS as error:
            return self._failed(operation.name, error, ctx)

    def ask(self, operation: Operation, arguments: bytes | msgspec.Raw, index: int, term: int) -> bytes:
        """Run a query; the encoded answer. It changes nothing, so nothing it raises halts a server."""
        try:
            value = self.machine.run_query(operation.name, decode_value_as(arguments, operation.decoder))
            answer = _bounded(answer_of_value(value, index, term))
            if type(value) not in LEAVES:
                require_plain(value)
            return answer
        except Refused as refusal:
            problem: Outcome = refusal
        except BUGS as error:
            self._note(operation.name, error)
            problem = NotApplied("machine_error", self._sentence(operation.name, error))
        try:
            answer = _bounded(answer_of_problem(_checked(problem), index, term))
            require_plain(problem.details)
            return answer
        except BUGS as error:
            self._note(operation.name, error)
            return answer_of_problem(NotApplied("machine_error", self._sentence(operation.name, error)), index, term)

    def read_events(self, topic: bytes, prefix: bool, first: int, skip: int) -> Page:
        """A page of its events; at the place 0 there are none yet, only the place of the next one.

        Raises:
            NotApplied: `compacted`, with `oldest`; or `machine_error`.
        """
        try:
            history = self.history
            if first == 0:
                return Page([], history.newest + 1)
            if first < history.oldest:
                oldest = history.oldest
                raise NotApplied("compacted", f"the events of {self.name} before index {oldest} are no longer kept", oldest=oldest)
            page = history.read(topic, prefix, first, skip)
            return page if history is self.kept else checked_page(page, first, skip, history.newest)
        except NotApplied:
            raise
        except BUGS as error:
            self._note("events", error)
            raise NotApplied("machine_error", self._sentence("events", error)) from error

    def answer_of_page(self, page: Page, index: int, term: int) -> bytes:
        """The encoded answer to a poll. Raises `NotApplied` `machine_error` when the events are not plain, or too long."""
        try:
            answer = _bounded(answer_of_value({"events": page.events, "next": page.next, "skip": page.skip}, index, term))
            for event in page.events:
                if type(event["fields"]) is dict:  # of a history of its own; those that are kept here are encoded
                    require_plain(event["fields"])
            return answer
        except BUGS as error:
            self._note("events", error)
            raise NotApplied("machine_error", self._sentence("events", error)) from error

    def newest_event(self) -> int:
        """Index of its newest event."""
        try:
            return int(self.history.newest)
        except BUGS as error:
            self._note("events", error)
            return 0

    def wait_of(self, operation: Operation, arguments: msgspec.Raw) -> Wait | None:
        """What a command waits for; None if it does not wait."""
        machine = self.machine
        try:
            decoded = decode_value_as(arguments, operation.decoder)
            wait_s = float(getattr(decoded, WAIT_PARAMETER, 0.0))
            if wait_s <= 0 or not ISupplier.providedBy(machine):
                return None
            topic, demand = machine.waits_on(operation.name, decoded), machine.demand(operation.name, decoded)
            return None if topic is None else Wait(topic_bytes(topic), min(wait_s, WAIT_MS_MAX / 1000), max(1, int(demand)))
        except BUGS as error:
            self._note("waits_on", error)
            return None

    def supply(self, topic: bytes) -> int:
        """How much there is for the commands that wait on `topic`."""
        try:
            return int(self.machine.supply(topic)) if ISupplier.providedBy(self.machine) else 0
        except BUGS as error:
            self._note("supply", error)
            return 0

    def expire(self, ctx: Context) -> None:
        """Log time has reached the deadline: let the machine run."""
        ctx.tell = self._tell
        self._expire(ctx)
        if self._told:
            self._publish(ctx.index)

    def _expire(self, ctx: Context) -> None:
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
            deadline = self.machine.deadline()
            if deadline == self._last_deadline and not self.not_before_ms:
                return False  # after most commands it is the one of before
            self.deadline_ms = max(_milliseconds(deadline), self.not_before_ms)
            self._last_deadline = deadline
        except HALTING:
            raise
        except BUGS as error:
            self.errors += 1
            self._note("deadline", error)
            self.deadline_ms, self._last_deadline = NEVER_MS, None
        return self.deadline_ms != before

    def capture(self, encode: Callable[[Any], bytes]) -> bytes | Iterator[Any]:
        """The state: encoded, or an iterator of items. Raises `NotApplied` `machine_error` when the machine cannot give it."""
        try:
            with self.giving_its_state():
                state = self.machine.snapshot()
                if is_stream(state):
                    items: Iterator[Any] = iter(state)
                    return items
                encoded: bytes = encode(state)
                require_plain_sample(state)
                return encoded
        except NotApplied as problem:
            self.note_snapshot_failure(problem)
            raise

    @contextmanager
    def giving_its_state(self) -> Iterator[None]:
        """In any thread: whatever the machine raises here becomes a `NotApplied` `machine_error`, of which nobody has been told."""
        try:
            yield
        except GeneratorExit:
            raise
        except MemoryError as error:
            sentence = f"there was not enough memory for a snapshot of machine {self.name}; a later one may succeed"
            raise NotApplied("machine_error", sentence, machine=self.name) from error
        except BUGS as error:
            sentence = f"{self.name}.snapshot failed with {_line(error)}: a bug in the plug-in; the server's log has the traceback"
            raise NotApplied("machine_error", sentence, machine=self.name) from error

    def note_snapshot_failure(self, problem: NotApplied) -> None:
        """It could not give its state, see `giving_its_state`."""
        self._note("snapshot", problem.__cause__ or problem)

    def _failed(self, operation: str, error: BaseException, ctx: Context) -> bytes:
        self.errors += 1
        self._note(operation, error)
        return answer_of_problem(Unknown("machine_error", self._sentence(operation, error)), ctx.index, ctx.term)

    def _sentence(self, operation: str, error: BaseException) -> str:
        # No more of the error than its type: the sentence is part of a result, which must be the same on every server.
        return f"{self.name}.{operation} failed with {type(error).__name__}: a bug in the plug-in; the server's log has the traceback"

    def _note(self, operation: str, error: BaseException) -> None:
        self.last_error = f"{operation}: {_line(error)}"[:_LINE_MAX]
        self.report(self.name, operation, "".join(traceback.format_exception(error))[-_TRACEBACK_MAX:])


def _line(error: BaseException) -> str:
    """One line on an error; unlike its text, it can always be had."""
    return traceback.format_exception_only(error)[-1].strip()[:_LINE_MAX]


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
    milliseconds = round(deadline * 1000)
    if milliseconds / 1000 < deadline:
        milliseconds += 1
    return min(milliseconds, NEVER_MS)
