"""What the records of a log add up to, taken in one after the other at start-up, in bounded memory."""

from __future__ import annotations

from collections import deque

from attrs import define, field, frozen

from txraft.core.effects import Base, Metadata
from txraft.core.entry import Entry, EntryKind, entry_bytes
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.limits import INDEX_MAX
from txraft.storage.records import Run
from txraft.storage.repair_note import RepairNote

__all__ = ["Recovered", "Replay"]


@frozen
class Recovered:
    """What a directory held when it was opened. All of it is durable.

    Attributes:
        metadata: term and vote.
        last_index: index of the last entry, or of the last that the snapshot includes; 0 without any.
        term_runs: first index and term of each run of entries of equal term, behind the base.
        configurations: index and payload of every configuration entry behind the base, and of those that the snapshot names.
        tail_first_index: index of the first entry in `tail`; behind the last index if it is empty.
        tail: the newest entries. The list is the caller's: clear it once they are kept elsewhere, or they stay in memory twice over.
        torn_tail: one sentence if the end of an interrupted write was cut off.
        base_index: index of the last entry that the log no longer has at its beginning; 0 if it has all.
        base_term: the term of that entry.
        snapshot: the newest; its file is whole. None if none was recorded.
        repair: what was found damaged, now or at an earlier opening, and is not made good yet; None if all is well.
        moved_aside: the files that this opening has moved out of the way.
    """

    metadata: Metadata
    last_index: Index
    term_runs: list[tuple[Index, Term]]
    configurations: list[tuple[Index, bytes]]
    tail_first_index: Index
    tail: list[Entry]
    torn_tail: str | None
    base_index: Index = Index(0)
    base_term: Term = Term(0)
    snapshot: Snapshot | None = None
    repair: RepairNote | None = None
    moved_aside: list[str] = field(factory=list)


@define
class Replay:
    """The log as far as it has been read.

    Attributes:
        tail_bytes_max: how much of the newest entries is kept.
        last_index: index of the last entry.
        last_term: its term; no more than that if it is not known.
        base_index: index of the last entry that is not needed any more.
        base_term: its term.
        snapshot: what stands for those.
        present_from: entries from here on were read; those between the base and here may be in segments that are gone.
    """

    tail_bytes_max: int
    last_index: int = 0
    last_term: int = 0
    base_index: int = 0
    base_term: int = 0
    snapshot: Snapshot | None = None
    present_from: int = 1
    _term_runs: list[tuple[Index, Term]] = field(factory=list)
    _configurations: list[tuple[Index, bytes]] = field(factory=list)
    _tail: deque[tuple[int, list[Entry], int]] = field(factory=deque)
    _tail_bytes: int = 0

    def begin(self, next_index: int, base_index: int, base_term: int) -> None:
        """The oldest segment that is left was begun with the log in this state."""
        self.last_index, self.present_from = next_index - 1, next_index
        self.base_index = base_index
        self.base_term = self.last_term = base_term

    def take(self, run: Run) -> str | None:
        """Take in the next record: its entries replace everything from its first index on. What is wrong with it, if something is."""
        first_index, entries, base = run
        if base is not None and (wrong := self._move_base(base)):
            return wrong
        if first_index > self.last_index + 1:
            return f"it begins with entry {first_index}, but the log ends with entry {self.last_index}"
        if first_index <= self.last_index:
            needed = max(self.base_index, self.snapshot.index if self.snapshot is not None else 0)
            if first_index <= needed:
                return f"it replaces entry {first_index}, but the snapshot includes those up to {needed}"
            self._truncate(first_index)
        term, runs = self.last_term, self._term_runs
        for offset, entry in enumerate(entries):
            if entry.term != term or not runs:
                if not max(term, 1) <= entry.term <= INDEX_MAX:
                    return f"entry {first_index + offset} has term {entry.term} after term {term}"
                term = entry.term
                runs.append((Index(first_index + offset), Term(term)))
            if entry.kind == EntryKind.CONFIGURATION:
                self._configurations.append((Index(first_index + offset), entry.payload))
        self.last_index, self.last_term = first_index - 1 + len(entries), term
        self._keep(first_index, entries)
        return None

    def _move_base(self, base: Base) -> str | None:
        """The log begins elsewhere now. What is wrong with that, if something is."""
        snapshot = base.snapshot
        if not self.base_index <= base.index <= snapshot.index or (self.snapshot is not None and snapshot.index < self.snapshot.index):
            return f"it moves the beginning of the log from entry {self.base_index} to {base.index}, with a snapshot up to {snapshot.index}"
        if not base.keeps_log:
            self._truncate(0)
            self.present_from = snapshot.index + 1
            self.last_index, self.last_term = snapshot.index, snapshot.term
            self.base_index, self.base_term = snapshot.index, snapshot.term
        else:
            if snapshot.index > self.last_index:
                return f"its snapshot includes entry {snapshot.index}, but the log ends with entry {self.last_index}"
            for index, term in ((base.index, base.term), (snapshot.index, snapshot.term)):
                known = self._term_at(index)
                if known is not None and known != term:
                    return f"it says that entry {index} has term {term}, but the log has term {known} there"
            self.base_index, self.base_term = base.index, base.term
        self.snapshot = snapshot
        return None

    def _term_at(self, index: int) -> int | None:
        """The term of an entry; None if it was not read."""
        if not max(1, self.present_from) <= index <= self.last_index:
            return None
        return next((term for first, term in reversed(self._term_runs) if first <= index), None)

    def _truncate(self, first_index: int) -> None:
        while self._term_runs and self._term_runs[-1][0] >= first_index:
            self._term_runs.pop()
        while self._configurations and self._configurations[-1][0] >= first_index:
            self._configurations.pop()
        self.last_index = first_index - 1
        self.last_term = self._term_runs[-1][1] if self._term_runs else self.base_term
        self.present_from = min(self.present_from, first_index)
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

    def missing(self) -> tuple[int, int] | None:
        """The first and the last of the entries that are needed and were in no segment, at the end of it all."""
        return (self.base_index + 1, self.present_from - 1) if self.present_from > self.base_index + 1 else None

    def term_runs(self) -> list[tuple[Index, Term]]:
        """First index and term of each run of entries behind the base."""
        first = self.base_index + 1
        runs = self._term_runs
        behind = [run for number, run in enumerate(runs) if number + 1 == len(runs) or runs[number + 1][0] > first]
        return [(Index(max(index, first)), term) for index, term in behind if self.last_index >= first]

    def configurations(self) -> list[tuple[Index, bytes]]:
        """Index and payload of the configurations in the log behind the base, and of those that the snapshot names."""
        found = {index: payload for index, payload in self._configurations if index > self.base_index}
        if self.snapshot is not None:
            found |= {Index(index): payload for index, payload in self.snapshot.configurations}
        return sorted(found.items())

    def tail(self) -> list[Entry]:
        """The newest entries that fit, consecutive, up to the last one."""
        newest_first: list[Entry] = []
        room, most = self.tail_bytes_max, self.last_index - self.base_index
        for _, entries, _ in reversed(self._tail):
            for entry in reversed(entries):
                room -= entry_bytes(entry)
                if room < 0 or len(newest_first) == most:
                    return newest_first[::-1]
                newest_first.append(entry)
        return newest_first[::-1]
