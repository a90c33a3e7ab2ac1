"""Lock, ReadLock, WriteLock, Semaphore and Election for Twisted programs. All calls are made on the reactor's thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from txraft.client.client import Client
from txraft.client.recipes.deferred_store import Session, session_of
from txraft.client.recipes.shared.election import PlainElection
from txraft.client.recipes.shared.locks import PlainLock, PlainReadLock, PlainSemaphore, PlainWriteLock

__all__ = ["Election", "Lock", "ReadLock", "Semaphore", "WriteLock"]

T = TypeVar("T")


class _LockForm:
    """What locks of all kinds have in common.

    Use one object for one holder: it is not reentrant. ``async with lock as token:`` acquires and releases; it raises `LockLost` at the
    end of the block if the lock was lost meanwhile, but cannot end the block before: `run` can.
    """

    _plain: PlainLock

    def __init__(self, session: Session, plain: PlainLock) -> None:
        self._plain = plain
        self._reactor: Any = session.store.reactor
        self._acquiring: Deferred[int | None] | None = None
        self._waiters: list[Deferred[None]] = []
        plain.on_lost = self._tell

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every earlier holder. Raises `LockLost` and `NotHeld`."""
        return self._plain.token

    @property
    def held(self) -> bool:
        """Whether it is held for certain, at this moment."""
        return self._plain.held

    @property
    def lost(self) -> Deferred[None]:
        """A new Deferred that fires when it is lost; at once if it has been. It never fires after a release."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        if self._plain.acquired and not self._plain.held:
            waiter.callback(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def acquire(self, blocking: bool = True, timeout_s: float | None = None) -> Deferred[int | None]:
        """Wait until it is ours.

        Args:
            blocking: False: fire with None if it is not free.
            timeout_s: fail with `LockTimeout` then; None: wait for as long as it takes, through troubles of the cluster, too.

        Returns:
            Fires with the fencing token. Cancelled, it leaves the line.
        """
        return self._begin(blocking, timeout_s)

    def release(self) -> Deferred[bool]:
        """Let the next one have it. It is not held from this moment on, whatever comes of the call.

        Returns:
            Fires with False if there was trouble: then the next one gets it when the removal, which goes on, has succeeded, or the lease
            has ended. Fails with `NotHeld` if it was never acquired.
        """
        self._waiters.clear()
        return Deferred.fromCoroutine(self._plain.release())

    def contenders(self) -> Deferred[list[str]]:
        """The identifiers of who holds it and who waits, in order."""
        return Deferred.fromCoroutine(self._plain.contenders())

    def cancel(self) -> None:
        """Give up an `acquire` that is waiting; its Deferred fails with `CancelledError`."""
        if self._acquiring is not None:
            self._acquiring.cancel()

    @overload
    def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> Deferred[T]: ...

    @overload
    def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]: ...

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Acquire, call ``function(token, *args, **kwargs)``, release.

        When it is lost meanwhile, what the function has returned (a Deferred, or a coroutine) is cancelled.

        Returns:
            Fires with the function's result. Fails with `LockLost` if it was lost before the function had ended; else with its exception.
        """
        return Deferred.fromCoroutine(self._run(function, args, kwargs))

    async def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        token = await self._begin(True, None)
        try:
            work: Deferred[Any] = maybeDeferred(function, token, *args, **kwargs)
            # In a turn of its own: whoever loses it may be the work itself.
            lost = self.lost.addCallbacks(lambda _: self._reactor.callLater(0, work.cancel), lambda _: None)
            try:
                result = await work
            except CancelledError:
                self._plain.check()
                raise
            finally:
                lost.cancel()
            self._plain.check()
            return result
        finally:
            await self.release()

    def _begin(self, blocking: bool, timeout_s: float | None) -> Deferred[int | None]:
        acquiring = Deferred.fromCoroutine(self._plain.acquire(blocking, timeout_s))

        def over(result: Any) -> Any:
            if self._acquiring is acquiring:
                self._acquiring = None
            return result

        if not acquiring.called:
            self._acquiring = acquiring
        return acquiring.addBoth(over)

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def __aenter__(self) -> Deferred[int | None]:
        return self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            if kind is None:
                self._plain.check()
        finally:
            await self.release()


class Lock(_LockForm):
    """One holder at a time, in the order of asking.

    Args:
        client: or a `Session` that several recipes share.
        path: of the lock; nothing else uses it.
        identifier: what this contender is called.
    """

    def __init__(self, client: Client | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainLock(session.plain, path, identifier))


class ReadLock(_LockForm):
    """Held together with other readers of the path, but not with a `WriteLock`, and after the writers that asked before."""

    def __init__(self, client: Client | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainReadLock(session.plain, path, identifier))


class WriteLock(_LockForm):
    """Held alone: after all readers and writers of the path that asked before."""

    def __init__(self, client: Client | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainWriteLock(session.plain, path, identifier))


class Semaphore(_LockForm):
    """At most `max_leases` holders at a time, in the order of asking.

    All must give the same number: `acquire` fails with `WrongSize` otherwise. It is kept under the path.
    """

    def __init__(self, client: Client | Session, path: str | bytes, max_leases: int = 1, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainSemaphore(session.plain, path, max_leases, identifier))


class Election(_LockForm):
    """At most one leader: `run` leads as soon as it is this one's turn."""

    _plain: PlainElection

    def __init__(self, client: Client | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainElection(session.plain, path, identifier))

    def leader(self) -> Deferred[str | None]:
        """The identifier of who leads."""
        return Deferred.fromCoroutine(self._plain.leader())
