"""The commands and queries of the config store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from txraft.limits import INDEX_MAX
from txraft.machines.config_store.changes import Changes
from txraft.machines.config_store.key_values import Budget, Count, Key, KeyValue, LeaseId, RangeEnd, Revision, Value, bounds
from txraft.machines.config_store.leases import TTL_S_MAX, Lease, Leases
from txraft.machines.config_store.log import PIECE
from txraft.machines.config_store.operations import Compare, Operation, Put, Range, SortTarget, Txn
from txraft.machines.config_store.ranges import read_range
from txraft.machines.config_store.state import FrozenState, restore
from txraft.machines.config_store.transaction import Writer, check_put, run_transaction
from txraft.machines.config_store.versions import Versions
from txraft.statemachine import Context, Meta, StateMachine, command, patient_command, query

__all__ = ["ConfigStore"]

Ttl = Annotated[int, Meta(ge=1, le=TTL_S_MAX)]
CompactRevision = Annotated[int, Meta(ge=1, le=INDEX_MAX)]
PageSize = Annotated[int, Meta(ge=1, le=1_000)]

SWEPT_BY_COMPACTION = 3_072
SWEPT_BY_OTHERS = 96
"""Versions that a command drops after a compaction. It writes one or few, so the log gets shorter."""


class ConfigStore(StateMachine):
    """Keys and values (bytes) with all their versions, transactions and leases, as in etcd v3. Keys can be watched."""

    version = 1

    def __init__(self) -> None:
        self._leases = Leases()
        self._versions = Versions(self._leases)
        self._changes = Changes(self._versions)

    # Keys.

    @command
    def put(
        self,
        ctx: Context,
        key: Key,
        value: Value = b"",
        lease: LeaseId = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
    ) -> dict[str, Any]:
        """Write a key; the `revision`. `lease` attaches it; `prev_kv` asks for what was there; `ignore_…` keeps that part of it."""
        self._begin(ctx)
        versions = self._versions
        if key and not (lease or prev_kv or ignore_value or ignore_lease):
            versions.put(key, value, 0)
            versions.revision = revision = versions.revision + 1
            ctx.signal(key)
            return {"revision": revision}
        check_put(key, value, lease, ignore_value, ignore_lease)
        writer = Writer(versions, Budget())
        result = writer.put(Put(key, value, lease, prev_kv, ignore_value, ignore_lease))
        self._commit(ctx, writer)
        return result

    @command
    def delete(
        self, ctx: Context, key: Key, range_end: RangeEnd | None = None, prefix: bool = False, prev_kv: bool = False
    ) -> dict[str, Any]:
        """Delete a key, the keys before `range_end` (a zero byte: all from `key` on), or those that begin with `key`: how many."""
        self._begin(ctx)
        writer = Writer(self._versions, Budget())
        result = writer.delete(*bounds(key, range_end, prefix=prefix), prev_kv)
        self._commit(ctx, writer)
        return result

    @command
    def txn(
        self,
        ctx: Context,
        compare: list[Compare] = [],  # noqa: B006
        success: list[Operation] = [],  # noqa: B006
        failure: list[Operation] = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Run the operations of `success` if all comparisons hold, else those of `failure`, at one revision."""
        self._begin(ctx)
        mark = len(self._versions.log.newest)
        result = run_transaction(self._versions, Txn(compare, success, failure))
        self._signal_since(ctx, mark)
        return result

    @command
    def compact(self, ctx: Context, revision: CompactRevision) -> dict[str, Any]:
        """Forget what was before a revision. What the keys were at that revision can still be read."""
        self._begin(ctx)
        self._versions.compact(revision)
        self._versions.sweep(SWEPT_BY_COMPACTION)
        return {"revision": self._versions.revision}

    @query
    def get(self, key: Key, revision: Revision = 0) -> KeyValue | None:
        """A key, as it is or as it was at a revision; null if it is not there."""
        kvs: list[KeyValue] = read_range(self._versions, Range(key, revision=revision), self._versions.revision, Budget())["kvs"]
        return kvs[0] if kvs else None

    @query
    def range(
        self,
        key: Key = b"",
        range_end: RangeEnd | None = None,
        prefix: bool = False,
        from_key: bool = False,
        revision: Revision = 0,
        limit: Count = 0,
        sort: SortTarget = "key",
        descending: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        min_mod_revision: Revision = 0,
        max_mod_revision: Revision = 0,
        min_create_revision: Revision = 0,
        max_create_revision: Revision = 0,
    ) -> dict[str, Any]:
        """Keys in order: `key`, those before `range_end`, those that begin with `key` or all from it on. `count` knows no limit."""
        asked = Range(
            key,
            range_end,
            prefix,
            from_key,
            revision,
            limit,
            sort,
            descending,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        )
        return read_range(self._versions, asked, self._versions.revision, Budget())

    @query
    def history(self, key: Key, first: Revision = 0, limit: PageSize = 100) -> dict[str, Any]:
        """The versions of a key from a revision on, as far as they are kept. One with version 0 tells of a deletion."""
        return {"versions": Budget().answer_versions(self._versions.kept(key, first, limit))}

    # Leases.

    @command
    def lease_grant(self, ctx: Context, ttl_s: Ttl, id: LeaseId = 0) -> dict[str, Any]:
        """A lease that lives so many seconds unless it is kept alive. With `id` 0, one is chosen."""
        self._begin(ctx)
        lease = self._leases.grant(id or self._leases.free_id(ctx.index), ttl_s, ctx.time_ms)
        return {"id": lease.id, "ttl_s": ttl_s, "revision": self._versions.revision}

    @patient_command
    def lease_keep_alive(self, ctx: Context, id: LeaseId) -> dict[str, Any]:
        """From now on the lease has its full time again."""
        self._begin(ctx)
        lease = self._leases.renew(id, ctx.time_ms)
        return {"id": id, "ttl_s": lease.ttl_s}

    @command
    def lease_revoke(self, ctx: Context, id: LeaseId) -> dict[str, Any]:
        """End a lease and delete its keys, at one revision."""
        self._begin(ctx)
        self._end_lease(ctx, self._leases.find(id))
        return {"revision": self._versions.revision}

    @query
    def lease_time_to_live(self, id: LeaseId, keys: bool = False) -> dict[str, Any]:
        """What is left of a lease's time, as of the newest command that the config store has seen; with `keys`, its keys."""
        lease, attached = self._leases.find(id), None
        if keys:
            Budget().answer(sum(len(key) + 5 for key in lease.keys))
            attached = sorted(lease.keys)
        left_s = max(0, self._leases.deadline_ms(lease) - self._leases.time_ms) // 1_000
        return {"id": id, "ttl_s": left_s, "granted_ttl_s": lease.ttl_s, "keys": attached}

    @query
    def leases(self) -> dict[str, Any]:
        """The ids of all leases."""
        return {"leases": self._leases.ids()}

    # What every command begins and ends with.

    def _begin(self, ctx: Context) -> None:
        leases = self._leases
        leases.time_ms = ctx.time_ms
        if ctx.term != leases.term:
            leases.begin_term(ctx.term, ctx.time_ms)
        versions = self._versions
        if versions.unswept:
            versions.sweep(SWEPT_BY_OTHERS)
        if len(versions.log.newest) >= PIECE:
            versions.log.seal()

    def _commit(self, ctx: Context, writer: Writer) -> None:
        writer.commit()
        self._signal_since(ctx, writer.mark)

    def _signal_since(self, ctx: Context, mark: int) -> None:
        for written in self._versions.log.newest[mark:]:
            ctx.signal(written.key)

    def _end_lease(self, ctx: Context, lease: Lease) -> None:
        writer = Writer(self._versions, Budget())
        self._versions.delete_keys(lease.keys)
        self._leases.remove(lease.id)
        self._commit(ctx, writer)

    # What the host asks for.

    def deadline(self) -> float | None:
        """See `StateMachine`: no lease is over before, or none is to end before."""
        wake_ms = self._leases.wake_ms()
        return None if wake_ms is None else max(wake_ms, self._leases.resume_ms) / 1_000

    def expire(self, ctx: Context) -> None:
        """See `StateMachine`: end leases, or a portion of them, each at a revision of its own if it has keys."""
        self._begin(ctx)
        for lease in self._leases.expired(ctx.time_ms):
            self._end_lease(ctx, lease)

    def events(self) -> Changes:
        """See `StateMachine`: every version is an event."""
        return self._changes

    def snapshot(self) -> Iterator[list[Any]]:
        """See `StateMachine`."""
        return FrozenState(self._versions.frozen(), self._leases.frozen()).items()

    def restore(self, state: Iterator[Any]) -> None:
        """See `StateMachine`."""
        restore(state, self._versions, self._leases)
