"""What the records of a log add up to, taken in one after the other at start-up, in bounded memory."""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from txraft.core.effects import Metadata
from txraft.core.entry import Entry, EntryKind, entry_bytes
from txraft.core.ids import Index, Term
from txraft.limits import INDEX_MAX
from txraft.storage.records import Run

__all__ = ["Recovered", "Replay"]


@frozen
class Recovered:
    """What a directory held when it was opened. All of it is durable.

    Attributes:
        metadata: term and vote.
        last_index: index of the last entry; 0 without any.
        term_runs: first index and term of each run of entries of equal term.
        configurations: index and payload of every configuration entry.
        tail_first_index: index of the first entry in `tail`; behind the last index if it is empty.
        tail: the newest entries. The list is the caller's: clear it once they are kept elsewhere, or they stay in memory twice over.
        torn_tail: one sentence if the end of an interrupted write was cut off.
    """

    metadata: Metadata
    last_index: Index
    term_runs: list[tuple[Index, Term]]
    configurations: list[tuple[Index, bytes]]
    tail_first_index: Index
    tail: list[Entry]
    torn_tail: str | None


@define
class Replay:
    """The log as far as it has been read.

    Attributes:
        tail_bytes_max: how much of the newest entries is kept.
        last_index: index of the last entry.
        last_term: its term.
    """

    tail_bytes_max: int
    last_index: int = 0
    last_term: int = 0
    term_runs: list[tuple[Index, Term]] = field(factory=list)
    configurations: list[tuple[Index, bytes]] = field(factory=list)
    _tail: deque[tuple[int, list[Entry], int]] = field(factory=deque)
    _tail_bytes: int = 0

    def take(self, run: Run) -> str | None:
        """Take in the next record: its entries replace everything from its first index on. What is wrong with it, if something is."""
        first_index, entries = run
        if first_index > self.last_index + 1:
            return f"it begins with entry {first_index}, but the log ends with entry {self.last_index}"
        if first_index <= self.last_index:
            self._truncate(first_index)
        term, runs = self.last_term, self.term_runs
        for offset, entry in enumerate(entries):
            if entry.term != term:
                if not term < entry.term <= INDEX_MAX:
                    return f"entry {first_index + offset} has term {entry.term} after term {term}"
                term = entry.term
                runs.append((Index(first_index + offset), Term(term)))
            if entry.kind == EntryKind.CONFIGURATION:
                self.configurations.append((Index(first_index + offset), entry.payload))
        self.last_index, self.last_term = first_index - 1 + len(entries), term
        self._keep(first_index, entries)
        return None

    def _truncate(self, first_index: int) -> None:
        while self.term_runs and self.term_runs[-1][0] >= first_index:
            self.term_runs.pop()
        while self.configurations and self.configurations[-1][0] >= first_index:
            self.configurations.pop()
        self.last_index = first_index - 1
        self.last_term = self.term_runs[-1][1] if self.term_runs else 0
        while self._tail and self._tail[-1][0] + len(self._tail[-1][1]) > first_index:
            first, entries, size = self._tail.pop()
            self._tail_bytes -= size
            if first < first_index:
                self._keep(first, entries[: first_index - first])

    def _keep(self, first_index: int, entries: list[Entry]) -> None:
        """Add to the tail, and let go of what is certainly beyond its size."""
        if not entries:
            return
        size = sum(map(entry_bytes, entries))
        self._tail.append((first_index, entries, size))
        self._tail_bytes += size
        while self._tail and self._tail_bytes - self._tail[0][2] >= self.tail_bytes_max:
            self._tail_bytes -= self._tail.popleft()[2]

    def tail(self) -> list[Entry]:
        """The newest entries that fit, consecutive, up to the last one."""
        newest_first: list[Entry] = []
        room = self.tail_bytes_max
        for _, entries, _ in reversed(self._tail):
            for entry in reversed(entries):
                room -= entry_bytes(entry)
                if room < 0:
                    return newest_first[::-1]
                newest_first.append(entry)
        return newest_first[::-1]
