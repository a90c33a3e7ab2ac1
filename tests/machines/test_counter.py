"""Named counters."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.errors import NotApplied, Refused
from txraft.statemachine import INTEGER_BITS_MAX

COUNTER = "txraft.machines.counter.Counter"
LARGEST = (1 << INTEGER_BITS_MAX) - 1


class CounterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(counter=COUNTER)

    def call(self, command: str, name: Any, **arguments: Any) -> Any:
        return self.driver.call("counter", command, name=name, **arguments)

    def get(self, name: str) -> Any:
        return self.driver.ask("counter", "get", name=name)

    def page(self, **arguments: Any) -> tuple[list[str], str | None]:
        page = self.driver.ask("counter", "list", **arguments)
        return [counter["name"] for counter in page["counters"]], page["next"]


class Commands(CounterCase):
    def test_add_begins_at_zero_and_answers_the_new_value(self) -> None:
        self.assertEqual([self.call("add", "a"), self.call("add", "a", amount=5), self.call("add", "a", amount=-7)], [1, 6, -1])
        self.assertEqual((self.get("a"), self.get("b")), (-1, None))

    def test_set_answers_the_value_before(self) -> None:
        self.assertEqual([self.call("set", "a", value=5), self.call("set", "a", value=0), self.call("set", "a", value=1)], [None, 5, 0])

    def test_compare_and_set(self) -> None:
        def swap(expected: int | None, value: int) -> Any:
            return self.call("compare_and_set", "a", expected=expected, value=value)

        self.assertEqual(swap(5, 6), {"swapped": False, "value": None})
        self.assertEqual(self.page()[0], [])
        self.assertEqual(swap(None, 6), {"swapped": True, "value": 6})
        self.assertEqual(swap(None, 7), {"swapped": False, "value": 6})
        self.assertEqual(swap(6, 7), {"swapped": True, "value": 7})
        self.assertEqual(swap(7, 7), {"swapped": True, "value": 7})

    def test_compare_and_set_tells_zero_from_nothing(self) -> None:
        self.assertFalse(self.call("compare_and_set", "a", expected=0, value=1)["swapped"])
        self.call("set", "a", value=0)
        self.assertFalse(self.call("compare_and_set", "a", expected=None, value=1)["swapped"])

    def test_delete_answers_the_value_it_had(self) -> None:
        self.call("add", "a", amount=5)
        self.assertEqual([self.call("delete", "a"), self.call("delete", "a")], [5, None])
        self.assertEqual((self.get("a"), self.page()[0]), (None, []))
        self.assertEqual(self.call("add", "a"), 1)

    def test_values_have_no_practical_end(self) -> None:
        self.call("set", "a", value=2**63 - 1)
        self.assertEqual(self.call("add", "a"), 2**63)
        self.assertEqual(self.call("set", "a", value=LARGEST), 2**63)
        self.assertEqual((self.get("a"), self.page()[0]), (LARGEST, ["a"]))
        self.assertEqual(self.driver.restored().digest(), self.driver.host.digest())

    def test_beyond_the_end_nothing_changes(self) -> None:
        for value, amount in ((LARGEST, 1), (-LARGEST, -1)):
            self.call("set", "a", value=value)
            self.assertEqual(self.assertRaises(Refused, self.call, "add", "a", amount=amount).code, "too_large")
            self.assertEqual(self.get("a"), value)
        self.assertFalse(self.driver.host.status()["machines"]["counter"]["degraded"])

    def test_only_whole_numbers(self) -> None:
        for wrong in (1.0, True, "1", None):
            for command, parameter in (("add", "amount"), ("set", "value")):
                error = self.assertRaises(NotApplied, self.call, command, "a", **{parameter: wrong})
                self.assertEqual(error.code, "invalid_arguments")
                self.assertIn(f"`{parameter}`", error.message)

    def test_names_are_1_to_512_characters(self) -> None:
        for wrong in ("", "x" * 513, 5, b"a", None):
            self.assertRaises(NotApplied, self.call, "add", wrong)
        for right in (" ", "é" * 512, "a/b\n"):
            self.assertEqual(self.call("add", right), 1)


class Lists(CounterCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("b/2", "a", "b/1", "c", "b/3", "b"):
            self.call("add", name)

    def test_sorted_by_name_with_values(self) -> None:
        page = self.driver.ask("counter", "list", limit=2)
        self.assertEqual(page, {"counters": [{"name": "a", "value": 1}, {"name": "b", "value": 1}], "next": "b"})

    def test_by_prefix(self) -> None:
        self.assertEqual(self.page(prefix="b/"), (["b/1", "b/2", "b/3"], None))
        self.assertEqual(self.page(prefix="z"), ([], None))
        self.assertEqual(self.page(prefix="b/", after="b/1"), (["b/2", "b/3"], None))
        self.assertEqual(self.page(prefix="b/", after="c"), ([], None))
        self.assertEqual(self.page(prefix="b/", after="a"), (["b/1", "b/2", "b/3"], None))

    def test_page_by_page(self) -> None:
        names: list[str] = []
        after: str | None = ""
        while after is not None:
            page, after = self.page(prefix="b", limit=2, after=after)
            names += page
        self.assertEqual(names, ["b", "b/1", "b/2", "b/3"])

    def test_page_sizes_are_bounded(self) -> None:
        for wrong in (0, -1, 1_001):
            self.assertRaises(NotApplied, self.page, limit=wrong)
        self.assertEqual(len(self.page(limit=1_000)[0]), 6)


names = st.sampled_from(["a", "b", "ab", "c", "é"])
values = st.integers(-5, 5) | st.sampled_from([LARGEST, -LARGEST, 2**63])


class Model(RuleBasedStateMachine):
    """Any commands, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(counter=COUNTER)
        self.values: dict[str, int] = {}

    def call(self, command: str, **arguments: Any) -> Any:
        return self.driver.call("counter", command, **arguments)

    @rule(name=names, amount=values)
    def add(self, name: str, amount: int) -> None:
        new = self.values.get(name, 0) + amount
        try:
            assert self.call("add", name=name, amount=amount) == new
            self.values[name] = new
        except Refused:
            assert abs(new) > LARGEST

    @rule(name=names, value=values)
    def set(self, name: str, value: int) -> None:
        assert self.call("set", name=name, value=value) == self.values.get(name)
        self.values[name] = value

    @rule(name=names, expected=values | st.none(), value=values)
    def compare_and_set(self, name: str, expected: int | None, value: int) -> None:
        swapped = self.values.get(name) == expected
        if swapped:
            self.values[name] = value
        assert self.call("compare_and_set", name=name, expected=expected, value=value) == {
            "swapped": swapped,
            "value": self.values.get(name),
        }

    @rule(name=names)
    def delete(self, name: str) -> None:
        assert self.call("delete", name=name) == self.values.pop(name, None)

    @rule()
    def restart(self) -> None:
        self.driver.host = self.driver.restored()

    @invariant()
    def the_list_is_the_model(self) -> None:
        page = self.driver.ask("counter", "list")
        assert [(counter["name"], counter["value"]) for counter in page["counters"]] == sorted(self.values.items())

    def teardown(self) -> None:
        assert self.driver.replayed_answers() == self.driver.answers


class AnyCommands(SynchronousTestCase):
    def test_a_counter_is_a_dict_of_integers(self) -> None:
        run_state_machine_as_test(Model, settings=settings(deadline=None, max_examples=40, stateful_step_count=25))
