"""What the work queue costs in the host, in microseconds and bytes: `python -m tests.benchmarks.work_queue [--depth N]`.

Put, take and acknowledge one after the other, as a busy queue does, beside the counter's add; then what a message takes in memory, how
long the work on a million lasts, and what a snapshot of these costs, on the reactor and in the thread that writes it.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from txraft.limits import Limits
from txraft.machines.work_queue import WorkQueue
from txraft.machines.work_queue.records import NewMessage
from txraft.statemachine.context import Context
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import HostMachine, Invoke
from txraft.statemachine.values import decode_value, encode_value

CYCLES = 10_000
ROUNDS = 7
PLUGINS = {"counter": "txraft.machines.counter.Counter", "queue": "txraft.machines.work_queue.WorkQueue"}


def hosted(depth: int) -> Host:
    """A host with both machines, and so many messages in the queue."""
    host = Host(PLUGINS, limits=Limits())
    for index, (name, plugin) in enumerate(PLUGINS.items(), 1):
        host.apply(index, 1, HostMachine(0, name, plugin, 1))
    for _ in range(depth):
        invoke(host, "queue", "put", arguments(queue="jobs", body=bytes(100)))
    return host


def arguments(**given: Any) -> msgspec.Raw:
    """As they stand in the log."""
    return msgspec.Raw(encode_value(given))


def invoke(host: Host, machine: str, command: str, given: msgspec.Raw) -> None:
    """Apply one command."""
    host.apply(host.applied_index + 1, 1, Invoke(1_000, 0, 0, 0, machine, command, given))


def best(prepare: Callable[[], Callable[[], None]]) -> float:
    """Microseconds for one of `CYCLES`, in the best of several rounds, each of them prepared anew."""
    least = float("inf")
    for _ in range(ROUNDS):
        run = prepare()
        gc.collect()
        gc.disable()
        begun = time.process_time()
        run()
        least = min(least, time.process_time() - begun)
        gc.enable()
    return least / CYCLES * 1e6


def adds() -> Callable[[], None]:
    """The counter, to compare with."""
    host = hosted(0)
    given = [arguments(name=f"counter-{number % 1_000}", amount=1) for number in range(CYCLES)]

    def run() -> None:
        for one in given:
            invoke(host, "counter", "add", one)

    return run


def cycles(depth: int) -> Callable[[], None]:
    """Put one, take one, acknowledge it."""
    host = hosted(depth)
    put, take = arguments(queue="jobs", body=bytes(100)), arguments(queue="jobs")
    acks = [arguments(queue="jobs", receipt=f"{number}-1") for number in range(1, CYCLES + 1)]

    def run() -> None:
        for ack in acks:
            invoke(host, "queue", "put", put)
            invoke(host, "queue", "take", take)
            invoke(host, "queue", "ack", ack)

    return run


def bytes_per_message() -> dict[str, float]:
    """By state, bodies included."""
    machine, number = WorkQueue(), 100_000
    machine.put(Context(time_ms=1_000), "jobs", b"")
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for count in range(number):
        machine.put(Context(time_ms=1_000_000 + count), "jobs", bytes(100))
    ready = tracemalloc.get_traced_memory()[0] - before
    for count in range(number // 100):
        machine.take(Context(time_ms=2_000_000 + count), "jobs", 100)
    in_flight = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"ready": ready / number, "in flight": in_flight / number}


def a_million() -> dict[str, float]:
    """Milliseconds for what concerns a whole queue."""
    machine, took = WorkQueue(), {}

    def clocked(what: str, run: Callable[[], Any]) -> Any:
        begun = time.process_time()
        result = run()
        took[what] = (time.process_time() - begun) * 1e3
        return result

    ctx = Context(time_ms=1_000)
    for _ in range(10_000):
        machine.put_batch(ctx, "jobs", [NewMessage(bytes(100))] * 100)
    for _ in range(10_000):
        machine.take(ctx, "jobs", 100, visibility_s=5.0)
    ctx.time_ms += 5_000
    clocked("expire, a portion", lambda: machine.expire(ctx))
    clocked("purge", lambda: machine.purge(ctx, "jobs"))
    ctx.time_ms += 20
    clocked("freeing what was purged, a portion", lambda: machine.expire(ctx))
    return took


def snapshots() -> dict[str, float]:
    """Microseconds for what has to do with a snapshot: of a million messages, 100,000 of them in flight."""
    machine, took, ctx = WorkQueue(), {}, Context(time_ms=1_000)

    def clocked(what: str, run: Callable[[], Any], each: int = 1) -> Any:
        begun = time.process_time()
        result = run()
        took[what] = (time.process_time() - begun) * 1e6 / each
        return result

    def cycles(digit: int) -> None:
        for number in range(CYCLES - 1):
            machine.put(ctx, "jobs", bytes(100))
            machine.take(ctx, "jobs")
            machine.ack(ctx, "jobs", f"{number + 1}{digit}-1")  # one of each ten: all pieces have to be copied

    for _ in range(10_000):
        machine.put_batch(ctx, "jobs", [NewMessage(bytes(100))] * 100)
    for _ in range(1_000):
        machine.take(ctx, "jobs", 100, visibility_s=5.0)
    gc.collect()
    gc.disable()
    clocked("put, take and ack, each, without the host", lambda: cycles(1), 3 * CYCLES)
    items = clocked("snapshot()", machine.snapshot)
    clocked("the first put after it", lambda: machine.put(ctx, "jobs", bytes(100)))
    machine.snapshot()
    machine.put(ctx, "jobs", bytes(100))
    machine.take(ctx, "jobs", 1)
    clocked("put, take and ack, each, after a snapshot", lambda: cycles(4), 3 * CYCLES)
    encoded = clocked("a message: read and encoded for the snapshot", lambda: list(map(encode_value, items)), 1_000_000)
    clocked("a message: restored", lambda: WorkQueue().restore(map(decode_value, encoded)), 1_000_000)
    took["an item, read and encoded"] = took["a message: read and encoded for the snapshot"] * 1e6 / len(encoded)
    gc.enable()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--depth", type=int, default=100_000)
    depth = parser.parse_args().depth
    add = best(adds)
    print(f"{add:7.2f} us  counter add")
    for messages in (0, depth):
        cycle = best(lambda messages=messages: cycles(messages))  # type: ignore[misc]
        print(f"{cycle:7.2f} us  put, take and ack, with {messages} messages waiting: {cycle / add:.1f} adds")
    for state, size in bytes_per_message().items():
        print(f"{size:7.0f} B   a message of 100 bytes, {state}")
    for what, took in a_million().items():
        print(f"{took:7.1f} ms  {what}, of a million messages")
    for what, took in snapshots().items():
        print(f"{took:7.2f} us  {what}")


if __name__ == "__main__":
    main()
