"""Locks, semaphores, elections and write locks on three nodes; nodes and holders are killed again and again, and never do two hold one.

    python -m tests.end_to_end.recipe_rounds --rounds 50 [--seed N] [--directory DIR]

Two client processes, one of each form, contend with one recipe of each kind. A round waits until one of them has just noted that it waits,
holds, releases, or keeps a lease through a long hold, and kills with SIGKILL the leader at that moment, or the process that holds; or stops
that for longer than its lease. What the processes noted is held against what the recipes promise:

* never two holders at a time: none enters before the one before it has left, has seen that it is lost, or is dead;
* fencing tokens only grow, from holder to holder, and none is given twice;
* the resource that all write their tokens to never turns away somebody who holds it;
* after each kill everybody gets everything again.
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.end_to_end.recipe_contender import KINDS, TTL_S
from txraft.cli.local_cluster import ClusterTrouble, LocalCluster
from txraft.errors import TxraftError

LEADER_S = 30.0
MOMENT_S = 60.0
PROGRESS_S = 60.0

MOMENTS = {
    "leader, while somebody holds": ("leader", "entered", 0.0),
    "holder": ("holder", "entered", 0.0),
    "leader, while somebody waits": ("leader", "waiting", 0.03),
    "leader, while somebody releases": ("leader", "releasing", 0.0),
    "leader, while a lease is kept": ("leader", "entered", TTL_S / 3),
    "holder, after it has written": ("holder", "written", 0.05),
    "nobody, but stopped a holder for longer than its lease": ("pause", "entered", 0.0),
}
"""Whom to kill, upon which note, and how many seconds after it."""

Note = Mapping[str, Any]


@define
class Contender:
    """A client process, started anew after each kill.

    Attributes:
        deaths: by process id, when it was certainly dead.
    """

    form: str
    file: Path
    endpoints: list[str]
    seed: int
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0
    deaths: dict[int, float] = field(factory=dict)

    def start(self) -> None:
        """Begin its next life."""
        self.lives += 1
        name = f"{self.form}.{self.lives}"
        command = [sys.executable, "-m", "tests.end_to_end.recipe_contender", self.form, name, str(self.file), ",".join(self.endpoints)]
        self.process = subprocess.Popen([*command, f"{self.seed}/{name}"])

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.deaths.setdefault(self.process.pid, time.monotonic())

    def pause(self, seconds: float) -> None:
        """SIGSTOP, and after a while SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


@define
class Record:
    """What the contenders noted.

    Attributes:
        notes: in the order of their times.
        deaths: of processes.
    """

    notes: list[Note]
    deaths: Mapping[int, float] = field(factory=dict)

    @classmethod
    def read(cls, contenders: list[Contender]) -> Record:
        """The notes in their files."""
        files = [one.file for one in contenders if one.file.exists()]
        notes = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        deaths = {pid: at for one in contenders for pid, at in one.deaths.items()}
        return cls(sorted(notes, key=lambda note: float(note["at"])), deaths)

    def problems(self) -> list[str]:
        """What must not have happened."""
        return [problem for kind in KINDS for problem in self._of_kind([note for note in self.notes if note["kind"] == kind])]

    def _of_kind(self, notes: list[Note]) -> Iterator[str]:
        ends = {(note["pid"], note["token"]): float(note["until"]) for note in notes if note["what"] in ("left", "lost")}
        before: Note | None = None
        for note in notes:
            name, kind = note["name"], note["kind"]
            if note["what"] == "written" and note["fenced_off"] and note["held"]:
                yield f"{kind}: {name} holds it with {note['token']}, and the resource has seen a greater token"
            if note["what"] != "entered":
                continue
            if before is not None:
                never = float("inf")
                end = min(ends.get((before["pid"], before["token"]), never), self.deaths.get(before["pid"], never))
                if end > note["at"]:
                    yield f"{kind}: {name} has entered with {note['token']} while {before['name']} held it with {before['token']}"
                if note["token"] <= before["token"]:
                    yield f"{kind}: token {note['token']} comes after {before['token']}"
            before = note

    def summary(self) -> str:
        """How much was done."""
        counts = {what: sum(note["what"] == what for note in self.notes) for what in ("entered", "left", "lost", "timeout", "trouble")}
        fenced = sum(note["what"] == "written" and note["fenced_off"] for note in self.notes)
        return ", ".join(f"{count:,} {what}" for what, count in counts.items()) + f", {len(self.deaths)} died, {fenced} fenced off"


