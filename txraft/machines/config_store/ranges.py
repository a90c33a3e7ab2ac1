"""Reading a range.

As in etcd, `count` is of all keys in the range: neither the limit nor the bounds of revisions change it; these are applied first, then
sorting, then the limit. Keys that sort alike stay in the order of their keys, descending or not.

Counting the past may cost far more than a page of it, and grows with every write: where it would be too much, a page has no count.

Source: etcd's `applierV3backend.Range`.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import Any

from txraft.machines.config_store.key_values import KEY_VALUE_BYTES, Budget, KeyValue, bounds
from txraft.machines.config_store.operations import Range
from txraft.machines.config_store.versions import Versions

__all__ = ["read_range"]

SORTED_BY = {
    "key": attrgetter("key"),
    "version": attrgetter("version"),
    "create": attrgetter("create_revision"),
    "mod": attrgetter("mod_revision"),
    "value": attrgetter("value"),
}


def read_range(versions: Versions, asked: Range, newest: int, budget: Budget) -> dict[str, Any]:
    """What the query `range` and the operation of that name answer; `newest` is the revision to answer as the newest one.

    Raises:
        Refused: for what is asked, or because it would be too much.
    """
    first, end = bounds(asked.key, asked.range_end, prefix=asked.prefix, from_key=asked.from_key)
    versions.check_readable(asked.revision or newest, newest)
    at = 0 if asked.revision in (0, newest) else asked.revision
    count: int | None
    if end is None:
        found = versions.at(first, at) if at else versions.live.get(first)
        count, rows = int(found is not None), [] if found is None or asked.count_only else [found]
    elif at and asked.count_only:
        count, rows = versions.count_at(first, end, at, budget), []
    elif at:
        rows = _rows_at(versions, asked, first, end, at, budget)
        count = _count_beside(rows, versions, asked, first, end, at, budget)
    else:
        count = _size(versions.ranks(first, end))
        rows = [] if asked.count_only else _rows(versions, asked, first, end, budget)
    rows = [row for row in rows if _wanted(asked, row)] if _chooses(asked) else rows
    if asked.sort != "key" or asked.descending:
        rows.sort(key=SORTED_BY[asked.sort], reverse=asked.descending)
    more = 0 < asked.limit < len(rows)
    rows = rows[: asked.limit] if more else rows
    if asked.keys_only:
        rows = [KeyValue(row.key, b"", row.create_revision, row.mod_revision, row.version, row.lease) for row in rows]
    return {"revision": newest, "kvs": budget.answer_versions(rows), "more": more, "count": count}


def _rows(versions: Versions, asked: Range, first: bytes, end: bytes, budget: Budget) -> list[KeyValue]:
    """The keys to choose from: all of the range, or as many as can be in the answer and one more."""
    start, stop = versions.ranks(first, end)
    if not _as_stored(asked):
        budget.look_at(stop - start)
    else:
        # One more than can be in the answer is enough to tell that it is too much.
        most = min(asked.limit or stop, budget.bytes_left // KEY_VALUE_BYTES) + 1
        start, stop = (max(start, stop - most), stop) if asked.descending else (start, min(stop, start + most))
    return list(map(versions.live.__getitem__, versions.keys.islice(start, stop)))


def _rows_at(versions: Versions, asked: Range, first: bytes, end: bytes, at: int, budget: Budget) -> list[KeyValue]:
    """The same as of a revision."""
    if not (_as_stored(asked) and asked.limit):
        return list(versions.between(first, end, at, budget))
    return list(islice(versions.between(first, end, at, budget, asked.descending), asked.limit + 1))


def _count_beside(rows: list[KeyValue], versions: Versions, asked: Range, first: bytes, end: bytes, at: int, budget: Budget) -> int | None:
    """How many keys the range has of which these are to be chosen from; None if too many would have to be looked at to tell."""
    if not (_as_stored(asked) and 0 < asked.limit < len(rows)):
        return len(rows)  # they are all there are
    return versions.count_at(first, end, at, budget) if versions.counting_at(first, end, at) <= budget.keys_left else None


def _as_stored(asked: Range) -> bool:
    """Whether the first keys of the range, or the last ones, are the first of the answer."""
    return asked.sort == "key" and not _chooses(asked)


def _size(ranks: tuple[int, int]) -> int:
    return ranks[1] - ranks[0]


def _chooses(asked: Range) -> int:
    return asked.min_mod_revision or asked.max_mod_revision or asked.min_create_revision or asked.max_create_revision


def _wanted(asked: Range, row: KeyValue) -> bool:
    return asked.min_mod_revision <= row.mod_revision <= (
        asked.max_mod_revision or row.mod_revision
    ) and asked.min_create_revision <= row.create_revision <= (asked.max_create_revision or row.create_revision)
