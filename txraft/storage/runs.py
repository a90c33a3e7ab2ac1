"""What a write comes to: from the effects of many steps to as few records as possible, and what no log can be is refused before anything
is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from txraft.core.effects import Base, Persist
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.errors import Halted
from txraft.storage.records import Run

__all__ = ["Runs"]


@define
class Runs:
    """The records to be, and the log as it will be once they are written.

    Attributes:
        last_index: the last index of the log.
        base_index: of the last entry that it no longer has at its beginning.
        snapshot_index: of the last entry that the newest snapshot includes: no record may reach back to it.
        term: the current term once the write is durable.
        runs: what was asked for, consecutive appends in one.
    """

    last_index: int
    base_index: int
    snapshot_index: int
    term: int
    runs: list[Run] = field(factory=list)
    _owned: bool = False

    @classmethod
    def of(cls, persists: Sequence[Persist], *, last_index: int, base_index: int, snapshot_index: int, term: int) -> list[Run]:
        """The records for `persists`, in their order; their lists are not changed.

        Raises:
            Halted: they leave a hole, reach behind a snapshot, or an entry has a term that would not be durable before it.
        """
        found = cls(last_index, base_index, snapshot_index, term)
        for persist in persists:
            if persist.base is not None:
                found.begin_at(persist.base)
            found.take(persist.truncate_from, persist.first_index, persist.entries)
        return found.runs

    def begin_at(self, base: Base) -> None:
        """The log is to begin elsewhere."""
        snapshot = base.snapshot
        if not self.base_index <= base.index <= snapshot.index or snapshot.index < self.snapshot_index:
            raise Halted(
                f"asked to begin behind entry {base.index}, with a snapshot up to {snapshot.index}, a log that begins behind entry "
                f"{self.base_index}, with a snapshot up to {self.snapshot_index}"
            )
        if base.keeps_log and snapshot.index > self.last_index:
            raise Halted(f"asked to record a snapshot up to entry {snapshot.index} for a log that ends with entry {self.last_index}")
        if snapshot.term > self.term:
            raise Halted(f"asked to record a snapshot of term {snapshot.term} in term {self.term}")
        self.snapshot_index = snapshot.index
        if base.keeps_log:
            self.base_index = base.index
        else:
            self.base_index = self.last_index = snapshot.index
        self.runs.append(Run(self.last_index + 1, [], base))
        self._owned = False

    def take(self, truncate_from: Index | None, first_index: int, entries: list[Entry]) -> None:
        """Entries are to be dropped, or appended, or both."""
        last_index = self.last_index
        if truncate_from is not None:
            if entries and first_index != truncate_from:
                raise Halted(f"asked to truncate from entry {truncate_from} and to append from entry {first_index}")
            first_index = truncate_from
            if not max(1, self.snapshot_index + 1) <= first_index <= last_index + 1:
                raise Halted(
                    f"asked to truncate from entry {first_index} a log that ends with entry {last_index}"
                    + (f" and has a snapshot up to {self.snapshot_index}" if self.snapshot_index else "")
                )
        elif entries and first_index != last_index + 1:
            raise Halted(f"asked to append entry {first_index} behind entry {last_index}")
        if not entries and (truncate_from is None or first_index == last_index + 1):
            return
        if entries and entries[-1].term > self.term:
            raise Halted(f"asked to append an entry of term {entries[-1].term} in term {self.term}")
        self._add(first_index, entries)
        self.last_index = first_index - 1 + len(entries)

    def _add(self, first_index: int, entries: list[Entry]) -> None:
        if not self.runs or first_index <= self.last_index:
            self.runs.append(Run(first_index, entries))
            self._owned = False
        elif self._owned:
            self.runs[-1].entries.extend(entries)
        else:
            before = self.runs[-1]
            self.runs[-1] = Run(before.first_index, before.entries + entries, before.base)
            self._owned = True
