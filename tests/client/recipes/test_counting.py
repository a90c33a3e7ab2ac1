from __future__ import annotations

from tests.client.recipes.recipe_case import RecipeCase
from txraft.client.recipes.shared.counting import PlainCounter


class CounterTests(RecipeCase):
    def test_it_adds_on_the_server(self) -> None:
        store = self.world.client()
        counter = PlainCounter(store, "a")
        self.assertEqual(self.result(counter.value()), 0)
        self.assertEqual(self.result(counter.add(3)), 3)
        self.assertEqual(self.result(PlainCounter(self.world.client(), "a").add(-5)), -2)
        self.assertEqual(self.result(counter.value()), -2)
        self.assertEqual(store.calls, ["get", "add", "get"])

    def test_it_begins_where_it_is_told_to(self) -> None:
        counter = PlainCounter(self.world.client(), "b", 100)
        self.assertEqual(self.result(counter.value()), 100)
        self.assertEqual(self.result(counter.add(1)), 101)
        self.assertEqual(self.result(counter.add(1)), 102)
        self.assertEqual(self.result(PlainCounter(self.world.client(), "b", 5).add(1)), 103)
