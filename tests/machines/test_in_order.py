"""Many keys are put in order a few at a time."""

from __future__ import annotations

import random

from sortedcontainers import SortedList
from twisted.trial.unittest import SynchronousTestCase

from txraft.machines import in_order


class InOrder(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(in_order, "RUN", 64)
        self.source = random.Random(3)

    def test_it_is_a_sorted_list_of_all(self) -> None:
        for count in (0, 1, 64, 65, 100, 1_000, 5_000):
            ordered = [b"%07d" % number for number in range(count)]
            for keys in (ordered, ordered[::-1], self.source.sample(ordered, count)):
                found = in_order.sorted_list(dict.fromkeys(keys))
                self.assertEqual(found, SortedList(ordered))
                if count:
                    self.assertEqual(found.index(ordered[count // 2]), count // 2)

    def test_it_can_be_changed(self) -> None:
        found = in_order.sorted_list([str(number) for number in range(500)])
        found.add("25x")
        found.remove("7")
        self.assertEqual(list(found), sorted([*(str(number) for number in range(500) if number != 7), "25x"]))

    def test_a_portion_is_not_much_more_than_a_run(self) -> None:
        keys = self.source.sample(range(64_000), 64_000)
        portions = list(in_order._portions(keys))
        self.assertEqual([key for portion in portions for key in portion], list(range(64_000)))
        self.assertLess(max(map(len, portions)), 4 * 64)
