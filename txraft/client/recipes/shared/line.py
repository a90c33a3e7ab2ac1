"""The line before a lock: each contender has a key, and the order is that of their creation.

Under the path of a recipe, `line/NAME` are the contenders and what they call themselves, and `withdrawn/NAME` are names that must not come
into the line any more: a creation whose outcome nobody knew may yet arrive, and would stay in the way for as long as its client lives.

Source: the recipes of etcd's package `concurrency`: the owner has the smallest create revision, and all wait for one key before their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from txraft.client.recipes.shared.lease import Lease, Session
from txraft.client.recipes.shared.patience import PAUSE_S, Patience, passing
from txraft.client.recipes.shared.store import Store
from txraft.errors import Outcome, Refused

__all__ = ["Claim", "LeaseGone", "Line", "Rule", "WrongCompare", "absent", "path_bytes"]

LOOK_AGAIN_S = 15.0
"""Whoever waits looks again after so long, even when nothing has been heard."""


class LeaseGone(Exception):
    """A place in the line is gone, and with it what it stood for: begin anew."""


class WrongCompare(Exception):
    """What was asked for besides did not hold: no place was taken."""


def path_bytes(path: str | bytes) -> bytes:
    """The path of a recipe as the beginning of keys; without a slash at its end."""
    key = (path.encode() if isinstance(path, str) else bytes(path)).rstrip(b"/")
    if not key:
        raise ValueError("the path of a recipe cannot be empty")
    return key


@dataclass(frozen=True)
class Rule:
    """Who may go ahead.

    Attributes:
        prefix: only contenders whose keys begin so are waited for.
        room: so many of them may be ahead of one.
    """

    prefix: bytes
    room: int = 0

    def question(self, up_to: int | None) -> dict[str, Any]:
        """The range that tells. With `up_to` None: within the transaction that creates the key, which may be among the found."""
        limit = self.room + (3 if up_to is None else 2)
        bound = {} if up_to is None else {"max_create_revision": up_to}
        return {"key": self.prefix, "prefix": True, "sort": "create", "descending": True, "limit": limit, "keys_only": True, **bound}

    def obstacle(self, found: list[dict[str, Any]], revision: int) -> tuple[bytes, bool] | None:
        """What has to change before whoever was created by `revision` may go ahead: a key, and whether it is a prefix."""
        ahead = [kv["key"] for kv in found if kv["create_revision"] < revision]
        if len(ahead) <= self.room:
            return None
        # With room for several the first in the line goes ahead when any of them leaves; who is further back follows the one before.
        return (self.prefix, True) if self.room and len(ahead) == self.room + 1 else (ahead[0], False)


class Claim:
    """A place in the line.

    Attributes:
        name: the last part of its key.
        key: of the place.
        lease: it goes with it.
        revision: by which it was created: its rank, and the fencing token; 0 as long as that is not known.
        doubtful: a creation may yet arrive.
        on_lost: called when the lease is lost.
    """

    def __init__(self, name: bytes, key: bytes, lease: Lease) -> None:
        self.name, self.key, self.lease = name, key, lease
        self.revision = 0
        self.doubtful = False
        self.on_lost: Callable[[], None] | None = None
        lease.enter(self)

    def check(self) -> None:
        """Raises `LeaseGone` unless the lease certainly lives."""
        if not self.lease.alive:
            raise LeaseGone

    def lease_lost(self) -> None:
        """See `LeaseUser`."""
        if self.on_lost is not None:
            self.on_lost()


class Line:
    """The contenders under one path.

    Args:
        session: holds the leases.
        path: of the recipe.
    """

    def __init__(self, session: Session, path: bytes) -> None:
        self.session = session
        self.prefix = path + b"/line/"
        self._withdrawn = path + b"/withdrawn/"

    async def new_claim(self, patience: Patience, kind: bytes = b"") -> Claim:
        """A claim that is not in the line yet; it has to leave, whatever comes of it."""
        lease = await patience.persist(self.session.lease)
        name = kind + self.session.new_name(lease)
        return Claim(name, self.prefix + name, lease)

    async def join(
        self,
        claim: Claim,
        value: bytes,
        patience: Patience,
        *,
        compare: list[dict[str, Any]] | None = None,
        looks: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any] | None:
        """Create the key of `claim`, with a `value`, if what is in `compare` holds.

        Returns:
            The answer of the transaction, with the ranges of `looks`, seen at the same moment, in `responses` from the second on; None if
            the key was there already, by a try that was not answered.

        Raises:
            LeaseGone: there is no lease to create it with.
            WrongCompare: something in `compare` did not hold.
        """
        create = {"op": "put", "key": claim.key, "value": value, "lease": claim.lease.id}
        txn = {
            "compare": [absent(claim.key), absent(self._withdrawn + claim.name), *(compare or [])],
            "success": [create, *({"op": "range", **look} for look in looks or [])],
            "failure": [{"op": "range", "key": claim.key}],
        }
        answer = await patience.persist(lambda: self._create(claim, txn))
        if answer["succeeded"]:
            claim.revision = answer["revision"]
            return answer
        found = answer["responses"][0]["kvs"]
        if not found:
            raise WrongCompare
        claim.revision = found[0]["create_revision"]
        return None

    async def _create(self, claim: Claim, txn: dict[str, Any]) -> dict[str, Any]:
        claim.check()
        was_doubtful, claim.doubtful = claim.doubtful, True  # Whatever ends the call without an answer leaves it so.
        try:
            answer: dict[str, Any] = await self.session.command("txn", **txn)
        except Outcome as problem:
            claim.doubtful = was_doubtful or problem.outcome == "unknown"
            if isinstance(problem, Refused) and problem.code == "lease_not_found":
                claim.lease.lose()
                raise LeaseGone from None
            raise
        claim.doubtful = was_doubtful
        return answer

    async def wait_turn(self, claim: Claim, rule: Rule, patience: Patience, seen: dict[str, Any] | None, *, blocking: bool = True) -> bool:
        """Wait until nobody is in the way.

        Args:
            claim: in the line.
            rule: who would be in the way.
            patience: for how long.
            seen: what `join` has returned; its one look was the rule's.
            blocking: whether to wait; if not, the answer may be False.

        Raises:
            LeaseGone: the place was lost meanwhile.
            LockTimeout, AcquireCancelled: see `Patience`.
        """
        looked_again = False
        found, revision = ([], 0) if seen is None else (seen["responses"][1]["kvs"], seen["revision"])
        while True:
            if seen is None or looked_again:
                answer = await patience.persist(lambda: self.session.query("range", **rule.question(claim.revision - 1)))
                found, revision = answer["kvs"], answer["revision"]
            obstacle = rule.obstacle(found, claim.revision)
            if obstacle is None:
                break
            if not blocking:
                return False
            patience.check()
            await self.wait_for_change(obstacle[0], revision, patience, prefix=obstacle[1], at_most_s=claim.lease.ttl_s)
            looked_again = True
            claim.check()
        if looked_again or seen is None:
            await self._confirm(claim, patience, tell=rule.room > 0)
        claim.check()
        return True

    async def wait_for_change(
        self, key: bytes, after: int, patience: Patience, *, prefix: bool = False, at_most_s: float = math.inf
    ) -> None:
        """Wait until it is worth while to look again."""
        timeout_s = min(patience.left_s, at_most_s, LOOK_AGAIN_S)
        try:
            await self.session.store.changed(self.session.machine, key, prefix=prefix, after=after, timeout_s=timeout_s)
        except Outcome as problem:
            if not passing(problem) and problem.code != "too_many_waits":
                raise
            await self.session.store.sleep(min(PAUSE_S, timeout_s))

    async def leave(self, claim: Claim) -> bool:
        """Give the place up. True: it is gone; False: there was trouble, and the removal goes on in the background.

        Its lease may end by itself from now on.
        """
        try:
            await self._remove(self.session.store, claim)
        except Outcome:
            self.leave_later(claim)
            return False
        except BaseException:
            self.leave_later(claim)
            raise
        claim.on_lost = None
        claim.lease.leave(claim)
        return True

    def leave_later(self, claim: Claim) -> None:
        """Give the place up without waiting for it."""
        claim.on_lost = None
        claim.lease.leave(claim)
        if not (claim.revision or claim.doubtful):
            return
        ends_s = self.session.store.monotonic() + 2 * claim.lease.ttl_s

        async def remove(store: Store) -> None:
            # The lease ends the place, too, unless others keep it.
            while claim.lease.alive or store.monotonic() < ends_s:
                try:
                    await self._remove(store, claim)
                except Outcome as problem:
                    if not passing(problem):
                        return
                else:
                    return
                await store.sleep(PAUSE_S)

        self.session.store.in_background(remove)

    async def contenders(self) -> list[str]:
        """What those in the line call themselves, the first one first."""
        answer = await self.session.query("range", key=self.prefix, prefix=True, sort="create")
        return [kv["value"].decode("utf-8", "replace") for kv in answer["kvs"]]

    async def _confirm(self, claim: Claim, patience: Patience, *, tell: bool) -> None:
        """See that the place is still there, which somebody may have deleted; `tell` whoever follows it that it has moved on."""
        ours = {"key": claim.key, "target": "create", "result": "=", "number": claim.revision}
        touch = {"op": "put", "key": claim.key, "ignore_value": True, "ignore_lease": True}

        async def once() -> bool:
            if tell:
                return bool((await self.session.command("txn", compare=[ours], success=[touch]))["succeeded"])
            kv = await self.session.query("get", key=claim.key)
            return kv is not None and kv["create_revision"] == claim.revision

        if not await patience.persist(once):
            raise LeaseGone

    async def _remove(self, store: Store, claim: Claim) -> None:
        if claim.doubtful:
            withdraw = {"op": "put", "key": self._withdrawn + claim.name, "lease": claim.lease.id}
            arguments: dict[str, Any] = {"success": [{"op": "delete", "key": claim.key}, withdraw]}
        elif claim.revision:
            ours = {"key": claim.key, "target": "create", "result": "=", "number": claim.revision}
            arguments = {"compare": [ours], "success": [{"op": "delete", "key": claim.key}]}
        else:
            return
        try:
            await store.command(self.session.machine, "txn", arguments)
        except Refused as refused:
            if refused.code != "lease_not_found":
                raise
            # Then the place has gone with it, and cannot come any more.


def absent(key: bytes) -> dict[str, Any]:
    """A comparison: there is no such key."""
    return {"key": key, "target": "create", "result": "=", "number": 0}
