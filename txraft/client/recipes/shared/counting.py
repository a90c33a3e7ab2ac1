"""A counter that all share: it lives on the counter machine, where adding is one command, applied once."""

from __future__ import annotations

from txraft.client.recipes.shared.store import Store

__all__ = ["PlainCounter"]


class PlainCounter:
    """A whole number of any size.

    Args:
        store: the client.
        name: of the counter.
        default: what it is before it exists.
        machine: name of the counter machine.
    """

    def __init__(self, store: Store, name: str, default: int = 0, *, machine: str = "counter") -> None:
        self.name = name
        self.default = default
        self._store = store
        self._machine = machine

    async def add(self, amount: int) -> int:
        """Add, and give the new value. `Unknown`: it may have been added, once."""
        if self.default:
            start = {"name": self.name, "expected": None, "value": self.default}
            await self._store.command(self._machine, "compare_and_set", start)
        return int(await self._store.command(self._machine, "add", {"name": self.name, "amount": amount}))

    async def value(self) -> int:
        """What it is now."""
        value = await self._store.query(self._machine, "get", {"name": self.name})
        return self.default if value is None else int(value)
