"""A work queue on three nodes; nodes, producers and consumers are killed again and again. At the end: nothing lost, nothing out of turn.

    python -m tests.end_to_end.queue_rounds --rounds 50 [--seed N] [--directory DIR]

A round kills with SIGKILL the leader, a follower, all nodes at once, a consumer or a producer, and starts it again. Then the producers
stop, the consumers empty the queue, and what all of them noted is held against what a queue promises:

* every message whose put was acknowledged was taken to its end by somebody; none is there twice;
* none is delivered again within its visibility timeout, nor after its ack was acknowledged;
* messages of one priority are delivered for the first time in the order in which they were put.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.end_to_end.queue_worker import QUEUE, VISIBILITY_S
from txraft.cli.local_cluster import ClusterTrouble, LocalCluster
from txraft.client import BlockingClient
from txraft.errors import TxraftError

LEADER_S = 30.0
DRAIN_S = 90.0
SLACK_S = 0.05
"""Clocks are read a little before and after what they tell of."""

KINDS = ("leader", "consumer", "follower", "producer", "consumer", "all")

Note = Mapping[str, Any]


@define
class Process:
    """A worker, started anew after each kill; all its lives write into one file."""

    kind: str
    name: str
    file: Path
    endpoints: list[str]
    seed: int
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0

    def start(self) -> None:
        """Begin its next life."""
        self.lives += 1
        turned = (self.seed + self.lives) % len(self.endpoints)
        endpoints = ",".join(self.endpoints[turned:] + self.endpoints[:turned])
        life = f"{self.name}.{self.lives}"
        command = [sys.executable, "-m", "tests.end_to_end.queue_worker", self.kind, life, str(self.file), endpoints, f"{self.seed}/{life}"]
        self.process = subprocess.Popen(command)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code. One that has just begun its life ends by the signal itself."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        return 0 if code == -signal.SIGTERM else code


@define
class Record:
    """What all workers noted, in the order of the times."""

    lives: list[list[Note]] = field(factory=list)

    @classmethod
    def read(cls, files: list[Path]) -> Record:
        """The notes in these files."""
        return cls([[json.loads(line) for line in file.read_text().splitlines()] for file in files if file.exists()])

    def of(self, *whats: str) -> Iterator[Note]:
        """All notes of these kinds."""
        yield from sorted((note for notes in self.lives for note in notes if note["what"] in whats), key=lambda note: float(note["at"]))

    def problems(self) -> list[str]:
        """What a queue must not have done."""
        return [*self._lost_or_doubled(), *self._out_of_turn(), *self._out_of_order(), *self._unexpected()]

    def _lost_or_doubled(self) -> Iterator[str]:
        ended = {note["id"] for note in self.of("acking")}
        ids: dict[str, set[int]] = defaultdict(set)
        for note in self.of("taken"):
            ids[note["body"]].add(note["id"])
        for note in self.of("put"):
            for body, number in zip(note["bodies"], note["ids"], strict=True):
                ids[body].add(number)
                if number not in ended:
                    yield f"message {number} ({body}) was put, and nobody ever acknowledged it: lost"
        yield from (f"{body} stands in the queue {len(numbers)} times: {numbers}" for body, numbers in ids.items() if len(numbers) > 1)

    def _out_of_turn(self) -> Iterator[str]:
        # Not by the order of the notes: an answer may be late, and tell of a delivery that has passed meanwhile.
        invisible_until: dict[tuple[int, int], float] = {}
        for note in self.of("taken", "extended"):
            delivery = note["id"], note["deliveries"]
            invisible_until[delivery] = max(invisible_until.get(delivery, 0.0), note["asked_at"] + VISIBILITY_S)
        returned = {(note["id"], note["deliveries"]) for note in self.of("nacking")}
        acked_at = {note["id"]: note["at"] for note in self.of("acked")}
        for note in self.of("taken"):
            before = note["id"], note["deliveries"] - 1
            early_s = invisible_until.get(before, 0.0) - note["at"]
            if early_s > SLACK_S and before not in returned:
                yield f"message {note['id']} is delivered again {early_s:.3f} s before its timeout: {note}"
            if note["asked_at"] > acked_at.get(note["id"], float("inf")):
                yield f"message {note['id']} is delivered after its ack: {note}"

    def _out_of_order(self) -> Iterator[str]:
        for notes in self.lives:
            newest: dict[int, int] = {}
            for note in notes:
                if note["what"] == "taken" and note["deliveries"] == 1:
                    if note["id"] < newest.get(note["priority"], 0):
                        yield f"message {note['id']} comes after {newest[note['priority']]} of the same priority {note['priority']}"
                    newest[note["priority"]] = note["id"]

    def _unexpected(self) -> Iterator[str]:
        yield from (str(note) for note in self.of("trouble") if note["outcome"] == "refused")
        yield from (str(note) for note in self.of("refused") if note["code"] != "stale_receipt")

    def summary(self) -> str:
        """How much was done."""
        counts = {what: sum(1 for _ in self.of(what)) for what in ("taken", "acked", "nacking", "extended", "refused", "trouble")}
        put = sum(len(note["ids"]) for note in self.of("put"))
        again = sum(note["deliveries"] > 1 for note in self.of("taken"))
        return f"{put:,} messages put, " + ", ".join(f"{count:,} {what}" for what, count in counts.items()) + f", {again:,} delivered again"


def main() -> int:
    """Rounds, then the verdict; 0 only if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--consumers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--directory", type=Path, help="kept; else a temporary one")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="txraft-queue-rounds-", ignore_cleanup_errors=True) as temporary:
        directory = (given.directory or Path(temporary)).absolute()
        cluster = LocalCluster.make(directory, machines={"queue": "queue"})
        names = [("producer", number) for number in range(given.producers)] + [("consumer", number) for number in range(given.consumers)]
        workers = [Process(kind, f"{kind}-{n}", directory / f"{kind}-{n}.notes", cluster.endpoints, given.seed + n) for kind, n in names]
        try:
            problems = run_rounds(cluster, workers, given.rounds, random.Random(given.seed))
        except TxraftError as error:
            problems = [str(error)]
        finally:
            for worker in workers:
                worker.kill()
            cluster.kill()
        record = Record.read([worker.file for worker in workers])
        problems += record.problems()
    for problem in problems[:20]:
        print(f"WRONG: {problem}")
    print(f"FAILED ({len(problems)}); again with --seed {given.seed}" if problems else f"All is well: {record.summary()}")
    return 1 if problems else 0