def main() -> int:
    """Rounds, then the verdict; 0 only if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--directory", type=Path, help="kept; else a temporary one")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="txraft-recipe-rounds-", ignore_cleanup_errors=True) as temporary:
        directory = (given.directory or Path(temporary)).absolute()
        cluster = LocalCluster.make(directory, machines={"config": "config", "counter": "counter"})
        contenders = [Contender(form, directory / f"{form}.notes", cluster.endpoints, given.seed) for form in ("blocking", "deferred")]
        try:
            problems = run_rounds(cluster, contenders, given.rounds, random.Random(given.seed))
        except TxraftError as error:
            problems = [str(error)]
        finally:
            for contender in contenders:
                contender.kill()
            cluster.kill()
        record = Record.read(contenders)
        problems += record.problems()
    for problem in problems[:20]:
        print(f"WRONG: {problem}")
    print(f"FAILED ({len(problems)}); again with --seed {given.seed}" if problems else f"All is well: {record.summary()}")
    return 1 if problems else 0


def run_rounds(cluster: LocalCluster, contenders: list[Contender], rounds: int, rng: random.Random) -> list[str]:
    """What went wrong on the way."""
    cluster.start()
    cluster.leader(LEADER_S)
    for contender in contenders:
        contender.start()
    wait_for_progress(contenders)
    for number in range(rounds):
        moment = list(MOMENTS)[number % len(MOMENTS)]
        begin = time.monotonic()
        whom = one_round(cluster, contenders, moment, rng)
        killed = time.monotonic()
        wait_for_progress(contenders)
        seconds = f"after {killed - begin:.1f} s, all go on {time.monotonic() - killed:.1f} s later"
        print(f"round {number + 1}/{rounds}  killed {moment}: {whom}, {seconds}", flush=True)
    codes = {contender.form: contender.stop() for contender in contenders}
    return [f"exit codes of the contenders after SIGTERM: {codes}"] if any(codes.values()) else []


def one_round(cluster: LocalCluster, contenders: list[Contender], moment: str, rng: random.Random) -> str:
    """Wait for the moment, kill, and start again; whom."""
    whom, what, after_s = MOMENTS[moment]
    long = after_s > 1
    contender = rng.choice(contenders)
    kind = rng.choice(KINDS)
    leader = cluster.leader(LEADER_S)
    tail = Tail(contender.file)

    def now() -> bool:
        return any(note["what"] == what and note["kind"] == kind and note["long"] >= long for note in tail.new())

    wait_until(now, MOMENT_S, lambda: f"{contender.form}: {what}, {kind}")
    time.sleep(after_s)
    if whom == "pause":
        contender.pause(2 * TTL_S)
        return f"{contender.form}, {kind}"
    if whom == "holder":
        contender.kill()
        contender.start()
        return f"{contender.form}, {kind}"
    leader.kill()
    time.sleep(rng.uniform(0, 0.5))
    cluster.start()
    return f"{leader.name}, {contender.form}, {kind}"


@define
class Tail:
    """The notes that are added to a file from now on."""

    file: Path
    read_bytes: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.read_bytes = self.file.stat().st_size if self.file.exists() else 0

    def new(self) -> list[Note]:
        """Since it was asked last."""
        if not self.file.exists():
            return []
        with self.file.open("rb") as notes:
            notes.seek(self.read_bytes)
            content = notes.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.read_bytes += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def wait_for_progress(contenders: list[Contender]) -> None:
    """Wait until each of the contenders has had, and left, a recipe of each kind."""
    tails = {contender.form: Tail(contender.file) for contender in contenders}
    missing = {(contender.form, kind) for contender in contenders for kind in KINDS}

    def all_go_on() -> bool:
        ended = [contender.form for contender in contenders if contender.process is not None and contender.process.poll() is not None]
        if ended:
            raise ClusterTrouble(f"{', '.join(ended)} ended by itself")
        for form, tail in tails.items():
            missing.difference_update((form, note["kind"]) for note in tail.new() if note["what"] == "left")
        return not missing

    wait_until(all_go_on, PROGRESS_S, lambda: f"{', '.join(sorted(f'{form} {kind}' for form, kind in missing))} to go on")


def wait_until(look: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
    """Raises `ClusterTrouble` if it does not come."""
    give_up_at = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > give_up_at:
            raise ClusterTrouble(f"waited for {timeout_s:g} s in vain for {what()}")
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
