"""The state of the config store as items: a few of its own, then leases and versions, some hundred in each item, field by field.

Field by field, they take half the bytes of maps, and there is no object for each of them that the garbage collector would have to look at.

Items are made in another thread, out of what never changes. Which versions are in one item follows from the versions alone, not from how
they are kept: the items of all servers are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from txraft.machines.config_store.key_values import KeyValue
from txraft.machines.config_store.leases import FrozenLeases, Leases
from txraft.machines.config_store.versions import FrozenVersions, Versions

__all__ = ["FrozenState", "restore"]

ITEM_BYTES = 30_000
"""Keys and values of one item, unless a single one is longer; with the numbers, some of them fit a part of a snapshot."""

LEASES_PER_ITEM = 1_024

NUMBER_BYTES = 24


@frozen(eq=False)
class FrozenState:
    """A config store as it was."""

    versions: FrozenVersions
    leases: FrozenLeases

    def items(self) -> Iterator[list[Any]]:
        """All of it, once: what has been given is not kept."""
        versions, leases = self.versions, self.leases
        yield ["revisions", versions.revision, versions.compacted]
        yield ["times", leases.term, leases.refreshed_ms, leases.time_ms, leases.resume_ms]
        for begun in range(0, len(leases.leases), LEASES_PER_ITEM):
            rows = leases.leases[begun : begun + LEASES_PER_ITEM]
            fields = [one.id for one in rows], [one.ttl_s for one in rows], [one.renewed_ms for one in rows], [one.noted_ms for one in rows]
            yield ["leases", *fields]
        for some in _groups(version for piece in _given_away(versions.settled) for version in piece.values()):
            yield ["settled", *_columns(some)]
        for some in _groups(version for piece in _given_away(versions.log) for version in piece):
            yield ["log", *_columns(some)]


def _given_away(pieces: list[Any]) -> Iterator[Any]:
    """Pieces one by one, each forgotten then: what nobody needs any more goes in portions, not all at once when the last view goes."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()


def _groups(versions: Iterable[KeyValue]) -> Iterator[list[KeyValue]]:
    group, room = [], ITEM_BYTES
    for one in versions:
        group.append(one)
        room -= len(one.key) + len(one.value) + NUMBER_BYTES
        if room <= 0:
            yield group
            group, room = [], ITEM_BYTES
    if group:
        yield group


def _columns(versions: list[KeyValue]) -> list[list[Any]]:
    return [
        [one.key for one in versions],
        [one.value for one in versions],
        [one.create_revision for one in versions],
        [one.mod_revision for one in versions],
        [one.version for one in versions],
        [one.lease for one in versions],
    ]


def restore(items: Iterator[Any], versions: Versions, leases: Leases) -> None:
    """Make fresh versions and leases what they were when the items were made."""
    for kind, *fields in items:
        if kind == "revisions":
            versions.revision, versions.compacted = fields
        elif kind == "times":
            leases.term, leases.refreshed_ms, leases.time_ms, leases.resume_ms = fields
        elif kind == "leases":
            leases.restore(*fields)
        elif kind == "settled":
            versions.restore_settled(fields)
        elif kind == "log":
            versions.restore_written(fields)
        else:
            raise ValueError(f"{kind!r:.100} is no part of a config store's state")
    versions.finish_restoring()
