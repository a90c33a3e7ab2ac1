"""Real nodes whose disk is full, and then is not: a file system of one megabyte each, which the test fills and empties."""

from __future__ import annotations

from tests.support.fault_case import ELECTION_S, READY_S, Additions, FaultTestCase
from tests.support.small_disk import SmallDisk
from txraft.cli.local_cluster import LocalCluster, LocalNode

DISK_BYTES = 1_048_576
LIMITS = {"segment_bytes": 8_192, "reserve_bytes": 65_536}
ELECTED_S = 3 * 2 * ELECTION_S


class FullDisk(FaultTestCase):
    """Whoever has no room says so and does not lead; what it has is safe, can be read, and grows again when there is room."""

    def on_small_disks(self) -> tuple[LocalCluster, dict[str, SmallDisk], LocalNode]:
        """A cluster, the disk of each node, and the leader."""
        cluster = self.quick_cluster(limits=LIMITS)
        disks = {node.name: self.small_disk(node, DISK_BYTES) for node in cluster.nodes}
        cluster.start()
        return cluster, disks, cluster.leader(READY_S)

    def is_full(self, node: LocalNode) -> bool:
        """Whether it says so, wherever somebody might look."""
        status = node.status()
        return status is not None and "no room" in status["alarm"] and self.readyz(node)[0] == 503

    def waits(self, node: LocalNode) -> bool:
        """Whether it waits for room to open its directory in."""
        status = node.status()
        return status is not None and status["stage"] == "opening" and "No space left on device" in status["alarm"]

    def test_row_62_a_full_leader_gives_way_and_comes_back_when_there_is_room(self) -> None:
        cluster, disks, leader = self.on_small_disks()
        additions = Additions()
        self.assertTrue(additions.add(leader))
        disks[leader.name].fill()
        self.assertEqual(disks[leader.name].free_bytes, 0)
        cluster.wait_until(lambda: not additions.add(leader) or self.is_full(leader), READY_S, "the disk is not full")
        second = cluster.leader(ELECTED_S, other_than=leader.name)
        self.assertTrue(additions.add(second), additions.code)
        cluster.wait_until(lambda: self.is_full(leader), READY_S, f"{leader.name} does not say that its disk is full")
        self.assertTrue(leader.running)
        self.assertEqual(self.status(leader)["role"], "follower")
        self.assertIn("no room", self.readyz(leader)[1])
        before = self.value(leader, consistency="local")
        self.assertGreater(before, 0)
        for _ in range(150):
            # More than a segment: the others go on.
            self.assertTrue(additions.add(second), additions.code)
        self.assertIn(self.value(leader), additions.possible)  # it asks the leader
        disks[leader.name].empty()
        cluster.wait_until(lambda: not self.is_full(leader), READY_S, f"{leader.name} does not see that there is room")
        self.agree(cluster, additions)
        self.assertEqual(self.readyz(leader)[0], 200)

    def test_every_disk_is_full(self) -> None:
        """Nothing is taken, nothing is lost, and all can be read; with room, and no restart, all go on."""
        cluster, disks, leader = self.on_small_disks()
        additions = Additions()
        self.assertTrue(additions.add(leader))
        for disk in disks.values():
            disk.fill()
        cluster.wait_until(lambda: all(map(self.refuses, cluster.nodes, [additions] * 3)), READY_S, "additions are still taken")
        cluster.wait_until(lambda: any(map(self.is_full, cluster.nodes)), READY_S, "no node says that its disk is full")
        for node in cluster.nodes:
            self.assertTrue(node.running, node.name)
            self.assertLessEqual(self.value(node, consistency="local"), additions.possible.stop - 1)
        for disk in disks.values():
            disk.empty()
        self.agree(cluster, additions)
        self.assertEqual([self.is_full(node) for node in cluster.nodes], [False] * 3)

    def refuses(self, node: LocalNode, additions: Additions) -> bool:
        """Add until there is no room; whether the answer tells the truth: not applied, and why, or unknown."""
        while additions.add(node, timeout_s=0.5):
            pass
        return additions.code in ("disk_full", "no_leader", "timeout", "leadership_lost", "not_leader", "not_ready")

    def test_killed_and_started_on_a_full_disk(self) -> None:
        """With its reserve it starts and goes on for a while; without any room it says so, and waits until there is some."""
        cluster, disks, leader = self.on_small_disks()
        additions = Additions()
        self.assertTrue(additions.add(leader))
        victim = next(node for node in cluster.nodes if node is not leader)
        disk = disks[victim.name]
        disk.fill()
        victim.kill()
        self.back(cluster, victim)
        self.assertFalse((disk.root / victim.name / "reserve").exists())
        while not self.is_full(victim):
            self.assertTrue(additions.add(leader), additions.code)
        victim.kill()
        disk.fill()
        victim.start()
        cluster.wait_until(lambda: self.waits(victim), READY_S, f"{victim.name} does not wait for room")
        self.assertTrue(additions.add(leader), additions.code)
        disk.empty()
        cluster.wait_until(lambda: self.takes_part(victim), READY_S, f"{victim.name} does not take part")
        self.agree(cluster, additions)
        self.assertEqual(self.status(victim)["alarm"], "")
        self.assertTrue((disk.root / victim.name / "reserve").exists())
