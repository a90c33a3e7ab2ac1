"""Two checkouts of txraft in turns, to see whether a change has made it slower: three nodes with fsync on, and a closed loop of clients.

    git worktree add --detach ../before COMMIT
    python -m tests.benchmarks.two_trees --before ../before [--rounds 10] [--seconds 5] [--clients 256] [--connections 32]

Each measurement is made by the checkout's own `side_by_side.py`, on a fresh cluster, in one order and in the other. What is told are the
medians of the rounds' own ratios; that of processor time suffers least from what else the computer does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.side_by_side import markdown
from txraft.cli.local_cluster import node_environment

MEASURE = """
import json, sys
from attrs import asdict
from tests.benchmarks.side_by_side import Case, Txraft, measure
clients, connections, seconds, keys = json.loads(sys.argv[1])
print(json.dumps(asdict(measure(Txraft(), Case(clients, connections, seconds, "add", keys)))))
"""
FIGURES = ("rate", "p50_ms", "p99_ms", "server_us", "client_us", "node_mib")
HERE = Path(__file__).resolve().parents[2]


def measured(tree: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What one checkout does."""
    case = json.dumps([given.clients, given.connections, given.seconds, given.keys])
    command = [sys.executable, "-c", MEASURE, case]
    environment = node_environment() | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--after", type=Path, default=HERE, help="this one, if not given")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=1000)
    given = parser.parse_args()
    trees = {"before": given.before.resolve(), "after": given.after.resolve()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for number in range(given.rounds):
        for name in list(trees) if number % 2 == 0 else list(trees)[::-1]:
            sample = measured(trees[name], given)
            found[name].append(sample)
            told = ", ".join(f"{figure} {sample[figure]:,.2f}" for figure in FIGURES)
            print(f"round {number + 1}/{given.rounds}  {name}: {told}", file=sys.stderr, flush=True)
    rows = [["", *FIGURES]]
    for name, samples in found.items():
        rows.append([name, *(f"{statistics.median(sample[figure] for sample in samples):,.2f}" for figure in FIGURES)])
    pairs = list(zip(found["after"], found["before"], strict=True))
    ratios = [statistics.median(after[figure] / before[figure] for after, before in pairs) for figure in FIGURES]
    rows.append(["after / before", *(f"{ratio:.3f}" for ratio in ratios)])
    print(
        f"add, {given.clients} clients on {given.connections}, {given.rounds} rounds of {given.seconds:g} s, {os.cpu_count()} processors\n"
    )
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
