"""What a large state costs: starting with it, taking snapshots of it, sending it to a follower. Three nodes with fsync on.

    python -m tests.benchmarks.state_of_500mb [--only restart,taking,behind] [--rounds 3] [--directory D]

* restart: a node with 1,000,000 small entries, behind a snapshot and without one: from the start of its process until it is ready.
* taking: a closed loop of clients before, while and after all nodes take a snapshot at the same time; the same for one node at a time.
* behind: the same load before, while and after a follower comes back that needs all of the state; how fast it gets it, and what memory
  that takes.

Everything compared is compared within one run, phase by phase in turns: the figures depend on the computer and on what else it does, which
`others` tells (processors used by others). Needs about 10 GB of disk and of memory, and half an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from tests.benchmarks.side_by_side import markdown
from tests.benchmarks.state_cluster import START_S, Memory, all_take, cluster, fill, grow_to, loaded, resident_mb, running, tell
from txraft.cli.local_cluster import LocalNode

LOOK_S = 0.02
HEADING = ["phase", "rate/s", "p50 ms", "p99 ms", "max ms", "errors", "others"]

Lap = dict[str, Any]


def median(laps: Sequence[Lap], name: str) -> float:
    """Of one figure."""
    return float(statistics.median(lap[name] for lap in laps))


def rows(phases: dict[str, list[Lap]]) -> list[list[str]]:
    """A table of medians."""
    told = [HEADING]
    for name, laps in phases.items():
        figures = [f"{median(laps, 'rate'):,.0f}", *(f"{median(laps, of):.2f}" for of in ("p50_ms", "p99_ms", "max_ms"))]
        told.append([name, *figures, str(sum(sum(lap["errors"].values()) for lap in laps)), f"{median(laps, 'others'):.2f}"])
    return told


def beside(laps: Sequence[Lap], before: Sequence[Lap]) -> str:
    """What is left of the rate, and the p99 in those of before: medians of what each round made of it."""
    pairs = list(zip(laps, before, strict=True))
    rate = statistics.median(lap["rate"] / other["rate"] for lap, other in pairs)
    p99 = statistics.median(lap["p99_ms"] / max(other["p99_ms"], 1e-9) for lap, other in pairs)
    return f"{100 * rate:.0f} % of the rate before, p99 {p99:.2f} × that before"


def shown(name: str, lap: Lap) -> None:
    """Progress."""
    tell(f"{name}: {lap['rate']:,.0f}/s, p50 {lap['p50_ms']:.2f}, p99 {lap['p99_ms']:.2f}, max {lap['max_ms']:.1f} ms, "
         f"others {lap['others']:.2f}, {lap['seconds']:.1f} s, {lap['errors']}")  # fmt: skip


def ready_s(node: LocalNode) -> tuple[float, list[str]]:
    """Start it; how long it takes until it says that it is ready, and what it told of its progress, every now and then."""
    begun = told = time.perf_counter()
    seen: list[str] = []
    node.start()
    while True:
        try:
            with urllib.request.urlopen(f"http://{node.endpoint}/readyz", timeout=2):
                return time.perf_counter() - begun, seen
        except (OSError, urllib.error.URLError):
            time.sleep(LOOK_S)
        if time.perf_counter() - told > 0.5:
            told = time.perf_counter()
            if (status := node.status()) is not None:
                seen.append(progress_of(status))
        if not node.running:
            raise SystemExit(f"{node.name} has ended; see {node.log}")


def restart(given: argparse.Namespace) -> list[str]:
    """A node with a long log, and one with a snapshot instead of it."""
    told = []
    with cluster(given.directory) as local:
        local.start()
        leader = local.leader(START_S)
        with loaded(local, operation="add", keys=given.counters, clients=256, connections=32):
            grow_to(local, leader, given.entries)
        local.level(START_S)
        node = next(node for node in local.nodes if node is not local.leader(START_S))
        for what in ("without a snapshot", "behind a snapshot"):
            if what == "behind a snapshot":
                all_take(local.nodes)
            seconds = []
            for _ in range(given.rounds):
                node.stop()
                took_s, seen = ready_s(node)
                seconds.append(took_s)
                tell(f"{what}: {took_s:.2f} s; {' '.join(seen)}")
            status = node.status() or {}
            entries = status["last_index"] - status["base_index"]
            told.append(
                f"restart {what}: {statistics.median(seconds):.2f} s (aim {'5 s' if 'behind' in what else 'shows progress'}), "
                f"{min(seconds):.2f} to {max(seconds):.2f}; {entries:,} entries in the log, "
                f"a snapshot of {status['snapshot']['bytes'] / 1e6:.1f} MB; {resident_mb(node.pid):.0f} MB of memory; "
                f"opening and replay, as it told: {' '.join(seen) or 'nothing'}"
            )
    return told


def progress_of(status: Lap) -> str:
    """As its status tells."""
    return f"{100 * status['opening_progress']:.0f}%/{100 * status.get('replay_progress', 0.0):.0f}%"


def taking(given: argparse.Namespace) -> list[str]:
    """Snapshots under load."""
    phases: dict[str, list[Lap]] = {name: [] for name in ("before", "all nodes take one", "between", "the leader alone", "after")}
    took: list[Lap] = []
    with cluster(given.directory) as local:
        local.start()
        leader = local.leader(START_S)
        fill(local, given.machine, given.keys, given.bytes)
        flags = {"keys": given.load_keys, "bytes": given.bytes, "clients": given.clients, "connections": given.connections}
        with loaded(local, operation=given.operation, **flags) as load:
            load.lap_of(5.0)
            for _ in range(given.rounds):
                for name, nodes in zip(phases, ([], local.nodes, [], [leader], []), strict=True):
                    lap = taken(load, nodes, given.seconds)
                    phases[name].append(lap)
                    shown(name, lap)
                    took += [told_of_snapshot(node, name) for node in nodes]
    sizes = [one["bytes"] / 1e6 for one in took]
    lines = [markdown(rows(phases)), ""]
    for name in ("all nodes take one", "the leader alone"):
        lines.append(f"taking, {name}: {beside(phases[name], phases['before'])} (aims 80 %, 3)")
        seconds = [one["took_s"] for one in took if one["phase"] == name]
        capture = [one["capture_s"] for one in took if one["phase"] == name]
        lines.append(f"  took {min(seconds):.1f} to {max(seconds):.1f} s; captured in {1e3 * max(capture):.2f} ms at most")
    return [*lines, f"  {min(sizes):,.0f} to {max(sizes):,.0f} MB; longest turn of a reactor {max(one['lag_s'] for one in took):.3f} s"]


def taken(load: Any, nodes: Sequence[LocalNode], seconds: float) -> Lap:
    """A lap: as long as these take snapshots, or so long if there are none."""
    if not nodes:
        return dict(load.lap_of(seconds))
    load.lap()
    all_take(nodes)
    return dict(load.lap())


def told_of_snapshot(node: LocalNode, phase: str) -> Lap:
    """What its status tells of the one that was just taken."""
    status = node.status() or {}
    one = {"phase": phase, **status["snapshot"], "lag_s": status["loop_lag_max_s"]}
    what = f"{one['bytes'] / 1e6:,.0f} MB in {one['took_s']:.1f} s, captured in {1e3 * one['capture_s']:.2f} ms"
    longest = f"longest turn {one['lag_s']:.3f} s, longest write {status['disk']['write_max_s']:.3f} s"
    tell(f"  {node.name} ({status['role']}): {what}, {longest}, {resident_mb(node.pid):,.0f} MB of memory")
    return one


def behind(given: argparse.Namespace) -> list[str]:
    """A follower that needs everything."""
    phases: dict[str, list[Lap]] = {name: [] for name in ("before", "a follower is sent the state", "after")}
    found: list[Lap] = []
    for _ in range(given.rounds):
        with cluster(given.directory) as local:
            local.start()
            leader = local.leader(START_S)
            follower = next(node for node in local.nodes if node is not leader)
            follower.kill()
            fill(local, given.machine, given.keys, given.bytes)
            all_take(running(local))
            flags = {"keys": given.load_keys, "bytes": given.bytes, "clients": given.clients, "connections": given.connections}
            with loaded(local, operation=given.operation, **flags) as load:
                load.lap_of(5.0)
                all_take(running(local))
                for name in phases:
                    if name == "a follower is sent the state":
                        load.lap()
                        found.append(caught_up(leader, follower))
                        phases[name].append(load.lap())
                    else:
                        phases[name].append(load.lap_of(given.seconds))
                    shown(name, phases[name][-1])
    size = median(found, "bytes") / 1e6
    rates = {name: size / median(found, name) for name in ("sent_s", "installed_s", "caught_up_s")}
    return [
        markdown(rows(phases)),
        "",
        f"behind, while it is sent: {beside(phases['a follower is sent the state'], phases['before'])} (aim 70 %)",
        f"  {size:,.0f} MB: {rates['sent_s']:.0f} MB/s sent alone, {rates['installed_s']:.0f} with restoring, "
        f"{rates['caught_up_s']:.0f} from the start of the process until it was level (aim 50)",
        f"  leader: {median(found, 'leader_mb'):,.0f} MB before, at most {median(found, 'leader_most_mb'):,.0f}; "
        f"follower: at most {median(found, 'follower_most_mb'):,.0f}",
    ]


def caught_up(leader: LocalNode, follower: LocalNode) -> Lap:
    """Start the follower and wait until it is level. Seconds: until it was asked, all was sent, installed, all of the log there."""
    begun = time.perf_counter()
    before_mb = resident_mb(leader.pid)
    follower.start()
    with Memory([leader.pid, follower.pid]).watched() as memory:
        times: Lap = {}
        while "level" not in times:
            status, now = follower.status() or {}, time.perf_counter() - begun
            snapshot: Lap = status.get("snapshot", {})
            receiving = snapshot.get("receiving")
            if receiving:
                times.setdefault("asked", now)
                if receiving["restoring"]:
                    times.setdefault("sent", now)
            elif "asked" in times and snapshot.get("index"):
                times.setdefault("installed", now)
                behind = ((leader.status() or {})["commit_index"]) - status["applied_index"]
                if behind < 1_000:
                    times["level"] = now
            time.sleep(LOOK_S)
        size = snapshot["bytes"]
    times.setdefault("sent", times["installed"])
    when = ", ".join(f"{name} after {at:.2f} s" for name, at in times.items())
    largest_mb = f"leader {before_mb:,.0f} MB, at most {memory.largest[leader.pid]:,.0f}; follower {memory.largest[follower.pid]:,.0f}"
    tell(f"  {size / 1e6:,.0f} MB: {when}; {largest_mb}")
    return {
        "bytes": size,
        "sent_s": times["sent"] - times["asked"],
        "installed_s": times["installed"] - times["asked"],
        "caught_up_s": times["level"],
        "leader_mb": before_mb,
        "leader_most_mb": memory.largest[leader.pid],
        "follower_most_mb": memory.largest[follower.pid],
    }


PARTS: dict[str, Callable[[argparse.Namespace], list[str]]] = {"restart": restart, "taking": taking, "behind": behind}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of a phase in which nothing else happens")
    parser.add_argument("--machine", choices=("config", "counter"), default="config", help="that has the large state")
    parser.add_argument("--keys", type=int, default=500_000, help="of that machine")
    parser.add_argument("--bytes", type=int, default=1_024, help="of a value of the config store")
    parser.add_argument("--operation", choices=("put", "add"), default="put", help="of the load")
    parser.add_argument("--load-keys", type=int, default=50_000, help="that the load writes")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the log of the node that is restarted")
    parser.add_argument("--counters", type=int, default=100_000, help="that they are of")
    parser.add_argument("--directory", help="where the nodes have theirs; else a temporary one")
    given = parser.parse_args()
    for name in given.only.split(",") if given.only else PARTS:
        told = PARTS[name](given)
        print(f"\n{name}: {given.rounds} rounds, {os.cpu_count()} processors; medians\n")
        print("\n".join(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
