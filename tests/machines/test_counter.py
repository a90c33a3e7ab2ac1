"""Named counters."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.errors import NotApplied, Refused
from txraft.statemachine import INTEGER_BITS_MAX
from txraft.statemachine.values import INTEGER_BYTES_MAX, decode_value, encode_value

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
        for body in (b'{"name": "a", "amount": 1.0}', b'{"name": "a", "amount": 1e3}', b'{"name": "a", "amount": "1"}'):
            self.assertRaises(NotApplied, self.driver.host.arguments_of_json, "counter", "add", body)
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


class Batches(CounterCase):
    def add_batch(self, **amounts: int) -> Any:
        return self.driver.call("counter", "add_batch", amounts=amounts)

    def test_adds_to_all_and_answers_the_new_values(self) -> None:
        self.call("add", "b", amount=5)
        self.assertEqual(self.add_batch(c=1, b=-7, a=LARGEST), {"a": LARGEST, "b": -2, "c": 1})
        self.assertEqual((self.get("a"), self.get("b"), self.get("c"), self.page()[0]), (LARGEST, -2, 1, ["a", "b", "c"]))

    def test_or_to_none(self) -> None:
        self.call("configure", "stock", minimum=0)
        self.call("set", "stock", value=3)
        refused = self.assertRaises(Refused, self.add_batch, sold=4, stock=-4)
        self.assertEqual((refused.code, refused.message), ("out_of_bounds", "'stock' is 3 and cannot become -1: its minimum is 0"))
        self.call("set", "large", value=LARGEST)
        self.assertEqual(self.assertRaises(Refused, self.add_batch, sold=1, large=1).code, "too_large")
        self.assertEqual((self.get("sold"), self.get("stock"), self.get("large"), self.page()[0]), (None, 3, LARGEST, ["large", "stock"]))

    def test_one_to_a_thousand_counters_each_of_them_once(self) -> None:
        self.assertEqual(len(self.add_batch(**{f"n{number}": number for number in range(1_000)})), 1_000)
        for wrong in ({}, {f"n{number}": 1 for number in range(1_001)}, {"": 1}, {"a": 1.0}, {"a": None}):
            self.assertRaises(NotApplied, self.driver.call, "counter", "add_batch", amounts=wrong)
        twice = b"\x81" + encode_value("amounts") + b"\x82" + 2 * (encode_value("a") + encode_value(1))
        self.assertRaises(NotApplied, self.driver.host.prepare, "counter", "add_batch", twice)
        error = self.assertRaises(NotApplied, self.driver.host.arguments_of_json, "counter", "add_batch", b'{"amounts": {"a": 1, "a": 2}}')
        self.assertIn("`a` is given twice", error.message)

    def test_what_does_not_fit_into_an_answer_is_refused(self) -> None:
        names = [f"{number:03}" for number in range(1_000)]
        for name in names:
            self.call("set", name, value=LARGEST - 1)
        self.assertEqual(self.assertRaises(Refused, self.add_batch, **dict.fromkeys(names, 1)).code, "too_large")
        self.assertEqual(self.get("000"), LARGEST - 1)
        self.assertEqual(len(self.add_batch(**dict.fromkeys(names[:500], 1))), 500)
        self.assertFalse(self.driver.host.status()["machines"]["counter"]["degraded"])


class Bounds(CounterCase):
    def configure(self, name: str = "a", **settings: Any) -> Any:
        return self.call("configure", name, **settings)

    def refusal(self, command: str, **arguments: Any) -> Refused:
        before = self.get("a")
        refused: Refused = self.assertRaises(Refused, self.call, command, "a", **arguments)
        self.assertEqual(self.get("a"), before, "nothing has changed")
        return refused

    def test_beyond_a_bound_commands_are_refused(self) -> None:
        self.configure(minimum=0, maximum=10)
        refused = self.refusal("add", amount=-1)
        self.assertEqual((refused.code, refused.details), ("out_of_bounds", {"value": None, "minimum": 0}))
        self.assertEqual(refused.message, "'a' does not exist yet and cannot become -1: its minimum is 0")
        self.assertEqual([self.call("add", "a", amount=10), self.call("add", "a", amount=-10)], [10, 0])
        self.call("set", "a", value=7)
        refused = self.refusal("add", amount=4)
        self.assertEqual((refused.code, refused.details), ("out_of_bounds", {"value": 7, "maximum": 10}))
        self.assertEqual(refused.message, "'a' is 7 and cannot become 11: its maximum is 10")
        self.assertEqual(self.refusal("set", value=11).code, "out_of_bounds")
        self.assertEqual(self.refusal("compare_and_set", expected=7, value=-1).code, "out_of_bounds")
        self.assertEqual(self.call("compare_and_set", "a", expected=8, value=-1), {"swapped": False, "value": 7})
        self.assertEqual(self.page()[0], ["a"])

    def test_what_is_not_given_stays_and_null_removes(self) -> None:
        self.assertEqual(self.configure(minimum=0), {"minimum": 0, "maximum": None, "watched": False})
        self.assertEqual(self.configure(maximum=5, watched=True), {"minimum": 0, "maximum": 5, "watched": True})
        self.assertEqual(self.configure(minimum=None), {"minimum": None, "maximum": 5, "watched": True})
        self.assertEqual(self.configure(), self.driver.ask("counter", "settings", name="a"))
        self.assertEqual(self.configure(maximum=None, watched=False), self.driver.ask("counter", "settings", name="unheard"))
        self.assertEqual(self.call("add", "a", amount=100), 100)

    def test_settings_that_cannot_be_are_refused(self) -> None:
        self.configure(minimum=1, maximum=5)
        self.call("set", "a", value=3)
        before = self.driver.ask("counter", "settings", name="a")
        for wrong, sentence in (
            ({"minimum": 6}, "minimum would be 6, which is more than maximum, 5"),
            ({"minimum": 4}, "'a' is 3, which a minimum of 4 would exclude"),
            ({"maximum": 2}, "'a' is 3, which a maximum of 2 would exclude"),
        ):
            refused = self.refusal("configure", **wrong)
            self.assertEqual(refused.code, "bad_setting")
            self.assertIn(sentence, refused.message)
        self.assertEqual(self.driver.ask("counter", "settings", name="a"), before)
        for wrong_kind in (1.0, "none", True):
            self.assertRaises(NotApplied, self.configure, minimum=wrong_kind)

    def test_the_one_number_that_can_come_but_not_go(self) -> None:
        lowest = msgspec.msgpack.Ext(1, b"\x80" + bytes(INTEGER_BYTES_MAX - 1))
        self.assertEqual(self.refusal("configure", minimum=lowest).code, "too_large")
        self.assertEqual(self.refusal("set", value=lowest).code, "too_large")

    def test_bounds_of_any_size(self) -> None:
        self.configure(minimum=-LARGEST, maximum=2**200)
        self.call("set", "a", value=2**200)
        self.assertIn("cannot become a number of 201 bits", self.refusal("add").message)
        self.assertEqual(self.driver.restored().digest(), self.driver.host.digest())

    def test_deleting_a_counter_deletes_them(self) -> None:
        self.configure(minimum=0)
        self.assertEqual((self.get("a"), self.page()[0]), (None, []))
        self.assertIsNone(self.call("delete", "a"))
        self.assertEqual(self.call("add", "a", amount=-1), -1)

    def test_they_are_in_snapshots(self) -> None:
        self.configure(minimum=0, watched=True)
        self.driver.host = self.driver.restored()
        self.assertEqual(self.driver.ask("counter", "settings", name="a"), {"minimum": 0, "maximum": None, "watched": True})
        self.assertEqual(self.refusal("add", amount=-1).code, "out_of_bounds")


class Watched(CounterCase):
    def events(self) -> list[Any]:
        page = self.driver.host.hosted("counter").read_events(b"", True, 1, 0)
        return [(event["topic"], decode_value(event["fields"])) for event in page.events]

    def test_changes_of_a_watched_counter_are_events(self) -> None:
        self.call("configure", "a", watched=True, maximum=10)
        self.call("add", "a", amount=5)
        self.call("set", "a", value=5)  # no change
        self.call("compare_and_set", "a", expected=5, value=6)
        self.call("compare_and_set", "a", expected=5, value=7)
        self.assertRaises(Refused, self.call, "add", "a", amount=5)
        self.driver.call("counter", "add_batch", amounts={"a": -1, "b": 1})
        self.call("delete", "a")
        self.call("add", "a")  # no longer watched
        told = [(None, 5), (5, 6), (6, 5), (5, None)]
        self.assertEqual(self.events(), [("a", {"before": before, "value": value}) for before, value in told])

    def test_those_of_others_are_not(self) -> None:
        self.call("add", "a")
        self.call("configure", "a", minimum=0)
        self.call("add", "a")
        self.assertEqual(self.events(), [])


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

    def test_a_page_is_no_longer_than_an_answer(self) -> None:
        names = [f"large/{number:03}" for number in range(1_000)]
        for name in names:
            self.call("set", name, value=LARGEST)
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            page, after = self.page(prefix="large/", limit=1_000, after=after)
            self.assertLess(len(page), 1_000)
            seen += page
        self.assertEqual(seen, names)

    def test_page_sizes_are_bounded(self) -> None:
        for wrong in (0, -1, 1_001):
            self.assertRaises(NotApplied, self.page, limit=wrong)
        self.assertEqual(len(self.page(limit=1_000)[0]), 6)
