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

from tests.end_to_end.etcd_dialect import EtcdDialect
from tests.end_to_end.etcd_server import EtcdServer, etcd_is_installed
from tests.statemachine.driver import Driver
from tests.support.config_operations import Arguments, Operations
from txraft.errors import Outcome

__all__ = ["Comparison"]

IN_ORDER_MAX = 12
RESTORED_EVERY = 997


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
        self._operations = Operations(random.Random(seed))
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
