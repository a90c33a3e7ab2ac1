"""Three nodes under load that take snapshots all the time, and what may happen to them: kills, power cuts, damaged files, long absences.

    python -m tests.end_to_end.damage_rounds --rounds 100 [--clients 6] [--seed N] [--only KIND,KIND] [--directory DIR]

Clients add to counters, exactly once each, all the while. Segments are small and snapshots frequent, so that most rounds meet both. A round
is one of these:

* `kill`: the leader, a follower, or all at once, with SIGKILL;
* `writing`: one node, while it writes a snapshot;
* `sending`: the sender or the receiver of a snapshot, while it is on its way;
* `restoring`: a node right after a snapshot has reached it;
* `damage`: one node is killed, some of its files are changed, cut or removed, and it is started again; never a second one before it is
  repaired;
* `power`: the disks of all nodes stop in mid-write, then all are killed, and each loses some sectors of what it had not synced;
* `snapshot`: some nodes are told to take one now;
* `absence`: a follower is down until the others have dropped the entries that it needs.

In the end every acknowledged increment must be there, once, on three equal nodes.
"""

from __future__ import annotations

import argparse
import base64
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.end_to_end.damage_kinds import KINDS, Round
from tests.end_to_end.kill_rounds import CALL_S, Tally, start_clients
from txraft.cli.local_cluster import ClusterTrouble, LocalCluster, LocalNode
from txraft.client import BlockingClient
from txraft.errors import TxraftError

LEADER_S = 30.0
LEVEL_S = 60.0

LIMITS = {
    "segment_bytes": 65_536,
    "snapshot_log_bytes": 131_072,
    "snapshot_log_factor": 1,
    "snapshot_part_bytes": 8_192,
    "snapshot_chunk_bytes": 32_768,
    "snapshot_bytes_per_s": 1_048_576,
    "trailing_entries": 50,
    "trailing_bytes": 32_768,
    "reserve_bytes": 65_536,
    "log_cache_bytes_max": 65_536,
}
STATE_KEYS, STATE_BYTES = 24, 16_384
"""The config store holds these, so that a snapshot takes a while to write and to send."""


def main() -> int:
    """Rounds, then the verdict; 0 only if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS), help=f"kinds of rounds, of {', '.join(KINDS)}")
    parser.add_argument("--directory", type=Path, help="kept; else a temporary one, kept only when something is wrong")
    given = parser.parse_args()
    if unknown := set(given.only) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    print(f"seed {given.seed}")
    directory = (given.directory or Path(tempfile.mkdtemp(prefix="txraft-damage-rounds-"))).absolute()
    cluster = LocalCluster.make(directory, settings={"timing": {"election_s": 0.5}, "limits": LIMITS})
    tally = Tally()
    try:
        problems = run_rounds(cluster, tally, plan(given.only, given.rounds, given.seed), given.clients, given.seed)
    except TxraftError as error:
        problems = [str(error)]
    finally:
        cluster.kill()
    for problem in problems:
        print(f"WRONG: {problem}")
    if problems:
        print(f"FAILED. The nodes' files are kept in {directory}; again with --seed {given.seed} --rounds {given.rounds}")
        return 1
    if given.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"All is well: {tally.total:,} acknowledged increments, each there once, on three equal nodes.")
    return 0


def plan(kinds: list[str], rounds: int, seed: int) -> list[str]:
    """Which kind each round is: all of them come equally often, in an order of the seed's."""
    rng = random.Random(f"{seed}/plan")
    planned: list[str] = []
    while len(planned) < rounds:
        planned += rng.sample(kinds, len(kinds))
    return planned[:rounds]


def run_rounds(cluster: LocalCluster, tally: Tally, kinds: list[str], clients: int, seed: int) -> list[str]:
    """What went wrong."""
    cluster.start()
    cluster.leader(LEADER_S)
    fill_state(cluster)
    stop = threading.Event()
    threads = start_clients(cluster.endpoints, tally, clients, stop)
    outcomes: Counter[str] = Counter()
    try:
        for number, kind in enumerate(kinds, 1):
            began = time.monotonic()
            what = KINDS[kind](Round(cluster, random.Random(f"{seed}/{number}"), lambda: tally.total, number))
            outcomes[kind] += 1
            cluster.start()
            settle(cluster, tally)
            print(
                f"round {number}/{len(kinds)}  {kind:<9}  {what}; {time.monotonic() - began:.1f} s, {tally.total:,} acknowledged",
                flush=True,
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join(CALL_S + 5)
    print("rounds: " + ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items())))
    return verdict(cluster, tally)


def settle(cluster: LocalCluster, tally: Tally) -> None:
    """Work goes on, and every node takes part again and has what is committed now: the next round finds a whole cluster."""
    before = tally.total
    cluster.wait_until(lambda: tally.total > before or None, CALL_S, "no increment was acknowledged")
    committed = (cluster.leader(LEADER_S).status() or {}).get("commit_index", 0)
    for node in cluster.nodes:
        cluster.wait_until(partial(has_caught_up, node, committed), LEVEL_S, f"{node.name} does not take part again")


def has_caught_up(node: LocalNode, index: int) -> bool:
    """Whether a node takes part and has applied this entry."""
    status = node.status()
    return bool(status and status["ready"] and status["applied_index"] >= index)


def fill_state(cluster: LocalCluster) -> None:
    """Something for the snapshots to hold besides the counters."""
    with BlockingClient(cluster.endpoints, CALL_S) as client:
        for key in range(STATE_KEYS):
            # Bytes are base64 over HTTP.
            client.command("config", "put", encoded(b"key-%d" % key), encoded(random.Random(key).randbytes(STATE_BYTES)))


def encoded(content: bytes) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(content).decode()


def verdict(cluster: LocalCluster, tally: Tally) -> list[str]:
    """All level, all alike, all sums right; and all end in peace."""
    statuses = cluster.level(LEVEL_S)
    with BlockingClient(cluster.endpoints, CALL_S) as client:
        listed = client.query("counter", "list", limit=1000)["counters"]
    problems = tally.check({counter["name"]: counter["value"] for counter in listed})
    digests = {status["name"]: status["digest"] for status in statuses}
    if len(digests) != 3 or len(set(digests.values())) != 1:
        problems.append(f"the states differ: {digests}")
    print(f"digests {' '.join(digest[:16] for digest in digests.values())}; {sum(tally.unknown.values())} increments of unknown outcome")
    ended = {node.name: node.stop() for node in cluster.nodes}
    if any(ended.values()):
        problems.append(f"exit codes after SIGTERM: {ended}")
    return problems


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClusterTrouble as trouble:
        sys.exit(str(trouble))
