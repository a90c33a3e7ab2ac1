"""A node of a PySyncObj cluster that counts; with `--clients` it also drives the load, and prints one line of JSON.

Run by `side_by_side.py` with a Python that has PySyncObj. Its journal is flushed to the operating system, never synced to the disk: a
power loss may take acknowledged commands with it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from typing import Any

READY_S = 20.0
TICK_S = 0.005


def make_counters(pysyncobj: Any, own: str, others: list[str], journal: str) -> Any:
    """The replicated object."""

    class Counters(pysyncobj.SyncObj):  # type: ignore[misc]
        """Named counters."""

        def __init__(self) -> None:
            settings = pysyncobj.SyncObjConf(
                autoTick=False,
                appendEntriesUseBatch=True,
                appendEntriesPeriod=0.01,
                commandsQueueSize=1_000_000,
                logCompactionMinTime=100_000,
                journalFile=journal,
                flushJournal=True,
            )
            super().__init__(own, others, settings)
            self.counters: dict[str, int] = {}

        @pysyncobj.replicated  # type: ignore[untyped-decorator]
        def add(self, name: str, amount: int) -> int:
            """The new value."""
            self.counters[name] = self.counters.get(name, 0) + amount
            return self.counters[name]

    return Counters()


def drive(counters: Any, clients: int, keys: int, seconds: float) -> dict[str, Any]:
    """A closed loop: `clients` commands are always under way."""
    latencies: list[float] = []
    errors: dict[str, int] = {}
    under_way = steps = 0

    def finished(begin: float) -> Any:
        def called(_: Any, error: Any) -> None:
            nonlocal under_way
            under_way -= 1
            if error:
                errors[str(error)] = errors.get(str(error), 0) + 1
            else:
                latencies.append(time.perf_counter() - begin)

        return called

    begin = time.perf_counter()
    while time.perf_counter() < begin + seconds:
        while under_way < clients:
            under_way, steps = under_way + 1, steps + 1
            counters.add(f"bench-{steps % keys}", 1, callback=finished(time.perf_counter()))
        counters.doTick(TICK_S)
    elapsed = time.perf_counter() - begin
    ordered = sorted(latencies) or [0.0]
    return {
        "done": len(latencies),
        "rate": len(latencies) / elapsed,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
        "max_ms": 1000 * ordered[-1],
        "errors": errors,
    }


def main() -> int:
    """Tick until told to stop, or drive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", required=True)
    parser.add_argument("--others", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    counters = make_counters(importlib.import_module("pysyncobj"), given.own, given.others.split(","), given.journal)
    give_up_at = time.monotonic() + READY_S
    while not counters.isReady():
        if time.monotonic() > give_up_at:
            print("not ready", file=sys.stderr)
            return 1
        counters.doTick(TICK_S)
    if given.clients:
        settled_at = time.monotonic() + 1
        while time.monotonic() < settled_at:
            counters.doTick(TICK_S)
        # The driver says when it begins, so that the processor time of the start is not counted.
        print("ready", flush=True)
        print(json.dumps(drive(counters, given.clients, given.keys, given.seconds)), flush=True)
        sys.stdin.readline()
        return 0
    while True:
        counters.doTick(TICK_S)


if __name__ == "__main__":
    sys.exit(main())
