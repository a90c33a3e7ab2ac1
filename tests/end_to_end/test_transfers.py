"""A follower that needs a snapshot, while the servers at both ends of the transfer are killed."""

from __future__ import annotations

import base64
import random
import re

from tests.support.broken_files import NodeFiles
from tests.support.fault_case import READY_S, Additions, FaultTestCase
from tests.support.processes import post_json
from txraft.cli.local_cluster import LocalCluster, LocalNode

LIMITS = {
    "segment_bytes": 65_536,
    "trailing_entries": 5,
    "snapshot_part_bytes": 8_192,
    "snapshot_chunk_bytes": 16_384,
    "snapshot_bytes_per_s": 262_144,
}
STATE_KEYS, STATE_BYTES = 12, 32_768


class Transfers(FaultTestCase):
    """One that takes a second and a half."""

    def setUp(self) -> None:
        super().setUp()
        self.additions = Additions()

    def left_behind(self) -> tuple[LocalCluster, LocalNode, LocalNode]:
        """A cluster with a large state, its leader, and a follower that is down and whose entries the others have dropped."""
        cluster, leader = self.started(limits=LIMITS)
        receiver = next(node for node in cluster.nodes if node is not leader)
        receiver.kill()
        for key in range(STATE_KEYS):
            value = base64.b64encode(random.Random(key).randbytes(STATE_BYTES)).decode()
            status, answer = post_json(leader.endpoint, "/v1/config/put", {"key": base64.b64encode(b"%d" % key).decode(), "value": value})
            self.assertEqual(status, 200, answer)
        self.assertTrue(self.additions.add(leader), self.additions.code)
        for node in cluster.nodes:
            if node is not receiver:
                status, answer = post_json(node.endpoint, "/v1/snapshot", {}, READY_S)
                self.assertEqual(status, 200, answer)
                self.assertGreater(self.status(node)["base_index"], STATE_KEYS // 2)
        return cluster, leader, receiver

    def received(self, node: LocalNode) -> int:
        """Bytes that have come of a snapshot which is not whole."""
        folder = NodeFiles(self.folder / node.name).root / "snapshots"
        return max((path.stat().st_size for path in folder.glob("incoming-*")), default=0)

    def test_a_receiver_that_is_killed_goes_on_where_it_was(self) -> None:
        cluster, leader, receiver = self.left_behind()
        receiver.start()
        self.wait_for(lambda: self.received(receiver) > 100_000, "a quarter of the snapshot")
        receiver.kill()
        kept = self.received(receiver)
        self.assertGreater(kept, 0)
        self.back(cluster, receiver)
        shares = [int(share) for share in re.findall(r"receives from .* the snapshot .*: (\d+)%", self.said(receiver))]
        self.assertEqual(shares[0], 0)
        self.assertGreaterEqual(shares[1], 100 * kept // self.status(leader)["snapshot"]["bytes"])
        self.agree(cluster, self.additions)

    def test_a_sender_that_is_killed_is_followed_by_another(self) -> None:
        """The next leader has a snapshot of its own, and its log begins behind it, too."""
        cluster, leader, receiver = self.left_behind()
        receiver.start()
        self.wait_for(lambda: self.received(receiver) > 100_000, "a quarter of the snapshot")
        leader.kill()
        cluster.leader(READY_S)
        cluster.wait_until(lambda: (receiver.status() or {}).get("snapshot", {}).get("index"), READY_S, "no snapshot has come")
        self.back(cluster, leader)
        self.agree(cluster, self.additions)
        self.assertEqual(self.received(receiver), 0)
