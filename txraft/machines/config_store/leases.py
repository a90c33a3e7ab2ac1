"""Leases: keys live as long as the lease they are attached to is kept alive, by log time.

A keep-alive only notes the time; a new term only notes when it began. When a lease is really over is worked out once its noted deadline,
which is never later, has come. Noted deadlines are part of the state, so all servers look at the same entries of the log.

Leases that are over end in portions, some log time apart. Until its portion has come, a lease that is over is there as any other.

Source: etcd's `lease/lessor.go`, whose new leader, too, gives every lease its full time again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from attrs import define, field

from txraft.errors import Refused
from txraft.machines.config_store.key_values import DELETED_AT_ONCE_MAX

__all__ = ["EXPIRE_PAUSE_MS", "EXPIRE_STEPS_MAX", "LEASES_MAX", "TTL_S_MAX", "FrozenLeases", "Lease", "Leases"]

LEASES_MAX = 131_072
"""Leases at a time; a list of them all fits an answer."""

TTL_S_MAX = 9_000_000_000
"""Longest time to live, as in etcd."""

EXPIRE_STEPS_MAX = 4_096
"""Leases looked at, and keys of those that end, in one go: some 30 milliseconds. A lease ends with all its keys, even if that is more."""

EXPIRE_PAUSE_MS = 20
"""When more are due than that, the rest follows after this much log time."""


@define(eq=False)
class Lease:
    """A lease.

    Attributes:
        id: from 1.
        ttl_s: how long it lives without being kept alive.
        renewed_ms: the log time at which it was granted or last kept alive.
        noted_ms: it is not over before.
        keys: attached to it.
        views: how many views of all leases had been taken when this object was made. A later one may have it, and then it does not change
            any more: another object takes its place. (Its keys do: no view looks at them.)
    """

    id: int
    ttl_s: int
    renewed_ms: int
    noted_ms: int
    keys: set[bytes] = field(factory=set)
    views: int = 0


class FrozenLeases(NamedTuple):
    """All leases as they were, in the order in which they were granted, without their keys (the keys name their lease)."""

    term: int
    refreshed_ms: int
    time_ms: int
    resume_ms: int
    leases: tuple[Lease, ...]


class Leases:
    """All leases.

    Attributes:
        term: the newest seen.
        refreshed_ms: the log time at which that was: no lease counts from an earlier one.
        time_ms: the newest log time seen.
        resume_ms: no lease is looked at before. What is left of a portion may be due already.
    """

    def __init__(self) -> None:
        self.term = self.refreshed_ms = self.time_ms = self.resume_ms = 0
        self._leases: dict[int, Lease] = {}
        self._views = 0
        self._noted: list[tuple[int, int]] = []  # heap of pairs (noted_ms, id); those of revoked leases stay for a while

    def __len__(self) -> int:
        return len(self._leases)

    def begin_term(self, term: int, now_ms: int) -> None:
        """Another leader: clients could not reach it before, so every lease has its full time again."""
        self.term, self.refreshed_ms = term, now_ms

    def grant(self, lease_id: int, ttl_s: int, now_ms: int) -> Lease:
        """A new lease. Raises `Refused`."""
        if lease_id in self._leases:
            raise Refused("lease_exists", f"there is a lease {lease_id} already")
        if len(self._leases) >= LEASES_MAX:
            raise Refused("too_many_leases", f"all {LEASES_MAX} leases are taken; revoke some, or wait until they expire")
        lease = self._leases[lease_id] = Lease(lease_id, ttl_s, now_ms, now_ms + ttl_s * 1_000, views=self._views)
        heapq.heappush(self._noted, (lease.noted_ms, lease_id))
        return lease

    def free_id(self, first: int) -> int:
        """The first id from this one on that no lease has."""
        while first in self._leases:
            first += 1
        return first

    def find(self, lease_id: int) -> Lease:
        """The lease. Raises `Refused` `lease_not_found`."""
        lease = self._leases.get(lease_id)
        if lease is None:
            raise Refused("lease_not_found", f"there is no lease {lease_id}; it may have expired")
        return lease

    def renew(self, lease_id: int, now_ms: int) -> Lease:
        """From now on a lease has its full time again. Raises `Refused` `lease_not_found`."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.views != self._views:
            lease = self._own(self.find(lease_id))
        lease.renewed_ms = now_ms
        return lease

    def _own(self, lease: Lease) -> Lease:
        """The lease, as an object that may be changed."""
        if lease.views != self._views:
            lease = Lease(lease.id, lease.ttl_s, lease.renewed_ms, lease.noted_ms, lease.keys, self._views)
            self._leases[lease.id] = lease
        return lease

    def remove(self, lease_id: int) -> None:
        """Forget a lease, which must be there and have no keys any more."""
        del self._leases[lease_id]
        if len(self._noted) > 2 * len(self._leases) + 1_000:
            self._index()

    def move_key(self, key: bytes, before: int, after: int) -> None:
        """A key is no longer attached to the first lease, but to the second one; 0 for none. Both must be there."""
        if before:
            self._leases[before].keys.discard(key)
        if after:
            self._leases[after].keys.add(key)

    def check_room(self, lease_id: int, key: bytes) -> None:
        """Raises `Refused` when the lease is not there, or cannot have this key as well."""
        keys = self.find(lease_id).keys
        if len(keys) >= DELETED_AT_ONCE_MAX and key not in keys:
            raise Refused("too_large", f"a lease has at most {DELETED_AT_ONCE_MAX} keys: take another one")

    def deadline_ms(self, lease: Lease) -> int:
        """The log time at which the lease will be over."""
        return max(lease.renewed_ms, self.refreshed_ms) + lease.ttl_s * 1_000

    def wake_ms(self) -> int | None:
        """The first noted deadline; None without leases."""
        noted = self._noted
        while noted:
            lease = self._leases.get(noted[0][1])
            if lease is not None and lease.noted_ms == noted[0][0]:
                return lease.noted_ms
            heapq.heappop(noted)
        return None

    def expired(self, now_ms: int) -> Iterator[Lease]:
        """The leases that are over, in the order of their deadlines: a portion of them. Each must be removed before the next is asked for.

        How much of a portion is used up depends on the state alone, never on entries of the heap that mean nothing.
        """
        steps = 0
        while (wake_ms := self.wake_ms()) is not None and wake_ms <= now_ms:
            if steps >= EXPIRE_STEPS_MAX:
                self.resume_ms = now_ms + EXPIRE_PAUSE_MS
                return
            lease = self._leases[self._noted[0][1]]
            steps += 1
            deadline_ms = self.deadline_ms(lease)
            if deadline_ms > lease.noted_ms:
                # Over or not: those of earlier deadlines come first.
                self._own(lease).noted_ms = deadline_ms
                heapq.heapreplace(self._noted, (deadline_ms, lease.id))
            else:
                heapq.heappop(self._noted)
                steps += len(lease.keys)
                yield lease

    def ids(self) -> list[int]:
        """Of all leases, in order."""
        return sorted(self._leases)

    def _index(self) -> None:
        self._noted = [(lease.noted_ms, lease.id) for lease in self._leases.values()]
        heapq.heapify(self._noted)

    def frozen(self) -> FrozenLeases:
        """All leases as they are now. There are so few that it takes a millisecond at most."""
        self._views += 1
        return FrozenLeases(self.term, self.refreshed_ms, self.time_ms, self.resume_ms, tuple(self._leases.values()))

    def restore(self, *fields: list[int]) -> None:
        """More leases as they were, field by field: ids, times to live, times of renewal, noted deadlines."""
        for lease in (Lease(*row) for row in zip(*fields, strict=True)):
            self._leases[lease.id] = lease
            heapq.heappush(self._noted, (lease.noted_ms, lease.id))
