"""Three nodes, killed again and again under load; at the end every acknowledged increment must be there, once, on all three.

    python -m tests.end_to_end.kill_rounds --rounds 100 [--clients 8] [--seed N] [--directory DIR]

A round kills with SIGKILL the leader, a follower, or all three at once, starts them again and waits for a leader. Half of the clients use
the native protocol, half HTTP. Each adds 1 to a counter of its own, where every answer must be one more than the last, and to one that all
share.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field

from txraft.cli.local_cluster import ClusterTrouble, LocalCluster
from txraft.client import BlockingClient, Client
from txraft.errors import NotApplied, Outcome, TxraftError

SHARED = "shared"
CALL_S = 30.0
LEADER_S = 30.0
LEVEL_S = 60.0

Add = Callable[[str], int]


@define
class Tally:
    """What the clients were told.

    Attributes:
        acknowledged: increments of each counter.
        unknown: increments of each counter whose outcome nobody could tell: at the end they are there or not, once at most.
        wrong: sentences about answers that cannot be.
    """

    acknowledged: dict[str, int] = field(factory=dict)
    unknown: dict[str, int] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    @property
    def total(self) -> int:
        """Acknowledged increments."""
        return sum(self.acknowledged.values())

    def count(self, counts: dict[str, int], counter: str) -> int:
        """One more."""
        with self._lock:
            counts[counter] = counts.get(counter, 0) + 1
            return counts[counter]

    def work(self, own: str, add: Add, stop: threading.Event) -> None:
        """One client: adds in turn to its own counter and to the shared one."""
        while not stop.is_set():
            for counter in (own, SHARED):
                try:
                    value = add(counter)
                except NotApplied:
                    stop.wait(0.05)
                except Outcome as problem:
                    self.count(self.unknown, counter)
                    self.wrong += [f"{own}: {problem}"] if problem.outcome == "refused" else []
                else:
                    acknowledged = self.count(self.acknowledged, counter)
                    if counter == own and not acknowledged <= value <= acknowledged + self.unknown.get(own, 0):
                        self.wrong.append(f"{own} is {value} after {acknowledged} acknowledged increments")

    def check(self, counters: dict[str, int]) -> list[str]:
        """What is wrong with the counters at the end."""
        problems = list(self.wrong)
        for counter, acknowledged in self.acknowledged.items():
            value, unknown = counters.get(counter, 0), self.unknown.get(counter, 0)
            if value < acknowledged:
                problems.append(f"{counter}: {acknowledged - value} acknowledged increments are lost ({value} of {acknowledged})")
            if value > acknowledged + unknown:
                problems.append(f"{counter}: {value - acknowledged - unknown} increments too many ({value}, {acknowledged} acknowledged)")
        return problems


def main() -> int:
    """Rounds, then the verdict; 0 only if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--directory", type=Path, help="kept; else a temporary one, kept only when something is wrong")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="txraft-kill-rounds-", ignore_cleanup_errors=True) as temporary:
        cluster = LocalCluster.make((given.directory or Path(temporary)).absolute())
        tally = Tally()
        try:
            problems = run_rounds(cluster, tally, given.rounds, given.clients, random.Random(given.seed))
        except TxraftError as error:
            problems = [str(error)]
        finally:
            cluster.kill()
        for problem in problems:
            print(f"WRONG: {problem}")
        if problems and given.directory is None:
            kept = Path(tempfile.mkdtemp(prefix="txraft-kill-rounds-kept-")) / "nodes"
            cluster.directory.rename(kept)
            cluster.directory.mkdir()
            print(f"The nodes' files are kept in {kept}; again with --seed {given.seed}")
    print("FAILED" if problems else f"All is well: {tally.total:,} acknowledged increments, each there once, on three equal nodes.")
    return 1 if problems else 0


def run_rounds(cluster: LocalCluster, tally: Tally, rounds: int, clients: int, rng: random.Random) -> list[str]:
    """What went wrong."""
    cluster.start()
    cluster.leader(LEADER_S)
    stop = threading.Event()
    threads = start_clients(cluster.endpoints, tally, clients, stop)
    try:
        for number in range(rounds):
            one_round(cluster, tally, f"round {number + 1}/{rounds}", ("leader", "follower", "all")[number % 3], rng)
    finally:
        stop.set()
        for thread in threads:
            thread.join(CALL_S + 5)
    statuses = cluster.level(LEVEL_S)
    with BlockingClient(cluster.endpoints, CALL_S) as client:
        listed = client.query("counter", "list", limit=1000)["counters"]
    problems = tally.check({counter["name"]: counter["value"] for counter in listed})
    digests = {status["name"]: status["digest"] for status in statuses}
    if len(digests) != 3 or len(set(digests.values())) != 1:
        problems.append(f"the states differ: {digests}")
    unknown = sum(tally.unknown.values())
    print(f"digests {' '.join(digest[:16] for digest in digests.values())}; {unknown} increments of unknown outcome")
    ended = {node.name: node.stop() for node in cluster.nodes}
    if any(ended.values()):
        problems.append(f"exit codes after SIGTERM: {ended}")
    return problems


def one_round(cluster: LocalCluster, tally: Tally, title: str, kind: str, rng: random.Random) -> None:
    """Work, kill, start again, and wait until there is a leader and work goes on."""
    leader = cluster.leader(LEADER_S)
    time.sleep(rng.uniform(0.1, 0.8))
    begin = time.monotonic()
    if kind == "all":
        victims = cluster.nodes
        cluster.kill()
    else:
        victims = [leader if kind == "leader" else rng.choice([node for node in cluster.nodes if node is not leader])]
        victims[0].kill()
    before = tally.total
    time.sleep(rng.uniform(0, 1.0))
    cluster.start()
    leader = cluster.leader(LEADER_S)
    cluster.wait_until(lambda: tally.total > before or None, CALL_S, "no increment was acknowledged")
    killed = " ".join(victim.name for victim in victims)
    seconds = time.monotonic() - begin
    print(f"{title}  killed {killed:<8}  {leader.name} leads, work goes on after {seconds:.1f} s  {tally.total:,} acknowledged", flush=True)


def start_clients(endpoints: list[str], tally: Tally, clients: int, stop: threading.Event) -> list[threading.Thread]:
    """Half native, half HTTP."""
    add_natively = native_clients(endpoints, (clients + 1) // 2)
    threads = []
    for number in range(clients):
        add = add_natively[number // 2] if number % 2 == 0 else blocking_client(endpoints[number % 3 :] + endpoints[: number % 3])
        thread = threading.Thread(target=tally.work, args=(f"client-{number}", add, stop), daemon=True)
        threads.append(thread)
        thread.start()
    return threads


def blocking_client(endpoints: list[str]) -> Add:
    """Over HTTP."""
    client = BlockingClient(endpoints, CALL_S)
    return lambda counter: int(client.command("counter", "add", counter, 1))


def native_clients(endpoints: list[str], count: int) -> list[Add]:
    """Over the native protocol, in a reactor of their own thread."""
    from twisted.internet import reactor
    from twisted.internet.threads import blockingCallFromThread

    loop: Any = reactor
    threading.Thread(target=loop.run, kwargs={"installSignalHandlers": False}, daemon=True).start()

    def adder() -> Add:
        client: Any = blockingCallFromThread(loop, lambda: Client(loop, endpoints, timeout_s=CALL_S))
        call: Any = blockingCallFromThread
        return lambda counter: int(call(loop, client.command, "counter", "add", counter, 1))

    return [adder() for _ in range(count)]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClusterTrouble as trouble:
        sys.exit(str(trouble))
