"""Logs for tests, written as the terms of their entries: `first_entries((1, 1, 2), …)` is a configuration and two commands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot


def command_at(index: int, term: int) -> Entry:
    """The command that stands at `index` if an entry of `term` does: one leader a term, hence one command."""
    return Entry(term, EntryKind.COMMAND, f"{index}/{term}".encode())


def commands_from(first_index: int, *terms: int) -> list[Entry]:
    """Consecutive commands of these terms."""
    return [command_at(index, term) for index, term in enumerate(terms, first_index)]


def first_entries(terms: Sequence[int], configuration: Configuration) -> list[Entry]:
    """A log that begins with the configuration."""
    return [Entry(terms[0], EntryKind.CONFIGURATION, configuration.encode()), *commands_from(2, *terms[1:])] if terms else []


def term_runs(entries: Sequence[Entry], first_index: int = 1) -> list[tuple[Index, Term]]:
    """First index and term of each run of equal terms, as recovery finds them."""
    runs: list[tuple[Index, Term]] = []
    for index, entry in enumerate(entries, first_index):
        if not runs or runs[-1][1] != entry.term:
            runs.append((Index(index), Term(entry.term)))
    return runs


def configurations_of(entries: Sequence[Entry], first_index: int = 1) -> list[tuple[Index, Configuration]]:
    """The configurations in a log by index."""
    found = [(index, entry) for index, entry in enumerate(entries, first_index) if entry.kind == EntryKind.CONFIGURATION]
    return [(Index(index), Configuration.decode(entry.payload)) for index, entry in found]


def snapshot_at(
    index: int, term: int, *, size: int = 100, name: str = "", configurations: Mapping[int, Configuration] | None = None
) -> Snapshot:
    """A snapshot whose last entry is this; the configuration is that of servers `a`, `b` and `c` unless others are given."""
    held = configurations or {1: Configuration.of({server: server for server in "abc"})}
    sha256 = hashlib.sha256(f"{index}/{term}/{size}/{name}".encode()).digest()
    return Snapshot(index, term, size, sha256, [(at, configuration.encode()) for at, configuration in held.items()])
