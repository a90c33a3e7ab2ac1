"""A machine that emits an event for each of its commands, for `watch_rounds`."""

from __future__ import annotations

from txraft.statemachine import Context, StateMachine, command, query


class Ticker(StateMachine):
    """Numbers by name, each announced."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    @command
    def tick(self, ctx: Context, name: str, number: int) -> None:
        """Announce a number."""
        self.numbers[name] = number
        ctx.emit(name, number=number)

    @query
    def last(self, name: str) -> int:
        """The number announced last."""
        return self.numbers.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        return self.numbers

    def restore(self, state: dict[str, int]) -> None:
        self.numbers = dict(state)
