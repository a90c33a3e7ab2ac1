"""An entry of the log, and what kinds there are.

The core never looks into a payload, but for configurations (`configuration.py`): commands are the state machines' words.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

__all__ = ["Entry", "EntryKind", "entries_bytes", "entry_bytes"]


class EntryKind(IntEnum):
    """What an entry is for."""

    NOOP = 0
    """The leader's first entry of its term. Source: §6.4."""

    COMMAND = 1
    """A command for the state machines; the payload is theirs."""

    CONFIGURATION = 2
    """A cluster configuration, effective as soon as it is in the log. Source: §4.1."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One log entry. Its index is its place in the log (or first index + offset in a message or record), so no entry can
    contradict its neighbours about it.

    Source: Figure 3.1, "log[]".
    """

    term: int
    kind: int
    payload: bytes


OVERHEAD_BYTES = 16
"""What an entry costs on wire and disk beside its payload, about."""


def entry_bytes(entry: Entry) -> int:
    """The size of an entry for budgets and windows, in bytes."""
    return len(entry.payload) + OVERHEAD_BYTES


def entries_bytes(entries: list[Entry]) -> int:
    """The size of all of them; it is counted several times for each command, so it counts."""
    return sum([len(entry.payload) for entry in entries]) + OVERHEAD_BYTES * len(entries)
