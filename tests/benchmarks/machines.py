"""The machines that come along, side by side: three nodes with fsync on, the same clients, in turns.

    python -m tests.benchmarks.machines --rounds 5 --seconds 8 [--only queue,put,watchers,range,leases] [--watchers 10000] [--leases 10000]

* queue: put, take and acknowledge, each an operation, beside adds to counters; puts of the config store beside the same.
* watchers: what one writer writes in a second, with and without so many who watch a key each: other keys than it writes, then these.
* range: 1,000 keys of so many in the config store.
* leases: so many that are each kept alive every ten seconds: how much of one processor each node uses.

Every round has a fresh cluster, and takes its measurements in turns, forwards and backwards. The load is `machines_load.py`, in processes
of its own: on few processors it takes from the servers, which all those compared suffer alike. Processor time is that of the three nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.benchmarks.config_store import applying, asking, hosted, key_of, milliseconds
from tests.benchmarks.side_by_side import START_S, cpu_s, markdown, printed, steal_and_all
from txraft.cli.local_cluster import LocalCluster, node_environment

LOAD = [sys.executable, "-m", "tests.benchmarks.machines_load"]
ELSEWHERE = 10_000_000
"""First of the keys that a writer writes where nobody watches."""


@frozen
class Sample:
    """One measurement.

    Attributes:
        server_us: processor time of all three nodes for an operation, in microseconds.
        node_percent: of one processor, what each node used: the leader, then the others.
        steal: the part of the time that the computer was given to others by its host, in percent.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    server_us: float
    node_percent: list[float]
    steal: float


