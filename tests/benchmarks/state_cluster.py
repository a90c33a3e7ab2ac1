"""Three nodes with a large state, for `state_of_500mb.py`: filled, loaded lap by lap, and looked at from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.benchmarks.side_by_side import TICKS_PER_S, cpu_s, printed
from txraft.cli.local_cluster import LocalCluster, LocalNode, node_environment
from txraft.cli.snapshot import take

START_S = 120.0
TAKE_S = 600.0
LOOK_S = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BY_COMMAND_ONLY = {"limits": {"snapshot_log_bytes": 1 << 40}}
"""Settings with which a node takes a snapshot when it is told to."""


def tell(line: str) -> None:
    """Progress, beside the tables."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def resident_mb(pid: int) -> float:
    """What a process has in memory; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    except (OSError, IndexError):
        return 0.0


def all_busy_s() -> float:
    """Seconds for which processors worked so far, whoever it was for."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS_PER_S


@define
class Memory:
    """Looks at what processes have in memory, all the time.

    Attributes:
        largest: by process, in MB, since `begin`.
    """

    pids: Sequence[int]
    largest: dict[int, float] = field(factory=dict)
    _ended: threading.Event = field(factory=threading.Event)

    def begin(self) -> None:
        """Forget what was."""
        self.largest = {pid: resident_mb(pid) for pid in self.pids}

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        """As long as this lasts."""
        self.begin()
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            for pid in self.pids:
                self.largest[pid] = max(self.largest.get(pid, 0.0), resident_mb(pid))


@define
class Load:
    """`steady_load.py` at work."""

    process: subprocess.Popen[bytes]
    local: LocalCluster
    _busy_s: float = 0.0
    _ours_s: float = 0.0
    _at: float = 0.0

    def lap(self) -> dict[str, Any]:
        """What it did since the last call, and the processors that others than the servers and the load had meanwhile."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"lap\n")
        self.process.stdin.flush()
        figures: dict[str, Any] = json.loads(self.process.stdout.readline())
        now, busy_s = time.perf_counter(), all_busy_s()
        ours_s = cpu_s([self.process.pid, *(node.pid for node in running(self.local))])
        figures["others"] = max(0.0, (busy_s - self._busy_s - ours_s + self._ours_s) / (now - self._at))
        self._at, self._busy_s, self._ours_s = now, busy_s, ours_s
        return figures

    def lap_of(self, seconds: float) -> dict[str, Any]:
        """What it does in so many seconds."""
        self.lap()
        time.sleep(seconds)
        return self.lap()


@contextmanager
def loaded(local: LocalCluster, **flags: object) -> Iterator[Load]:
    """A load for as long as this lasts."""
    named = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    command = [sys.executable, "-m", "tests.benchmarks.steady_load", f"--endpoints={','.join(local.endpoints)}", *named]
    with subprocess.Popen(command, env=node_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("the load did not become ready")
            yield Load(process, local)
        finally:
            process.terminate()


@contextmanager
def cluster(where: str | None, settings: dict[str, Any] | None = None) -> Iterator[LocalCluster]:
    """A fresh one; its directory is removed in the end."""
    directory = Path(tempfile.mkdtemp(prefix="state-", dir=where))
    local = LocalCluster.make(directory, settings=BY_COMMAND_ONLY if settings is None else settings)
    try:
        yield local
    finally:
        local.kill()
        shutil.rmtree(directory, ignore_errors=True)


def fill(local: LocalCluster, machine: str, keys: int, size: int) -> None:
    """Keys of the config store with values of `size` bytes; or counters."""
    begun = time.perf_counter()
    if machine == "config":
        endpoints = ",".join(local.endpoints)
        flags = [f"--endpoints={endpoints}", "--operation=fill", f"--keys={keys}", f"--bytes={size}"]
        printed([sys.executable, "-m", "tests.benchmarks.machines_load", *flags])
    else:
        with loaded(local, operation="add", keys=keys, clients=256, connections=32) as load:
            grow_to(local, local.leader(START_S), keys)
            load.lap()
    tell(f"filled with {keys:,} keys in {time.perf_counter() - begun:.0f} s")


def grow_to(local: LocalCluster, node: LocalNode, entries: int) -> None:
    """Wait until the log has so many entries."""
    while (status := node.status()) is None or status["last_index"] < entries:
        tell(f"{status['last_index'] if status else 0:,} of {entries:,} entries")
        time.sleep(2.0)


def all_take(nodes: Sequence[LocalNode]) -> None:
    """Let them take a snapshot at the same time, and wait until all have it."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda node: take(node.endpoint, TAKE_S), nodes))


def running(local: LocalCluster) -> list[LocalNode]:
    """Those that are."""
    return [node for node in local.nodes if node.running]
