"""Barriers: all wait until somebody opens it, or until enough have come."""

from __future__ import annotations

import functools
from typing import Any

from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.line import Claim, LeaseGone, Line, absent, path_bytes
from txraft.client.recipes.shared.patience import Patience
from txraft.client.recipes.shared.trouble import AlreadyHeld, LockLost, LockTimeout, NotHeld

__all__ = ["PlainBarrier", "PlainDoubleBarrier"]


class PlainBarrier:
    """A gate that is shut while its key exists. Nobody's lease holds it: it stays shut until it is opened.

    Args:
        session: of the client.
        path: the key.
    """

    def __init__(self, session: Session, path: str | bytes) -> None:
        self.path = path_bytes(path)
        self._session = session
        self._line = Line(session, self.path)

    async def create(self) -> bool:
        """Shut it. False: it was shut."""
        shut = {"op": "put", "key": self.path}
        return bool((await self._session.command("txn", compare=[absent(self.path)], success=[shut]))["succeeded"])

    async def remove(self) -> bool:
        """Open it. False: it was open."""
        return bool((await self._session.command("delete", key=self.path))["deleted"])

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is open. False: it was not within the time."""
        patience = Patience(self._session.store, timeout_s, what=f"Barrier {self.path.decode('utf-8', 'replace')}")
        try:
            while True:
                # A range, for it tells the revision at which it was looked.
                answer = await patience.persist(lambda: self._session.query("range", key=self.path, keys_only=True))
                if not answer["kvs"]:
                    return True
                patience.check()
                await self._line.wait_for_change(self.path, answer["revision"], patience)
        except LockTimeout:
            return False


class PlainDoubleBarrier:
    """All begin together, and all end together.

    A round begins with the key `ready`, which is put by whoever sees enough clients. Those whose keys are older belong to the round, later
    ones wait for the next. It ends when none of them is left: whoever sees that deletes `ready`.

    Args:
        session: holds the lease.
        path: of the barrier.
        num_clients: how many must have come.
        identifier: of this client.
    """

    def __init__(self, session: Session, path: str | bytes, num_clients: int, identifier: str = "") -> None:
        if num_clients < 1:
            raise ValueError(f"a barrier waits for at least 1 client, not {num_clients}")
        self.path = path_bytes(path)
        self.num_clients = num_clients
        self.identifier = identifier
        self._session = session
        self._line = Line(session, self.path)
        self._ready = self.path + b"/ready"
        self._claim: Claim | None = None
        self._round = 0
        self._busy = False

    async def enter(self, timeout_s: float | None = None) -> None:
        """Wait until enough have come.

        Raises:
            LockTimeout: not within the time; this one has gone away again.
            AlreadyHeld: this object has entered, or is entering.
        """
        if self._busy:
            raise AlreadyHeld(f"{self}: this object has entered already")
        self._busy = True
        patience = Patience(self._session.store, timeout_s, what=str(self))
        try:
            while self._claim is None:
                self._claim = await self._try_to_enter(patience)
        finally:
            self._busy = self._claim is not None

    async def leave(self, timeout_s: float | None = None) -> None:
        """Wait until all of the round have left, or have ended.

        Raises:
            LockTimeout: not within the time; this one has left nevertheless.
            LockLost: the lease could not be kept, so the others may have left without waiting for this one.
            NotHeld: this object has not entered.
        """
        claim, self._claim = self._claim, None
        if claim is None:
            raise NotHeld(f"{self}: this object has not entered")
        self._busy = False
        lost = not claim.lease.alive
        await self._line.leave(claim)
        if lost:
            raise LockLost(f"{self}: the lease could not be kept")
        patience = Patience(self._session.store, timeout_s, what=str(self))
        while True:
            ready, present, revision = await patience.persist(self._look)
            if ready != self._round:  # Somebody has seen that all had left; perhaps the next round has begun.
                return
            if not any(kv["create_revision"] < ready for kv in present):
                await patience.persist(functools.partial(self._end_round, ready))
                return
            patience.check()
            await self._line.wait_for_change(self.path + b"/", revision, patience, prefix=True)

    def __str__(self) -> str:
        return f"DoubleBarrier {self.path.decode('utf-8', 'replace')}"

    async def _try_to_enter(self, patience: Patience) -> Claim | None:
        claim = await self._line.new_claim(patience)
        try:
            await self._line.join(claim, self.identifier.encode(), patience)
            while not await self._begun(claim, patience):
                patience.check()
            return claim
        except LeaseGone:
            self._line.leave_later(claim)
            patience.check()
            return None
        except LockTimeout:
            await self._line.leave(claim)
            raise
        except BaseException:
            self._line.leave_later(claim)
            raise

    async def _begun(self, claim: Claim, patience: Patience) -> bool:
        """Whether the round of `claim` has begun; if not, some time has passed."""
        claim.check()
        ready, present, revision = await patience.persist(self._look)
        if not any(kv["create_revision"] == claim.revision for kv in present):
            raise LeaseGone
        if claim.revision < ready:
            self._round = ready
            return True
        if not ready and len(present) >= self.num_clients:
            begin = {"op": "put", "key": self._ready}
            await patience.persist(lambda: self._session.command("txn", compare=[absent(self._ready)], success=[begin]))
        elif ready and not any(kv["create_revision"] < ready for kv in present):
            await patience.persist(functools.partial(self._end_round, ready))
        else:
            await self._line.wait_for_change(self.path + b"/", revision, patience, prefix=True, at_most_s=claim.lease.ttl_s)
        return False

    async def _look(self) -> tuple[int, list[dict[str, Any]], int]:
        """By which revision the round began (0: it has not), who is there, and when that was so."""
        answer = await self._session.query("range", key=self.path + b"/", prefix=True, keys_only=True)
        began = next((kv["create_revision"] for kv in answer["kvs"] if kv["key"] == self._ready), 0)
        return began, [kv for kv in answer["kvs"] if kv["key"].startswith(self._line.prefix)], answer["revision"]

    async def _end_round(self, ready: int) -> None:
        same = {"key": self._ready, "target": "create", "result": "=", "number": ready}
        await self._session.command("txn", compare=[same], success=[{"op": "delete", "key": self._ready}])
