"""txraft beside etcd and PySyncObj: three nodes each on this computer, the same closed loop of clients, in turns.

    python -m tests.benchmarks.side_by_side --rounds 3 --seconds 8 [--clients 256 --connections 32] [--operation add|get]
        [--pysyncobj-python PATH] [--only txraft,etcd]

What is not installed is left out: `etcd` (Debian: etcd-server), Go with etcd's client (golang-go, golang-etcd-server-dev) for its
load, and a Python with PySyncObj, which is named. etcd is loaded at its leader, where it is fastest, unless told otherwise.

Absolute figures mean little on a shared computer; the ratios within one run do. txraft and etcd sync their logs to the disk, PySyncObj does
not.

Every measurement starts a fresh cluster, so that none has a longer log than another. Processor time is that of the three server processes,
out of /proc; for PySyncObj that includes the clients, which live in one of them.
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
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen

from txraft.cli.local_cluster import LocalCluster, free_ports, node_environment

HERE = Path(__file__).parent
START_S = 30.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@frozen
class Case:
    """How many clients on how many connections do what."""

    clients: int
    connections: int
    seconds: float
    operation: str
    keys: int

    @property
    def flags(self) -> list[str]:
        """As all load generators understand it."""
        return [
            f"--clients={self.clients}",
            f"--connections={self.connections}",
            f"--seconds={self.seconds:g}",
            f"--operation={self.operation}",
            f"--keys={self.keys}",
        ]


@frozen
class Sample:
    """One measurement.

    Attributes:
        server_us, client_us: processor time per operation, in microseconds, of all servers and of the load.
        node_mib: resident memory of a node, at the end.
        steal: the part of the time that the computer was given to others by its host, in percent.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    server_us: float
    client_us: float
    node_mib: float
    steal: float


class System(Protocol):
    """One of those compared."""

    name: str

    def start(self, directory: Path) -> None:
        """Start three nodes; return when they serve."""

    def pids(self) -> list[int]:
        """Of the three servers."""

    def load(self, case: Case) -> dict[str, Any]:
        """Put the load on them; the figures."""

    def stop(self) -> None:
        """End them."""


@define
class Txraft:
    """Three `twistd txraft`, loaded by `txraftload.py`: `txraft bench` has the same figures with the whole client library between."""

    name: str = "txraft"
    _cluster: LocalCluster | None = None

    def start(self, directory: Path) -> None:
        self._cluster = LocalCluster.make(directory)
        self._cluster.start()
        self._cluster.leader(START_S)

    def pids(self) -> list[int]:
        assert self._cluster is not None
        return [node.pid for node in self._cluster.nodes]

    def load(self, case: Case) -> dict[str, Any]:
        assert self._cluster is not None
        endpoints = ",".join(self._cluster.endpoints)
        return printed([sys.executable, "-m", "tests.benchmarks.txraftload", "--endpoints", endpoints, *case.flags])

    def stop(self) -> None:
        if self._cluster is not None:
            self._cluster.kill()


@define
class Etcd:
    """Three `etcd`, loaded by `etcdload.go`."""

    load_program: Path
    target: str
    name: str = "etcd"
    _processes: list[subprocess.Popen[bytes]] = field(factory=list)
    _clients: list[str] = field(factory=list)

    def start(self, directory: Path) -> None:
        ports = free_ports(6)
        peers = {f"n{number}": f"http://127.0.0.1:{ports[number]}" for number in range(3)}
        self._clients = [f"http://127.0.0.1:{port}" for port in ports[3:]]
        for (name, peer), client in zip(peers.items(), self._clients, strict=True):
            flags = {
                "name": name,
                "data-dir": directory / name,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "initial-cluster-state": "new",
                "initial-cluster": ",".join(f"{name}={url}" for name, url in peers.items()),
            }
            self._processes.append(started(["etcd", *(f"--{flag}={value}" for flag, value in flags.items())], directory / f"{name}.log"))
        wait_until(lambda: all(map(etcd_is_healthy, self._clients)), "etcd is not healthy")

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def load(self, case: Case) -> dict[str, Any]:
        return printed([str(self.load_program), f"--endpoints={','.join(self._clients)}", f"--target={self.target}", *case.flags])

    def stop(self) -> None:
        end(self._processes)


