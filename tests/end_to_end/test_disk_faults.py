"""Real nodes whose disk fails or hangs, by strace: what the kernel would say is put into the mouth of the call."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from threading import Thread

from tests.support.broken_files import NodeFiles
from tests.support.fault_case import ELECTION_S, READY_S, Additions, FaultTestCase
from tests.support.processes import post_json
from txraft.cli.local_cluster import LocalCluster, LocalNode

SMALL = {"segment_bytes": 16_384}

ELECTED_S = 3 * 2 * ELECTION_S
"""Three election timeouts, each of which is drawn from one to two times its setting."""

HANGS_US = 60_000_000
"""Longer than any of these tests."""


class FailingDisk(FaultTestCase):
    """EIO, once: the node ends with 74 and has acknowledged nothing that it could not write; the others go on, and it comes back."""

    def stops_and_comes_back(self, cluster: LocalCluster, victim: LocalNode, additions: Additions) -> str:
        said = self.ended_with(victim, 74)
        for words in ("Input/output error", "must stop", "look after the disk"):
            self.assertIn(words, said)
        second = cluster.leader(ELECTED_S + 2, other_than=victim.name)
        self.assertIn(self.value(second), additions.possible)
        self.assertTrue(additions.add(second), additions.code)
        self.back(cluster, victim)
        self.agree(cluster, additions)
        return said

    def test_row_61_an_fsync_of_the_log_that_fails_once_is_not_tried_again(self) -> None:
        """The next one would succeed, and what the kernel dropped would pass for durable."""
        cluster, leader = self.started()
        additions = Additions()
        disk = self.spoil(leader, "fdatasync:error=EIO:when=4")
        additions.add_until_it_fails(leader)
        self.assertGreater(additions.acknowledged, 0)
        self.ended_with(leader, 74)
        calls = disk.calls()
        (failed,) = (number for number, call in enumerate(calls) if "(INJECTED)" in call)
        self.assertIn(".segment", calls[failed])
        self.assertEqual(calls[failed + 1 :], [])
        self.stops_and_comes_back(cluster, leader, additions)

    def test_a_write_to_the_log_that_fails(self) -> None:
        cluster, leader = self.started()
        additions = Additions()
        disk = self.spoil(leader, "pwrite64:error=EIO:when=4")
        additions.add_until_it_fails(leader)
        self.assertGreater(additions.acknowledged, 0)
        self.stops_and_comes_back(cluster, leader, additions)
        self.assertIn("(INJECTED)", disk.calls()[-1])

    def test_an_fsync_of_a_new_segment_that_fails(self) -> None:
        """Of the file, then of its directory; on the leader, then on the one that leads next."""
        cluster, leader = self.started(limits=SMALL)
        additions = Additions()
        for nth in (1, 2):
            disk = self.spoil(leader, f"fsync:error=EIO:when={nth}")
            additions.add_until_it_fails(leader)
            self.stops_and_comes_back(cluster, leader, additions)
            self.assertRegex(disk.calls()[-1], r"fsync\(.*(log/new|/log>).*\(INJECTED\)")
            leader = cluster.leader(ELECTED_S + 2)

    def test_a_vote_that_cannot_be_written_is_not_given(self) -> None:
        """Of three, one is killed and the two others cannot write votes: nobody leads until their disks are good again."""
        cluster, leader = self.started()
        additions = Additions()
        self.assertTrue(additions.add(leader))
        others = [node for node in cluster.nodes if node is not leader]
        disks = [self.spoil(node, "fdatasync:error=EIO", *self.metadata(node)) for node in others]
        leader.kill()
        candidate = self.wait_for(lambda: next((node for node in others if not node.running), None), "the end of the first that votes")
        self.assertIn("must stop", self.ended_with(candidate, 74))
        (other,) = (node for node in others if node is not candidate)
        self.assertNotEqual((other.status() or {}).get("role"), "leader")
        for disk in disks:
            disk.end()
        other.kill()
        self.back(cluster, *cluster.nodes)
        self.agree(cluster, additions)


class FailingSnapshot(FaultTestCase):
    """A disk that fails once is not trusted again, whatever it was for."""

    def test_neither_a_write_nor_an_fsync_may_fail(self) -> None:
        cluster, leader = self.started()
        additions = Additions()
        for fault in ("pwrite64:error=EIO:when=1", "fsync:error=EIO:when=1"):
            self.assertTrue(additions.add(leader), additions.code)
            disk = self.spoil(leader, fault, self.snapshot_in_the_making(leader))
            with contextlib.suppress(OSError):  # it ends with our request in its hands
                post_json(leader.endpoint, "/v1/snapshot", {})
            said = self.ended_with(leader, 74)
            self.assertIn("snapshot", said)
            self.assertIn("must stop", said)
            self.assertIn("(INJECTED)", disk.calls()[-1])
            self.assertIn(self.value(cluster.leader(READY_S)), additions.possible)
            self.back(cluster, leader)
            self.assertEqual(list(leader.file.parent.glob(f"{leader.name}/snapshots/*")), [])
            leader = cluster.leader(READY_S)
        self.agree(cluster, additions)

    def test_commands_do_not_wait_for_a_snapshot_that_hangs(self) -> None:
        cluster, leader = self.started()
        additions = Additions()
        disk = self.spoil(leader, f"pwrite64:delay_enter={HANGS_US}:when=1", self.snapshot_in_the_making(leader))
        asking = Thread(target=post_json, args=(leader.endpoint, "/v1/snapshot", {}, READY_S))
        asking.start()
        cluster.wait_until(lambda: self.status(leader)["snapshot"]["taking"], READY_S, "no snapshot is taken")
        began = time.monotonic()
        while time.monotonic() - began < ELECTED_S:
            self.assertTrue(additions.add(leader), additions.code)
        self.assertEqual((self.status(leader)["role"], self.status(leader)["snapshot"]["index"]), ("leader", 0))
        disk.end()
        asking.join()
        self.assertGreater(self.status(leader)["snapshot"]["index"], 0)
        self.agree(cluster, additions)

    def snapshot_in_the_making(self, node: LocalNode) -> Path:
        return self.folder / node.name / "snapshots" / "new"


class FailingRead(FaultTestCase):
    """What was written cannot be read."""

    def test_an_entry_that_a_follower_needs(self) -> None:
        """The leader ends rather than hold the follower up for ever."""
        cluster, leader = self.started(limits={**SMALL, "log_cache_bytes_max": 1_000})
        additions = Additions("visits-" * 50)
        behind = next(node for node in cluster.nodes if node is not leader)
        behind.kill()
        for _ in range(50):
            self.assertTrue(additions.add(leader), additions.code)
        self.spoil(leader, "pread64:error=EIO", *NodeFiles(self.folder / leader.name).segments[:-1])
        behind.start()
        self.assertIn("Input/output error", self.ended_with(leader, 74))
        self.assertIn(self.value(cluster.leader(READY_S), additions.counter), additions.possible)
        self.back(cluster, leader)
        self.agree(cluster, additions)


class HangingDisk(FaultTestCase):
    """The disk does not answer, and does not fail."""

    def test_row_63_a_leader_gives_way_within_three_election_timeouts(self) -> None:
        cluster, leader = self.started()
        additions = Additions()
        disk = self.spoil(leader, f"fdatasync:delay_enter={HANGS_US}:when=4+")
        additions.add_until_it_fails(leader)
        # The request that hung was answered when its leader stepped down: an election timeout after the disk fell silent.
        began = time.monotonic() - ELECTION_S
        second = cluster.leader(20, other_than=leader.name)
        self.assertLess(time.monotonic() - began, ELECTED_S)
        self.assertIn(self.value(second), additions.possible)
        self.assertEqual(self.status(leader)["role"], "follower")
        self.assertIn("its disk has not answered", self.said(leader))
        disk.end()
        self.agree(cluster, additions)

    def test_a_follower_neither_acknowledges_nor_votes(self) -> None:
        """The other two go on without it; when one of these is lost, nothing goes on before its disk answers."""
        cluster, leader = self.started()
        additions = Additions()
        hanging, other = (node for node in cluster.nodes if node is not leader)
        disk = self.spoil(hanging, f"fdatasync:delay_enter={HANGS_US}")
        self.assertTrue(additions.add(leader))
        before = self.status(leader)["members"][hanging.name]["match_index"]
        for _ in range(5):
            self.assertTrue(additions.add(leader))
        members = self.status(leader)["members"]
        self.assertEqual(members[hanging.name]["match_index"], before)
        self.assertGreater(members[other.name]["match_index"], before)
        self.assertLess(self.status(hanging)["durable_index"], self.status(leader)["durable_index"])
        leader.kill()
        term = self.status(other)["term"]
        give_up_at = time.monotonic() + ELECTED_S
        while time.monotonic() < give_up_at:
            for node in (hanging, other):
                self.assertNotEqual(self.status(node)["role"], "leader", node.name)
            time.sleep(0.05)
        self.assertFalse(additions.add(other, timeout_s=0.2))
        disk.end()
        second = cluster.leader(20)
        self.assertIn(self.value(second), additions.possible)
        self.assertGreater(self.status(second)["term"], term)
        self.back(cluster, leader)
        self.agree(cluster, additions)
