"""Bounds of ranges, and budgets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import Refused
from txraft.machines.config_store.key_values import KEYS_AT_ONCE_MAX, Budget, bounds, prefix_end


class Bounds(SynchronousTestCase):
    def test_of_one_key(self) -> None:
        self.assertEqual((bounds(b"a", None), bounds(b"a", b"")), ((b"a", None), (b"a", None)))

    def test_of_a_range(self) -> None:
        self.assertEqual((bounds(b"a", b"b"), bounds(b"a", b"\0")), ((b"a", b"b"), (b"a", b"")))
        self.assertEqual((bounds(b"a", None, prefix=True), bounds(b"", None, prefix=True)), ((b"a", b"b"), (b"", b"")))
        self.assertEqual(bounds(b"a", None, from_key=True), (b"a", b""))

    def test_the_end_of_a_prefix(self) -> None:
        for prefix, end in ((b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"a\xfe", b"a\xff"), (b"", b"")):
            self.assertEqual(prefix_end(prefix), end)


class Budgets(SynchronousTestCase):
    def test_parts_add_up(self) -> None:
        budget = Budget()
        budget.look_at(KEYS_AT_ONCE_MAX - 1)
        budget.look_at(1)
        self.assertIn(str(KEYS_AT_ONCE_MAX), self.assertRaises(Refused, budget.look_at, 1).message)
        budget.answer(1_000_000)
        self.assertEqual(self.assertRaises(Refused, budget.answer, 1_000_000).code, "too_large")
