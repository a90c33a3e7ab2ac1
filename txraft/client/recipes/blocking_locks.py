"""Lock, ReadLock, WriteLock, Semaphore and Election for programs without Twisted. Standard library only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from txraft.client.blocking import BlockingClient
from txraft.client.recipes.blocking_store import Session, finish, session_of
from txraft.client.recipes.shared.election import PlainElection
from txraft.client.recipes.shared.locks import PlainLock, PlainReadLock, PlainSemaphore, PlainWriteLock
from txraft.client.recipes.shared.trouble import NotHeld

__all__ = ["Election", "Lock", "ReadLock", "Semaphore", "WriteLock"]

T = TypeVar("T")


class _LockForm:
    """What locks of all kinds have in common.

    Use one object for one holder: it is not reentrant, and threads do not share it. ``with lock as token:`` acquires and releases; it
    raises `LockLost` at the end of the block if the lock was lost meanwhile.

    Attributes:
        lost: set, by another thread, when it is lost. Each `acquire` makes a new one.
    """

    _plain: PlainLock

    def __init__(self, session: Session, plain: PlainLock) -> None:
        self._plain = plain
        self._store = session.store
        self.lost = threading.Event()
        plain.on_lost = self._tell

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every earlier holder. Raises `LockLost` and `NotHeld`."""
        return self._plain.token

    @property
    def held(self) -> bool:
        """Whether it is held for certain, at this moment."""
        return self._plain.held

    def acquire(self, blocking: bool = True, timeout_s: float | None = None) -> int | None:
        """Wait until it is ours; the fencing token.

        Args:
            blocking: False: return None if it is not free.
            timeout_s: raise `LockTimeout` then; None: wait for as long as it takes, through troubles of the cluster, too. A call to the
                cluster that is under way then is waited for.

        Raises:
            LockTimeout: see there.
            AcquireCancelled: another thread called `cancel`.
            AlreadyHeld: by this object.
        """
        if not self._plain.acquired:
            self.lost = threading.Event()
        return finish(self._plain.acquire(blocking, timeout_s))

    def release(self) -> bool:
        """Let the next one have it. It is not held from this moment on, whatever comes of the call.

        Returns:
            False if there was trouble: then the next one gets it when the removal, which goes on in a thread, has succeeded, or the lease
            has ended.

        Raises:
            NotHeld: it was never acquired.
        """
        return finish(self._plain.release())

    def contenders(self) -> list[str]:
        """The identifiers of who holds it and who waits, in order."""
        return finish(self._plain.contenders())

    def cancel(self) -> None:
        """From another thread: give up an `acquire` that is waiting."""
        self._plain.cancel()
        self._store.wake()

    def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Acquire, call ``function(token, *args, **kwargs)``, release.

        A thread cannot be stopped from outside: a function that takes long looks at `lost` or `held` on its way.

        Returns:
            The function's result.

        Raises:
            LockLost: it was lost before the function had ended.
        """
        with self as token:
            return function(token, *args, **kwargs)

    def _tell(self) -> None:
        self.lost.set()

    def __enter__(self) -> int:
        token = self.acquire()
        assert token is not None
        return token

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if kind is not None:
            with contextlib.suppress(NotHeld):  # Released within the block; what is wrong is told already.
                self.release()
            return
        try:
            self._plain.check()
        finally:
            self.release()


class Lock(_LockForm):
    """One holder at a time, in the order of asking.

    Args:
        client: or a `Session` that several recipes share.
        path: of the lock; nothing else uses it.
        identifier: what this contender is called.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainLock(session.plain, path, identifier))


class ReadLock(_LockForm):
    """Held together with other readers of the path, but not with a `WriteLock`, and after the writers that asked before."""

    def __init__(self, client: BlockingClient | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainReadLock(session.plain, path, identifier))


class WriteLock(_LockForm):
    """Held alone: after all readers and writers of the path that asked before."""

    def __init__(self, client: BlockingClient | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainWriteLock(session.plain, path, identifier))


class Semaphore(_LockForm):
    """At most `max_leases` holders at a time, in the order of asking.

    All must give the same number: `acquire` raises `WrongSize` otherwise. It is kept under the path.
    """

    def __init__(self, client: BlockingClient | Session, path: str | bytes, max_leases: int = 1, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainSemaphore(session.plain, path, max_leases, identifier))


class Election(_LockForm):
    """At most one leader: `run` leads as soon as it is this one's turn."""

    _plain: PlainElection

    def __init__(self, client: BlockingClient | Session, path: str | bytes, identifier: str = "") -> None:
        session = session_of(client)
        super().__init__(session, PlainElection(session.plain, path, identifier))

    def leader(self) -> str | None:
        """The identifier of who leads."""
        return finish(self._plain.leader())
