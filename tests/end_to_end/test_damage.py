"""Real nodes whose files are damaged while they are down: they get everything back from the others, and do not vote before."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.broken_files import RECORD_MAGIC, NodeFiles, cut, flip_bit
from tests.support.fault_case import ELECTION_S, READY_S, Additions, FaultTestCase
from tests.support.processes import post_json
from txraft.cli.local_cluster import LocalCluster, LocalNode

LIMITS = {"segment_bytes": 8_192, "trailing_entries": 5}
LONG_NAME = "visits-" * 50
"""A counter's; some twenty additions fill a segment."""

ELECTED_S = 3 * 2 * ELECTION_S

Damage = Callable[[NodeFiles, random.Random], object]


def flipped_bit_in_the_middle(files: NodeFiles, rng: random.Random) -> None:
    flip_bit(files.segments[1], rng)


def flipped_bit_in_the_newest(files: NodeFiles, rng: random.Random) -> None:
    flip_bit(files.segments[-1], rng)


def missing_segment(files: NodeFiles, rng: random.Random) -> None:
    files.segments[1].unlink()


def missing_beginning(files: NodeFiles, rng: random.Random) -> None:
    files.segments[0].unlink()


def missing_end(files: NodeFiles, rng: random.Random) -> None:
    files.segments[-1].unlink()


def short_segment(files: NodeFiles, rng: random.Random) -> None:
    cut(files.segments[1], rng.randrange(100, 7_000))


def missing_log(files: NodeFiles, rng: random.Random) -> None:
    for segment in files.segments:
        segment.unlink()


def lost_votes(files: NodeFiles, rng: random.Random) -> None:
    for path in files.metadata:
        path.write_bytes(bytes(path.stat().st_size))


def flipped_bit_in_the_snapshot(files: NodeFiles, rng: random.Random) -> None:
    flip_bit(files.snapshots[-1], rng)


def short_snapshot(files: NodeFiles, rng: random.Random) -> None:
    cut(files.snapshots[-1], files.snapshots[-1].stat().st_size - 1)


def missing_snapshot(files: NodeFiles, rng: random.Random) -> None:
    files.snapshots[-1].unlink()


class DamageTestCase(FaultTestCase):
    """A cluster with several segments, to be damaged."""

    def setUp(self) -> None:
        super().setUp()
        self.rng = random.Random(self.id())
        self.additions = Additions(LONG_NAME)

    def files(self, node: LocalNode) -> NodeFiles:
        return NodeFiles(self.folder / node.name)

    def filled(self, count: int = 3) -> tuple[LocalCluster, LocalNode]:
        """A started cluster and its leader; each log has at least four segments, with some records in the newest."""
        cluster, leader = self.started(count, limits=LIMITS)
        cluster.wait_until(lambda: self.grown(leader, 4), READY_S, "the log does not grow")
        cluster.level(READY_S)
        return cluster, leader

    def grown(self, leader: LocalNode, segments: int) -> bool:
        self.assertTrue(self.additions.add(leader), self.additions.code)
        found = self.files(leader).segments
        return len(found) >= segments and found[-1].read_bytes().count(RECORD_MAGIC) > 6

    def repaired(self, cluster: LocalCluster, victim: LocalNode) -> None:
        """It takes part, has said why it did not, and nothing is lost."""
        self.agree(cluster, self.additions)
        cluster.wait_until(lambda: self.status(victim)["role"] in ("leader", "follower"), READY_S, f"{victim.name} is not repaired")
        self.assertFalse(self.files(victim).note_of_repair.exists())


