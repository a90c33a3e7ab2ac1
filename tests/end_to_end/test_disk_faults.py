"""Real nodes whose disk fails or hangs, by strace: what the kernel would say is put into the mouth of `fdatasync`."""

from __future__ import annotations

import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.support.processes import ProcessTestCase, post_json
from txraft.cli.local_cluster import TWISTD, LocalCluster, LocalNode

ELECTION_S = 1.0


class FaultyDisk(ProcessTestCase):
    """Three nodes, the first of which leads and has a disk that strace can spoil."""

    def setUp(self) -> None:
        super().setUp()
        strace = shutil.which("strace")
        if strace is None:
            raise SkipTest("strace is not installed")
        works = subprocess.run([strace, "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
        if works.returncode:
            raise SkipTest(f"strace may not trace here: {works.stderr.strip()}")
        self.strace = strace

    def spoiled_leader(self, fault: str) -> tuple[LocalCluster, LocalNode]:
        """A cluster led by a node whose every `fdatasync` from the 40th on has the fault."""
        cluster = self.cluster(3, settings={"timing": {"election_s": ELECTION_S}})
        first = cluster.nodes[0]
        tracing = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{fault}:when=40+"]
        first.command = (self.strace, *tracing, *TWISTD)
        for other in cluster.nodes[1:]:
            # They are slower to campaign until there is a leader.
            other.file.write_text(other.file.read_text().replace(f'"election_s":{ELECTION_S}', '"election_s":4.0'))
            self.assertIn("4.0", other.file.read_text())
        cluster.start()
        leader = cluster.leader(20)
        self.assertIs(leader, first)
        for other in cluster.nodes[1:]:
            other.kill()
            other.file.write_text(other.file.read_text().replace('"election_s":4.0', f'"election_s":{ELECTION_S}'))
            other.start()
            cluster.wait_until(partial(self.is_ready, other), 20, f"{other.name} is not back")
        self.assertEqual((first.status() or {}).get("role"), "leader")
        return cluster, first

    def is_ready(self, node: LocalNode) -> bool:
        return bool((node.status() or {}).get("ready"))

    def add_until_it_fails(self, node: LocalNode) -> tuple[int, int]:
        """Acknowledged additions, and those of unknown outcome."""
        for acknowledged in range(1000):
            try:
                status, answer = post_json(node.endpoint, "/v1/counter/add?timeout=2", {"name": "a"}, timeout_s=4)
            except OSError:
                return acknowledged, 1
            if status != 200:
                return acknowledged, int(answer["outcome"] == "unknown")
        raise self.failureException("the fault never came")

    def value(self, node: LocalNode) -> int:
        status, answer = post_json(node.endpoint, "/v1/counter/get", {"name": "a"})
        self.assertEqual(status, 200, answer)
        return int(answer["result"] or 0)


class FailingFsync(FaultyDisk):
    def test_the_node_stops_without_acknowledging_and_the_cluster_goes_on(self) -> None:
        cluster, first = self.spoiled_leader("error=EIO")
        acknowledged, unknown = self.add_until_it_fails(first)
        self.assertGreater(acknowledged, 0)
        assert first.process is not None
        self.assertEqual(first.process.wait(20), 74)
        said = Path(first.log).read_text()
        self.assertIn("Input/output error", said)
        self.assertIn("must stop", said)
        second = cluster.leader(15)
        self.assertIn(self.value(second), range(acknowledged, acknowledged + unknown + 1))
        self.assertEqual(post_json(second.endpoint, "/v1/counter/add", {"name": "a"})[0], 200)


class HangingFsync(FaultyDisk):
    def test_another_node_leads_within_three_election_timeouts(self) -> None:
        cluster, first = self.spoiled_leader("delay_enter=15000000")
        acknowledged, unknown = self.add_until_it_fails(first)
        # The request that hung was answered when its leader stepped down: an election timeout after the disk fell silent.
        began = time.monotonic() - ELECTION_S
        second = cluster.leader(20, other_than=first.name)
        took = time.monotonic() - began
        self.assertLess(took, 3 * 2 * ELECTION_S, "an election timeout is drawn from one to two times its setting")
        self.assertIn(self.value(second), range(acknowledged, acknowledged + unknown + 1))
        self.assertEqual((first.status() or {}).get("role"), "follower")
        self.assertIn("its disk has not answered", Path(first.log).read_text())