@define
class Cluster:
    """Three nodes with all machines."""

    local: LocalCluster
    leader_pid: int = 0

    @property
    def pids(self) -> list[int]:
        return sorted((node.pid for node in self.local.nodes), key=lambda pid: pid != self.leader_pid)

    def command(self, operation: str, **flags: object) -> list[str]:
        named = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        return [*LOAD, f"--endpoints={','.join(self.local.endpoints)}", f"--operation={operation}", *named]

    def run(self, operation: str, **flags: object) -> dict[str, Any]:
        return printed(self.command(operation, **flags))

    def measure(self, operation: str, **flags: object) -> Sample:
        """Processor time is taken from when the load says that it is ready, if it does."""
        with started(self.command(operation, **flags)) as load:
            if operation == "lease":
                expect_ready(load)
            before, (steal, ticks) = [cpu_s([pid]) for pid in self.pids], steal_and_all()
            assert load.stdout is not None
            figures = json.loads(load.stdout.read().splitlines()[-1])
            spent = [cpu_s([pid]) - one for pid, one in zip(self.pids, before, strict=True)]
            steal_now, ticks_now = steal_and_all()
        return Sample(
            figures["rate"],
            figures["p50_ms"],
            figures["p99_ms"],
            sum(figures["errors"].values()),
            sum(spent) / max(figures["done"], 1) * 1e6,
            [100 * one / figures["seconds"] for one in spent],
            100 * (steal_now - steal) / max(ticks_now - ticks, 1),
        )

    @contextmanager
    def watchers(self, number: int) -> Iterator[dict[str, int]]:
        """So many watchers, for as long; then how many events they were told."""
        told: dict[str, int] = {}
        with started(self.command("watch", keys=number, connections=3 * (number // 3_000 + 1)), stdin=subprocess.PIPE) as load:
            expect_ready(load)
            yield told
            told.update(json.loads(load.communicate()[0].splitlines()[-1]))


@contextmanager
def started(command: Sequence[str], stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(list(command), env=node_environment(), stdin=stdin, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def expect_ready(load: subprocess.Popen[bytes]) -> None:
    assert load.stdout is not None
    if load.stdout.readline() != b"ready\n":
        raise SystemExit("the load did not become ready")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A fresh one."""
    directory = Path(tempfile.mkdtemp(prefix="machines-"))
    local = LocalCluster.make(directory)
    try:
        local.start()
        yield Cluster(local, local.leader(START_S).pid)
    finally:
        local.kill()
        shutil.rmtree(directory, ignore_errors=True)


@define
class Table:
    """Samples by what was measured."""

    samples: dict[str, list[Sample]] = field(factory=dict)

    def add(self, name: str, sample: Sample) -> None:
        self.samples.setdefault(name, []).append(sample)
        told = f"{sample.rate:,.0f}/s, p50 {sample.p50_ms:.2f} ms, {sample.server_us:.0f} µs/op, {sample.errors} errors"
        print(f"{name}: {told}", file=sys.stderr, flush=True)

    def median(self, name: str, attribute: str = "rate") -> float:
        return float(statistics.median(getattr(sample, attribute) for sample in self.samples[name]))

    def ratio(self, name: str, other: str) -> float:
        """Of rates: the median of the rounds' own ratios, which a busy neighbour disturbs less than the ratio of medians."""
        pairs = zip(self.samples[name], self.samples[other], strict=True)
        return float(statistics.median(one.rate / two.rate for one, two in pairs))

    def text(self) -> str:
        heading = ["operation", "rate/s", "p50 ms", "p99 ms", "server µs/op", "leader %", "follower %", "errors", "steal %"]
        rows = [heading]
        for name, samples in self.samples.items():
            percents = [statistics.median(sample.node_percent[node] for sample in samples) for node in range(3)]
            figures = [f"{self.median(name):,.0f}", f"{self.median(name, 'p50_ms'):.2f}", f"{self.median(name, 'p99_ms'):.2f}"]
            figures += [f"{self.median(name, 'server_us'):.0f}", f"{percents[0]:.0f}", f"{sum(percents[1:]) / 2:.0f}"]
            rows.append([name, *figures, str(sum(sample.errors for sample in samples)), f"{self.median(name, 'steal'):.1f}"])
        return markdown(rows)


def in_turns(table: Table, given: argparse.Namespace, cases: dict[str, Callable[[Cluster], Sample]]) -> None:
    """All cases in each round, in one order and in the other."""
    for number in range(given.rounds):
        with cluster() as nodes:
            for name in list(cases) if number % 2 == 0 else list(cases)[::-1]:
                table.add(name, cases[name](nodes))


def closed_loops(table: Table, given: argparse.Namespace) -> list[str]:
    """The queue and the config store beside the counter."""
    load = {"clients": given.clients, "connections": given.connections, "seconds": given.seconds}

    def case(operation: str, **flags: object) -> Callable[[Cluster], Sample]:
        return lambda nodes: nodes.measure(operation, **load, **flags)

    cases = {"counter add": case("add"), "queue put, take, ack": case("queue"), "config put": case("put"), "config get": case("get")}
    in_turns(table, given, cases)
    cycles = table.median("queue put, take, ack") / 3
    cheaper = {name: table.median("counter add", "server_us") / table.median(name, "server_us") for name in cases}
    return [
        f"queue: {table.ratio('queue put, take, ack', 'counter add'):.2f} operations for each add (aim 0.5), "
        f"by processor time {cheaper['queue put, take, ack']:.2f}; {cycles:,.0f} cycles a second",
        f"config: {table.ratio('config put', 'counter add'):.2f} puts for each add (aim 0.8), "
        f"by processor time {cheaper['config put']:.2f}",
    ]


def watchers(table: Table, given: argparse.Namespace) -> list[str]:
    """One writer with and without watchers."""
    told = []
    for clients, what in ((1, "one put at a time"), (64, "64 puts at a time")):
        load = {"clients": clients, "connections": 1, "seconds": given.seconds, "keys": given.watchers}

        def alone(nodes: Cluster, load: dict[str, Any] = load) -> Sample:
            return nodes.measure("put", **load)

        def beside(nodes: Cluster, load: dict[str, Any] = load) -> Sample:
            with nodes.watchers(given.watchers):
                return nodes.measure("put", **load, first_key=ELSEWHERE)

        def watched(nodes: Cluster, load: dict[str, Any] = load, what: str = what) -> Sample:
            with nodes.watchers(given.watchers) as seen:
                sample = nodes.measure("put", **load)
                time.sleep(0.5)
            print(f"  {what}: {seen['events']:,} events for {sample.rate * given.seconds:,.0f} puts", file=sys.stderr)
            return sample

        names = [f"{what}, {who}" for who in ("no watchers", f"{given.watchers:,} of other keys", f"{given.watchers:,} of these keys")]
        in_turns(table, given, dict(zip(names, (alone, beside, watched), strict=True)))
        for name in names[1:]:
            told.append(f"watchers: {name}: {100 - 100 * table.ratio(name, names[0]):.1f} % slower (aim 10 %)")
    return told


def ranges(table: Table, given: argparse.Namespace) -> list[str]:
    """1,000 keys of many: in a host in this process, and of a cluster."""
    host = hosted()
    for first in range(0, given.keys, 128):
        puts = [{"op": "put", "key": key_of(number), "value": bytes(32)} for number in range(first, min(first + 128, given.keys))]
        applying(host, "config", "txn", [{"success": puts}])()
    times = [
        milliseconds(asking(host, "range", {"key": key_of(start), "from_key": True, "limit": 1_000}), 1)
        for start in range(0, given.keys, given.keys // 200)
    ]
    told = [
        f"range: 1,000 of {given.keys:,} keys take the server {statistics.median(times):.2f} ms, at most {max(times):.2f} ms (aim 5 ms)"
    ]
    with cluster() as nodes:
        nodes.run("fill", keys=100_000, bytes=32)
        for _ in range(given.rounds):
            load = {"keys": 100_000, "connections": 1, "seconds": given.seconds}
            table.add("range of 1,000 keys of 100,000, one client", nodes.measure("range", clients=1, **load))
            table.add("range of 1,000 keys of 100,000, 8 clients", nodes.measure("range", clients=8, **load))
    return told


def leases(table: Table, given: argparse.Namespace) -> list[str]:
    """Many live leases."""
    name = f"{given.leases:,} leases, each kept alive every 10 s"
    for _ in range(given.rounds):
        with cluster() as nodes:
            table.add(
                name, nodes.measure("lease", keys=given.leases, seconds=max(10.0, given.seconds), connections=given.lease_connections)
            )
    leader = statistics.median(sample.node_percent[0] for sample in table.samples[name])
    followers = statistics.median(max(sample.node_percent[1:]) for sample in table.samples[name])
    return [f"leases: {leader:.0f} % of a processor for the leader, {followers:.0f} % for a follower (aim 30 %)"]


PARTS: dict[str, Callable[[Table, argparse.Namespace], list[str]]] = {
    "closed": closed_loops,
    "watchers": watchers,
    "range": ranges,
    "leases": leases,
}


def main() -> int:
    """Measure in turns, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--leases", type=int, default=10_000)
    parser.add_argument("--lease-connections", type=int, default=100, help="of the clients that have the leases")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the range measured in this process")
    parser.add_argument("--only", help=",".join(PARTS))
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else list(PARTS)
    for name in wanted:
        table = Table()
        told = PARTS[name](table, given)
        print(f"{name}: {given.rounds} rounds of {given.seconds:g} s, {os.cpu_count()} processors; medians\n")
        print(table.text(), "\n".join(told), "", sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
