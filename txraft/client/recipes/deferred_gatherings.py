"""Barrier, DoubleBarrier and Party for Twisted programs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred

from txraft.client.client import Client
from txraft.client.recipes.deferred_store import Session, session_of
from txraft.client.recipes.shared.barriers import PlainBarrier, PlainDoubleBarrier
from txraft.client.recipes.shared.party import PlainParty

__all__ = ["Barrier", "DoubleBarrier", "Party"]


class Barrier:
    """A gate: all who `wait` while it is shut go on when it is opened. It stays shut when who has shut it ends.

    Args:
        client: or a `Session`.
        path: a key.
    """

    def __init__(self, client: Client | Session, path: str | bytes) -> None:
        self._plain = PlainBarrier(session_of(client).plain, path)

    def create(self) -> Deferred[bool]:
        """Shut it; fires with False if it was shut."""
        return Deferred.fromCoroutine(self._plain.create())

    def remove(self) -> Deferred[bool]:
        """Open it; fires with False if it was open."""
        return Deferred.fromCoroutine(self._plain.remove())

    def wait(self, timeout_s: float | None = None) -> Deferred[bool]:
        """Fires with True when it is open, with False if it is not within the time."""
        return Deferred.fromCoroutine(self._plain.wait(timeout_s))


class DoubleBarrier:
    """`num_clients` begin together and end together. One that dies in between is not waited for, once its lease has ended.

    Args:
        client: or a `Session`.
        path: of the barrier.
        num_clients: how many must have come.
        identifier: of this client.
    """

    def __init__(self, client: Client | Session, path: str | bytes, num_clients: int, identifier: str = "") -> None:
        self._plain = PlainDoubleBarrier(session_of(client).plain, path, num_clients, identifier)

    def enter(self, timeout_s: float | None = None) -> Deferred[None]:
        """Fires when enough have come; fails with `LockTimeout`, and then this one has gone again."""
        return Deferred.fromCoroutine(self._plain.enter(timeout_s))

    def leave(self, timeout_s: float | None = None) -> Deferred[None]:
        """Fires when all have left; fails with `LockTimeout`, or with `LockLost` if this one's lease could not be kept meanwhile."""
        return Deferred.fromCoroutine(self._plain.leave(timeout_s))


class Party:
    """Who is here: each member for as long as its program lives and has not left.

    ``async for identifier in party`` gives the members of that moment.

    Args:
        client: or a `Session`.
        path: of the party.
        identifier: what the others see of this member.
    """

    def __init__(self, client: Client | Session, path: str | bytes, identifier: str = "") -> None:
        self._plain = PlainParty(session_of(client).plain, path, identifier)

    @property
    def participating(self) -> bool:
        """Whether this client certainly is a member, at this moment."""
        return self._plain.participating

    def join(self) -> Deferred[None]:
        """Become a member, for the first time or after the lease was lost."""
        return Deferred.fromCoroutine(self._plain.join())

    def leave(self) -> Deferred[None]:
        """Be no member any more."""
        return Deferred.fromCoroutine(self._plain.leave())

    def members(self) -> Deferred[list[str]]:
        """The identifiers of all members, in the order they came."""
        return Deferred.fromCoroutine(self._plain.members())

    def count(self) -> Deferred[int]:
        """How many members there are."""
        return Deferred.fromCoroutine(self._plain.count())

    async def __aiter__(self) -> AsyncIterator[str]:
        for identifier in await self._plain.members():
            yield identifier
