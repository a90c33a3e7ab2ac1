"""Views of a dict show what was there, and what they have kept apart becomes one again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from txraft.machines import layered_dict
from txraft.machines.layered_dict import LayeredDict


class Layers(SynchronousTestCase):
    def setUp(self) -> None:
        self.values: LayeredDict[int] = LayeredDict()
        self.model: dict[str, int] = {}

    def put(self, **values: int) -> None:
        for name, value in values.items():
            self.values.put(name, value)
            self.model[name] = value

    def remove(self, *names: str) -> None:
        for name in names:
            self.values.remove(name)
            self.model.pop(name, None)

    def look(self, *names: str) -> None:
        for name in names:
            self.assertEqual(self.values.get(name), self.model.get(name), name)

    def test_without_a_view_it_is_one_dict(self) -> None:
        self.put(a=1, b=2)
        self.remove("b", "c")
        self.look("a", "b", "c")
        self.assertEqual((self.values.top, self.values.below), ({"a": 1}, None))

    def test_taking_a_view_copies_nothing(self) -> None:
        self.put(a=1)
        whole = self.values.top
        view = self.values.frozen()
        self.assertIs(self.values.below, whole)
        self.assertEqual(dict(view), {"a": 1})

    def test_what_a_view_may_read_does_not_change(self) -> None:
        self.put(a=1, b=2, c=3)
        view = self.values.frozen()
        whole, before = self.values.below, dict(self.model)
        first = next(view)
        self.put(a=10, d=4)
        self.remove("b", "x")
        for _ in range(3):
            self.look("a", "b", "c", "d", "x")
        self.assertIs(self.values.below, whole)
        self.assertEqual(whole, before)
        self.assertEqual(dict([first, *view]), before)

    def test_values_of_zero_are_values(self) -> None:
        self.put(a=0)
        view = self.values.frozen()
        self.look("a")
        self.put(b=0)
        self.look("a", "b")
        self.assertEqual((dict(view), dict(self.values.frozen())), ({"a": 0}, {"a": 0, "b": 0}))

    def becomes_one(self) -> None:
        """After some look-ups that reach the lower layer."""
        self.look(*[f"{number}" for number in range(10)])
        self.assertIsNone(self.values.below)
        self.assertEqual(self.values.top, self.model)

    def change_beside(self) -> Iterator[tuple[str, int]]:
        self.put(a=1, b=2)
        view = self.values.frozen()
        self.put(a=3, c=4)
        self.remove("b")
        return view

    def test_layers_become_one_when_the_view_is_read(self) -> None:
        view = self.change_beside()
        self.assertEqual(dict(view), {"a": 1, "b": 2})
        self.becomes_one()

    def test_layers_become_one_when_the_view_is_forgotten(self) -> None:
        for begun in (False, True):
            view = self.change_beside()
            if begun:
                next(view)
            del view
            self.becomes_one()

    def test_layers_become_one_little_by_little(self) -> None:
        self.patch(layered_dict, "MERGED_AT_ONCE", 2)
        view = self.change_beside()
        self.put(**{f"n{number}": number for number in range(9)})
        list(view)
        for left in (10, 8, 6, 4, 2):  # of a, b, c and these nine
            self.look("absent")
            self.assertEqual(len(self.values.top), left)
        self.becomes_one()

    def test_a_view_while_there_is_another(self) -> None:
        self.put(a=1, b=2)
        first, was = self.values.frozen(), dict(self.model)
        self.put(a=2, c=3)
        self.remove("b")
        second, then = self.values.frozen(), dict(self.model)
        self.put(a=3, b=4)
        self.remove("c")
        self.assertEqual(dict(first), was)
        self.look("a", "b", "c", "d")
        self.assertIsNotNone(self.values.below)  # the second has it
        self.assertEqual(dict(second), then)
        self.becomes_one()

    def test_each_view_keeps_the_lower_layer(self) -> None:
        self.put(a=1, b=2)
        first, was = self.values.frozen(), dict(self.model)
        self.put(a=2)
        second, then = self.values.frozen(), dict(self.model)
        self.assertEqual(dict(second), then)
        self.look("a", "b", "c")
        self.assertEqual(dict(first), was)
        self.becomes_one()

    def test_any_changes_with_any_views(self) -> None:
        self.patch(layered_dict, "MERGED_AT_ONCE", 2)
        source = random.Random(5)
        names = [f"{number}" for number in range(50)]
        views: list[tuple[Iterator[tuple[str, int]], dict[str, int], dict[str, int]]] = []
        merged = 0
        for number in range(20_000):
            choice = source.random()
            if choice < 0.15:
                self.put(**{source.choice(names): number})
            elif choice < 0.2:
                self.remove(source.choice(names))
            elif choice < 0.9:
                self.look(source.choice(names))
            elif choice < 0.92 and len(views) < 3:
                views.append((self.values.frozen(), dict(self.model), {}))
            elif views:
                view, expected, found = views.pop(source.randrange(len(views)))
                some = list(islice(view, source.randrange(1, 30)))
                self.assertEqual(len(found.keys() & dict(some).keys()), 0)
                found.update(some)
                if some and source.random() < 0.9:
                    views.append((view, expected, found))
                elif not some:
                    self.assertEqual(found, expected)
            merged += len(views) == 0 and self.values.below is None
        self.assertGreater(merged, 20)
