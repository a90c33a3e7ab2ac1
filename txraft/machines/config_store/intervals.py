"""Whether a transaction writes a key twice.

The rule is etcd's, to the letter. Within a list of operations (those of inner transactions count as well), no key is put twice, and none is
put that a deletion covers. The two lists of an inner transaction exclude each other, so both may put the same key. A deletion in an inner
transaction is held against the puts beside and after it, not against those of earlier inner transactions; and a deletion of all keys from
one on is held against none.

Source: etcd's `v3rpc/key.go`, `checkIntervals`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from txraft.errors import Refused
from txraft.machines.config_store.key_values import FROM_KEY, prefix_end
from txraft.machines.config_store.operations import Delete, Operation, Put, Txn

__all__ = ["Intervals", "check_writes"]


class Intervals:
    """Stretches of keys, from a first one to an end that is not included; joined where they touch or overlap, and in order."""

    def __init__(self) -> None:
        self._firsts: list[bytes] = []
        self._ends: list[bytes] = []

    def add(self, first: bytes, end: bytes) -> None:
        """One more stretch; nothing when it holds no key."""
        if first < end:
            start, stop = bisect_left(self._ends, first), bisect_right(self._firsts, end)
            if start < stop:
                first, end = min(first, self._firsts[start]), max(end, self._ends[stop - 1])
            self._firsts[start:stop], self._ends[start:stop] = [first], [end]

    def add_all(self, others: Intervals) -> None:
        """The stretches of the others, too."""
        for first, end in zip(others._firsts, others._ends, strict=True):
            self.add(first, end)

    def __contains__(self, key: bytes) -> bool:
        place = bisect_right(self._firsts, key)
        return place > 0 and key < self._ends[place - 1]


def check_writes(txn: Txn) -> None:
    """Raises `Refused` `duplicate_key`."""
    for operations in (txn.success, txn.failure):
        _writes(operations)


def _writes(operations: list[Operation]) -> tuple[set[bytes], Intervals]:
    """The keys these operations put, and those they delete."""
    puts: set[bytes] = set()
    deletions = Intervals()
    for one in operations:
        if type(one) is Delete:
            end = prefix_end(one.key) or FROM_KEY if one.prefix else one.range_end
            deletions.add(one.key, end or one.key + b"\0")
    for one in operations:
        if type(one) is Txn:
            if_so, if_not = _writes(one.success), _writes(one.failure)
            _check(if_so[0], puts, deletions)
            _check(if_not[0], puts, deletions)
            puts |= if_so[0] | if_not[0]
            deletions.add_all(if_so[1])
            deletions.add_all(if_not[1])
    for one in operations:
        if type(one) is Put:
            _check({one.key}, puts, deletions)
            puts.add(one.key)
    return puts, deletions


def _check(keys: set[bytes], puts: set[bytes], deletions: Intervals) -> None:
    twice = min((key for key in keys if key in puts or key in deletions), default=None)
    if twice is not None:
        raise Refused("duplicate_key", f"the transaction would write the key {twice[:100]!r} twice, at one revision")
