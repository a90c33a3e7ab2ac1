"""`Client` as the recipes see it, and the session that the recipes of a Twisted program may share."""

from __future__ import annotations

from collections.abc import Coroutine
from inspect import CORO_SUSPENDED, getcoroutinestate
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.client.client import Client
from txraft.client.recipes.shared.lease import TTL_S
from txraft.client.recipes.shared.lease import Session as PlainSession
from txraft.client.recipes.shared.store import Task, Work
from txraft.errors import NotApplied, Unknown

__all__ = ["Background", "ClientStore", "Session", "session_of"]


class ClientStore:
    """See `Store`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.reactor = client.reactor

    def monotonic(self) -> float:
        """See `Store`."""
        return self._client.monotonic()

    async def command(self, machine: str, command: str, arguments: dict[str, Any], *, once_s: float | None = None) -> Any:
        """See `Store`."""
        if once_s is None:
            return await self._client.command(machine, command, **arguments)
        call = self._client.command(machine, command, exactly_once=False, **arguments)
        try:
            return await call.addTimeout(once_s, self.reactor)
        except TimeoutError:
            raise Unknown("timeout", f"{machine} {command}: no answer within {once_s:g} s") from None

    async def query(self, machine: str, query: str, arguments: dict[str, Any]) -> Any:
        """See `Store`."""
        return await self._client.query(machine, query, **arguments)

    async def changed(self, machine: str, key: bytes, *, prefix: bool, after: int, timeout_s: float) -> None:
        """See `Store`."""
        if prefix:
            watch = self._client.watch(machine, prefix=key, from_index=after + 1)
        else:
            watch = self._client.watch(machine, key, from_index=after + 1)
        try:
            await watch.__anext__().addTimeout(timeout_s, self.reactor)
        except TimeoutError:
            pass
        except NotApplied as problem:
            if problem.code != "compacted":
                raise
        finally:
            watch.stop()

    async def sleep(self, seconds: float) -> None:
        """See `Store`."""
        await deferLater(self.reactor, seconds)

    def in_background(self, work: Work) -> Task:
        """See `Store`."""
        return Background(work(self))


class Background:
    """A coroutine that nobody awaits. See `Task`."""

    _log = Logger()

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._done = Deferred.fromCoroutine(coroutine)
        self._done.addErrback(self._ended)

    def stop(self) -> None:
        """See `Task`. From within there is nothing to cancel: whoever calls it there is about to end."""
        if getcoroutinestate(self._coroutine) == CORO_SUSPENDED:
            self._done.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("work of a recipe in the background failed", failure)


class Session:
    """Leases for recipes. Recipes that are made with the same session share one lease: it is granted and kept once for all of them.

    It costs nothing while no recipe uses it.

    Args:
        client: calls the cluster.
        machine: name of the config store.
        ttl_s: so long after this program's end, in whole seconds, what it held is free again, unless the leader changes meanwhile. What
            is not much more than a cluster takes to find a new leader, some seconds, makes each change of leader a loss.
    """

    def __init__(self, client: Client, *, machine: str = "config", ttl_s: int = TTL_S) -> None:
        self.store = ClientStore(client)
        self.plain = PlainSession(self.store, machine=machine, ttl_s=ttl_s)

    def close(self) -> Deferred[None]:
        """Let go of everything at once: what is held is lost, and nobody waits for the lease to end."""
        return Deferred.fromCoroutine(self.plain.close())


def session_of(client: Client | Session) -> Session:
    """The session itself, or a new one."""
    return client if isinstance(client, Session) else Session(client)
