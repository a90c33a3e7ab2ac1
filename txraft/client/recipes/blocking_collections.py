"""Queue and Counter for programs without Twisted. Standard library only."""

from __future__ import annotations

from txraft.client.blocking import BlockingClient
from txraft.client.recipes.blocking_store import Session, finish, session_of
from txraft.client.recipes.shared.counting import PlainCounter
from txraft.client.recipes.shared.queues import PlainQueue

__all__ = ["Counter", "Queue"]


class Queue:
    """Values, first in, first out. What was got is gone, even if its getter fails: for work that must be done use the machine `queue`.

    Args:
        client: or a `Session`.
        path: of the queue.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes) -> None:
        self._plain = PlainQueue(session_of(client).plain, path)

    def put(self, value: bytes) -> None:
        """Append a value."""
        finish(self._plain.put(value))

    def get(self, blocking: bool = False, timeout_s: float | None = None) -> bytes | None:
        """Take the first value; None if there is none, and none comes within `timeout_s` if `blocking`."""
        return finish(self._plain.get(blocking, timeout_s))

    def __len__(self) -> int:
        return finish(self._plain.count())

    def __bool__(self) -> bool:
        return True  # However many values it has; and without asking.


class Counter:
    """A whole number that all share. ``counter += 2`` is one command of the counter machine, applied exactly once.

    Args:
        client: or a `Session`.
        name: of the counter.
        default: what it is before it exists.
        machine: name of the counter machine.

    Attributes:
        pre_value, post_value: what it was before and after the last change by this object.
    """

    def __init__(self, client: BlockingClient | Session, name: str, default: int = 0, *, machine: str = "counter") -> None:
        self._plain = PlainCounter(session_of(client).store, name, default, machine=machine)
        self.pre_value: int | None = None
        self.post_value: int | None = None

    @property
    def value(self) -> int:
        """What it is now."""
        return finish(self._plain.value())

    def add(self, amount: int = 1) -> int:
        """Add; the new value."""
        value = finish(self._plain.add(amount))
        self.pre_value, self.post_value = value - amount, value
        return value

    def __iadd__(self, amount: int) -> Counter:
        self.add(amount)
        return self

    def __isub__(self, amount: int) -> Counter:
        self.add(-amount)
        return self
