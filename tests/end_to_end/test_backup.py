"""A backup of a cluster at work, and the cluster that comes of it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.processes import COMMAND_S, ProcessTestCase
from txraft.cli.increments import CALL_S, COUNTER, Increments
from txraft.cli.local_cluster import LocalCluster, LocalNode
from txraft.client import BlockingClient

LEVEL_S = 30.0
WISHED = 1_500


class Backup(ProcessTestCase):
    """Saved under load, verified, restored under another name: what was counted is there, and so are sessions."""

    def save(self, node: LocalNode, name: str) -> dict[str, Any]:
        """A fresh snapshot of one node, in a file."""
        told = self.txraft("-o", "json", "--endpoints", node.endpoint, "snapshot", "save", "--now", str(self.folder / name))
        self.assertEqual((told.stderr, told.returncode), ("", 0))
        saved: dict[str, Any] = json.loads(told.stdout)
        verified = self.txraft("-o", "json", "snapshot", "verify", str(self.folder / name))
        self.assertEqual(verified.returncode, 0, verified.stdout)
        found = json.loads(verified.stdout)
        self.assertEqual(
            {key: found[key] for key in ("index", "term", "bytes", "sha256")}, {key: saved[key] for key in found if key in saved}
        )
        return saved

    def restore(self, backup: str, cluster_name: str) -> LocalCluster:
        """Three nodes with the state of a backup, running."""
        cluster = LocalCluster.make(self.folder / cluster_name, settings={"cluster": cluster_name})
        self.addCleanup(cluster.kill)
        for node in cluster.nodes:
            told = self.txraft("snapshot", "restore", str(self.folder / backup), "--config", str(node.file))
            self.assertEqual((told.stderr, told.returncode), ("", 0))
        cluster.start()
        cluster.leader(LEVEL_S)
        return cluster

    def counted(self, cluster: LocalCluster) -> int:
        with BlockingClient(cluster.endpoints, CALL_S) as client:
            return int(client.query("counter", "get", name=COUNTER))

    def test_under_load(self) -> None:
        cluster = self.cluster()
        cluster.start()
        leader = cluster.leader(LEVEL_S)
        follower = next(node for node in cluster.nodes if node is not leader)
        session, first = self.add_in_a_session(cluster)
        work = Increments(cluster.endpoints, WISHED)
        work.start(4)
        self.wait_for(lambda: work.acknowledged > WISHED // 4 or None, "a part of the work")
        before = work.acknowledged
        early = self.save(leader, "early")
        after = work.acknowledged + 4
        self.wait_for(lambda: not work.working or None, "the end of the work", 2 * COMMAND_S)
        self.assertEqual((work.acknowledged, work.unknown), (WISHED, 0), work.trouble)
        cluster.level(LEVEL_S)
        late = self.save(follower, "late")
        self.assertLess(early["index"], late["index"])
        cluster.kill()

        self.assertTrue(before <= self.counted(self.restore("early", "earlier")) <= after)
        again = self.restore("late", "later")
        self.assertEqual(self.counted(again), WISHED)
        self.assertEqual(self.repeat(again, session), first, "the session knows its command and what came of it")
        with BlockingClient(again.endpoints, CALL_S) as client:
            self.assertEqual(client.command("counter", "add", COUNTER, 1), WISHED + 1)
        statuses = again.level(LEVEL_S)
        self.assertEqual(len({status["digest"] for status in statuses}), 1)
        self.assertGreater(statuses[0]["applied_index"], late["index"])

    def add_in_a_session(self, cluster: LocalCluster) -> tuple[int, Any]:
        """A session that is left open, and the answer to its first command."""
        session = self.post(cluster, "/v1/sessions", {}, {})["session"]
        return session, self.repeat(cluster, session)

    def repeat(self, cluster: LocalCluster, session: int) -> Any:
        """The first command of the session, once more."""
        return self.post(cluster, "/v1/counter/add", {"name": "own", "amount": 5}, {"Idempotency-Key": f"{session}/1"})["result"]

    def post(self, cluster: LocalCluster, path: str, content: Any, headers: dict[str, str]) -> Any:
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"http://{cluster.endpoints[0]}{path}", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=COMMAND_S) as response:
            return json.load(response)

    def test_nothing_is_restored_twice_or_over_something(self) -> None:
        node = self.node()
        self.save(node, "backup")
        told = self.txraft("snapshot", "restore", str(self.folder / "backup"), "--config", str(node.file))
        self.assertEqual((told.returncode, "is not empty" in told.stderr), (74, True))
        bootstrap = f"{node.name}=127.0.0.1:1"
        told = self.txraft("snapshot", "restore", "backup", "--data-dir", "new", "--cluster", "x", "--name", "n1", "--bootstrap", bootstrap)
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        self.assertTrue(Path(self.folder, "new", "identity").is_file())
