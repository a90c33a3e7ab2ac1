"""What the config store costs: `python -m tests.benchmarks.config_store [--keys N] [--rounds N]`.

A put through the host next to an addition to a counter, memory for each key, and reads among so many keys. Times are the best of several
rounds.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.host_apply import CALLS, microseconds
from txraft.limits import Limits
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import HostMachine, Invoke
from txraft.statemachine.values import encode_value

PLUGINS = {"config": "txraft.machines.config_store.ConfigStore", "counter": "txraft.machines.counter.Counter"}


def hosted() -> Host:
    """A host with both machines."""
    host = Host(PLUGINS, limits=Limits())
    for name, plugin, version in host.unhosted():
        host.apply(host.applied_index + 1, 1, HostMachine(0, name, plugin, version))
    return host


def applying(host: Host, machine: str, command: str, arguments: list[dict[str, Any]]) -> Callable[[], None]:
    """Applies a command with each of these arguments."""
    encoded = [msgspec.Raw(encode_value(one)) for one in arguments]

    def run() -> None:
        for one in encoded:
            host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, machine, command, one))

    return run


def asking(host: Host, query: str, arguments: dict[str, Any]) -> Callable[[], bytes]:
    """Asks the config store once."""
    encoded = msgspec.Raw(encode_value(arguments))
    return lambda: host.query("config", query, encoded, 1)


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """The best time of one call."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begun)
    return best * 1e3


def resident_bytes() -> int:
    """What this process has in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4_096


def key_of(number: int) -> bytes:
    """A key of 16 bytes."""
    return b"/registry/%06d" % number if number < 1_000_000 else b"/registr/%07d" % number


def commands(rounds: int) -> None:
    """Commands through the host."""
    host = hosted()
    names = [number % 1_000 for number in range(CALLS)]
    add = microseconds(applying(host, "counter", "add", [{"name": f"counter-{name}", "amount": 1} for name in names]), rounds)
    print(f"{add:8.2f} us  counter add")
    put = [{"key": key_of(name), "value": b"v" * 32} for name in names]
    host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, "config", "lease_grant", msgspec.Raw(encode_value({"ttl_s": 60, "id": 7}))))
    swap = [
        {
            "compare": [{"key": one["key"], "target": "version", "result": ">", "number": 0}],
            "success": [{"op": "put", **one}],
            "failure": [{"op": "range", "key": one["key"]}],
        }
        for one in put
    ]
    for what, command, arguments in (
        ("put", "put", put),
        ("put, with prev_kv and a lease", "put", [{**one, "prev_kv": True, "lease": 7} for one in put]),
        ("txn: compare, put", "txn", swap),
        ("lease_keep_alive", "lease_keep_alive", [{"id": 7}] * CALLS),
    ):
        cost = microseconds(applying(host, "config", command, arguments), rounds)
        print(f"{cost:8.2f} us  {what} ({cost / add:.2f} times the addition)")


def many_keys(count: int, rounds: int) -> None:
    """Memory and reads among many keys."""
    host = hosted()
    machine: Any = host._hosted["config"].machine
    gc.collect()
    before = resident_bytes()
    begun = time.perf_counter()
    for number in range(count):
        # Scattered, so that nothing gains from the order.
        one = msgspec.Raw(encode_value({"key": key_of(number * 7_919 % count), "value": number.to_bytes(32, "big")}))
        host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, "config", "put", one))
    print(f"{(time.perf_counter() - begun) / count * 1e6:8.2f} us  put of a new key, of {count}")
    gc.collect()
    print(f"{(resident_bytes() - before) / count:8.0f} bytes for each key (key 16, value 32)")
    middle, old = key_of(count // 2), count // 2
    for what, query, arguments in (
        ("range of 1,000 keys", "range", {"key": middle, "from_key": True, "limit": 1_000}),
        ("range of 1,000 keys, keys only", "range", {"key": middle, "from_key": True, "limit": 1_000, "keys_only": True}),
        ("range of 10 keys", "range", {"key": middle, "from_key": True, "limit": 10}),
        ("the last 10 keys", "range", {"prefix": True, "limit": 10, "descending": True}),
        ("count of all keys", "range", {"prefix": True, "count_only": True}),
        ("sorted by mod revision, 1,000 keys", "range", {"key": key_of(5_000), "range_end": key_of(6_000), "sort": "mod", "limit": 10}),
        ("1,000 keys at a revision 1,000 ago", "range", {"key": middle, "from_key": True, "limit": 1_000, "revision": count - 1_000}),
        ("get at an old revision", "get", {"key": middle, "revision": old}),
    ):
        print(f"{milliseconds(asking(host, query, arguments), rounds):8.3f} ms  {what}")
    print(f"{milliseconds(lambda: machine.events().read(middle, False, 2, 0), rounds):8.3f} ms  the changes of one key")
    for what, command, wanted in (
        ("delete of 32,768 keys", "delete", {"key": key_of(0), "range_end": key_of(32_768)}),
        ("compaction", "compact", {"revision": count}),
        ("a put that drops versions", "put", {"key": b"a"}),
    ):
        print(f"{milliseconds(applying(host, 'config', command, [wanted]), 1):8.2f} ms  {what}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    commands(options.rounds)
    many_keys(options.keys, options.rounds)


if __name__ == "__main__":
    main()
