"""What a data directory should hold, as a model without files: states, and what a write leads to, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from tests.support.disk import BOOTSTRAP, vote
from txraft.core.effects import Base, Metadata, Persist
from txraft.core.entry import Entry
from txraft.core.snapshot import Snapshot

__all__ = ["FIRST", "State"]


@frozen
class State:
    """What there is.

    Attributes:
        metadata: term and vote.
        entries: those behind the base.
        base_index: of the last entry that the log no longer has.
        base_term: its term.
        snapshot: what stands for those; None if the log has all.
        repair: "" if nothing is lost, "log" if something is, "votes" if it is not even known how this server voted.
    """

    metadata: Metadata
    entries: tuple[Entry, ...]
    base_index: int = 0
    base_term: int = 0
    snapshot: Snapshot | None = None
    repair: str = ""

    @property
    def last_index(self) -> int:
        """Of the last entry, or of the last that the snapshot includes."""
        return self.base_index + len(self.entries)

    @property
    def snapshot_index(self) -> int:
        """Entries up to here can no longer change."""
        return self.snapshot.index if self.snapshot is not None else 0

    def term_at(self, index: int) -> int:
        """The term of an entry behind the base, or of the base."""
        return self.entries[index - self.base_index - 1].term if index > self.base_index else self.base_term

    def passing(self, persists: Sequence[Persist]) -> list[State]:
        """All states that writing these leads through, the last being the one when they are written.

        Of several changes of term and vote only the last is ever on disk. It is there before the log changes; that a directory is whole
        again is said when all else is done.
        """
        changes = [persist.metadata for persist in persists if persist.metadata is not None]
        states = [evolve(self, metadata=changes[-1])] if changes else [self]
        for persist in persists:
            if persist.base is not None:
                states.append(states[-1]._behind(persist.base))
            if persist.truncate_from is not None or persist.entries:
                first = persist.truncate_from if persist.truncate_from is not None else persist.first_index
                kept = states[-1].entries[: first - states[-1].base_index - 1]
                states.append(evolve(states[-1], entries=kept + tuple(persist.entries)))
        if any(persist.repaired for persist in persists):
            states.append(evolve(states[-1], repair=""))
        return states

    def _behind(self, base: Base) -> State:
        kept = self.entries[base.index - self.base_index :] if base.keeps_log else ()
        return evolve(self, entries=kept, base_index=base.index, base_term=base.term, snapshot=base.snapshot)


FIRST = State(vote(1), tuple(BOOTSTRAP))
"""A directory that was just made."""
