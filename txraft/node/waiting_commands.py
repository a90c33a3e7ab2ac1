"""Commands that found nothing yet, such as a take from an empty queue: they wait on the leader, first come, first served, and go into the
log when there is something for them or their wait is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IReactorTime

from txraft.errors import NotApplied, Unknown
from txraft.node.ports import Caller
from txraft.node.waiting_room import WaitingRoom
from txraft.statemachine import Host
from txraft.statemachine.results import answer_of_problem
from txraft.wire.requests import InvokeRequest

__all__ = ["Command", "WaitingCommands"]


@frozen(eq=False)
class Command:
    """A command of a client's, with arguments of `Host.prepare`.

    Attributes:
        demand: how much of the supply it takes at the most.
    """

    caller: Caller
    request: InvokeRequest
    session: int
    first_outstanding: int
    demand: int = 1


@define(eq=False)
class Line:
    """Those that wait on one topic of a machine, in the order in which they came.

    Attributes:
        under_way: how many have been proposed and not been answered.
        promised: what these take of the supply together, at the most.
    """

    machine: str
    topic: bytes
    waiting: OrderedDict[WaitingCommand, None] = field(factory=OrderedDict)
    under_way: int = 0
    promised: int = 0


@define(eq=False)
class WaitingCommand:
    """One of them; a `waiting_room.Waiter`."""

    commands: WaitingCommands
    line: Line
    command: Command

    @property
    def caller(self) -> Caller:
        """See `Waiter`."""
        return self.command.caller

    @property
    def size_bytes(self) -> int:
        """See `Waiter`."""
        return len(self.command.request.arguments)

    def overdue(self) -> None:
        """See `Waiter`: what it finds now is its answer."""
        self.commands.end(self)

    def dismissed(self, problem: NotApplied | None) -> None:
        """See `Waiter`."""
        self.commands.drop(self)
        if problem is not None:
            self.caller.answer(self.command.request.id, answer_of_problem(problem))
            self.caller.flush()


@frozen(eq=False)
class Served:
    """The `Caller` of a command under way: sees its answer pass."""

    commands: WaitingCommands
    line: Line
    command: Command

    def answer(self, request_id: int, answer: bytes) -> None:
        """See `Caller`."""
        self.commands.answered(self.line, self.command)
        self.command.caller.answer(request_id, answer)

    def flush(self) -> None:
        """See `Caller`."""
        self.command.caller.flush()


class WaitingCommands:
    """All lines of a node that leads. Reactor thread only.

    Args:
        room: where they wait.
        propose: puts a command into the log and has its caller answered; raises `NotApplied`.
    """

    def __init__(self, clock: IReactorTime, host: Host, room: WaitingRoom, propose: Callable[[Command, Caller], None]) -> None:
        self._clock, self._host, self._room, self._propose = clock, host, room, propose
        self._lines: dict[tuple[str, bytes], Line] = {}
        self._stirred: dict[Line, None] = {}
        self._under_way: set[tuple[int, int]] = set()
        self._in_sessions: dict[tuple[int, int], WaitingCommand] = {}

    def take(self, command: Command) -> None:
        """Take a command that may wait.

        Raises:
            NotApplied: `too_many_waits`, `overloaded`.
        """
        request, session = command.request, command.session
        wait = self._host.wait_of(request.machine, request.command, request.arguments)
        # One that was sent again has its answer already, or is about to: then nothing is to be waited for.
        again = session and ((session, request.serial) in self._under_way or self._host.is_answered(session, request.serial))
        if wait is None or again:
            self._propose(command, command.caller)
            return
        command = evolve(command, demand=wait.demand)
        line = self._lines.get((request.machine, wait.topic)) or Line(request.machine, wait.topic)
        if not line.waiting and self._free(line) > 0:
            self._serve(line, command)
            return
        before = self._in_sessions.get((session, request.serial))
        if before is not None and before.line is line:
            self._take_over(before, command, wait.wait_s)
            return
        waiting = WaitingCommand(self, line, command)
        self._room.enter(waiting, self._clock.seconds() + wait.wait_s)
        line.waiting[waiting] = None
        self._lines[line.machine, line.topic] = line
        if session:
            self._in_sessions[session, request.serial] = waiting

    def _take_over(self, waiting: WaitingCommand, command: Command, wait_s: float) -> None:
        """A command that waits was sent again, over another connection: it keeps its place, and whoever sent it last has the answer."""
        before = waiting.command
        self._room.leave(waiting)
        waiting.command = command
        try:
            self._room.enter(waiting, self._clock.seconds() + wait_s)
        except NotApplied:
            self.drop(waiting)
            raise
        finally:
            # Not that it is not applied: the other may be, and may be the earlier of the two, come late.
            problem = Unknown("sent_again", "this command came again with the same serial number; the answer goes there")
            before.caller.answer(before.request.id, answer_of_problem(problem))
            before.caller.flush()

    def signalled(self, machine: str, topic: bytes) -> None:
        """Something happens just now: note whom it concerns."""
        line = self._lines.get((machine, topic))
        if line is not None:
            self._stirred[line] = None

    def applied(self) -> None:
        """The entries of a slice are applied, or time has passed: let those go on for whom there is something now."""
        stirred, self._stirred = self._stirred, {}
        for line in stirred:
            if line.waiting:
                self._go_on(line)
            self._tidy(line)

    def _go_on(self, line: Line) -> None:
        for waiting in list(islice(line.waiting, max(self._free(line), 0))):
            if self._free(line) <= 0:
                return
            try:
                self._serve(line, waiting.command)
            except NotApplied:
                self._stirred[line] = None  # too much is under way: it keeps its place, and is tried again soon
                return
            self._room.leave(waiting)
            self._leave_line(waiting)

    def end(self, waiting: WaitingCommand) -> None:
        """Propose a command whose wait is over; if that cannot be, its caller is told so."""
        self._room.leave(waiting)
        self._leave_line(waiting)
        command = waiting.command
        try:
            self._serve(waiting.line, command)
        except NotApplied as problem:
            self._tidy(waiting.line)
            command.caller.answer(command.request.id, answer_of_problem(problem))
            command.caller.flush()

    def drop(self, waiting: WaitingCommand) -> None:
        """A command that has left the room stands in line no more."""
        self._leave_line(waiting)
        self._tidy(waiting.line)

    def _leave_line(self, waiting: WaitingCommand) -> None:
        del waiting.line.waiting[waiting]
        self._in_sessions.pop((waiting.command.session, waiting.command.request.serial), None)

    def lost(self, why: str) -> None:
        """This node leads no more. What was not proposed may be sent to another."""
        problem = NotApplied("leadership_lost", f"{why}; the command was not proposed, send it again")
        for line in list(self._lines.values()):
            for waiting in list(line.waiting):
                if self._room.leave(waiting):
                    waiting.dismissed(problem)

    def _serve(self, line: Line, command: Command) -> None:
        """Propose a command. Raises `NotApplied`, and then nothing has changed."""
        self._propose(command, Served(self, line, command))
        line.under_way += 1
        line.promised += command.demand
        self._lines[line.machine, line.topic] = line
        self._under_way.add((command.session, command.request.serial))

    def answered(self, line: Line, command: Command) -> None:
        """A command under way has its answer."""
        line.under_way -= 1
        line.promised -= command.demand
        self._under_way.discard((command.session, command.request.serial))
        self._stirred[line] = None

    def _free(self, line: Line) -> int:
        return self._host.hosted(line.machine).supply(line.topic) - line.promised

    def _tidy(self, line: Line) -> None:
        # It may have been stirred, forgotten, and followed by another one of the same topic.
        if not line.waiting and not line.under_way and self._lines.get((line.machine, line.topic)) is line:
            del self._lines[line.machine, line.topic]
