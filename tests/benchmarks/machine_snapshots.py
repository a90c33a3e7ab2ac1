"""What snapshots of the counter and the config store cost: `python -m tests.benchmarks.machine_snapshots [--keys N]`.

For each: what `snapshot()` takes, and commands just after it, beside the same commands before; what it takes to read and encode all items,
and to restore a machine from them; and for how long another thread is kept from running meanwhile, at the most. Times of a single run.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from tests.benchmarks.config_store import hosted, key_of
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import Invoke
from txraft.statemachine.values import decode_value, encode_value

COMMANDS = 20_000
LEASES = 131_072


def arguments_of(machine: str, number: int) -> dict[str, Any]:
    """Of the command that writes a key."""
    return {"name": key_of(number).decode()} if machine == "counter" else {"key": key_of(number), "value": number.to_bytes(32, "big")}


def write(host: Host, machine: str, numbers: Iterator[int]) -> None:
    """Write these keys."""
    name = "add" if machine == "counter" else "put"
    for number in numbers:
        arguments = msgspec.Raw(encode_value(arguments_of(machine, number)))
        host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, machine, name, arguments))


def timed(what: str, run: Callable[[], Any], each: int = 1) -> Any:
    """Run it, and tell how long it took: in all, or each of so many."""
    begun = time.perf_counter()
    result = run()
    spent = time.perf_counter() - begun
    print(f"{spent / each * 1e6:10.2f} us  {what}" if each > 1 or spent < 1e-3 else f"{spent * 1e3:10.1f} ms  {what}")
    return result


@contextmanager
def longest_pause(what: str) -> Iterator[None]:
    """How long another thread was kept from running, at the most."""
    done, longest = threading.Event(), 0.0

    def look() -> None:
        nonlocal longest
        before = time.perf_counter()
        while not done.is_set():
            time.sleep(0.000_5)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(f"{longest * 1e3:10.1f} ms  longest pause of another thread: {what}")


def measure(machine: str, keys: int) -> None:
    """One machine."""
    print(f"{machine}: {keys} keys")
    host = hosted()
    write(host, machine, (number * 7_919 % keys for number in range(keys)))
    scattered = [number * 104_729 % keys for number in range(COMMANDS)]
    state: Any = host.hosted(machine).machine
    gc.collect()
    write(host, machine, iter(scattered))
    timed("a command before", lambda: write(host, machine, iter(scattered)), COMMANDS)
    items = timed("snapshot()", state.snapshot)
    timed("a command just after it, on a key of its own", lambda: write(host, machine, iter(scattered)), COMMANDS)
    timed("the same again", lambda: write(host, machine, iter(scattered)), COMMANDS)
    with longest_pause("reading"):
        encoded = timed("all items, encoded", lambda: list(map(encode_value, items)))
    timed("a command after that", lambda: write(host, machine, iter(scattered)), COMMANDS)
    timed("the same again", lambda: write(host, machine, iter(scattered)), COMMANDS)
    print(f"{len(encoded):10} items of {sum(map(len, encoded)) / keys:.0f} bytes for each key")
    restored = type(state)()
    with longest_pause("restoring"):
        timed("restored", lambda: restored.restore(map(decode_value, encoded)))


def leases() -> None:
    """As many leases as there can be."""
    print(f"config: {LEASES} leases")
    host = hosted()
    for name in ("lease_grant", "lease_keep_alive"):
        for number in range(LEASES):
            arguments = {"id": number + 1} if name == "lease_keep_alive" else {"id": number + 1, "ttl_s": 60}
            host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, "config", name, msgspec.Raw(encode_value(arguments))))
    state: Any = host.hosted("config").machine
    alive = [msgspec.Raw(encode_value({"id": number * 7_919 % LEASES + 1})) for number in range(COMMANDS)]

    def keep() -> None:
        for one in alive:
            host.apply(host.applied_index + 1, 1, Invoke(0, 0, 0, 0, "config", "lease_keep_alive", one))

    timed("lease_keep_alive before", keep, COMMANDS)
    items = timed("snapshot()", state.snapshot)
    timed("lease_keep_alive just after it", keep, COMMANDS)
    timed("all items, encoded", lambda: list(map(encode_value, items)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    print(f"Python {sys.version.split()[0]}")
    for machine in ("counter", "config"):
        measure(machine, keys)
    leases()


if __name__ == "__main__":
    main()
