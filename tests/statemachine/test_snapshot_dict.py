"""SnapshotDict: a dict like any other, and views of it that do not change."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.statemachine import SnapshotDict, snapshot_dict

KEYS = st.one_of(st.integers(-40, 40), st.integers(0, 20).map(lambda number: number << 40), st.text("ab", max_size=3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers()),
        st.tuples(st.just("put"), KEYS, st.integers()),
        st.tuples(st.just("put"), KEYS, st.integers()),
        st.tuples(st.sampled_from(["pop", "pop", "discard", "own", "own", "freeze"]), KEYS, st.integers()),
        st.tuples(st.sampled_from(["shrink", "clear"]), KEYS, st.integers(0, 40)),
    ),
    max_size=120,
)


class LikeADict(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(snapshot_dict, "SHARD_KEYS", 4)

    def test_reading_and_writing(self) -> None:
        units = SnapshotDict({"pear": 3})
        units["fig"] = 1
        units["pear"] = 4
        self.assertEqual((units["pear"], units["fig"], len(units)), (4, 1, 2))
        self.assertEqual((units.get("fig"), units.get("plum"), units.get("plum", 0)), (1, None, 0))
        self.assertEqual(("fig" in units, "plum" in units), (True, False))
        self.assertEqual((units.setdefault("fig", 9), units.setdefault("plum", 9)), (1, 9))
        units.update({"fig": 2}, lime=5)
        self.assertEqual(units, {"pear": 4, "fig": 2, "plum": 9, "lime": 5})
        self.assertEqual(repr(units), "<SnapshotDict of 4>")

    def test_it_is_made_from_pairs_in_whatever_shape_they_come(self) -> None:
        shapes: list[Any] = [{"a": 1, "b": 2}, [("a", 1), ("b", 2)], iter([["a", 1], ["b", 2]]), SnapshotDict({"a": 1, "b": 2}).frozen()]
        for pairs in shapes:
            self.assertEqual(SnapshotDict(pairs), {"a": 1, "b": 2})

    def test_removing(self) -> None:
        numbers = SnapshotDict((number, str(number)) for number in range(50))
        del numbers[3]
        self.assertEqual((numbers.pop(4), numbers.pop(4, None), 3 in numbers, len(numbers)), ("4", None, False, 48))
        self.assertEqual(numbers.popitem(), (0, "0"))
        for absent in (lambda: numbers[3], lambda: numbers.pop(3), lambda: numbers.__delitem__(3)):
            self.assertRaises(KeyError, absent)
        numbers.clear()
        self.assertEqual((len(numbers), list(numbers)), (0, []))
        self.assertRaises(KeyError, numbers.popitem)

    def test_iteration_is_by_ascending_key_so_that_it_is_the_same_on_every_server(self) -> None:
        numbers = SnapshotDict((number * 7 % 50, number) for number in range(50))
        self.assertEqual(list(numbers), list(range(50)))
        self.assertEqual([key for key, _ in numbers.items()], list(range(50)))
        self.assertRaises(TypeError, list, SnapshotDict({1: 1, "a": 1}))

    def test_equality(self) -> None:
        self.assertEqual(SnapshotDict({1: 1, "a": 2}), SnapshotDict({"a": 2, 1: 1}))
        for other in ({}, {1: 1}, {1: 1, "a": 3}, {1: 1, "b": 2}, [1], None):
            self.assertNotEqual(SnapshotDict({1: 1, "a": 2}), other)
        self.assertRaises(TypeError, hash, SnapshotDict())

    def test_a_key_must_be_hashable(self) -> None:
        numbers: SnapshotDict[Any, int] = SnapshotDict()
        self.assertRaises(TypeError, numbers.__setitem__, [], 1)
        self.assertEqual(len(numbers), 0)

    def test_keys_are_spread_evenly_even_if_their_hashes_are_not(self) -> None:
        for keys in (range(2_000), range(0, 2_000 << 20, 1 << 20), [(0, number) for number in range(2_000)]):
            spread = SnapshotDict((key, None) for key in keys)
            self.assertGreater(len(spread._shards), 400)
            self.assertLess(max(map(len, spread._shards)), 30)


class Views(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(snapshot_dict, "SHARD_KEYS", 4)

    def test_a_view_is_of_its_moment(self) -> None:
        units = SnapshotDict({"fig": 1, "pear": 2})
        before = units.frozen()
        units["fig"] = 7
        del units["pear"]
        between = units.frozen()
        units.clear()
        self.assertEqual(dict(before), {"fig": 1, "pear": 2})
        self.assertEqual(dict(between), {"fig": 7})
        self.assertEqual((len(before), len(between), len(units.frozen())), (2, 1, 0))

    def test_a_view_is_read_once_and_lets_go_of_what_is_read(self) -> None:
        class Value:
            """Something that can be looked for."""

        values = SnapshotDict((number, Value()) for number in range(100))
        left = [weakref.ref(value) for value in values.values()]
        view = values.frozen()
        for number in range(100):
            values[number] = Value()
        self.assertEqual(sum(value() is not None for value in left), 100)
        reading = iter(view)
        for _ in range(50):
            next(reading)
        gc.collect()
        self.assertLess(sum(value() is not None for value in left), 60)
        self.assertEqual((len(view), len(list(view)), list(view)), (100, 50, []))

    def test_writing_between_any_two_steps_of_an_iteration(self) -> None:
        """What another thread may see: it can be interrupted between any two pairs, and everything may change then."""
        for interrupted in range(40):
            numbers = SnapshotDict((number, number) for number in range(40))
            seen, reading = [], iter(numbers.frozen())
            for _ in range(interrupted):
                seen.append(next(reading))
            for number in range(20, 200):
                numbers[number] = -1
            for number in range(0, 200, 3):
                del numbers[number]
            numbers.frozen()
            for number in range(1, 200, 3):
                del numbers[number]
            seen += reading
            self.assertEqual(sorted(seen), [(number, number) for number in range(40)])
            self.assertEqual(numbers, {number: -1 if number >= 20 else number for number in range(2, 200, 3)})

    def test_only_what_is_written_to_is_copied(self) -> None:
        numbers = SnapshotDict((number, number) for number in range(100))
        before = list(numbers._shards)
        numbers.frozen()
        numbers[5] = 0
        numbers[5] = 1
        changed = [at for at, shard in enumerate(numbers._shards) if shard is not before[at]]
        self.assertEqual(changed, [numbers._place(5)])

    def test_removing_what_is_not_there_copies_nothing(self) -> None:
        numbers = SnapshotDict((number, number) for number in range(100))
        before = list(numbers._shards)
        numbers.frozen()
        self.assertIsNone(numbers.pop(1_000, None))
        self.assertTrue(all(one is other for one, other in zip(numbers._shards, before, strict=True)))

    def test_growing_and_shrinking_move_few_keys_at_a_time(self) -> None:
        numbers: SnapshotDict[int, int] = SnapshotDict()
        for number in range(1_000):
            before = list(numbers._shards)
            numbers[number] = number
            self.assertLessEqual(len(numbers._shards) - len(before), 1)
            self.assertLessEqual(sum(shard is not old for shard, old in zip(numbers._shards, before, strict=False)), 1)
        for number in range(1_000):
            before = list(numbers._shards)
            del numbers[number]
            self.assertLessEqual(len(before) - len(numbers._shards), 1)
            self.assertLessEqual(sum(shard is not old for shard, old in zip(numbers._shards, before, strict=False)), 1)
        self.assertEqual(len(numbers._shards), 1)


class MutableValues(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(snapshot_dict, "SHARD_KEYS", 4)
        self.copied: list[list[int]] = []

    def copy(self, value: list[int]) -> list[int]:
        self.copied.append(value)
        return list(value)

    def test_a_value_that_a_view_may_see_is_copied_before_it_is_changed(self) -> None:
        lists = SnapshotDict({"a": [1], "b": [2]}, copy=self.copy)
        view = lists.frozen()
        lists.own("a").append(3)
        self.assertEqual(dict(view), {"a": [1], "b": [2]})
        self.assertEqual(lists, {"a": [1, 3], "b": [2]})

    def test_it_is_copied_once(self) -> None:
        lists = SnapshotDict(((number, [number]) for number in range(20)), copy=self.copy)
        for _ in range(2):
            lists.frozen()
            for _ in range(3):
                for number in range(20):
                    lists.own(number).append(0)
        self.assertEqual(len(self.copied), 40)
        self.assertEqual(lists, {number: [number] + [0] * 6 for number in range(20)})

    def test_nothing_is_copied_while_nobody_looks(self) -> None:
        lists = SnapshotDict({"a": [1]}, copy=self.copy)
        own = lists.own("a")
        self.assertIs(lists.own("a"), own)
        self.assertIs(lists["a"], own)
        self.assertEqual(self.copied, [])

    def test_what_is_owned_stays_so_when_shards_are_split_and_merged(self) -> None:
        lists = SnapshotDict(((number, [number]) for number in range(5)), copy=self.copy)
        view = lists.frozen()
        owned = [lists.own(number) for number in range(3)]
        for number in range(5, 100):
            lists[number] = [number]
        self.assertTrue(all(lists.own(number) is owned[number] for number in range(3)))
        for number in range(5, 100):
            del lists[number]
        self.assertTrue(all(lists.own(number) is owned[number] for number in range(3)))
        for number in (3, 4):
            lists.own(number).append(9)
        self.assertEqual(sorted(view), [(number, [number]) for number in range(5)])

    def test_a_key_that_is_gone_counts_for_none_that_is_left(self) -> None:
        lists = SnapshotDict({"a": [1], "b": [2], "c": [3]}, copy=self.copy)
        view = lists.frozen()
        lists.own("a")
        del lists["a"]
        lists.own("b")
        lists.own("c").append(9)
        self.assertEqual(dict(view), {"a": [1], "b": [2], "c": [3]})

    def test_a_key_that_is_not_there(self) -> None:
        lists = SnapshotDict({"a": [1]}, copy=self.copy)
        self.assertRaises(KeyError, lists.own, "b")
        lists.frozen()
        self.assertRaises(KeyError, lists.own, "b")

    def test_without_a_way_to_copy_there_is_nothing_to_own(self) -> None:
        self.assertRaises(TypeError, SnapshotDict({"a": [1]}).own, "a")


class LikeADictWhateverIsDone(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(steps=STEPS, shard_keys=st.sampled_from([1, 2, 5, 64]))
    @example(steps=[("put", number, 0) for number in range(9)] + [("shrink", 0, 40), ("put", 1, 1), ("own", 1, 1)], shard_keys=1)
    def test_against_a_plain_dict(self, steps: list[tuple[str, Any, int]], shard_keys: int) -> None:
        self.patch(snapshot_dict, "SHARD_KEYS", shard_keys)
        tried: SnapshotDict[Any, list[int]] = SnapshotDict(copy=list)
        model: dict[Any, list[int]] = {}
        views: list[tuple[Any, dict[Any, list[int]], list[Any]]] = []
        for step, key, number in steps:
            if step == "put":
                tried[key], model[key] = [number], [number]
            elif step == "pop":
                self.assertEqual(tried.pop(key, None), model.pop(key, None))
            elif step == "discard" and key in model:
                del tried[key], model[key]
            elif step == "own" and key in model:
                tried.own(key).append(number)
                model[key].append(number)
            elif step == "freeze":
                view = tried.frozen()
                views.append((iter(view), {key: list(value) for key, value in model.items()}, []))
            elif step == "shrink":
                for gone in list(model)[:number]:
                    del tried[gone], model[gone]
            elif step == "clear" and number == 0:
                tried.clear()
                model.clear()
            self.assertEqual((len(tried), tried.get(key)), (len(model), model.get(key)))
            for reading, _, seen in views:  # they are read on while it changes
                seen.extend((key, list(value)) for key, value in [next(reading, (None, []))] if key is not None)
        self.assertEqual(tried, model)
        for reading, expected, seen in views:
            seen.extend((key, list(value)) for key, value in reading)
            self.assertEqual(len(seen), len(expected))
            self.assertEqual(dict(seen), expected)
