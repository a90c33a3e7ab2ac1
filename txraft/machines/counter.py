"""Named counters: whole numbers of any size, changed on the server, so that no client has to read, add and write back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Annotated, Any

from txraft.statemachine import INTEGER_BITS_MAX, Context, Meta, Refused, StateMachine, command, query

__all__ = ["Counter"]

Name = Annotated[str, Meta(min_length=1, max_length=512)]
PageSize = Annotated[int, Meta(ge=1, le=1_000)]


class Counter(StateMachine):
    """Named counters. `null` stands for a counter that does not exist."""

    version = 1

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.names: list[str] = []  # of `values`, sorted

    @command
    def add(self, ctx: Context, name: Name, amount: int = 1) -> int:
        """Add to a counter, which begins at 0; the new value. A negative amount subtracts."""
        return self._put(name, self.values.get(name, 0) + amount)

    @command
    def set(self, ctx: Context, name: Name, value: int) -> int | None:
        """Give a counter a value; the one it had before."""
        before = self.values.get(name)
        self._put(name, value)
        return before

    @command
    def compare_and_set(self, ctx: Context, name: Name, expected: int | None, value: int) -> dict[str, Any]:
        """Give a counter a value if it has the expected one (null: if it does not exist); whether it was `swapped`, and its `value` now."""
        swapped = self.values.get(name) == expected
        if swapped:
            self._put(name, value)
        return {"swapped": swapped, "value": self.values.get(name)}

    @command
    def delete(self, ctx: Context, name: Name) -> int | None:
        """Remove a counter; the value it had."""
        if name in self.values:
            del self.names[bisect_left(self.names, name)]
        return self.values.pop(name, None)

    @query
    def get(self, name: Name) -> int | None:
        """The value of a counter."""
        return self.values.get(name)

    @query
    def list(self, prefix: str = "", after: str = "", limit: PageSize = 100) -> dict[str, Any]:
        """Counters by name: those that begin with `prefix`, from the first after `after` on. `next`: what to pass as `after` for more."""
        start = max(bisect_left(self.names, prefix), bisect_right(self.names, after))
        page = [name for name in self.names[start : start + limit + 1] if name.startswith(prefix)]
        more = page[limit - 1] if len(page) > limit else None
        return {"counters": [{"name": name, "value": self.values[name]} for name in page[:limit]], "next": more}

    def _put(self, name: str, value: int) -> int:
        if value.bit_length() > INTEGER_BITS_MAX:
            raise Refused("too_large", f"a counter holds at most {INTEGER_BITS_MAX} bits")
        if name not in self.values:
            insort(self.names, name)
        self.values[name] = value
        return value

    def snapshot(self) -> dict[str, int]:
        """See `StateMachine`."""
        return self.values

    def restore(self, state: dict[str, int]) -> None:
        """See `StateMachine`."""
        self.values, self.names = dict(state), sorted(state)