@define
class PySyncObj:
    """Three processes with PySyncObj, one of which drives."""

    python: str
    name: str = "PySyncObj (no fsync)"
    _processes: list[subprocess.Popen[bytes]] = field(factory=list)
    _addresses: list[str] = field(factory=list)
    _directory: Path = Path()

    def start(self, directory: Path) -> None:
        self._directory = directory
        self._addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for number in (1, 2):
            self._processes.append(started(self._command(number), directory / f"{number}.log"))

    def _command(self, number: int) -> list[str]:
        others = ",".join(address for address in self._addresses if address != self._addresses[number])
        journal = self._directory / f"{number}.journal"
        return [
            self.python,
            str(HERE / "pysyncobj_node.py"),
            f"--own={self._addresses[number]}",
            f"--others={others}",
            f"--journal={journal}",
        ]

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def load(self, case: Case) -> dict[str, Any]:
        flags = [flag for flag in case.flags if flag.startswith(("--clients", "--seconds", "--keys"))]
        driver = subprocess.Popen([*self._command(0), *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert driver.stdout is not None
        self._processes.append(driver)
        if driver.stdout.readline() != b"ready\n":
            raise SystemExit("PySyncObj did not become ready")
        figures: dict[str, Any] = json.loads(driver.stdout.readline())
        return figures

    def stop(self) -> None:
        end(self._processes)


def started(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A process whose output goes to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """SIGKILL, and wait."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    processes.clear()


def printed(command: Sequence[str]) -> dict[str, Any]:
    """The JSON that a load generator prints last."""
    done = subprocess.run(list(command), env=node_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"{command[0]} exited with {done.returncode} and said nothing")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def etcd_is_healthy(url: str) -> bool:
    """Whether the node has a leader."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(json.load(response).get("health") == "true")
    except (OSError, urllib.error.URLError, ValueError):
        return False


def wait_until(look: Any, otherwise: str) -> None:
    """Until `look` returns something true."""
    give_up_at = time.monotonic() + START_S
    while not look():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"{otherwise} after {START_S:g} s")
        time.sleep(0.1)


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time used so far, user and system together."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def resident_mib(pids: Sequence[int]) -> float:
    """Mean resident memory."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) / len(pages) * os.sysconf("SC_PAGESIZE") / 2**20


def steal_and_all() -> tuple[int, int]:
    """Ticks that the host took away, and all ticks, of all processors."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return fields[7], sum(fields)


def measure(system: System, case: Case) -> Sample:
    """One measurement on a fresh cluster."""
    directory = Path(tempfile.mkdtemp(prefix=f"{system.name.split()[0]}-"))
    try:
        system.start(directory)
        steal, ticks = steal_and_all()
        servers, children = cpu_s(system.pids()), os.times()
        figures = system.load(case)
        # A process that joined for the load (the driver of PySyncObj) began with nothing.
        servers = cpu_s(system.pids()) - servers
        clients = os.times().children_user + os.times().children_system - children.children_user - children.children_system
        steal_now, ticks_now = steal_and_all()
        done = max(figures["done"], 1)
        return Sample(
            figures["rate"],
            figures["p50_ms"],
            figures["p99_ms"],
            figures["max_ms"],
            sum(figures["errors"].values()),
            servers / done * 1e6,
            clients / done * 1e6,
            resident_mib(system.pids()),
            100 * (steal_now - steal) / max(ticks_now - ticks, 1),
        )
    finally:
        system.stop()
        shutil.rmtree(directory, ignore_errors=True)


def median(samples: Sequence[Sample], attribute: str) -> float:
    """Of one figure."""
    return float(statistics.median(getattr(sample, attribute) for sample in samples))


HEADING = ["system", "clients", "rate/s", "p50 ms", "p99 ms", "max ms", "server µs/op", "client µs/op", "MiB/node", "errors", "steal %"]


def row(name: str, case: Case, samples: Sequence[Sample]) -> list[str]:
    """The medians of one system in one case."""
    figures = [f"{median(samples, 'rate'):,.0f}"]
    figures += [f"{median(samples, attribute):.2f}" for attribute in ("p50_ms", "p99_ms", "max_ms")]
    figures += [f"{median(samples, attribute):.0f}" for attribute in ("server_us", "client_us", "node_mib")]
    errors = sum(sample.errors for sample in samples)
    return [name, f"{case.clients} on {case.connections}", *figures, str(errors), f"{median(samples, 'steal'):.1f}"]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a document, aligned for people."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |" for cells in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def ratios(found: dict[tuple[str, Case], list[Sample]], cases: Sequence[Case], names: Sequence[str]) -> list[str]:
    """txraft against each of the others, case by case, in words."""
    lines = []
    for case in cases:
        ours = found["txraft", case]
        for name in names:
            if name == "txraft":
                continue
            theirs = found[name, case]
            rate = median(ours, "rate") / max(median(theirs, "rate"), 1e-9)
            cost = median(ours, "server_us") / max(median(theirs, "server_us"), 1e-9)
            latency = median(ours, "p50_ms") / max(median(theirs, "p50_ms"), 1e-9)
            told = f"{rate:.2f} × the rate of {name}, {cost:.2f} × its server time per operation, {latency:.2f} × its p50"
            lines.append(f"{case.clients} clients: {told}")
    return lines


def built_etcdload(directory: Path) -> Path | None:
    """The load generator for etcd, or None, with the reason on stderr, where it cannot be built."""
    missing = [program for program in ("etcd", "go") if shutil.which(program) is None]
    if missing:
        print(f"etcd is left out: {' and '.join(missing)} not found", file=sys.stderr)
        return None
    shutil.copy(HERE / "etcdload.go", directory)
    gopath = {"GOPATH": os.environ.get("GOPATH", "/usr/share/gocode"), "GO111MODULE": "off"}
    built = subprocess.run(
        ["go", "build", "-o", "etcdload", "etcdload.go"],
        cwd=directory,
        env=os.environ | gopath,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        print(f"etcd is left out: its load generator cannot be built:\n{built.stderr}", file=sys.stderr)
        return None
    return directory / "etcdload"


def systems(given: argparse.Namespace, directory: Path) -> list[System]:
    """Those that are installed and wanted."""
    wanted = given.only.split(",") if given.only else ["txraft", "etcd", "pysyncobj"]
    found: list[System] = [Txraft()] if "txraft" in wanted else []
    if "etcd" in wanted:
        load_program = Path(given.etcdload) if given.etcdload else built_etcdload(directory)
        found += [Etcd(load_program, given.etcd_target)] if load_program else []
    if "pysyncobj" in wanted and given.pysyncobj_python:
        if given.operation == "add":
            found.append(PySyncObj(given.pysyncobj_python))
        else:
            print("PySyncObj is left out: it has no linearizable reads", file=sys.stderr)
    return found


def main() -> int:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--operation", choices=("add", "get"), default="add")
    parser.add_argument("--only", help="txraft,etcd,pysyncobj")
    parser.add_argument("--pysyncobj-python", help="a Python that has PySyncObj")
    parser.add_argument("--etcd-target", choices=("leader", "all"), default="leader", help="where etcd's clients go")
    parser.add_argument("--etcdload", help="built before")
    given = parser.parse_args()
    cases = [Case(given.clients, given.connections, given.seconds, given.operation, given.keys)]
    cases += [Case(1, 1, given.seconds, given.operation, given.keys)] if given.clients > 1 else []
    found: dict[tuple[str, Case], list[Sample]] = {}
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as directory:
        compared = systems(given, Path(directory))
        for number in range(given.rounds):
            for case in cases:
                for system in compared:
                    sample = measure(system, case)
                    found.setdefault((system.name, case), []).append(sample)
                    told = f"{sample.rate:,.0f}/s, p50 {sample.p50_ms:.2f} ms, {sample.server_us:.0f} µs/op"
                    print(f"round {number + 1}/{given.rounds}  {system.name}, {case.clients} clients: {told}", file=sys.stderr, flush=True)
    names = [system.name for system in compared]
    print(
        f"{given.operation} over {given.keys:,} keys, {given.rounds} rounds of {given.seconds:g} s, {os.cpu_count()} processors; medians\n"
    )
    print(markdown([HEADING, *(row(name, case, found[name, case]) for case in cases for name in names)]))
    if "txraft" in names:
        print()
        print("\n".join(ratios(found, cases, names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
