"""Named counters against a model: any commands, in any order, with restarts between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.machines.test_counter import COUNTER, LARGEST
from tests.statemachine.driver import Driver
from txraft.errors import Refused
from txraft.machines import layered_dict

names = st.sampled_from(["a", "b", "ab", "c", "é"])
values = st.integers(-5, 5) | st.sampled_from([LARGEST, -LARGEST, 2**63])
bounds = st.integers(-7, 7) | st.just("keep") | st.none()


class Model(RuleBasedStateMachine):
    """Any commands, against two dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(counter=COUNTER)
        self.values: dict[str, int] = {}
        self.bounds: dict[str, tuple[int | None, int | None]] = {}
        self.views: list[tuple[Iterator[Any], list[Any], list[Any]]] = []

    def call(self, command: str, **arguments: Any) -> Any:
        return self.driver.call("counter", command, **arguments)

    def may_be(self, name: str, value: int) -> bool:
        minimum, maximum = self.bounds.get(name, (None, None))
        return abs(value) <= LARGEST and (minimum is None or minimum <= value) and (maximum is None or value <= maximum)

    def expect(self, changes: dict[str, int], result: Any, command: str, **arguments: Any) -> None:
        """The command makes these changes and gives this result, or is refused if it must not."""
        if all(self.may_be(name, value) for name, value in changes.items()):
            assert self.call(command, **arguments) == result
            self.values.update(changes)
        else:
            try:
                self.call(command, **arguments)
            except Refused as refused:
                assert refused.code in ("too_large", "out_of_bounds")
            else:
                raise AssertionError(f"{command} {arguments} was to be refused")

    @rule(name=names, amount=values)
    def add(self, name: str, amount: int) -> None:
        new = self.values.get(name, 0) + amount
        self.expect({name: new}, new, "add", name=name, amount=amount)

    @rule(amounts=st.dictionaries(names, values, min_size=1))
    def add_batch(self, amounts: dict[str, int]) -> None:
        new = {name: self.values.get(name, 0) + amount for name, amount in amounts.items()}
        self.expect(new, new, "add_batch", amounts=amounts)

    @rule(name=names, value=values)
    def set(self, name: str, value: int) -> None:
        self.expect({name: value}, self.values.get(name), "set", name=name, value=value)

    @rule(name=names, expected=values | st.none(), value=values)
    def compare_and_set(self, name: str, expected: int | None, value: int) -> None:
        before = self.values.get(name)
        swapped = before == expected
        result = {"swapped": swapped, "value": value if swapped else before}
        self.expect({name: value} if swapped else {}, result, "compare_and_set", name=name, expected=expected, value=value)

    @rule(name=names)
    def delete(self, name: str) -> None:
        assert self.call("delete", name=name) == self.values.pop(name, None)
        self.bounds.pop(name, None)

    @rule(name=names, minimum=bounds, maximum=bounds, watched=st.booleans() | st.none())
    def configure(self, name: str, minimum: Any, maximum: Any, watched: bool | None) -> None:
        now = self.bounds.get(name, (None, None))
        low, high = (old if new == "keep" else new for old, new in zip(now, (minimum, maximum), strict=True))
        value = self.values.get(name)
        arguments = {"name": name, "minimum": minimum, "maximum": maximum, "watched": watched}
        try:
            settings = self.call("configure", **arguments)
        except Refused:
            self.bounds[name] = low, high
            crossed = low is not None and high is not None and low > high
            assert crossed or (value is not None and not self.may_be(name, value))
            self.bounds[name] = now
        else:
            assert (settings["minimum"], settings["maximum"]) == (low, high)
            self.bounds[name] = low, high
            assert value is None or self.may_be(name, value)

    @rule()
    def restart(self) -> None:
        restored = self.driver.restored()
        assert restored.digest() == self.driver.host.digest()
        self.driver.host = restored

    @rule()
    def take_a_view(self) -> None:
        """It is read later, and shows what is there now."""
        machine = self.driver.host.hosted("counter").machine
        self.views.append((machine.snapshot(), list(machine.snapshot()), []))

    @precondition(lambda self: self.views)
    @rule(number=st.integers(0, 5), count=st.integers(1, 9))
    def read_a_view(self, number: int, count: int) -> None:
        items, expected, found = self.views.pop(number % len(self.views))
        some = list(islice(items, count))
        found += some
        if len(some) == count:
            self.views.append((items, expected, found))
        else:
            assert sorted(map(repr, found)) == sorted(map(repr, expected))

    @invariant()
    def the_list_is_the_model(self) -> None:
        page = self.driver.ask("counter", "list")
        assert [(counter["name"], counter["value"]) for counter in page["counters"]] == sorted(self.values.items())

    def teardown(self) -> None:
        for items, expected, found in self.views:
            assert sorted(map(repr, [*found, *items])) == sorted(map(repr, expected))
        assert self.driver.replayed_answers() == self.driver.answers
        assert self.driver.replayed().digest() == self.driver.host.digest()


class AnyCommands(SynchronousTestCase):
    def test_a_counter_is_a_dict_of_bounded_integers(self) -> None:
        self.patch(layered_dict, "MERGED_AT_ONCE", 2)
        run_state_machine_as_test(Model, settings=settings(deadline=None, max_examples=60, stateful_step_count=30))
