"""Committed entries to the machines, on the reactor, in slices short enough that heartbeats are never late because of them.

Source: Figure 10.1 (the box "state machine"); §3.5 ("applies each entry in log order").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index
from txraft.core.log import Log
from txraft.errors import Halted
from txraft.node.ports import Caller
from txraft.statemachine.log_commands import Invoke, LogCommand, decode_log_command

__all__ = ["Applier", "Machines"]

ENTRIES_A_SLICE = 4096
"""Entries taken from the log for one slice; more than fit into its time."""


class Machines(Protocol):
    """What the applier needs of `statemachine.Host`."""

    applied_index: int

    def apply(self, index: int, term: int, command: LogCommand) -> bytes:
        """Apply a command; the encoded answer."""

    def skip(self, index: int) -> None:
        """Pass over an entry that is no command."""


class Answering(Protocol):
    """What the applier needs of `Proposals`."""

    def command_at(self, index: int) -> LogCommand | None:
        """The command at `index`, if it was proposed here."""

    def applied(self, index: int, answer: bytes, touched: set[Caller]) -> None:
        """Pass the answer on to whoever waits for it."""


class Applier:
    """Applies up to where it is told. Reactor thread only.

    Args:
        clock: monotonic.
        log: newest entries, from memory.
        read: older ones, from disk.
        on_applied: a slice is done, up to this index.
        on_failure: this server cannot go on: its state would differ from the others'.
    """

    def __init__(
        self,
        clock: IReactorTime,
        slice_s: float,
        log: Log,
        read: Callable[[Index], Deferred[list[Entry]]],
        machines: Machines,
        answering: Answering,
        on_applied: Callable[[Index], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._clock, self._slice_s, self._log, self._read = clock, slice_s, log, read
        self._machines, self._answering = machines, answering
        self._on_applied, self._on_failure = on_applied, on_failure
        self.applied = self.target = Index(machines.applied_index)
        self._waiting = False
        self._stopped = False
        self._leaps = 0
        self._left: list[Entry] = []  # the next ones, committed, that a slice had no time for: what comes from disk is read once

    def apply_through(self, target: Index) -> None:
        """Entries up to `target` are committed. What fits into a slice is applied before this returns."""
        self.target = target
        if not self._waiting:
            self._apply_slice()

    def rest(self) -> None:
        """The log has made a leap, by a snapshot: there is nothing to apply before the machines have made it, too."""
        self._leaps += 1
        self._waiting = True
        self._left = []

    def restored(self) -> None:
        """The machines have made a leap, by a snapshot: go on behind it. What was about to be applied is part of it."""
        self.applied = Index(self._machines.applied_index)
        self.target = max(self.target, self.applied)
        self._leaps += 1
        self._waiting = False
        self._apply_slice()

    def stop(self) -> None:
        """Apply nothing more."""
        self._stopped = True

    def _apply_slice(self) -> None:
        self._waiting = False
        if self._stopped or self.applied >= self.target:
            return
        count = min(self.target - self.applied, ENTRIES_A_SLICE)
        entries = self._left or self._log.slice(self.applied + 1, entries_max=count, bytes_max=None)
        self._waiting = True
        if entries is None:
            self._read(Index(self.applied + 1)).addCallback(self._apply_read, self._leaps).addErrback(self._on_failure)
        else:
            self._apply(entries)

    def _go_on(self, leaps: int) -> None:
        if leaps == self._leaps:
            self._apply_slice()

    def _apply_read(self, entries: list[Entry], leaps: int) -> None:
        if leaps == self._leaps:
            self._apply(entries)

    def _apply(self, entries: list[Entry]) -> None:
        if self._stopped:
            return
        until = self._clock.seconds() + self._slice_s
        touched: set[Caller] = set()
        before, committed = self.applied, entries[: self.target - self.applied]
        self._apply_some(committed, until, touched)
        self._left = committed[self.applied - before :]
        for caller in touched:
            caller.flush()
        self._waiting = self.applied < self.target
        if self._waiting:
            self._clock.callLater(0, self._go_on, self._leaps)
        self._on_applied(self.applied)

    def _apply_some(self, entries: list[Entry], until: float, touched: set[Caller]) -> None:
        """Apply one entry at least. The clock is looked at after each: some take a tenth of a second, and a client may send many."""
        index = int(self.applied)
        machines, answering, seconds = self._machines, self._answering, self._clock.seconds
        for entry in entries:
            index += 1
            if entry.kind == EntryKind.COMMAND:
                command = answering.command_at(index) or _decode(index, entry.payload)
                try:
                    answer = machines.apply(index, entry.term, command)
                except (MemoryError, OSError, RecursionError) as error:
                    raise Halted(_exhausted(index, command, error)) from error
                answering.applied(index, answer, touched)
            else:
                machines.skip(index)
            self.applied = Index(index)
            if seconds() > until:
                return


def _exhausted(index: int, command: LogCommand, error: BaseException) -> str:
    who = f"command {command.command} of machine {command.machine}" if isinstance(command, Invoke) else type(command).__name__
    return (
        f"entry {index}, {who}, ended in {type(error).__name__}: {error}. Other servers may not have met that, so the entry "
        "does not count as applied here. Give this server what it lacks, or mend the machine, and start it again"
    )


def _decode(index: int, payload: bytes) -> LogCommand:
    try:
        return decode_log_command(payload)
    except ValueError as error:  # msgspec's errors are ValueErrors, and so is text that is not UTF-8
        raise Halted(
            f"entry {index} of the log is a command that this version of txraft does not know ({error}): it was written by a newer "
            "one, which this node must be upgraded to; skipping it would make this server differ from the others"
        ) from None
