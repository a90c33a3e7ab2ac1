"""The same for millions of articles in many places."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from txraft.statemachine import Context, SnapshotDict, StateMachine, command, query


class Warehouse(StateMachine):
    """Units by article, and the articles that lie in a place."""

    version = 1

    def __init__(self) -> None:
        self.units: SnapshotDict[str, int] = SnapshotDict()
        self.places: SnapshotDict[str, list[str]] = SnapshotDict(copy=list)

    @command
    def add(self, ctx: Context, sku: str, place: str, n: int = 1) -> int:
        """Put units in a place; how many there are in all of them."""
        self.units[sku] = self.units.get(sku, 0) + n
        if place not in self.places:
            self.places[place] = []
        if sku not in self.places[place]:
            self.places.own(place).append(sku)
        return self.units[sku]

    @query
    def lying_in(self, place: str) -> list[str]:
        """The articles in a place."""
        return self.places.get(place, [])

    def snapshot(self) -> Iterator[Any]:
        units = (("units", sku, n) for sku, n in self.units.frozen())
        places = (("place", place, skus) for place, skus in self.places.frozen())
        return chain(units, places)

    def restore(self, state: Iterator[Any]) -> None:
        for kind, key, value in state:
            (self.units if kind == "units" else self.places)[key] = value
