"""Random operations of the config store: of every kind, on few keys, some of them mistakes."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["ENDS", "KEYS", "Arguments", "Operations"]

Arguments = dict[str, Any]

KEYS = [bytes([first, second])[:size] for first in b"ab\xff" for second in b"\x001z\xff" for size in (1, 2)]
KEYS += [b"\0", b"a11", b"a12", b"b\xff\xff", b"\xff\xff\xff"]
ENDS = [b"\0", b"a", b"a2", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"]
VALUES = [b"", b"1", b"2", b"three", b"\0\xff"]
LEASES = [1, 2, 3, 4, 5, 2**62]
TTL_S = 1_000_000
TARGETS = ["version", "create", "mod", "lease", "value"]
STATE = {"put": 30, "delete": 8, "txn": 25, "range": 30, "get": 6, "compact": 0.6}
LEASING = {"lease_grant": 3, "lease_revoke": 2, "lease_time_to_live": 2, "lease_keep_alive": 1, "leases": 1}


class Operations:
    """Draws them.

    Args:
        source: of all that is drawn.
        ttl_s: of leases, at least.

    Attributes:
        newest, compacted: revisions, as far as they are known.
    """

    def __init__(self, source: random.Random, ttl_s: int = TTL_S) -> None:
        self._random, self._ttl_s = source, ttl_s
        self.newest, self.compacted = 1, 0
        self._keeps = True

    def draw(self) -> tuple[str, Arguments]:
        """An operation and its arguments."""
        weights = STATE | LEASING
        name = self._random.choices(list(weights), list(weights.values()))[0]
        return name, getattr(self, name)()

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def key(self) -> bytes:
        return b"" if self.chance(0.005) else self._random.choice(KEYS)

    def revision(self) -> int:
        """Mostly one that can be read; often one close to either end."""
        first, last = self.compacted, self.newest
        low, high = self._random.choice([(first, last), (first, last), (first - 2, first + 1), (last - 5, last), (last - 5, last + 1)])
        return max(1, self._random.randint(min(low, high), high))

    def put(self, *, keeps: bool = True) -> Arguments:
        asked: Arguments = {"key": self.key()}
        if self.chance(0.9):
            asked["value"] = self._random.choice(VALUES)
        if self.chance(0.25):
            asked["lease"] = self._random.choice(LEASES)
        for flag, probability in (("prev_kv", 0.3), ("ignore_value", 0.1), ("ignore_lease", 0.1)):
            if self.chance(probability) and (keeps or flag == "prev_kv"):
                asked[flag] = True
        if asked.get("ignore_value") and self.chance(0.8):
            asked.pop("value", None)
        if asked.get("ignore_lease") and self.chance(0.8):
            asked.pop("lease", None)
        return asked

    def delete(self) -> Arguments:
        asked: Arguments = {"key": self.key(), "prev_kv": self.chance(0.4)}
        if self.chance(0.15):
            asked["range_end"] = self._random.choice(ENDS[1:] if self.chance(0.8) else ENDS)
        elif self.chance(0.15):
            asked["prefix"] = True
        return asked

    def range(self) -> Arguments:
        asked: Arguments = {"key": self.key()}
        kind = self._random.choice(["prefix", "from_key", "range_end", "all", "key"])
        if kind == "range_end":
            asked[kind] = self._random.choice(ENDS)
        elif kind == "all":
            asked = {"key": b"", "prefix": True}
        elif kind != "key":
            asked[kind] = True
        for name, probability, value in (
            ("revision", 0.3, self.revision()),
            ("limit", 0.4, self._random.randint(1, 8)),
            ("sort", 0.4, self._random.choice(["key", "version", "create", "mod", "value"])),
            ("descending", 0.3, True),
            ("keys_only", 0.2, True),
            ("count_only", 0.1, True),
            *((f"{end}_{of}_revision", 0.1, self.revision()) for end in ("min", "max") for of in ("mod", "create")),
        ):
            if self.chance(probability):
                asked[name] = value
        return asked

    def get(self) -> Arguments:
        return {"key": self.key(), "revision": self.revision() if self.chance(0.5) else 0}

    def compact(self) -> Arguments:
        return {"revision": self.revision()}

    def compare(self) -> Arguments:
        target = self._random.choice(TARGETS)
        asked: Arguments = {"key": self.key(), "target": target, "result": self._random.choice(["=", "!=", ">", "<"])}
        if target == "value":
            asked["value"] = self._random.choice(VALUES)
        else:
            asked["number"] = self._random.choice([0, 1, 2, self.revision(), self._random.choice(LEASES)])
        if self.chance(0.2):
            asked["range_end"] = self._random.choice(ENDS)
        return asked

    def txn(self, depth: int = 1) -> Arguments:
        if depth == 1:
            # etcd ends in a panic when a put keeps the value of a key that a deletion before it, in the same transaction, has taken away.
            # It refuses such transactions, but not where the deletion is of all keys from one on: so the two do not occur in one.
            self._keeps = self.chance(0.7)
        asked: Arguments = {"compare": [self.compare() for _ in range(self._random.choice([0, 1, 1, 2]))]}
        if depth == 1 and self.chance(0.01):  # too many operations, or just not; an inner transaction may have what the outer one leaves
            read: Arguments = {"op": "range", "key": b"a"}
            inner = {"op": "txn", "failure": [read] * self._random.choice([28, 29])}
            return asked | {"success": [inner, *[read] * self._random.choice([99, 127, 128])]}
        for branch in ("success", "failure"):
            asked[branch] = [self.operation(depth) for _ in range(self._random.randint(0, 3))]
        return asked

    def operation(self, depth: int) -> Arguments:
        kind = self._random.choice(["put", "put", "delete", "range", "txn"] if depth < 4 else ["put", "delete", "range"])
        if kind == "put":
            return {"op": "put", **self.put(keeps=self._keeps)}
        if kind == "delete":
            asked = self.delete()
            if self._keeps and (asked.get("range_end") == ENDS[0] or (asked.get("prefix") and not asked["key"].strip(b"\xff"))):
                asked = {"key": asked["key"]}
            return {"op": "delete", **asked}
        if kind == "txn":
            return {"op": "txn", **self.txn(depth + 1)}
        return {"op": "range", **self.range()}

    def lease_grant(self) -> Arguments:
        return {
            "id": self._random.choice(LEASES),
            "ttl_s": 9_000_000_001 if self.chance(0.05) else self._random.randint(self._ttl_s, 3 * self._ttl_s),
        }

    def lease_revoke(self) -> Arguments:
        return {"id": self._random.choice(LEASES)}

    def lease_keep_alive(self) -> Arguments:
        return {"id": self._random.choice(LEASES)}

    def lease_time_to_live(self) -> Arguments:
        return {"id": self._random.choice(LEASES), "keys": self.chance(0.8)}

    def leases(self) -> Arguments:
        return {}
