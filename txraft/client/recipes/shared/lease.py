"""Leases: what a client holds in the store vanishes with its lease, and the lease vanishes with the client.

A lease is counted from when the call that granted or kept it was *sent*, on the client's monotonic clock: the servers count from when they
applied it, which is later. So the client gives up before they do, by a margin for clocks that do not go alike.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import Any, Protocol

from txraft.client.recipes.shared.store import Store, Task
from txraft.errors import Outcome, Refused

__all__ = ["KEPT_PER_TTL", "Lease", "LeaseUser", "Session", "TTL_S"]

TTL_S = 15
"""So long after the client's end the next in line must wait at most; a change of leader begins the time anew."""

KEPT_PER_TTL = 3
_MARGIN = 0.2
"""Part of the time to live that the client does not use."""


class LeaseUser(Protocol):
    """Something that is worth nothing without its lease."""

    def lease_lost(self) -> None:
        """It is worth nothing now. Called once, from wherever the loss was noticed: in the blocking form from another thread."""


class Lease:
    """One lease, kept for as long as it has users.

    Attributes:
        id: what the servers call it.
        ttl_s: how long it lives when it is not kept.
        lost: the servers have let it go, or may have.
    """

    def __init__(self, store: Store, machine: str, lease_id: int, ttl_s: float, sent_s: float) -> None:
        self.id = lease_id
        self.ttl_s = ttl_s
        self.lost = False
        self._store = store
        self._machine = machine
        self._kept_s = sent_s
        self._users: list[LeaseUser] = []
        self._tasks: list[Task] = []
        self._mutex = threading.RLock()

    @property
    def alive(self) -> bool:
        """Whether it certainly still is at the servers."""
        return not self.lost and self._store.monotonic() < self._ends_s

    @property
    def fresh(self) -> bool:
        """Whether whoever begins to use it now has nearly all of its time."""
        return self.alive and (bool(self._users) or self._store.monotonic() - self._kept_s < self.ttl_s / KEPT_PER_TTL)

    @property
    def _ends_s(self) -> float:
        return self._kept_s + self.ttl_s * (1 - _MARGIN)

    def enter(self, user: LeaseUser) -> None:
        """Keep the lease for `user`, and tell it when that failed."""
        with self._mutex:
            if not self.lost:
                self._users.append(user)
                if not self._tasks:
                    self._tasks = [self._store.in_background(self._keep), self._store.in_background(self._watch)]
                return
        user.lease_lost()

    def leave(self, user: LeaseUser) -> None:
        """`user` needs it no more. Without any user the lease is left to end by itself."""
        with self._mutex:
            if user in self._users:
                self._users.remove(user)
            tasks = [] if self._users else self._end_tasks()
        for task in tasks:
            task.stop()

    def lose(self) -> None:
        """It is not to be relied on any more."""
        with self._mutex:
            self.lost = True
            users, self._users = self._users, []
            tasks = self._end_tasks()
        for user in users:
            user.lease_lost()
        for task in tasks:
            task.stop()

    def _end_tasks(self) -> list[Task]:
        tasks, self._tasks = self._tasks, []
        return tasks

    async def _keep(self, store: Store) -> None:
        between_s = self.ttl_s / KEPT_PER_TTL
        next_s = self._kept_s + between_s
        while self.alive:
            await store.sleep(max(0.0, next_s - store.monotonic()))
            sent_s = store.monotonic()
            try:
                await store.command(self._machine, "lease_keep_alive", {"id": self.id}, once_s=between_s)
            except Refused:
                self.lose()
            except Outcome:
                next_s = store.monotonic() + between_s / 10
            else:
                self._kept_s, next_s = sent_s, sent_s + between_s

    async def _watch(self, store: Store) -> None:
        """Notice the end even while a call to keep it is under way."""
        while self.alive:
            await store.sleep(max(0.0, self._ends_s - store.monotonic()))
        self.lose()


class Session:
    """The leases of one client: all its recipes share one, as long as it lives.

    Args:
        store: the client.
        machine: name of the config store.
        ttl_s: time to live of the leases, in whole seconds.
    """

    def __init__(self, store: Store, *, machine: str = "config", ttl_s: int = TTL_S) -> None:
        if ttl_s < 1:
            raise ValueError(f"a lease lives at least 1 s, not {ttl_s}")
        self.store = store
        self.machine = machine
        self._ttl_s = ttl_s
        self._lease: Lease | None = None
        self._numbers = itertools.count(1)

    async def lease(self) -> Lease:
        """A lease that is alive, granted now if there is none."""
        if self._lease is None or not self._lease.fresh:
            sent_s = self.store.monotonic()
            granted = await self.command("lease_grant", ttl_s=self._ttl_s)
            self._lease = Lease(self.store, self.machine, granted["id"], granted["ttl_s"], sent_s)
        return self._lease

    def new_name(self, lease: Lease) -> bytes:
        """A name that no other claim ever has."""
        return b"%x-%d" % (lease.id, next(self._numbers))

    async def command(self, command: str, /, **arguments: Any) -> Any:
        """Call a command of the config store."""
        return await self.store.command(self.machine, command, arguments)

    async def query(self, query: str, /, **arguments: Any) -> Any:
        """Ask the config store."""
        return await self.store.query(self.machine, query, arguments)

    async def close(self) -> None:
        """Let go of everything that hangs on the lease: what is held is lost, and others need not wait for the lease to end."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.lose()
            with contextlib.suppress(Refused):  # It has ended already.
                await self.command("lease_revoke", id=lease.id)
