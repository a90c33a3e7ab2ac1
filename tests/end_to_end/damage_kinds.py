"""What one round of `damage_rounds` does to the nodes. Each kind begins with a whole cluster, and says in a few words what it has done.

A kind that waits for a moment (a file that is half written) may miss it: it says so, and that is no mistake.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests.support.broken_files import NodeFiles, cut, flip_bit, lose_unsynced
from tests.support.processes import post_json
from tests.support.spoiled_disk import SpoiledDisk, require_strace
from txraft.cli.local_cluster import LocalCluster, LocalNode

__all__ = ["KINDS", "Round"]

LEADER_S = 30.0
MOMENT_S = 5.0
LOOK_S = 0.001
HANGS_US = 60_000_000


@frozen
class Round:
    """One round.

    Attributes:
        cluster: all of whose nodes take part.
        rng: decides everything that is left open.
        acknowledged: how many increments have been, so far.
        number: of the round.
    """

    cluster: LocalCluster
    rng: random.Random
    acknowledged: Callable[[], int]
    number: int

    @property
    def leader(self) -> LocalNode:
        """Who leads."""
        return self.cluster.leader(LEADER_S)

    def follower(self) -> LocalNode:
        """One of those that do not."""
        leader = self.leader
        return self.rng.choice([node for node in self.cluster.nodes if node is not leader])

    def files(self, node: LocalNode) -> NodeFiles:
        """Its directory."""
        return NodeFiles(self.cluster.directory / node.name)

    def work(self, increments: int) -> None:
        """Wait until so many more are acknowledged."""
        goal = self.acknowledged() + increments
        self.cluster.wait_until(lambda: self.acknowledged() >= goal, LEADER_S, "no increment was acknowledged")

    def moment(self, look: Callable[[], bool]) -> bool:
        """Wait for a moment that may never come; whether it did."""
        give_up_at = time.monotonic() + MOMENT_S
        while time.monotonic() < give_up_at:
            if look():
                return True
            time.sleep(LOOK_S)
        return False

    def ask_for_snapshot(self, node: LocalNode) -> threading.Thread:
        """Let a node take a snapshot; does not wait for it."""

        def ask() -> None:
            # It may be killed while we wait for its answer.
            with suppress(OSError, ValueError):
                post_json(node.endpoint, "/v1/snapshot", {}, timeout_s=10)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread


def kill(this: Round) -> str:
    """The leader, a follower, or all."""
    this.work(this.rng.randrange(20, 200))
    leader = this.leader
    victims = this.rng.choice([[leader], [this.follower()], this.cluster.nodes])
    for victim in victims:
        victim.kill()
    time.sleep(this.rng.uniform(0, 0.5))
    return "killed " + " ".join(victim.name for victim in victims)


def while_writing(this: Round) -> str:
    """A node that writes a snapshot."""
    victim = this.rng.choice(this.cluster.nodes)
    this.ask_for_snapshot(victim)
    path, size = this.files(victim).root / "snapshots" / "new", this.rng.randrange(300_000)
    met = this.moment(lambda: size_of(path) > size)
    written = size_of(path)
    victim.kill()
    return f"killed {victim.name} " + (f"with {written:,} bytes of a snapshot written" if met else "; it wrote no snapshot just then")


def while_sending(this: Round) -> str:
    """The sender or the receiver of a snapshot."""
    receiver = left_behind(this)
    victim = this.rng.choice([receiver, this.leader])
    receiver.start()
    size = this.rng.randrange(300_000)
    met = this.moment(lambda: received(this, receiver) > size)
    arrived = received(this, receiver)
    victim.kill()
    which = "receiver" if victim is receiver else "sender"
    return f"killed the {which} {victim.name} " + (
        f"with {arrived:,} bytes of a snapshot sent" if met else "; no snapshot was being sent just then"
    )


def while_restoring(this: Round) -> str:
    """A node that has just received a whole snapshot."""
    receiver = left_behind(this)
    before = [path.name for path in this.files(receiver).snapshots]
    receiver.start()
    met = this.moment(lambda: [path.name for path in this.files(receiver).snapshots][-1:] > before[-1:])
    time.sleep(this.rng.choice([0.0, 0.005, 0.02, 0.05]))
    receiver.kill()
    return f"killed {receiver.name} " + ("right behind a snapshot that was sent to it" if met else "; no snapshot was sent to it")


def absence(this: Round) -> str:
    """A follower that needs a snapshot, and gets one."""
    receiver = left_behind(this)
    before = [path.name for path in this.files(receiver).snapshots]
    receiver.start()
    met = this.moment(lambda: [path.name for path in this.files(receiver).snapshots][-1:] > before[-1:])
    return f"{receiver.name} came back " + ("and was sent a snapshot" if met else "and needed no snapshot")


def left_behind(this: Round) -> LocalNode:
    """A follower, killed, and the others do not have any more what it needs next."""
    follower = this.follower()
    had = (follower.status() or {}).get("last_index", 0) + 200  # what may come before the kill included
    follower.kill()
    this.work(150)
    for node in this.cluster.nodes:
        if node is not follower:
            this.cluster.wait_until(partial(drops, this, node, had), LEADER_S, f"{node.name} keeps its whole log")
    return follower


def drops(this: Round, node: LocalNode, index: int) -> bool:
    """Let a node take a snapshot; whether its log begins behind this entry now."""
    this.ask_for_snapshot(node).join()
    return bool((node.status() or {}).get("base_index", 0) > index)


def snapshots_now(this: Round) -> str:
    """Some of the nodes."""
    asked = this.rng.sample(this.cluster.nodes, this.rng.randrange(1, 4))
    threads = [this.ask_for_snapshot(node) for node in asked]
    for thread in threads:
        thread.join()
    return "snapshots on " + " ".join(node.name for node in asked)


def damage(this: Round) -> str:
    """Files of one node; sometimes nodes are killed while it gets them back."""
    victim = this.rng.choice(this.cluster.nodes)
    this.work(this.rng.randrange(20, 100))
    victim.kill()
    done = break_files(this.files(victim), this.rng)
    this.cluster.leader(LEADER_S)
    this.work(20)
    victim.start()
    if this.rng.random() < 0.4:
        time.sleep(this.rng.uniform(0.2, 1.2))
        killed = this.rng.choice([*([node] for node in this.cluster.nodes), this.cluster.nodes])
        for node in killed:
            node.kill()
        done.append(f"killed meanwhile: {' '.join(node.name for node in killed)}")
        this.cluster.start()
    note = this.files(victim).note_of_repair
    this.cluster.wait_until(lambda: takes_part(victim) and not note.exists(), LEADER_S, f"{victim.name} is not repaired")
    return f"{victim.name}: " + "; ".join(done)


def takes_part(node: LocalNode) -> bool:
    """Whether it votes and acknowledges."""
    status = node.status()
    return bool(status and status["ready"] and status["role"] != "repairing")


def break_files(files: NodeFiles, rng: random.Random) -> list[str]:
    """One to three damages that can be seen; what was done. The newest records are spared: nothing proves that they were there."""
    older, newest, snapshots, metadata = files.segments[:-1], files.segments[-1], files.snapshots, files.metadata

    def remove(path: Path) -> str:
        path.unlink(missing_ok=True)
        return f"{path.name} is removed"

    def shorten(path: Path) -> str:
        cut(path, size := rng.randrange(path.stat().st_size))
        return f"{path.name} is cut to {size} bytes"

    def zero(path: Path) -> str:
        path.write_bytes(bytes(path.stat().st_size))
        return f"{path.name} is zeros"

    choices: list[Callable[[], str]] = [
        lambda: flip_bit(newest, rng),
        lambda: zero(rng.choice(metadata)),
        lambda: ", ".join(map(zero, metadata)),
        lambda: ", ".join(map(remove, metadata)),
        lambda: ", ".join(map(remove, files.segments)),
    ]
    if older:
        choices += [
            lambda: flip_bit(rng.choice(older), rng),
            lambda: shorten(rng.choice(older)),
            lambda: remove(rng.choice(older)),
        ]
    if snapshots:
        choices += [lambda: flip_bit(snapshots[-1], rng), lambda: shorten(snapshots[-1]), lambda: remove(snapshots[-1])]
    done: list[str] = []
    while not done:
        for choice in rng.sample(choices, rng.choice([1, 1, 2, 3])):
            # The file may be gone by the choice before, or have too few records.
            with suppress(FileNotFoundError, ValueError):
                done.append(choice())
    return done


def power(this: Round) -> str:
    """All disks stop in mid-write, all nodes are killed, and each loses some of what it had not synced."""
    try:
        require_strace()
    except SkipTest as reason:
        return f"skipped: {reason}"
    this.work(50)
    nth = this.rng.randrange(1, 6)
    record = this.cluster.directory / f"{this.number}.calls"
    disks = SpoiledDisk.of([node.pid for node in this.cluster.nodes], f"fdatasync:delay_enter={HANGS_US}:when={nth}+", record)
    time.sleep(this.rng.uniform(0.1, 0.4))
    for node in this.cluster.nodes:
        node.process.kill()  # type: ignore[union-attr]
    # As long as strace delays a call, a process that was killed has not ended.
    disks.end()
    this.cluster.kill()
    lost = lose_unsynced(disks.calls(), this.rng)
    return f"the power is cut: {lost} sectors are lost"


def size_of(path: Path) -> int:
    """Bytes of a file; 0 without it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def received(this: Round, node: LocalNode) -> int:
    """Bytes of a snapshot that is on its way to a node."""
    return sum(size_of(path) for path in (this.files(node).root / "snapshots").glob("incoming-*"))


KINDS: dict[str, Callable[[Round], str]] = {
    "kill": kill,
    "writing": while_writing,
    "sending": while_sending,
    "restoring": while_restoring,
    "damage": damage,
    "power": power,
    "snapshot": snapshots_now,
    "absence": absence,
}
"""By name."""
