"""Keys in the order in which they came, and frozen views of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.work_queue import arrivals
from txraft.machines.work_queue.arrivals import LOOKED_AT, MERGED_MAX, PIECE, Arrivals, given_away

KEYS = st.integers(0, 30)


class AnySteps(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(arrivals, "PIECE", 4)
        self.patch(arrivals, "MERGED_MAX", 3)
        self.patch(arrivals, "LOOKED_AT", 2)

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.tuples(st.sampled_from(["add", "add", "add", "pop", "pop", "fork"]), KEYS), max_size=80))
    def test_it_is_a_dict_and_what_was_forked_stays_as_it_was(self, steps: list[tuple[str, int]]) -> None:
        there, model = Arrivals[int, int](), dict[int, int]()
        frozen: list[tuple[Arrivals[int, int], list[int]]] = []
        for number, (what, key) in enumerate(steps):
            if what == "fork":
                frozen.append((there, list(model.values())))
                there = there.fork()
            elif what == "add" and key not in model:
                there.add(key, number)
                model[key] = number
            elif what == "pop" and key in model:
                self.assertEqual(there.pop(key), model.pop(key))
            self.assertEqual((list(there.values()), len(there)), (list(model.values()), len(model)))
            self.assertEqual((there.get(key), there.first()), (model.get(key), next(iter(model.values()), None)))
        for one, values in frozen:
            self.assertEqual(list(one.values()), values)

    def test_unknown_keys(self) -> None:
        there = Arrivals[int, str]()
        self.assertRaises(KeyError, there.pop, 1)
        self.assertEqual((there.get(1), there.first()), (None, None))


class Pieces(SynchronousTestCase):
    def filled(self, number: int) -> Arrivals[int, int]:
        there = Arrivals[int, int]()
        for key in range(number):
            there.add(key, key)
        return there

    def test_those_that_become_empty_go(self) -> None:
        there = self.filled(100 * PIECE)
        for key in range(99 * PIECE):
            there.pop(key)
        self.assertEqual(len(there.pieces), 2)

    def test_a_few_that_stay_for_long_do_not_keep_a_piece_each(self) -> None:
        there = self.filled(0)
        for key in range(1_000 * PIECE):
            there.add(key, key)
            if key % PIECE:
                there.pop(key)
        self.assertEqual(list(there.values()), [number * PIECE for number in range(1_000)])
        self.assertLess(len(there.pieces), 2 * 1_000 // (MERGED_MAX - 1) + 1_000 // LOOKED_AT)

    def test_only_what_is_changed_is_copied(self) -> None:
        before = self.filled(10 * PIECE + 1)
        there = before.fork()
        there.pop(0)
        there.pop(1)
        there.pop(5 * PIECE)
        copied = [number for number, piece in before.pieces.items() if there.pieces[number] is not piece]
        self.assertEqual(copied, [0, 5, 10])
        self.assertEqual(list(before.values()), list(range(10 * PIECE + 1)))
        there.fork().pop(2)
        self.assertEqual(there.get(2), None)
        self.assertIn(2, there.pieces[0])

    def test_pieces_that_are_merged_stay_as_they_were_for_others(self) -> None:
        before = self.filled(10 * PIECE)
        for key in range(10 * PIECE):
            if key % PIECE > 2:
                before.pop(key)
        there, left = before.fork(), list(before.values())
        for key in range(10 * PIECE, 20 * PIECE):
            there.add(key, key)
        self.assertLess(len(there.pieces), 2 + 10 + 10 // 2)
        self.assertEqual(list(before.values()), left)
        self.assertEqual(list(there.values()), [*left, *range(10 * PIECE, 20 * PIECE)])

    def test_what_is_given_away_is_not_kept(self) -> None:
        pieces = [[1], [2], [3]]
        there = given_away(pieces)
        self.assertEqual((next(there), pieces), ([1], [[3], [2]]))
        self.assertEqual((list(there), pieces), ([[2], [3]], []))
