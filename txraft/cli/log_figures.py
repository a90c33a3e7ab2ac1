"""How much of what is in a data directory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from txraft.cli.log_entries import kind_of
from txraft.storage.inspected_log import InspectedLog
from txraft.storage.inspection import Holder
from txraft.storage.repair_note import RepairNote

__all__ = ["figures_of"]


def figures_of(log: InspectedLog, holder: Holder | None, note: RepairNote | None) -> dict[str, Any]:
    """Of a log that was read; counting takes another pass. Raises `StorageError`."""
    identity, metadata, recovery = log.claim.identity, log.metadata.current, log.recovery
    replay, files = recovery.replay, log.layout.files
    return {
        "directory": str(log.layout.root),
        "server": identity.server_id,
        "cluster_id": identity.cluster_id,
        "incarnation": identity.incarnation,
        "in_use_by": None if holder is None else str(holder),
        "term": None if metadata is None else metadata.term,
        "voted_for": None if metadata is None else metadata.voted_for,
        "first_index": log.first_index,
        "last_index": log.last_index,
        "entries": max(log.last_index - replay.base_index, 0),
        "bytes": sum(segment.end for segment in recovery.segments),
        "file_bytes": sum(files.size(path) for _, path in log.layout.segments()),
        "segments": len(log.layout.segments()),
        "snapshot_index": None if replay.snapshot is None else replay.snapshot.index,
        "torn_tail": recovery.torn_tail,
        "problem": None if log.problem is None else str(log.problem),
        "repair": None if note is None else " | ".join(note.reasons),
        **_counted(log),
        "snapshots": [{"file": path.name, "bytes": size, "recorded": recorded} for path, size, recorded in log.snapshots()],
    }


def _counted(log: InspectedLog) -> dict[str, Any]:
    """Entries by term, by kind, and calls by machine."""
    terms, kinds, kind_bytes = Counter[int](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for _, entry in log.entries(log.first_index):
        terms[entry.term] += 1
        kind = kind_of(entry)
        kinds[kind] += 1
        kind_bytes[kind] += len(entry.payload)
    return {
        "terms": [{"term": term, "entries": count} for term, count in sorted(terms.items())],
        "kinds": [
            {"kind": kind, "machine": machine or None, "entries": count, "bytes": kind_bytes[kind, machine]}
            for (kind, machine), count in sorted(kinds.items())
        ],
    }