def run_rounds(cluster: LocalCluster, workers: list[Process], rounds: int, rng: random.Random) -> list[str]:
    """What went wrong on the way."""
    cluster.start()
    cluster.leader(LEADER_S)
    for worker in workers:
        worker.start()
    for number in range(rounds):
        time.sleep(rng.uniform(0.3, 1.2))
        kind = KINDS[number % len(KINDS)]
        ended = [worker.name for worker in workers if worker.process is not None and worker.process.poll() is not None]
        if ended:
            return [f"{', '.join(ended)} ended by itself"]
        print(f"round {number + 1}/{rounds}  killed {one_round(cluster, workers, kind, rng)}", flush=True)
    cluster.leader(LEADER_S)
    codes = {worker.name: worker.stop() for worker in workers if worker.kind == "producer"}
    drain(cluster)
    codes |= {worker.name: worker.stop() for worker in workers if worker.kind == "consumer"}
    problems = [f"exit codes of workers after SIGTERM: {codes}"] if any(codes.values()) else []
    digests = {status["name"]: status["digest"] for status in cluster.level(LEADER_S)}
    if len(set(digests.values())) != 1:
        problems.append(f"the states differ: {digests}")
    return problems


def one_round(cluster: LocalCluster, workers: list[Process], kind: str, rng: random.Random) -> str:
    """Kill, start again, and wait for a leader; whom."""
    if kind in ("consumer", "producer"):
        victim = rng.choice([worker for worker in workers if worker.kind == kind])
        victim.kill()
        victim.start()
        return victim.name
    leader = cluster.leader(LEADER_S)
    others = [node for node in cluster.nodes if node is not leader]
    killed = {"all": cluster.nodes, "leader": [leader], "follower": [rng.choice(others)]}[kind]
    for node in killed:
        node.kill()
    time.sleep(rng.uniform(0, 1.0))
    cluster.start()
    cluster.leader(LEADER_S)
    return " ".join(node.name for node in killed)


def drain(cluster: LocalCluster) -> None:
    """Wait until the consumers have emptied the queue. Raises `ClusterTrouble`."""
    give_up_at = time.monotonic() + DRAIN_S
    with BlockingClient(cluster.endpoints) as client:
        while True:
            stats = client.query("queue", "stats", queue=QUEUE)
            left = stats["ready"] + stats["in_flight"] + stats["delayed"]
            if not left:
                return
            if time.monotonic() > give_up_at:
                raise ClusterTrouble(f"{left} messages are still there after {DRAIN_S:g} s: {stats}")
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
