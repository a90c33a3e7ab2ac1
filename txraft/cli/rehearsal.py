"""A log applied once more, to machines that nobody asks: to know what code makes of it before it serves."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from attrs import define, field

from txraft.core.entry import Entry, EntryKind
from txraft.errors import Halted, TxraftError
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
        digest: of the state at the end.
        seconds: that it took.
    """

    answers: list[bytes] = field(factory=list)
    broken: dict[int, str] = field(factory=dict)
    commands: dict[int, str] = field(factory=dict)
    digest: str = ""
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
    """Apply a log from its beginning to fresh machines, as they can be imported now.

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
    try:
        rehearsal.digest = host.digest()
    except Exception as error:
        raise Failed("the state after the log cannot be saved", last_lines(error)) from error
    return rehearsal


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
