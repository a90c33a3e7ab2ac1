"""What a config store does, in the simplest words: a list of changes, gone through again for each question."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from tests.support.config_operations import Arguments

__all__ = ["Change", "ConfigModel"]

Change = tuple[int, bytes, Arguments]
"""Revision, key, version as it is in results."""

FIELDS = {"version": "version", "create": "create_revision", "mod": "mod_revision", "lease": "lease", "value": "value", "key": "key"}
RESULTS = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}
FOR_EVER = b"\xff" * 16


class Refusal(Exception):
    """With its code."""


class ConfigModel:
    """Each operation answers as the config store does, or the code of its refusal.

    Attributes:
        changes: all there ever were.
        leases: time to live and deadline in milliseconds, by id.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.revision, self.compacted = 1, 0
        self.leases: dict[int, tuple[int, int]] = {}
        self.now_ms = 0

    def run(self, name: str, asked: Arguments) -> Any:
        before = list(self.changes), dict(self.leases)
        try:
            result: Any = getattr(self, name)(**asked)
        except Refusal as refusal:
            self.changes, self.leases = before
            return str(refusal)
        self.revision = self.now()
        return result

    def now(self) -> int:
        """The newest revision, with what is being written."""
        return max(self.revision, self.changes[-1][0] if self.changes else 0)

    def state(self, revision: int = 0) -> dict[bytes, Arguments]:
        """The keys that are there, in order."""
        found = {key: kv for at, key, kv in self.changes if not revision or at <= revision}
        return {key: found[key] for key in sorted(found) if found[key]["version"]}

    def between(self, key: bytes, end: bytes | None, state: dict[bytes, Arguments]) -> list[Arguments]:
        return [kv for one, kv in state.items() if (one == key if end is None else key <= one < end)]

    def bounds(self, key: bytes, range_end: bytes | None, prefix: bool = False, from_key: bool = False) -> tuple[bytes, bytes | None]:
        if prefix:
            stem = key.rstrip(b"\xff")
            return key, stem[:-1] + bytes([stem[-1] + 1]) if stem else FOR_EVER
        if not key and not from_key:
            raise Refusal("empty_key")
        return key, FOR_EVER if from_key or range_end == b"\0" else range_end

    def write(self, key: bytes, **fields: Any) -> None:
        self.changes.append((self.revision + 1, key, {"key": key, "value": b"", "lease": 0, **fields, "mod_revision": self.revision + 1}))

    # Keys.

    def check_put(
        self, key: bytes, value: bytes = b"", lease: int = 0, prev_kv: bool = False, ignore_value: bool = False, ignore_lease: bool = False
    ) -> None:
        for wrong, code in ((not key, "empty_key"), (ignore_value and value, "value_provided"), (ignore_lease and lease, "lease_provided")):
            if wrong:
                raise Refusal(code)

    def put(self, key: bytes, value: bytes = b"", lease: int = 0, prev_kv: bool = False, **ignore: bool) -> Arguments:
        self.check_put(key, value, lease, **ignore)
        if lease and lease not in self.leases:
            raise Refusal("lease_not_found")
        before = self.state().get(key)
        if before is None and any(ignore.values()):
            raise Refusal("key_not_found")
        there = before or {"create_revision": self.revision + 1, "version": 0, "value": b"", "lease": 0}
        self.write(
            key,
            value=there["value"] if ignore.get("ignore_value") else value,
            lease=there["lease"] if ignore.get("ignore_lease") else lease,
            create_revision=there["create_revision"],
            version=there["version"] + 1,
        )
        return {"revision": self.now()} | ({"prev_kv": before} if prev_kv and before else {})

    def delete(self, key: bytes, range_end: bytes | None = None, prefix: bool = False, prev_kv: bool = False) -> Arguments:
        found = self.between(*self.bounds(key, range_end, prefix), self.state())
        for kv in found:
            self.write(kv["key"], create_revision=0, version=0)
        return {"revision": self.now(), "deleted": len(found)} | ({"prev_kvs": found} if prev_kv and found else {})

    def check_revision(self, revision: int) -> None:
        if revision > self.now():
            raise Refusal("future_revision")
        if revision and revision < self.compacted:
            raise Refusal("compacted")

    def range(
        self,
        key: bytes = b"",
        range_end: bytes | None = None,
        prefix: bool = False,
        from_key: bool = False,
        revision: int = 0,
        **options: Any,
    ) -> Arguments:
        bounds = self.bounds(key, range_end, prefix, from_key)
        self.check_revision(revision)
        rows = self.between(*bounds, self.state(revision))
        count = len(rows)
        for of in ("mod", "create"):
            least, most = options.get(f"min_{of}_revision", 0), options.get(f"max_{of}_revision", 0)
            rows = [kv for kv in rows if least <= kv[f"{of}_revision"] and (not most or kv[f"{of}_revision"] <= most)]
        field = FIELDS[options.get("sort", "key")]
        rows.sort(key=lambda kv: kv[field], reverse=options.get("descending", False))
        rows = [] if options.get("count_only") else rows
        limit = options.get("limit", 0) or len(rows)
        kvs = [kv | {"value": b""} if options.get("keys_only") else kv for kv in rows[:limit]]
        return {"revision": self.now(), "kvs": kvs, "more": limit < len(rows), "count": count}

    def get(self, key: bytes, revision: int = 0) -> Arguments | None:
        kvs: list[Arguments] = self.range(key, revision=revision)["kvs"]
        return kvs[0] if kvs else None

    def compact(self, revision: int) -> Arguments:
        if revision <= self.compacted:
            raise Refusal("compacted")
        self.check_revision(revision)
        self.compacted = revision
        return {"revision": self.revision}

    # Transactions.

    def txn(self, **asked: Any) -> Arguments:
        self.check_shape(asked, 128)
        for branch in ("success", "failure"):
            self.written(asked.get(branch, []))
        plan = self.choose(asked, self.state())
        for kind in ("put", "range"):
            for one in self.flat(plan):
                if one["op"] == kind:
                    self.check_operation(one)
        return {"revision": self.now(), **self.respond(plan)} | {"revision": self.now()}

    def check_shape(self, txn: Arguments, allowed: int) -> None:
        longest = max(len(txn.get(part, [])) for part in ("compare", "success", "failure"))
        if longest > allowed:
            raise Refusal("too_many_operations")
        for compare in txn.get("compare", []):
            self.bounds(compare["key"], None)
        for one in [*txn.get("success", []), *txn.get("failure", [])]:
            asked = {name: value for name, value in one.items() if name != "op"}
            if one["op"] == "put":
                self.check_put(**asked)
            elif one["op"] == "txn":
                self.check_shape(one, allowed - longest)
            else:
                self.bounds(one["key"], None, one.get("prefix", False), one.get("from_key", False))

    def written(self, operations: list[Arguments]) -> tuple[set[bytes], list[tuple[bytes, bytes]]]:
        """What they put, and the ranges that they delete. Raises where one meets another."""
        puts: set[bytes] = set()
        deletions = []
        for one in operations:
            if one["op"] == "delete":
                key, end = self.bounds(one["key"], one.get("range_end"), one.get("prefix", False))
                deletions.append((key, key + b"\0" if end is None else b"" if end == FOR_EVER else end))

        def meet(keys: set[bytes]) -> None:
            if any(key in puts or any(first <= key < end for first, end in deletions) for key in keys):
                raise Refusal("duplicate_key")

        for one in operations:
            if one["op"] == "txn":
                branches = [self.written(one.get(branch, [])) for branch in ("success", "failure")]
                for keys, _ in branches:
                    meet(keys)
                for keys, ranges in branches:
                    puts |= keys
                    deletions += ranges
        for one in operations:
            if one["op"] == "put":
                meet({one["key"]})
                puts.add(one["key"])
        return puts, deletions

    def choose(self, txn: Arguments, state: dict[bytes, Arguments]) -> Arguments:
        """The transaction with the operations that will run, those of inner ones too."""
        succeeded = all(self.holds(compare, state) for compare in txn.get("compare", []))
        operations = txn.get("success" if succeeded else "failure", [])
        return {"op": "txn", "succeeded": succeeded, "run": [self.choose(one, state) if one["op"] == "txn" else one for one in operations]}

    def holds(self, compare: Arguments, state: dict[bytes, Arguments]) -> bool:
        found = self.between(*self.bounds(compare["key"], compare.get("range_end")), state)
        target = FIELDS[compare["target"]]
        value: Any = compare.get("value", compare.get("number"))
        if not found:
            return target != "value" and bool(RESULTS[compare["result"]](0, value))
        return all(RESULTS[compare["result"]](kv[target], value) for kv in found)

    def flat(self, plan: Arguments) -> Iterator[Arguments]:
        for one in plan["run"]:
            if one["op"] == "txn":
                yield from self.flat(one)
            else:
                yield one

    def check_operation(self, one: Arguments) -> None:
        if one["op"] == "range":
            self.check_revision(one.get("revision", 0))
        elif (one.get("ignore_value") or one.get("ignore_lease")) and one["key"] not in self.state():
            raise Refusal("key_not_found")
        elif one.get("lease") and one["lease"] not in self.leases:
            raise Refusal("lease_not_found")

    def respond(self, plan: Arguments) -> Arguments:
        responses = []
        for one in plan["run"]:
            asked = {name: value for name, value in one.items() if name != "op"}
            result = self.respond(one) if one["op"] == "txn" else getattr(self, one["op"])(**asked)
            responses.append({"op": one["op"], **result} | ({"revision": self.now()} if one["op"] == "txn" else {}))
        return {"succeeded": plan["succeeded"], "responses": responses}

    # Leases.

    def attached(self, lease: int) -> list[bytes]:
        return [key for key, kv in self.state().items() if kv["lease"] == lease]

    def lease_grant(self, id: int, ttl_s: int) -> Arguments:
        if ttl_s > 9_000_000_000:
            raise Refusal("invalid_arguments")
        if id in self.leases:
            raise Refusal("lease_exists")
        self.leases[id] = (ttl_s, self.now_ms + ttl_s * 1_000)
        return {"id": id, "ttl_s": ttl_s, "revision": self.revision}

    def find(self, id: int) -> int:
        if id not in self.leases:
            raise Refusal("lease_not_found")
        return self.leases[id][0]

    def lease_keep_alive(self, id: int) -> Arguments:
        ttl_s = self.find(id)
        self.leases[id] = (ttl_s, self.now_ms + ttl_s * 1_000)
        return {"id": id, "ttl_s": ttl_s}

    def lease_revoke(self, id: int) -> Arguments:
        self.find(id)
        for key in self.attached(id):
            self.write(key, create_revision=0, version=0)
        del self.leases[id]
        return {"revision": self.now()}

    def lease_time_to_live(self, id: int, keys: bool) -> Arguments:
        ttl_s = self.find(id)
        left_s = (self.leases[id][1] - self.now_ms) // 1_000
        return {"id": id, "ttl_s": left_s, "granted_ttl_s": ttl_s, "keys": self.attached(id) if keys else None}

    def full_time_again(self) -> None:
        self.leases = {lease: (ttl_s, self.now_ms + ttl_s * 1_000) for lease, (ttl_s, _) in self.leases.items()}

    def expire(self) -> None:
        for lease in sorted(self.leases, key=lambda lease: (self.leases[lease][1], lease)):
            if self.leases[lease][1] <= self.now_ms:
                self.run("lease_revoke", {"id": lease})

    # The past.

    def events(self) -> list[Change]:
        """Those that can still be read."""
        return [change for change in self.changes if change[0] >= self.compacted]
