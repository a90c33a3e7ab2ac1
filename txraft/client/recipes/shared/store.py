"""What the recipes need of a client. Every call is awaited; those of the blocking form have ended before they return."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

__all__ = ["Store", "Task", "Work"]


class Task(Protocol):
    """Work in the background."""

    def stop(self) -> None:
        """Let it go no further than the call it is in. May be called from within, and more than once."""


class Store(Protocol):
    """A cluster as seen by one client, and the client's clock."""

    def monotonic(self) -> float:
        """Seconds."""

    async def command(self, machine: str, command: str, arguments: dict[str, Any], *, once_s: float | None = None) -> Any:
        """Call a command, exactly once.

        Args:
            machine: its name.
            command: its name.
            arguments: by name.
            once_s: if given, without a session, and given up after so many seconds: for what may be applied twice or late.

        Raises:
            Refused, NotApplied, Unknown: as of every call.
        """

    async def query(self, machine: str, query: str, arguments: dict[str, Any]) -> Any:
        """Run a linearizable query. Raises `Refused` and `NotApplied`."""

    async def changed(self, machine: str, key: bytes, *, prefix: bool, after: int, timeout_s: float) -> None:
        """Wait until the key, or one that begins with it, has been changed by a revision greater than `after`.

        May return early, and does when the history has gone or the time is up: whoever waits looks again.

        Raises:
            NotApplied: there is no waiting at present.
        """

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def in_background(self, work: Work) -> Task:
        """Start work that nobody waits for. It is given the store to use, which need not be this one."""


Work = Callable[[Store], Coroutine[Any, Any, None]]
