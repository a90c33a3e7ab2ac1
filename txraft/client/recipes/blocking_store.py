"""`BlockingClient` as the recipes see it, and the session that the recipes of a program may share. Standard library only.

The coroutines of the recipes never wait here: what they await has ended when it returns. So they run to their end in one go.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from txraft.client.blocking import BlockingClient
from txraft.client.recipes.shared.lease import TTL_S
from txraft.client.recipes.shared.lease import Session as PlainSession
from txraft.client.recipes.shared.store import Store, Task, Work
from txraft.errors import NotApplied

__all__ = ["BlockingStore", "Session", "finish", "session_of"]

T = TypeVar("T")

ONCE_S_MIN = 0.5


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose awaitables end at once; its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a recipe waits for something that does not come to a blocking client")


class BlockingStore:
    """See `Store`. Threads may share it.

    Args:
        client: for the calls.
        monotonic: seconds.
    """

    def __init__(self, client: BlockingClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._waits: set[Callable[[], None]] = set()

    def monotonic(self) -> float:
        """See `Store`."""
        return self._monotonic()

    async def command(self, machine: str, command: str, arguments: dict[str, Any], *, once_s: float | None = None) -> Any:
        """See `Store`."""
        return _with_bytes(self._client_for(once_s).command(machine, command, **arguments))

    async def query(self, machine: str, query: str, arguments: dict[str, Any]) -> Any:
        """See `Store`."""
        return _with_bytes(self._client_for(None).query(machine, query, **arguments))

    async def changed(self, machine: str, key: bytes, *, prefix: bool, after: int, timeout_s: float) -> None:
        """See `Store`."""
        try:
            if prefix:
                watch = self._client.watch(machine, prefix=key, from_index=after + 1)
            else:
                watch = self._client.watch(machine, key, from_index=after + 1)
        except NotApplied as problem:
            if problem.code != "compacted":
                raise
            return
        timer = threading.Timer(timeout_s, watch.stop)
        timer.daemon = True
        timer.start()
        self._waits.add(watch.stop)
        try:
            with watch:
                next(watch, None)
        except NotApplied as problem:
            if problem.code != "compacted":
                raise
        finally:
            self._waits.discard(watch.stop)
            timer.cancel()

    def wake(self) -> None:
        """Have all who wait in `changed` look again. Any thread."""
        for wake in list(self._waits):
            wake()

    async def sleep(self, seconds: float) -> None:
        """See `Store`."""
        threading.Event().wait(seconds)

    def in_background(self, work: Work) -> Task:
        """See `Store`: in a thread with a client of its own, which does not keep the program from ending."""
        return _Background(work, self._client, self._monotonic)

    def _client_for(self, once_s: float | None) -> BlockingClient:
        return self._client


class _Stopped(BaseException):
    """Ends the work of a thread that is not wanted any more."""


class _Background(BlockingStore):
    """A `Task`: a thread, and the store that its work uses."""

    def __init__(self, work: Work, client: BlockingClient, monotonic: Callable[[], float]) -> None:
        super().__init__(client, monotonic)
        self._stopped = threading.Event()
        self._clients: dict[float | None, BlockingClient] = {}
        threading.Thread(target=self._run, args=(work,), name="txraft recipe", daemon=True).start()

    def stop(self) -> None:
        """See `Task`."""
        self._stopped.set()

    async def sleep(self, seconds: float) -> None:
        """See `Store`."""
        if self._stopped.wait(seconds):
            raise _Stopped

    def _run(self, work: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        try:
            finish(work(self))
        except _Stopped:
            pass
        finally:
            for client in self._clients.values():
                client.close()

    def _client_for(self, once_s: float | None) -> BlockingClient:
        if self._stopped.is_set():
            raise _Stopped
        if once_s not in self._clients:
            # Even what is sent once may be sent to several servers: the session sees to it that the tries of a call count as one.
            self._clients[once_s] = self._client.another(None if once_s is None else max(once_s, ONCE_S_MIN))
        return self._clients[once_s]


class Session:
    """Leases for recipes. Recipes that are made with the same session share one lease: it is granted and kept once for all of them.

    It costs nothing while no recipe uses it; otherwise two threads, and a connection of its own.

    Args:
        client: calls the cluster.
        machine: name of the config store.
        ttl_s: so long after this program's end, in whole seconds, what it held is free again, unless the leader changes meanwhile. What
            is not much more than a cluster takes to find a new leader, some seconds, makes each change of leader a loss.
    """

    def __init__(self, client: BlockingClient, *, machine: str = "config", ttl_s: int = TTL_S) -> None:
        self.store = BlockingStore(client)
        self.plain = PlainSession(self.store, machine=machine, ttl_s=ttl_s)

    def close(self) -> None:
        """Let go of everything at once: what is held is lost, and nobody waits for the lease to end."""
        finish(self.plain.close())


def session_of(client: BlockingClient | Session) -> Session:
    """The session itself, or a new one."""
    return client if isinstance(client, Session) else Session(client)


def _with_bytes(result: Any) -> Any:
    """The result of the config store with the keys and values, which JSON has in base64, as bytes."""
    if isinstance(result, list):
        return [_with_bytes(item) for item in result]
    if not isinstance(result, dict):
        return result
    if "create_revision" in result:
        return {**result, "key": base64.b64decode(result["key"]), "value": base64.b64decode(result["value"])}
    return {name: _with_bytes(value) for name, value in result.items()}
