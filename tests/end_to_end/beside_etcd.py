"""The same random operations on the config store and on a real etcd: every answer must be the same.

    python -m tests.end_to_end.beside_etcd --operations 20000 [--seed N]

Puts, reads of all kinds, deletions, nested transactions, leases, compactions; mistakes are among them. Now and then the config store is
restored from its snapshot and goes on as that. At the end, all changes since the compaction are compared with those that etcd tells of.

Not compared: what is left of a lease's time, and the order of keys that sort alike when there are more than 12 (etcd's sort is not stable).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

from tests.end_to_end.etcd_dialect import Arguments, EtcdDialect
from tests.statemachine.driver import Driver
from tests.support.etcd_server import EtcdServer, etcd_is_installed
from txraft.errors import Outcome

__all__ = ["Comparison"]

KEYS = [bytes([a, b])[:n] for a in b"ab\xff" for b in b"\x001z\xff" for n in (1, 2)] + [
    b"\0",
    b"a11",
    b"a12",
    b"b\xff\xff",
    b"\xff\xff\xff",
]
ENDS = [b"\0", b"a", b"a2", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"]
VALUES = [b"", b"1", b"2", b"three", b"\0\xff"]
LEASES = [1, 2, 3, 4, 5, 2**62]
TTL_S = 1_000_000
TARGETS = ["version", "create", "mod", "lease", "value"]
IN_ORDER_MAX = 12
RESTORED_EVERY = 997
STATE = {"put": 30, "delete": 8, "txn": 25, "range": 30, "get": 6, "compact": 0.6}
LEASING = {"lease_grant": 3, "lease_revoke": 2, "lease_time_to_live": 2, "lease_keep_alive": 1, "leases": 1}


class Operations:
    """Draws them.

    Attributes:
        newest, compacted: revisions, as far as they are known.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
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
        asked: Arguments = {"key": self.key(), "target": target, "result": self._random.choice("= != > <".split())}
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
        if depth == 1 and self.chance(0.01):  # too many operations, or just not
            count = self._random.choice([128, 129])
            return asked | {"success": [{"op": "range", "key": b"a"}] * count}
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
        return {"id": self._random.choice(LEASES), "ttl_s": 9_000_000_001 if self.chance(0.05) else TTL_S + self._random.randint(0, 99)}

    def lease_revoke(self) -> Arguments:
        return {"id": self._random.choice(LEASES)}

    def lease_keep_alive(self) -> Arguments:
        return {"id": self._random.choice(LEASES)}

    def lease_time_to_live(self) -> Arguments:
        return {"id": self._random.choice(LEASES), "keys": self.chance(0.8)}

    def leases(self) -> Arguments:
        return {}


def comparable(asked: Arguments, result: Any, *, outermost: bool = True) -> Any:
    """The part of a result that must be the same."""
    if not isinstance(result, dict):
        return result
    if "granted_ttl_s" in result:
        return {name: value for name, value in result.items() if name != "ttl_s"}
    if "responses" in result:
        operations = asked.get("success" if result["succeeded"] else "failure", [])
        responses = [comparable(one, response, outermost=False) for one, response in zip(operations, result["responses"], strict=True)]
        return {name: result[name] for name in ("revision", "succeeded") if outermost or name != "revision"} | {"responses": responses}
    if "kvs" in result and result["count"] > IN_ORDER_MAX and asked.get("sort", "key") != "key":
        name = {"create": "create_revision", "mod": "mod_revision"}.get(asked["sort"], asked["sort"])
        # Sorted by a value that is not shown, nothing can be said of the order.
        shown = [] if asked.get("keys_only") and name == "value" else [kv[name] for kv in result["kvs"]]
        kvs = [] if result["more"] else sorted(result["kvs"], key=lambda kv: kv["key"])
        return result | {"kvs": kvs, "shown": shown}
    return result


class Comparison:
    """A config store and an etcd side by side."""

    def __init__(self, server: EtcdServer, seed: int) -> None:
        self.seed = seed
        self._operations = Operations(seed)
        self._theirs = EtcdDialect(server)
        self._driver = Driver(config="txraft.machines.config_store.ConfigStore")
        self._commands = self._driver.host.describe()["config"]["commands"]
        self.refused: dict[str, int] = {}

    def run(self, count: int) -> None:
        """So many operations. Raises `AssertionError` with the way to repeat it."""
        for number in range(1, count + 1):
            name, asked = self._operations.draw()
            ours = comparable(asked, self._ours(name, asked))
            theirs = comparable(asked, self._theirs.run(name, asked))
            if ours != theirs:
                self._fail(number, f"{name}({asked})\n  config store: {ours}\n  etcd:         {theirs}")
            self._note(name, asked, ours)
            if number % RESTORED_EVERY == 0:
                self._restore(number)
        self._compare_events(count)

    def _ours(self, name: str, asked: Arguments) -> Any:
        try:
            return self._driver.call("config", name, **asked) if name in self._commands else self._driver.ask("config", name, **asked)
        except Outcome as problem:
            return problem.code

    def _note(self, name: str, asked: Arguments, result: Any) -> None:
        if isinstance(result, str):
            self.refused[result] = self.refused.get(result, 0) + 1
        elif name == "compact":
            self._operations.compacted = asked["revision"]
        if isinstance(result, dict) and "revision" in result:
            self._operations.newest = result["revision"]

    def _restore(self, number: int) -> None:
        restored = self._driver.restored()
        if restored.digest() != self._driver.host.digest():
            self._fail(number, "a restored config store is another one")
        self._driver.host = restored

    def _compare_events(self, number: int) -> None:
        first, last = self._operations.compacted + 1, self._operations.newest
        if first > last:
            return
        history: Any = self._driver.host.hosted("config").history
        ours: list[Arguments] = []
        place = (first, 0)
        while place[0] <= last:
            page = history.read(b"", True, *place)
            ours += [event["fields"] for event in page.events]
            place = (page.next, page.skip)
        theirs = self._theirs.events(first, last)
        if ours != theirs:
            at = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), min(len(ours), len(theirs)))
            self._fail(number, f"change {at} of {len(ours)} and {len(theirs)}\n  {ours[at : at + 1]}\n  {theirs[at : at + 1]}")

    def _fail(self, number: int, what: str) -> None:
        command = f"python -m tests.end_to_end.beside_etcd --operations {number} --seed {self.seed}"
        raise AssertionError(f"operation {number}: {what}\n  to repeat: {command}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="one is drawn without")
    options = parser.parse_args()
    if not etcd_is_installed():
        print("there is no etcd here: Debian has it as etcd-server")
        return 69
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    server = EtcdServer()
    begun = time.monotonic()
    try:
        comparison = Comparison(server, seed)
        comparison.run(options.operations)
    except AssertionError as difference:
        print(difference)
        return 1
    finally:
        server.stop()
    refused = ", ".join(f"{code} {count}" for code, count in sorted(comparison.refused.items()))
    print(f"seed {seed}: {options.operations} operations alike in {time.monotonic() - begun:.1f} s; refused by both: {refused}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
