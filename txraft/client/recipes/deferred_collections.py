"""Queue and Counter for Twisted programs."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txraft.client.client import Client
from txraft.client.recipes.deferred_store import Session, session_of
from txraft.client.recipes.shared.counting import PlainCounter
from txraft.client.recipes.shared.queues import PlainQueue

__all__ = ["Counter", "Queue"]


class Queue:
    """Values, first in, first out. What was got is gone, even if its getter fails: for work that must be done use the machine `queue`.

    Args:
        client: or a `Session`.
        path: of the queue.
    """

    def __init__(self, client: Client | Session, path: str | bytes) -> None:
        self._plain = PlainQueue(session_of(client).plain, path)

    def put(self, value: bytes) -> Deferred[None]:
        """Append a value."""
        return Deferred.fromCoroutine(self._plain.put(value))

    def get(self, blocking: bool = False, timeout_s: float | None = None) -> Deferred[bytes | None]:
        """Take the first value. Fires with None if there is none, and none comes within `timeout_s` if `blocking`."""
        return Deferred.fromCoroutine(self._plain.get(blocking, timeout_s))

    def count(self) -> Deferred[int]:
        """How many values there are."""
        return Deferred.fromCoroutine(self._plain.count())


class Counter:
    """A whole number that all share. Adding is one command of the counter machine, applied exactly once.

    Args:
        client: or a `Session`.
        name: of the counter.
        default: what it is before it exists.
        machine: name of the counter machine.
    """

    def __init__(self, client: Client | Session, name: str, default: int = 0, *, machine: str = "counter") -> None:
        self._plain = PlainCounter(session_of(client).store, name, default, machine=machine)

    def add(self, amount: int = 1) -> Deferred[int]:
        """Add, and fire with the new value."""
        return Deferred.fromCoroutine(self._plain.add(amount))

    def value(self) -> Deferred[int]:
        """What it is now."""
        return Deferred.fromCoroutine(self._plain.value())
