"""Which transactions write a key twice."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import Refused
from txraft.machines.config_store.intervals import Intervals, check_writes
from txraft.machines.config_store.operations import Delete, Operation, Put, Txn


class Writes(SynchronousTestCase):
    def refused(self, *operations: Operation) -> None:
        self.assertEqual(self.assertRaises(Refused, check_writes, Txn([], list(operations))).code, "duplicate_key")
        self.assertEqual(self.assertRaises(Refused, check_writes, Txn([], [], list(operations))).code, "duplicate_key")

    def allowed(self, *operations: Operation) -> None:
        check_writes(Txn([], list(operations), list(operations)))

    def test_beside_each_other(self) -> None:
        self.refused(Put(b"a"), Put(b"a"))
        self.refused(Put(b"a"), Delete(b"a"))
        self.refused(Delete(b"a", b"c"), Put(b"b"))
        self.refused(Delete(b"a", prefix=True), Put(b"a\xff"))
        self.allowed(Delete(b"a", b"b"), Put(b"b"), Delete(b"c"), Put(b"c\0"))

    def test_one_within_another(self) -> None:
        self.refused(Txn([], [Put(b"a")]), Put(b"a"))
        self.refused(Txn([], [], [Put(b"a")]), Txn([], [Put(b"a")]))
        self.refused(Delete(b"a"), Txn([], [Txn([], [], [Put(b"a")])]))
        self.refused(Txn([], [Delete(b"a")]), Put(b"a"))
        self.refused(Txn([], [Delete(b"a")]), Txn([], [Put(b"a")]))

    def test_branches_exclude_each_other(self) -> None:
        self.allowed(Txn([], [Put(b"a")], [Put(b"a")]))
        self.allowed(Txn([], [Put(b"a")], [Delete(b"a")]))

    def test_what_etcd_lets_through(self) -> None:
        self.allowed(Txn([], [Put(b"a")]), Txn([], [Delete(b"a")]))
        self.allowed(Delete(b"a", b"\0"), Put(b"a"))
        self.allowed(Delete(b"c", b"a"), Put(b"b"))


class IntervalsJoin(SynchronousTestCase):
    def test_they_hold_what_any_of_them_holds(self) -> None:
        intervals = Intervals()
        added = [(b"d", b"f"), (b"a", b"b"), (b"b", b"c"), (b"e", b"h"), (b"z", b"k"), (b"c\0", b"d"), (b"0", b"1")]
        for number, (first, end) in enumerate(added, 1):
            intervals.add(first, end)
            for key in (bytes([one]) + more for one in range(48, 123) for more in (b"", b"\0")):
                self.assertEqual(key in intervals, any(a <= key < b for a, b in added[:number]), key)
        self.assertEqual(intervals._firsts, [b"0", b"a", b"c\0"])
