"""Machines that give their state as items, and a host with a bit of everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.statemachine.driver import Driver
from tests.statemachine.machines import RESULTS
from txraft.limits import Limits
from txraft.statemachine import Context, SnapshotDict, StateMachine, command, query

STREAMED = "tests.statemachine.streamed_machines:"
SMALL = Limits(snapshot_part_bytes=200)


def used() -> Driver:
    """A bit of everything."""
    driver = Driver(one="Recorder", two="Plain", leases="Leases", shelves=STREAMED + "Shelves", limits=SMALL)
    session = driver.open_session()
    driver.open_session(timeout_ms=9_000)
    for serial in range(1, 60):
        driver.call("two", "add", session=session, serial=serial, amount=7)
    driver.call("one", "anything", value={"b": 1 << 70, "a": None})
    driver.call("leases", "take", name="x", seconds=9.5)
    driver.call("shelves", "fill", start=0, count=100)
    driver.call("shelves", "put", sku="many", units=[1 << 90, {"deep": [1, b"\0"]}])
    return driver


def parts_of(driver: Driver) -> list[bytes]:
    return list(driver.host.capture().parts())


class Shelves(StateMachine):
    """Units by article, however many articles there are."""

    def __init__(self) -> None:
        self.units: SnapshotDict[str, Any] = SnapshotDict()

    @command
    def put(self, ctx: Context, sku: str, units: Any) -> None:
        self.units[sku] = units

    @command
    def fill(self, ctx: Context, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.units[f"sku-{number}"] = number

    @command
    def drop(self, ctx: Context, sku: str) -> None:
        del self.units[sku]

    @query
    def left(self, sku: str) -> Any:
        return self.units.get(sku)

    def snapshot(self) -> Any:
        return self.units.frozen()

    def restore(self, state: Any) -> None:
        self.units = SnapshotDict(state)


class Halfway(Shelves):
    """Fails when it has given half of its items."""

    def snapshot(self) -> Any:
        return self._half(list(self.units.frozen()))

    @staticmethod
    def _half(items: list[Any]) -> Iterator[Any]:
        yield from items[: len(items) // 2]
        if items:
            raise LookupError("the other half")


class Unplain(Shelves):
    """Has an item that is not plain."""

    def snapshot(self) -> Any:
        return iter([object()] if self.units else [])


class Odd(Shelves):
    """Its items, and its plain state, hold what can be encoded and cannot be decoded, or is not the same then."""

    plain = False

    def snapshot(self) -> Any:
        state = [[sku, RESULTS[units] if isinstance(units, str) else units] for sku, units in self.units.frozen()]
        return state if self.plain else iter(state)


class OddPlain(Odd):
    """The same with a plain state."""

    plain = True


class Breathless(Shelves):
    """Has no memory for its items."""

    def snapshot(self) -> Any:
        return map(self._item, self.units.frozen())

    def _item(self, item: Any) -> Any:
        raise MemoryError


class Forgetful(Shelves):
    """Takes over the first item only."""

    def restore(self, state: Any) -> None:
        for sku, units in state:
            self.units[sku] = units
            break


class Deaf(Shelves):
    """Hides whatever goes wrong while it is restored."""

    def restore(self, state: Any) -> None:
        try:
            self.units = SnapshotDict(state)
        except BaseException:
            return


class Starving(Shelves):
    """Has no memory when it is restored."""

    def restore(self, state: Any) -> None:
        if any(True for _ in state):
            raise MemoryError


class Careless(Shelves):
    """Its class was made before anybody could see that its snapshot begins when it is read."""


def _careless(self: Careless) -> Iterator[Any]:
    yield from self.units.frozen()


Careless.snapshot = _careless  # type: ignore[assignment, method-assign]


class Leftover(Shelves):
    """Does not read what an empty one gives."""

    def snapshot(self) -> Any:
        return iter([["a", 1], ["b", 2]])

    def restore(self, state: Any) -> None:
        next(state)


class Pairs(Shelves):
    """Its items hold integers of any size, and are not given back as tuples."""

    def snapshot(self) -> Any:
        return iter([("a", 1 << 80)])

    def restore(self, state: Any) -> None:
        for item in state:
            if item != ["a", 1 << 80]:
                raise ValueError("no such item")
