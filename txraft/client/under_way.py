"""The calls of a client that are not answered: how many there may be, and until when each may take."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from txraft.client.calls import Call, Kind
from txraft.errors import NotApplied
from txraft.wire.requests import Ask, PollRequest

__all__ = ["CALLS_MAX", "CALL_BYTES_MAX", "WAITING_COMMANDS_MAX", "UnderWay"]

CALLS_MAX = 10_000
"""Calls made and not answered; beyond it a call fails as `overloaded`. Those that may wait on the server are not among them."""

CALL_BYTES_MAX = 67_108_864
"""The size of all."""

WAITING_COMMANDS_MAX = 1_024
"""Commands with `wait_s` made and not answered; beyond it one fails as `too_many_waits`."""

_OVERHEAD_BYTES = 96
"""More than everything in a frame that belongs to one call beside names and arguments."""


class UnderWay:
    """Makes calls, and keeps them until they end.

    Args:
        timeout_s: how long a call may take beside the time it may wait on the server.
        monotonic: the clock for deadlines.
    """

    def __init__(self, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._last_number = 0
        self._bytes = 0
        self._plain: dict[int, Call] = {}  # In the order of their deadlines: all have the same time.
        self._waits: dict[int, Call] = {}  # In no order of deadlines, but few.
        self._waiting_commands = 0

    def __bool__(self) -> bool:
        return bool(self._plain or self._waits)

    def new(
        self, kind: Kind, machine: str, operation: str, arguments: bytes, option: int = 0, template: Ask | PollRequest | None = None
    ) -> Call:
        """A call of the client's user. Raises `NotApplied` `overloaded`."""
        size_bytes = len(arguments) + 4 * (len(machine) + len(operation)) + _OVERHEAD_BYTES
        if len(self._plain) >= CALLS_MAX or self._bytes + size_bytes > CALL_BYTES_MAX:
            raise NotApplied("overloaded", f"{len(self._plain)} calls of this client are unanswered")
        self._last_number = number = self._last_number + 1
        deadline_s = self._monotonic() + self._timeout_s
        call = self._plain[number] = Call(number, kind, machine, operation, arguments, size_bytes, deadline_s, option, 0.0, template)
        self._bytes += size_bytes
        return call

    def new_for_session(self, kind: Kind, option: int, session: int) -> Call:
        """A call of the client itself: not bounded, for all calls may be waiting for it."""
        call = self._unbounded(kind, "", "", b"", 0.0, None)
        call.option, call.session = option, session
        return call

    def new_poll(self, request: PollRequest) -> Call:
        """A poll for events; bounded by who makes watches."""
        call = self._unbounded(Kind.POLL, request.machine, "", b"", request.wait_ms / 1000, request)
        call.size_bytes += len(request.topic)
        self._bytes += len(request.topic)
        return call

    def new_waiting(self, kind: Kind, machine: str, command: str, arguments: bytes, wait_s: float) -> Call:
        """A command that may wait on the server. Raises `NotApplied` `too_many_waits` or `overloaded`."""
        if self._waiting_commands >= WAITING_COMMANDS_MAX:
            raise NotApplied("too_many_waits", f"{WAITING_COMMANDS_MAX} commands with wait_s of this client are unanswered")
        if self._bytes + len(arguments) > CALL_BYTES_MAX:
            raise NotApplied("overloaded", f"the calls of this client that are unanswered have {self._bytes} bytes")
        self._waiting_commands += 1
        return self._unbounded(kind, machine, command, arguments, wait_s, None)

    def _unbounded(
        self, kind: Kind, machine: str, operation: str, arguments: bytes, wait_s: float, template: Ask | PollRequest | None
    ) -> Call:
        self._last_number = number = self._last_number + 1
        size_bytes = len(arguments) + 4 * (len(machine) + len(operation)) + _OVERHEAD_BYTES
        deadline_s = self._monotonic() + self._timeout_s + wait_s
        call = Call(number, kind, machine, operation, arguments, size_bytes, deadline_s, 0, wait_s, template)
        (self._waits if wait_s else self._plain)[number] = call
        self._bytes += size_bytes
        return call

    def ended(self, call: Call) -> None:
        """It is answered or given up."""
        self._bytes -= call.size_bytes
        if call.wait_s:
            del self._waits[call.number]
            if call.changes:
                self._waiting_commands -= 1
        else:
            del self._plain[call.number]

    def all(self) -> list[Call]:
        """Every one."""
        return [*self._plain.values(), *self._waits.values()]

    def overdue(self) -> list[Call]:
        """Those whose time is up."""
        now_s = self._monotonic()
        late = list(takewhile(lambda call: call.deadline_s <= now_s, self._plain.values()))
        return late + [call for call in self._waits.values() if call.deadline_s <= now_s]

    def wait_left_s(self, call: Call) -> float:
        """For how much longer it may wait on the server, if it has to be sent again."""
        return max(0.0, call.deadline_s - self._timeout_s - self._monotonic())
