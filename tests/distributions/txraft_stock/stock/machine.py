"""The machine. Imported when a node hosts it, not before."""

from __future__ import annotations

from txraft.statemachine import Context, Refused, StateMachine, command, query


class Stock(StateMachine):
    """Units on the shelf, by article."""

    version = 1

    def __init__(self) -> None:
        self.units: dict[str, int] = {}

    @command
    def add(self, ctx: Context, sku: str, n: int = 1) -> int:
        """Put units on the shelf, or with a negative `n` take some; how many are left."""
        left = self.units.get(sku, 0) + n
        if left < 0:
            raise Refused("out_of_stock", f"only {left - n} of {sku} left")
        self.units[sku] = left
        return left

    @query
    def left(self, sku: str) -> int:
        """How many units there are."""
        return self.units.get(sku, 0)

    def snapshot(self) -> dict[str, int]:
        return self.units

    def restore(self, state: dict[str, int]) -> None:
        self.units = dict(state)
