"""Locks: a place in the line, and a rule about who in the line may go ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.line import Claim, LeaseGone, Line, Rule, WrongCompare, absent, path_bytes
from txraft.client.recipes.shared.patience import Patience
from txraft.client.recipes.shared.trouble import AlreadyHeld, LockLost, LockTimeout, NotHeld, WrongSize

__all__ = ["PlainLock", "PlainReadLock", "PlainSemaphore", "PlainWriteLock"]


class PlainLock:
    """One holder at a time, in the order of asking.

    Args:
        session: holds the lease.
        path: of the lock; one recipe for one path.
        identifier: what the holder is called, for `contenders`.
    """

    kind = b""
    """The names of such contenders begin so."""

    def __init__(self, session: Session, path: str | bytes, identifier: str = "") -> None:
        self.path = path_bytes(path)
        self.identifier = identifier
        self.line = Line(session, self.path)
        self.rule = Rule(self.line.prefix)
        self.on_lost: Callable[[], None] | None = None
        self._store = session.store
        self._busy = False
        self._claim: Claim | None = None
        self._patience: Patience | None = None

    @property
    def held(self) -> bool:
        """Whether it is held for certain, at this moment."""
        return self._claim is not None and self._claim.lease.alive

    @property
    def acquired(self) -> bool:
        """Whether it was acquired and not released since, lost or not."""
        return self._claim is not None

    @property
    def token(self) -> int:
        """The fencing token. Raises `LockLost` and `NotHeld`."""
        if self._claim is None:
            raise NotHeld(f"{self}: it is not held")
        self.check()
        return self._claim.revision

    def check(self) -> None:
        """Raises `LockLost` if it was held and is no more."""
        if self._claim is not None and not self._claim.lease.alive:
            raise LockLost(f"{self}: its lease could not be kept; others may hold it by now")

    async def acquire(self, blocking: bool = True, timeout_s: float | None = None) -> int | None:
        """Stand in the line until it is ours; the fencing token, or None if it is not to be had without waiting.

        Raises:
            LockTimeout: not within `timeout_s`.
            AcquireCancelled: see `cancel`.
            AlreadyHeld: by this object, or it is waiting already.
            Outcome: asking came to something that asking again would not mend; without `blocking`, any trouble.
        """
        if self._busy:
            raise AlreadyHeld(f"{self}: this object holds it or waits for it already; it is not reentrant")
        self._busy = True
        patience = self._patience = Patience(self._store, timeout_s, tries_once=not blocking, what=str(self))
        try:
            self._claim = await self._win(patience, blocking)
        finally:
            self._patience = None
            self._busy = self._claim is not None
        return None if self._claim is None else self._claim.revision

    async def release(self) -> bool:
        """Let the next one have it. False: there was trouble; it is held no more, but the next one may have to wait for the lease's end.

        Raises:
            NotHeld: it was not acquired. It may have been lost: that is no mistake here.
        """
        claim, self._claim = self._claim, None
        if claim is None:
            raise NotHeld(f"{self}: it is not held")
        self._busy = False
        if claim.lease.alive:
            return await self.line.leave(claim)
        self.line.leave_later(claim)
        return False

    async def contenders(self) -> list[str]:
        """The identifiers of who holds it and who waits, in order."""
        return await self.line.contenders()

    def cancel(self) -> None:
        """Give up waiting: `acquire` raises `AcquireCancelled` soon."""
        if self._patience is not None:
            self._patience.cancel()

    def __str__(self) -> str:
        return f"{type(self).__name__.removeprefix('Plain')} {self.path.decode('utf-8', 'replace')}"

    async def _win(self, patience: Patience, blocking: bool) -> Claim | None:
        while True:
            claim = await self.line.new_claim(patience, self.kind)
            try:
                won = await self._stand(claim, patience, blocking)
            except LeaseGone:
                self.line.leave_later(claim)
                patience.check()
                continue
            except LockTimeout:
                await self.line.leave(claim)
                raise
            except BaseException:  # Cancelled, too: no place may stay in the line.
                self.line.leave_later(claim)
                raise
            if won:
                claim.on_lost = self._lost
                if claim.lease.lost:  # By another thread, at this very moment.
                    self._lost()
                return claim
            await self.line.leave(claim)
            return None

    async def _stand(self, claim: Claim, patience: Patience, blocking: bool) -> bool:
        looks = [self.rule.question(None)]
        seen = await self.line.join(claim, self.identifier.encode(), patience, compare=self._must_hold(), looks=looks)
        return await self.line.wait_turn(claim, self.rule, patience, seen, blocking=blocking)

    def _must_hold(self) -> list[dict[str, Any]]:
        return []

    def _lost(self) -> None:
        if self.on_lost is not None:
            self.on_lost()


class PlainReadLock(PlainLock):
    """Held together with other readers, but not with a writer."""

    kind = b"r-"

    def __init__(self, session: Session, path: str | bytes, identifier: str = "") -> None:
        super().__init__(session, path, identifier)
        self.rule = Rule(self.line.prefix + PlainWriteLock.kind)


class PlainWriteLock(PlainLock):
    """Held alone: neither a reader nor another writer is ahead."""

    kind = b"w-"


class PlainSemaphore(PlainLock):
    """So many holders at a time.

    Args:
        session: holds the lease.
        path: of the semaphore.
        max_leases: how many; the same for all who use the path.
        identifier: for `contenders`.
    """

    def __init__(self, session: Session, path: str | bytes, max_leases: int = 1, identifier: str = "") -> None:
        if max_leases < 1:
            raise ValueError(f"a semaphore has room for at least 1, not {max_leases}")
        super().__init__(session, path, identifier)
        self.max_leases = max_leases
        self.rule = Rule(self.line.prefix, max_leases - 1)
        self._session = session
        self._limit = {"key": self.path + b"/limit", "value": b"%d" % max_leases}

    async def _stand(self, claim: Claim, patience: Patience, blocking: bool) -> bool:
        try:
            return await super()._stand(claim, patience, blocking)
        except WrongCompare:
            await patience.persist(self._agree)
        try:
            return await super()._stand(claim, patience, blocking)
        except WrongCompare:
            raise WrongSize(f"{self}: its size was changed at this moment") from None

    def _must_hold(self) -> list[dict[str, Any]]:
        return [{"target": "value", "result": "=", **self._limit}]

    async def _agree(self) -> None:
        """Set the size if there is none."""
        key = self._limit["key"]
        look = [{"op": "range", "key": key}]
        answer = await self._session.command("txn", compare=[absent(key)], success=[{"op": "put", **self._limit}], failure=look)
        if not answer["succeeded"]:
            kvs = answer["responses"][0]["kvs"]
            if kvs and kvs[0]["value"] != self._limit["value"]:
                raise WrongSize(f"{self}: others use it with {kvs[0]['value'].decode()} leases, this client with {self.max_leases}")
