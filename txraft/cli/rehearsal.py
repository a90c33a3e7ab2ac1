"""A log applied once more, to machines that nobody asks: to know what code makes of it before it serves."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from attrs import define, field

from txraft.core.entry import Entry, EntryKind
from txraft.errors import CorruptState, Halted, NotApplied, RestoreFailed, TxraftError
from txraft.limits import Limits
from txraft.statemachine import Host
from txraft.statemachine.log_commands import HostMachine, Invoke, LogCommand, decode_log_command

__all__ = ["Failed", "Rehearsal", "last_lines", "rehearse"]

ENTRIES_A_LOOK = 32
SLICE_S = 0.005
"""The nodes of this process go on meanwhile, between slices."""

TRACEBACK_LINES = 6

NOT_THEIRS = ("<frozen importlib", str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent))
"""Files whose lines in a traceback say nothing to the author of a machine."""


class Failed(TxraftError):
    """The log cannot be applied; the message says to which entry, the lines why."""

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__(message)
        self.lines = lines


@define
class Rehearsal:
    """What machines made of a log.

    Attributes:
        answers: what each entry was answered with; empty for what is no command.
        broken: what an exception in a command was, by the entry's index.
        commands: what the entries call, by index, for people.
        digest: of the state at the end; "" if the machines cannot give it.
        state_problem: why that state cannot be made a snapshot, or nothing can be restored from it.
        restored_otherwise: machines that are another after that, which only the comparison shows.
        seconds: that it took to apply the log.
    """

    answers: list[bytes] = field(factory=list)
    broken: dict[int, str] = field(factory=dict)
    commands: dict[int, str] = field(factory=dict)
    digest: str = ""
    state_problem: Failed | None = None
    restored_otherwise: list[str] = field(factory=list)
    seconds: float = 0.0

    def first_difference(self, other: Rehearsal) -> int | None:
        """The index of the first entry that was answered otherwise."""
        pairs = enumerate(zip(self.answers, other.answers, strict=False), 1)
        return next((index for index, (one, another) in pairs if one != another), None)


async def rehearse(
    machines: Mapping[str, str],
    read: Callable[[int], Awaitable[list[Entry]]],
    through: int,
    pause: Callable[[], Awaitable[object]],
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Rehearsal:
    """Apply a log from its beginning to fresh machines, as they can be imported now; then let others take over the state, as a server does
    that starts from a snapshot.

    Args:
        machines: plug-in by name.
        read: some entries from an index on.
        through: the last index.
        pause: lets others work.
        monotonic: for tests.

    Raises:
        MachineUnavailable: a machine cannot be imported or used.
        Failed: an entry cannot be applied.
    """
    host = Host(machines, limits=Limits())
    rehearsal = Rehearsal()
    index = 0

    def broken(machine: str, operation: str, text: str) -> None:
        rehearsal.broken.setdefault(index + 1, text)

    host.on_machine_error = broken
    begun = slice_begun = monotonic()
    while index < through:
        entries = await read(index + 1)
        for entry in entries[: through - index]:
            _apply(host, rehearsal, index + 1, entry)
            index += 1
            if index % ENTRIES_A_LOOK == 0 and monotonic() - slice_begun > SLICE_S:
                await pause()
                slice_begun = monotonic()
        if not entries:  # applied already, but not yet written by this node's disk
            await pause()
    rehearsal.seconds = monotonic() - begun
    host.on_machine_error = None
    try:
        _hand_over(host, Host(machines, limits=Limits()), rehearsal)
    except Failed as problem:
        rehearsal.state_problem = problem
    return rehearsal


def _hand_over(host: Host, other: Host, rehearsal: Rehearsal) -> None:
    """Give another host the state, by way of all that a snapshot goes through."""
    try:
        rehearsal.digest = host.digest()
        parts = list(host.capture().parts())
        before = host.machine_digests()
    except NotApplied as error:
        raise Failed(f"`snapshot` of machine {error.details['machine']} fails with the state after the log", last_lines(error)) from error
    try:
        other.adopt(other.restored(parts))
    except RestoreFailed as error:
        lines = [error.problem] if error.__cause__ is None else last_lines(error)
        raise Failed(f"`restore` of machine {error.machine} fails with what `snapshot` gives of the state after the log", lines) from error
    except CorruptState as error:
        raise Failed("the state after the log cannot be read again", str(error).splitlines()) from error
    try:
        after = other.machine_digests()
    except NotApplied as error:
        what = f"`snapshot` of machine {error.details['machine']} fails with the state that its `restore` has made of one"
        raise Failed(what, last_lines(error)) from error
    rehearsal.restored_otherwise = [name for name in before if after[name] != before[name]]


def _apply(host: Host, rehearsal: Rehearsal, index: int, entry: Entry) -> None:
    if entry.kind != EntryKind.COMMAND:
        host.skip(index)
        rehearsal.answers.append(b"")
        return
    command = decode_log_command(entry.payload)
    rehearsal.commands[index] = _words(command)
    try:
        rehearsal.answers.append(host.apply(index, entry.term, command))
    except Halted:
        raise
    except Exception as error:
        raise Failed(f"entry {index} of the log, {_words(command)}, cannot be applied", last_lines(error)) from error


def _words(command: LogCommand) -> str:
    if isinstance(command, Invoke):
        return f"{command.machine}.{command.command}"
    if isinstance(command, HostMachine):
        return f"the beginning of machine {command.name}"
    return type(command).__name__


def last_lines(error: BaseException) -> list[str]:
    """The end of an exception's traceback: of what caused it, if it is one of our own, which are sentences."""
    if isinstance(error, TxraftError):
        return last_lines(error.__cause__) if error.__cause__ is not None else str(error).splitlines()
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if not frame.filename.startswith(NOT_THEIRS)])
    return "".join(told.format(chain=False)).rstrip().splitlines()[-TRACEBACK_LINES:]
