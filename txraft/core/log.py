"""The log as the core sees it: the newest entries in memory, the term of every entry, and how far the disk has come.

Four marks on one axis, each never behind the next: `last_index` >= `durable_index`; and in `server.py` `commit_index` >= what is
applied. Commit and durable index do not bound each other: a leader may commit by its followers' disks before its own has answered.

Before all of them is the base: the last entry that is no longer there, because a snapshot stands for it and everything before. It is
committed, so it is the same in all logs.

Terms are kept as runs (first index of each run of equal terms): a few numbers for millions of entries, because terms
change at elections only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from attrs import define, field

from txraft.core.entry import Entry, entries_bytes, entry_bytes
from txraft.core.ids import Index, Term
from txraft.core.require import require

__all__ = ["Log"]


@define
class Log:
    """Entries from behind the base to `last_index`; those from `first_cached` on are in memory, all durable ones are on disk.

    Attributes:
        base_index: of the last entry before the log; 0 if it is whole.
        base_term: of that entry.
        first_cached: index of the first entry in memory; `last_index + 1` if none is.
        durable_index: entries up to here are known to be on disk.
        cache_bytes_max: memory for durable entries, in bytes of payload.

    Source: Figure 3.1, "log[]"; §5.1, "prevIndex and prevTerm" of what was discarded; §10.2.1 (the leader's own disk).
    """

    cache_bytes_max: int
    base_index: Index = Index(0)
    base_term: Term = Term(0)
    first_cached: Index = Index(1)
    durable_index: Index = Index(0)
    _entries: list[Entry] = field(factory=list)
    _cached_bytes: int = 0
    _run_starts: list[Index] = field(factory=list)
    _run_terms: list[Term] = field(factory=list)
    _last_slice: tuple[tuple[int, int, int, int], list[Entry]] | None = None

    @classmethod
    def recovered(
        cls,
        *,
        cache_bytes_max: int,
        last_index: Index,
        term_runs: Sequence[tuple[Index, Term]],
        tail_first: Index,
        tail: Sequence[Entry],
        base: tuple[Index, Term] = (Index(0), Term(0)),
    ) -> Log:
        """The log of a server that starts: everything read from disk is durable."""
        require(tail_first + len(tail) == last_index + 1, "the recovered tail does not end at the last index")
        require(base[0] < tail_first, "the recovered tail begins before the log does")
        return cls(
            cache_bytes_max,
            *base,
            first_cached=tail_first,
            durable_index=last_index,
            entries=list(tail),
            cached_bytes=entries_bytes(list(tail)),
            run_starts=[start for start, _ in term_runs],
            run_terms=[term for _, term in term_runs],
        )

    @property
    def last_index(self) -> Index:
        """Index of the newest entry; 0 for an empty log."""
        return Index(self.first_cached + len(self._entries) - 1)

    @property
    def last_term(self) -> Term:
        """Term of the newest entry, be it the one before the log; 0 if there never was one."""
        return self._run_terms[-1] if self._run_terms else self.base_term

    def term_at(self, index: int) -> Term | None:
        """The term of the entry at `index`, or of the one before the log (0, if that is index 0); None before that and behind the end."""
        if index > self.last_index or index < self.base_index:
            return None
        if index == self.base_index:
            return self.base_term
        return self._run_terms[bisect_right(self._run_starts, index) - 1]

    def append(self, entries: list[Entry]) -> None:
        """Add entries behind the last one. Their terms must not decrease."""
        if not entries:
            return
        self._note_terms(entries)
        self._entries.extend(entries)
        self._cached_bytes += entries_bytes(entries)
        if self._cached_bytes > self.cache_bytes_max:
            self._shrink_cache()

    def _note_terms(self, entries: list[Entry]) -> None:
        if self._run_starts and {entry.term for entry in entries} == {self.last_term}:
            return
        index, term = self.last_index, self.last_term
        for entry in entries:
            index = Index(index + 1)
            if entry.term != term or not self._run_starts:
                require(entry.term >= term, f"entry {index} has term {entry.term} behind one of term {term}")
                term = Term(entry.term)
                self._run_starts.append(index)
                self._run_terms.append(term)

    def truncate(self, first_removed: Index) -> None:
        """Remove all entries from `first_removed` on."""
        self._last_slice = None
        self.durable_index = min(self.durable_index, Index(first_removed - 1))
        while self._run_starts and self._run_starts[-1] >= first_removed:
            self._run_starts.pop()
            self._run_terms.pop()
        if first_removed <= self.first_cached:
            self._entries.clear()
            self._cached_bytes = 0
            self.first_cached = first_removed
        else:
            removed = self._entries[first_removed - self.first_cached :]
            self._cached_bytes -= entries_bytes(removed)
            del self._entries[first_removed - self.first_cached :]

    def compact(self, base_index: Index) -> None:
        """Let the log begin behind `base_index`: a snapshot stands for what is dropped. Memory follows at once, the disk in its time."""
        term = self.term_at(base_index)
        require(term is not None and base_index <= self.durable_index, f"the log cannot begin behind entry {base_index}")
        assert term is not None
        self.base_index, self.base_term = base_index, term
        whole_runs = max(bisect_right(self._run_starts, base_index + 1) - 1, 0) if self.last_index > base_index else len(self._run_starts)
        del self._run_starts[:whole_runs], self._run_terms[:whole_runs]
        if self.first_cached <= base_index:
            dropped = self._entries[: base_index + 1 - self.first_cached]
            self._cached_bytes -= entries_bytes(dropped)
            del self._entries[: len(dropped)]
            self.first_cached = Index(base_index + 1)

    def reset(self, base_index: Index, base_term: Term) -> None:
        """Begin again, empty, behind an entry that came with a snapshot: nothing of what was here is known to agree with it."""
        self.base_index, self.base_term = base_index, base_term
        self.first_cached, self.durable_index = Index(base_index + 1), base_index
        self._entries.clear()
        self._run_starts.clear()
        self._run_terms.clear()
        self._cached_bytes, self._last_slice = 0, None

    def _shrink_cache(self) -> None:
        # A quarter at a time: removing from the front of a list moves all the rest.
        target, keep_from = self.cache_bytes_max * 3 // 4, 0
        while self._cached_bytes > target and self.first_cached + keep_from <= self.durable_index:
            self._cached_bytes -= entry_bytes(self._entries[keep_from])
            keep_from += 1
        del self._entries[:keep_from]
        self.first_cached = Index(self.first_cached + keep_from)

    def slice(self, first: int, *, entries_max: int, bytes_max: int | None) -> list[Entry] | None:
        """Entries from `first` on, at least one if there is one, within the limits; None when memory no longer has them.

        The same question gets the same list again, so that what is sent to several followers can be encoded once.
        """
        if first < self.first_cached:
            return None
        offset = first - self.first_cached
        if bytes_max is None:
            return self._entries[offset : offset + entries_max]
        question = (first, self.last_index, entries_max, bytes_max)
        if self._last_slice is not None and self._last_slice[0] == question:
            return self._last_slice[1]
        found = self._entries[offset : offset + entries_max]
        found = found[: within_bytes(found, bytes_max)]
        self._last_slice = (question, found)
        return found

    def latest_fit(self, index: int, term: int) -> tuple[Index, Term]:
        """The newest entry at or before `index` whose term is at most `term`: where two logs that differ at `index` may still agree.

        Before the beginning of this log terms are not known any more: the answer is then an index before it, with term 0.

        Source: §3.5, on fewer rejected AppendEntries.
        """
        index = min(index, self.last_index)
        known = index >= self.base_index
        while index > self.base_index:
            run = bisect_right(self._run_starts, index) - 1
            if self._run_terms[run] <= term:
                return Index(index), self._run_terms[run]
            index = self._run_starts[run] - 1
        if known and self.base_term <= term:
            return self.base_index, self.base_term
        return Index(max(min(index, self.base_index - 1), 0)), Term(0)


def within_bytes(entries: list[Entry], bytes_max: int) -> int:
    """How many of the first entries fit into `bytes_max`; the first always does, or nothing would ever be sent."""
    if entries_bytes(entries) <= bytes_max:
        return len(entries)
    total = 0
    for count, entry in enumerate(entries):
        total += entry_bytes(entry)
        if total > bytes_max and count:
            return count
    return len(entries)
