"""Transactions: conditions, then one of two lists of operations, which may hold transactions in turn; all writes at one revision.

All conditions, those of inner transactions too, are judged by the state before the transaction; what the operations need is checked there
as well. Then they run in order, and each reads what those before it have written. What still turns out to be too much undoes them all.

Source: etcd's `v3rpc/key.go` (what is refused) and `applierV3backend.Txn`.
"""

from __future__ import annotations

import operator
from typing import Any

from attrs import define, frozen

from txraft.errors import Refused
from txraft.machines.config_store.intervals import check_writes
from txraft.machines.config_store.key_values import Budget, KeyValue, bounds
from txraft.machines.config_store.operations import Compare, Delete, Operation, Put, Range, Txn
from txraft.machines.config_store.ranges import read_range
from txraft.machines.config_store.versions import Versions

__all__ = ["OPERATIONS_IN_ALL_MAX", "OPERATIONS_MAX", "TRANSACTIONS_DEPTH_MAX", "Writer", "check_put", "run_transaction"]

OPERATIONS_MAX = 128
"""Entries of one list of a transaction, as in etcd. What the longest list of a transaction has, is no longer there for those within it."""

OPERATIONS_IN_ALL_MAX = 1_024
"""Operations and comparisons of a transaction with all within it, in branches that are not taken too: each of them is checked."""

TRANSACTIONS_DEPTH_MAX = 16
"""A transaction within a transaction within …"""

RESPONSE_BYTES = 96
"""What a response takes in a result besides keys and values, at most: names of fields, and numbers."""

NOTHING = KeyValue(b"", b"", 0, 0, 0, 0)
TARGETS = {
    "version": operator.attrgetter("version"),
    "create": operator.attrgetter("create_revision"),
    "mod": operator.attrgetter("mod_revision"),
    "lease": operator.attrgetter("lease"),
    "value": operator.attrgetter("value"),
}
RESULTS = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}


def run_transaction(versions: Versions, txn: Txn) -> dict[str, Any]:
    """Run it; its result. Raises `Refused`, and then nothing has changed."""
    _check_size(txn)
    _check_shape(txn, OPERATIONS_MAX, 1)
    check_writes(txn)
    writer = Writer(versions, Budget())
    branch = _choose(versions, txn, writer.budget)
    _check_puts(versions, branch)
    _check_ranges(versions, branch)
    try:
        responses = writer.run(branch)
    except Refused:
        writer.roll_back()
        raise
    return {"revision": writer.commit(), "succeeded": branch.succeeded, "responses": responses}


# What is refused whatever the state.


def _check_size(txn: Txn) -> None:
    size, uncounted = 0, [txn]
    while uncounted:
        one = uncounted.pop()
        size += len(one.compare) + len(one.success) + len(one.failure)
        if size > OPERATIONS_IN_ALL_MAX:
            raise Refused(
                "too_many_operations",
                f"a transaction has at most {OPERATIONS_IN_ALL_MAX} operations and comparisons, those of inner transactions among them",
            )
        uncounted += [inner for operations in (one.success, one.failure) for inner in operations if type(inner) is Txn]


def _check_shape(txn: Txn, allowed: int, depth: int) -> None:
    if depth > TRANSACTIONS_DEPTH_MAX:
        raise Refused("too_deep", f"transactions are nested at most {TRANSACTIONS_DEPTH_MAX} deep")
    longest = max(len(txn.compare), len(txn.success), len(txn.failure))
    if longest > allowed:
        within = "" if depth == 1 else f" (within others, {allowed} are left)"
        raise Refused(
            "too_many_operations", f"{longest} operations or comparisons are more than the {OPERATIONS_MAX} of a transaction{within}"
        )
    for compare in txn.compare:
        bounds(compare.key, compare.range_end)
        if (compare.number if compare.target == "value" else compare.value) is not None:
            raise Refused("invalid_compare", f"{compare.target} is compared with {'value' if compare.target == 'value' else 'number'}")
    for operations in (txn.success, txn.failure):
        for one in operations:
            if type(one) is Txn:
                _check_shape(one, allowed - longest, depth + 1)
            elif type(one) is Put:
                check_put(one.key, one.value, one.lease, one.ignore_value, one.ignore_lease)
            else:
                _bounds_of(one)


def check_put(key: bytes, value: bytes, lease: int, ignore_value: bool, ignore_lease: bool) -> None:
    """What a put cannot ask for. Raises `Refused`."""
    if not key:
        raise Refused("empty_key", "a key has at least one byte")
    if ignore_value and value:
        raise Refused("value_provided", "a value is given, and ignore_value, which keeps the one that is there")
    if ignore_lease and lease:
        raise Refused("lease_provided", "a lease is given, and ignore_lease, which keeps the one that is there")


def _bounds_of(one: Operation) -> tuple[bytes, bytes | None]:
    if type(one) is Range:
        return bounds(one.key, one.range_end, prefix=one.prefix, from_key=one.from_key)
    assert type(one) is Delete
    return bounds(one.key, one.range_end, prefix=one.prefix)


