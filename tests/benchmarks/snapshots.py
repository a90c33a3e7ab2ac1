"""What snapshots cost: `python -m tests.benchmarks.snapshots [--keys N] [--directory D]`.

A host with as many sessions and events as there may be, and a machine with many keys in a `SnapshotDict`: how long the reactor is held up
by `capture`, and by commands afterwards; how long the writing thread holds the interpreter at a time; how fast the file is written,
verified and restored. Beside it, the same keys in a dict, given as plain data. Processor time without that of collecting garbage, but for
what waits for the disk.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from txraft.limits import EVENTS_KEPT_MAX, Limits
from txraft.statemachine import Context, Host, SnapshotDict, StateMachine, command
from txraft.statemachine.log_commands import HostMachine, Invoke, OpenSession
from txraft.statemachine.values import encode_value
from txraft.storage.files import REAL_FILES
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, verify_snapshot, write_snapshot

SESSIONS = 100_000
PUTS = 200_000


class Keys(StateMachine):
    """Values by key, in a SnapshotDict."""

    def __init__(self) -> None:
        self.units: Any = SnapshotDict()

    @command
    def put(self, ctx: Context, key: str, value: str, told: bool = False) -> None:
        self.units[key] = value
        if told:
            ctx.emit(key, value=value)

    def snapshot(self) -> Any:
        return self.units.frozen()

    def restore(self, state: Any) -> None:
        self.units = SnapshotDict(state)


class PlainKeys(Keys):
    """The same in a dict."""

    def __init__(self) -> None:
        self.units = {}

    def snapshot(self) -> Any:
        return self.units

    def restore(self, state: Any) -> None:
        self.units = state


def hosted(machine: type[Keys], keys: int) -> Host:
    """A host with everything."""
    name = f"{__name__}:{machine.__name__}" if __name__ != "__main__" else f"tests.benchmarks.snapshots:{machine.__name__}"
    host = Host({"keys": name}, limits=Limits())
    host.apply(1, 1, HostMachine(0, "keys", name, 1))
    for _ in range(SESSIONS):
        host.apply(host.applied_index + 1, 1, OpenSession(0, 60_000))
    for number in range(max(keys, EVENTS_KEPT_MAX)):
        put(host, number % keys, told=number < EVENTS_KEPT_MAX, session=2 + number % SESSIONS, serial=1 + number // SESSIONS)
    return host


def put(host: Host, number: int, *, told: bool = False, session: int = 0, serial: int = 0) -> None:
    """One command: a key of 12 characters, a value of 40."""
    arguments = {"key": f"key-{number:08}", "value": f"{number:040}", **({"told": True} if told else {})}
    host.apply(host.applied_index + 1, 1, Invoke(1_000, session, serial, serial, "keys", "put", msgspec.Raw(encode_value(arguments))))


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and what came of it."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def puts_per_s(host: Host, keys: int) -> tuple[float, float]:
    """Puts in a second, each in a session of its own, and the longest of them in seconds."""
    longest, begun = 0.0, time.process_time()
    for number in range(PUTS):
        started = time.process_time()
        put(host, number * 7_919 % keys, session=2 + number * 31 % SESSIONS, serial=host.applied_index)
        longest = max(longest, time.process_time() - started)
    return PUTS / (time.process_time() - begun), longest


def timed(parts: Iterator[bytes], told: list[float]) -> Iterator[bytes]:
    """The parts, and how long each took to make."""
    while True:
        took, part = clocked(lambda: next(parts, None))
        if part is None:
            return
        told.append(took)
        yield part


def measure(machine: type[Keys], keys: int, path: Path) -> None:
    """Everything about one kind of machine."""
    host = hosted(machine, keys)
    gc.collect()
    gc.disable()
    print(f"{machine.__doc__} {keys} keys, {SESSIONS} sessions, {EVENTS_KEPT_MAX} events")
    puts_per_s(host, keys)
    before, longest_before = puts_per_s(host, keys)
    took, capture = clocked(host.capture)
    after, longest = puts_per_s(host, keys)
    print(f"{1e3 * took:10.2f} ms  capture, on the reactor")
    print(f"{before:10.0f} /s  puts in sessions before it, the longest {1e6 * longest_before:.0f} µs")
    print(f"{after:10.0f} /s  after it, while all sessions are copied, the longest {1e6 * longest:.0f} µs")
    making: list[float] = []
    head = SnapshotHead("benchmark", "orders", capture.index, 1, [(1, b"")], capture.log_time_ms, capture.machines)
    begun = time.perf_counter()
    snapshot = write_snapshot(REAL_FILES, path, head, timed(capture.parts(), making))
    took = time.perf_counter() - begun
    making.sort()
    megabytes = snapshot.size / 1e6
    print(
        f"{megabytes:10.1f} MB  in {len(making)} parts, half made in {1e6 * making[len(making) // 2]:.0f} µs, all in {1e6 * making[-1]:.0f}"
    )
    print(f"{sum(making) / megabytes * 1e3:10.2f} ms  to make a MB of parts; {len(making) / sum(making):.0f} parts/s")
    print(f"{megabytes / took:10.0f} MB/s written, synced and verified")
    took, _ = clocked(lambda: verify_snapshot(REAL_FILES, path))
    print(f"{megabytes / took:10.0f} MB/s verified")
    other = Host({"keys": host.describe()["keys"]["plugin"]}, limits=Limits())
    took, restored = clocked(lambda: other.restored(open_snapshot(REAL_FILES, path, snapshot)[1]))
    print(f"{megabytes / took:10.0f} MB/s restored")
    took, _ = clocked(lambda: other.adopt(restored))
    print(f"{1e3 * took:10.2f} ms  adopted, on the reactor")
    took, digest = clocked(host.digest)
    print(f"{1e3 * took:10.0f} ms  digest\n")
    gc.enable()
    if machine is Keys and host.applied_index == other.applied_index and digest != other.digest():
        raise AssertionError("the restored state is another one")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--directory", help="where the file is written; without it, in a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        for machine in (Keys, PlainKeys):
            measure(machine, given.keys, Path(directory) / "snapshot")


if __name__ == "__main__":
    main()