class DamagedServer(DamageTestCase):
    """One server of three lost some of what it had acknowledged. The others must not follow it into the hole."""

    def the_whole_story(self, damage: Damage) -> None:
        """The last leader: alone, with one other, with both; then its vote is needed, and is good for something."""
        cluster, victim = self.filled()
        other, third = (node for node in cluster.nodes if node is not victim)
        cluster.kill()
        damage(self.files(victim), self.rng)
        kept = self.contents(victim)

        victim.start()
        cluster.wait_until(lambda: (victim.status() or {}).get("role") == "repairing", READY_S, "it does not say that it repairs")
        status = self.status(victim)
        self.assertFalse(status["ready"])
        for name in (other.name, third.name):
            self.assertIn(name, status["reason"].partition("It does not reach")[2])
        self.assertEqual(self.readyz(victim), (503, status["reason"] + "\n"))
        self.assertIn("it neither votes nor acknowledges anything", self.said(victim))
        self.assertTrue(self.files(victim).note_of_repair.exists())
        self.assertLessEqual(kept, self.contents(victim), "bytes are gone")

        other.start()
        self.nobody_leads(cluster, victim, other)
        self.assertFalse(self.additions.add(other, timeout_s=0.2))

        third.start()
        self.assertIsNot(cluster.leader(READY_S), victim)
        self.repaired(cluster, victim)
        cluster.leader(READY_S).kill()
        self.assertTrue(self.additions.add(cluster.leader(READY_S)), self.additions.code)

    def contents(self, node: LocalNode) -> set[str]:
        """Of segments, snapshots and what was moved aside."""
        files = self.files(node)
        paths: list[Path] = [*files.segments[:-1], *files.snapshots, *files.moved_aside]
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def nobody_leads(self, cluster: LocalCluster, *nodes: LocalNode) -> None:
        cluster.wait_until(lambda: all(node.status() for node in nodes), READY_S, "a node does not answer")
        give_up_at = time.monotonic() + ELECTED_S
        while time.monotonic() < give_up_at:
            roles = [self.status(node)["role"] for node in nodes]
            self.assertNotIn("leader", roles)
            self.assertEqual(roles[0], "repairing")
            time.sleep(0.05)

    def test_a_flipped_bit_in_the_middle_of_the_log(self) -> None:
        self.the_whole_story(flipped_bit_in_the_middle)

    def test_both_metadata_files(self) -> None:
        self.the_whole_story(lost_votes)

    def test_one_damage_after_the_other(self) -> None:
        cluster, _ = self.filled()
        for damage in (flipped_bit_in_the_newest, missing_segment, missing_beginning, missing_end, short_segment, missing_log):
            victim = next(node for node in cluster.nodes if self.status(node)["role"] == "follower")
            victim.kill()
            damage(self.files(victim), self.rng)
            leader = cluster.leader(READY_S)
            for _ in range(5):
                self.assertTrue(self.additions.add(leader), self.additions.code)
            victim.start()
            self.repaired(cluster, victim)
            self.assertIn("repair", self.said(victim), damage.__name__)
            cluster.wait_until(lambda: self.grown(cluster.leader(READY_S), 4), READY_S, "the log does not grow")
            cluster.level(READY_S)

    def test_one_of_the_two_metadata_files(self) -> None:
        """The other holds the same: nothing is lost."""
        cluster, leader = self.filled()
        victim = next(node for node in cluster.nodes if node is not leader)
        for metadata in self.files(victim).metadata:
            victim.kill()
            metadata.write_bytes(b"")
            self.back(cluster, victim)
        self.assertNotIn("repair", self.said(victim))
        self.agree(cluster, self.additions)


class DamagedSnapshot(DamageTestCase):
    """The log begins behind a snapshot, and that is lost."""

    def test_one_damage_after_the_other(self) -> None:
        cluster, _ = self.filled()
        for damage in (flipped_bit_in_the_snapshot, short_snapshot, missing_snapshot):
            victim = next(node for node in cluster.nodes if self.status(node)["role"] == "follower")
            for node in cluster.nodes:
                status, answer = post_json(node.endpoint, "/v1/snapshot", {})
                self.assertEqual(status, 200, answer)
            victim.kill()
            (snapshot,) = self.files(victim).snapshots
            damage(self.files(victim), self.rng)
            broken = snapshot.read_bytes() if snapshot.exists() else None
            self.assertTrue(self.additions.add(cluster.leader(READY_S)))
            victim.start()
            self.repaired(cluster, victim)
            self.assertIn("repair", self.said(victim), damage.__name__)
            if broken is not None:
                self.assertIn(broken, [path.read_bytes() for path in self.files(victim).moved_aside])


class DamagedWhileRunning(DamageTestCase):
    """What was whole at the start is not for ever."""

    def test_an_old_entry_that_a_follower_needs_is_unreadable(self) -> None:
        """The node that finds it ends; the others go on, and mend it when it is started again."""
        cluster, leader = self.started(limits={**LIMITS, "log_cache_bytes_max": 1_000})
        behind, other = (node for node in cluster.nodes if node is not leader)
        behind.kill()
        cluster.wait_until(lambda: self.grown(leader, 4), READY_S, "the log does not grow")
        flipped_bit_in_the_middle(self.files(leader), self.rng)
        behind.start()
        self.assertIn("damaged", self.ended_with(leader, 74))
        self.assertIsNot(cluster.leader(READY_S), leader)
        self.assertTrue(self.additions.add(other), self.additions.code)
        leader.start()
        self.repaired(cluster, leader)
        self.assertIn("it neither votes nor acknowledges anything", self.said(leader))


class DamagedAlone(DamageTestCase):
    """Nobody has what a cluster of one server has lost."""

    def test_it_refuses_and_changes_nothing(self) -> None:
        node = self.filled(1)[1]
        node.kill()
        flipped_bit_in_the_middle(self.files(node), self.rng)
        before = {path.name: path.read_bytes() for path in self.files(node).segments}
        node.start()
        said = self.ended_with(node, 74)
        self.assertIn("damaged", said)
        self.assertEqual({path.name: path.read_bytes() for path in self.files(node).segments}, before)
        self.assertEqual(self.files(node).moved_aside, [])
