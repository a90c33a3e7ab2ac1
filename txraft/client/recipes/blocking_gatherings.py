"""Barrier, DoubleBarrier and Party for programs without Twisted. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator

from txraft.client.blocking import BlockingClient
from txraft.client.recipes.blocking_store import Session, finish, session_of
from txraft.client.recipes.shared.barriers import PlainBarrier, PlainDoubleBarrier
from txraft.client.recipes.shared.party import PlainParty

__all__ = ["Barrier", "DoubleBarrier", "Party"]


class Barrier:
    """A gate: all who `wait` while it is shut go on when it is opened. It stays shut when who has shut it ends.

    Args:
        client: or a `Session`.
        path: a key.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes) -> None:
        self._plain = PlainBarrier(session_of(client).plain, path)

    def create(self) -> bool:
        """Shut it; False if it was shut."""
        return finish(self._plain.create())

    def remove(self) -> bool:
        """Open it; False if it was open."""
        return finish(self._plain.remove())

    def wait(self, timeout_s: float | None = None) -> bool:
        """True when it is open, False if it is not within the time."""
        return finish(self._plain.wait(timeout_s))


class DoubleBarrier:
    """`num_clients` begin together and end together. One that dies in between is not waited for, once its lease has ended.

    Args:
        client: or a `Session`.
        path: of the barrier.
        num_clients: how many must have come.
        identifier: of this client.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes, num_clients: int, identifier: str = "") -> None:
        self._plain = PlainDoubleBarrier(session_of(client).plain, path, num_clients, identifier)

    def enter(self, timeout_s: float | None = None) -> None:
        """Wait until enough have come. Raises `LockTimeout`, and then this one has gone again."""
        finish(self._plain.enter(timeout_s))

    def leave(self, timeout_s: float | None = None) -> None:
        """Wait until all have left. Raises `LockTimeout`, and `LockLost` if this one's lease could not be kept meanwhile."""
        finish(self._plain.leave(timeout_s))


class Party:
    """Who is here: each member for as long as its program lives and has not left.

    Iteration gives the identifiers of the members, in the order they came; `len` how many there are. Both ask the cluster.

    Args:
        client: or a `Session`.
        path: of the party.
        identifier: what the others see of this member.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes, identifier: str = "") -> None:
        self._plain = PlainParty(session_of(client).plain, path, identifier)

    @property
    def participating(self) -> bool:
        """Whether this client certainly is a member, at this moment."""
        return self._plain.participating

    def join(self) -> None:
        """Become a member, for the first time or after the lease was lost."""
        finish(self._plain.join())

    def leave(self) -> None:
        """Be no member any more."""
        finish(self._plain.leave())

    def __iter__(self) -> Iterator[str]:
        return iter(finish(self._plain.members()))

    def __len__(self) -> int:
        return finish(self._plain.count())

    def __bool__(self) -> bool:
        return True  # However many members it has; and without asking.