# Which operations are to run, and whether they can.


@frozen(eq=False)
class Branch:
    """The operations that the conditions have chosen; those of inner transactions are chosen already."""

    succeeded: bool
    operations: list[Put | Delete | Range | Branch]


def _choose(versions: Versions, txn: Txn, budget: Budget) -> Branch:
    succeeded = all(_holds(versions, compare, budget) for compare in txn.compare)
    chosen = txn.success if succeeded else txn.failure
    return Branch(succeeded, [_choose(versions, one, budget) if isinstance(one, Txn) else one for one in chosen])


def _holds(versions: Versions, compare: Compare, budget: Budget) -> bool:
    value: Any = (compare.value or b"") if compare.target == "value" else (compare.number or 0)
    target, result = TARGETS[compare.target], RESULTS[compare.result]
    first, end = bounds(compare.key, compare.range_end)
    if end is None:
        start, stop, keys = 0, int(first in versions.live), iter((first,))
    else:
        start, stop = versions.ranks(first, end)
        keys = versions.keys.islice(start, stop)
    budget.look_at(stop - start)
    if start == stop:
        return compare.target != "value" and bool(result(target(NOTHING), value))
    return all(result(target(versions.live[key]), value) for key in keys)


def _check_puts(versions: Versions, branch: Branch) -> None:
    for one in branch.operations:
        if type(one) is Branch:
            _check_puts(versions, one)
        elif type(one) is Put:
            if (one.ignore_value or one.ignore_lease) and one.key not in versions.live:
                raise _key_not_found(one.key)
            if one.lease:
                versions.leases.find(one.lease)


def _check_ranges(versions: Versions, branch: Branch) -> None:
    for one in branch.operations:
        if type(one) is Branch:
            _check_ranges(versions, one)
        elif type(one) is Range and one.revision:
            versions.check_readable(one.revision, versions.revision)


def _key_not_found(key: bytes) -> Refused:
    return Refused("key_not_found", f"there is no key {key[:100]!r} whose value or lease could be kept")


# Running them.


@define(eq=False)
class Writer:
    """Operations at one revision.

    Attributes:
        budget: what they may still look at and answer.
        mark: where in the newest part of the log their writes begin.
    """

    versions: Versions
    budget: Budget
    mark: int = 0

    def __attrs_post_init__(self) -> None:
        self.mark = len(self.versions.log.newest)

    @property
    def revision(self) -> int:
        """The newest, with what was written here."""
        return self.versions.revision + (len(self.versions.log.newest) > self.mark)

    def commit(self) -> int:
        """All is done: the revision it has led to."""
        self.versions.revision = self.revision
        return self.versions.revision

    def roll_back(self) -> None:
        """Undo all."""
        self.versions.roll_back(self.mark)

    def run(self, branch: Branch) -> list[dict[str, Any]]:
        """Run the operations, those of inner transactions among them; their responses."""
        responses: list[dict[str, Any]] = []
        for one in branch.operations:
            self.budget.answer(RESPONSE_BYTES)
            if type(one) is Branch:
                inner = self.run(one)
                response = {"op": "txn", "revision": self.revision, "succeeded": one.succeeded, "responses": inner}
            elif type(one) is Put:
                response = {"op": "put", **self.put(one)}
            elif type(one) is Delete:
                response = {"op": "delete", **self.delete(*_bounds_of(one), one.prev_kv)}
            else:
                assert type(one) is Range
                response = {"op": "range", **read_range(self.versions, one, self.revision, self.budget)}
            responses.append(response)
        return responses

    def put(self, one: Put) -> dict[str, Any]:
        """Write a key. Raises `Refused`."""
        versions, value, lease = self.versions, one.value, one.lease
        before = versions.live.get(one.key)
        if lease:
            versions.leases.check_room(lease, one.key)
        if one.ignore_value or one.ignore_lease:
            if before is None:
                raise _key_not_found(one.key)
            value = before.value if one.ignore_value else value
            lease = before.lease if one.ignore_lease else lease
        result: dict[str, Any] = {"revision": versions.revision + 1}
        if one.prev_kv and before is not None:
            result["prev_kv"] = self.budget.answer_versions([before])[0]
        versions.put(one.key, value, lease)
        return result

    def delete(self, first: bytes, end: bytes | None, prev_kv: bool) -> dict[str, Any]:
        """Delete the keys of a range of `bounds`. Raises `Refused`."""
        versions = self.versions
        if end is None and not prev_kv:  # the usual case, without asking for ranks
            found = first in versions.live
            if found:
                versions.delete_keys([first])
            return {"revision": self.revision, "deleted": int(found)}
        start, stop = versions.ranks(first, end)
        self.budget.delete(stop - start)
        result: dict[str, Any] = {"deleted": stop - start}
        if prev_kv and start < stop:
            result["prev_kvs"] = self.budget.answer_versions([versions.live[key] for key in versions.keys.islice(start, stop)])
        if start < stop:
            versions.delete_ranks(start, stop)
        return {"revision": self.revision, **result}
