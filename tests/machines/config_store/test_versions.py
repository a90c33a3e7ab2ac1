"""What is kept of the past, and that what is not to be read is dropped in portions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.config_store.key_values import KeyValue
from txraft.machines.config_store.leases import Leases
from txraft.machines.config_store.state import FrozenState, restore
from txraft.machines.config_store.versions import Versions


class Kept(SynchronousTestCase):
    def setUp(self) -> None:
        self.versions = Versions(Leases())

    def put(self, *keys: bytes) -> None:
        for key in keys:
            self.versions.put(key, b"", 0)
            self.versions.revision += 1

    def delete(self, *keys: bytes) -> None:
        self.versions.delete_keys(keys)
        self.versions.revision += 1

    def sweep_all(self, portion: int = 10_000) -> int:
        portions = 0
        while self.versions.unswept:
            self.versions.sweep(portion)
            portions += 1
        return portions

    def held(self) -> int:
        """All versions that memory is taken by."""
        return len({id(one) for one in chain(self.versions.live.values(), *self.versions.past.values(), self.versions.log)})

    def test_a_key_that_is_written_once_is_kept_in_one_place(self) -> None:
        self.put(b"a", b"b")
        self.assertEqual((len(self.versions.past), len(self.versions.gone), self.held()), (0, 0, 2))

    def test_all_versions_share_one_copy_of_the_key(self) -> None:
        self.put(bytes([97]), bytes([97]))
        self.delete(bytes([97]))
        first, *others = self.versions.kept(b"a", 0, 10)
        self.assertTrue(all(one.key is first.key for one in others))

    def test_compaction_drops_what_it_makes_unreadable(self) -> None:
        self.put(*[b"a"] * 10, b"b", b"c")
        self.delete(b"b")
        self.put(b"d")
        self.versions.compact(self.versions.revision)
        self.sweep_all()
        self.assertEqual(self.held(), 3)  # a, c, d
        self.assertEqual((self.versions.past, list(self.versions.gone), len(self.versions.log)), ({}, [], 1))

    def test_in_portions_with_the_same_end(self) -> None:
        for versions in (self.versions, Versions(Leases())):
            self.versions = versions
            self.put(*[b"a"] * 50, *[b"b"] * 50)
            self.delete(b"a", b"b")
            self.put(*[b"b"] * 5, b"c")
            self.versions.compact(self.versions.revision - 2)
        other = self.versions
        self.assertGreater(self.sweep_all(3), 20)
        self.versions = Versions(Leases())
        restore(FrozenState(other.frozen(), Leases().frozen()).items(), self.versions, self.versions.leases)
        self.assertEqual(self.versions.frozen(), other.frozen())
        self.assertEqual(self.held(), 4)

    def test_a_portion_never_divides_a_revision(self) -> None:
        self.put(b"a", b"b", b"c")
        self.delete(b"a", b"b", b"c")
        self.put(b"d", b"e")
        self.versions.compact(7)
        for _ in range(4):
            self.versions.sweep(1)
            first = next(iter(self.versions.log))
            self.assertEqual(self.versions.log.start, self.versions.log.position(first.mod_revision))
        self.assertFalse(self.versions.unswept)

    def test_memory_is_given_back_on_the_way(self) -> None:
        self.put(*[b"a"] * 1_000)
        self.versions.compact(1_001)
        self.versions.sweep(500)
        self.assertLess(self.held(), 600)

    def test_a_page_of_a_long_history_is_found_without_a_copy_of_all_of_it(self) -> None:
        """With 300,000 versions, each page took 20 ms."""
        self.put(*[b"a"] * 1_000)
        looked: list[slice] = []

        class Looked(list[KeyValue]):
            def __getitem__(self, place: Any) -> Any:
                looked.append(place)
                return super().__getitem__(place)

            def __iter__(self) -> Iterator[KeyValue]:
                raise AssertionError("all versions are gone through")

        past = self.versions.past[b"a"] = Looked(self.versions.past[b"a"])
        for first, expected in ((0, [2, 3, 4]), (500, [500, 501, 502]), (1_000, [1_000, 1_001]), (1_002, [])):
            self.assertEqual([one.mod_revision for one in self.versions.kept(b"a", first, 3)], expected)
        self.versions.compacted = 400
        self.assertEqual([one.mod_revision for one in self.versions.kept(b"a", 0, 3)], [400, 401, 402])
        self.assertLess(len(looked), 150)
        self.assertEqual(len(past), 999)

    def test_undone_writes_leave_no_trace(self) -> None:
        self.put(b"a", b"b", b"b", b"gone")
        self.delete(b"gone")
        before = self.versions.frozen(), list(self.versions.keys), list(self.versions.gone), dict(self.versions.past)
        mark = len(self.versions.log.newest)
        for key in (b"a", b"new", b"gone"):
            self.versions.put(key, b"1", 0)
        self.versions.delete_ranks(0, 3)
        self.versions.put(b"b", b"2", 0)
        self.versions.roll_back(mark)
        after = self.versions.frozen(), list(self.versions.keys), list(self.versions.gone), dict(self.versions.past)
        self.assertEqual(after, before)
