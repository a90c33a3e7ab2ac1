"""The files and the patience of a local cluster; no process is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txraft.cli import local_cluster
from txraft.cli.local_cluster import ClusterTrouble, LocalCluster, node_environment
from txraft.config import NodeConfig


class RunningProcess:
    """Stands for a process."""

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        return self.exit_code


class FreePorts(SynchronousTestCase):
    """Nodes of two processes never meet at a port that one of them has not opened yet."""

    def test_no_other_process_is_given_the_same(self) -> None:
        try:
            held = local_cluster.free_ports(5)
        except ClusterTrouble as error:
            raise SkipTest(str(error)) from None
        others = [port for port in local_cluster.FREE_PORTS if port not in held][:20]
        script = (
            "from txraft.cli import local_cluster; import sys;"
            "local_cluster.random.sample = lambda ports, count: list(map(int, sys.argv[1:]));"
            "print(*local_cluster.free_ports(12))"
        )
        asked = subprocess.run(
            [sys.executable, "-c", script, *map(str, held + others)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        given = set(map(int, asked.stdout.split()))
        self.assertEqual((len(given), given - set(others)), (12, set()))


class Clusters(SynchronousTestCase):
    """What is written, and how long is waited."""

    def setUp(self) -> None:
        self.patch(local_cluster, "free_ports", lambda count: list(range(7001, 7001 + count)))
        self.patch(local_cluster, "LOOK_S", 0.0)
        self.cluster = LocalCluster.make(Path(self.mktemp()), 3, settings={"timing": {"election_s": 0.5}, "cluster": "blue"})

    def test_the_files_make_one_cluster(self) -> None:
        configs = [NodeConfig.load(node.file, {}) for node in self.cluster.nodes]
        self.assertEqual([config.name for config in configs], ["n1", "n2", "n3"])
        self.assertEqual({config.cluster_id for config in configs}, {configs[0].cluster_id})
        self.assertEqual(configs[1].peer, "tcp:7002:interface=127.0.0.1")
        self.assertEqual([config.advertise_client for config in configs], self.cluster.endpoints)
        self.assertEqual(configs[2].timing.election_s, 0.5)
        self.assertEqual(len({config.data_dir for config in configs}), 3)

    def test_what_would_configure_a_node_is_kept_from_it(self) -> None:
        self.patch(os, "environ", {"TXRAFT_NAME": "n9", "HOME": "/root"})
        self.assertEqual(node_environment(), {"HOME": "/root"})

    def test_waiting_has_an_end(self) -> None:
        self.assertEqual(self.cluster.wait_until(lambda: "found", 0, "nothing"), "found")
        trouble = self.assertRaises(ClusterTrouble, self.cluster.wait_until, lambda: None, 0, "there is no leader")
        self.assertIn("there is no leader after 0 s", str(trouble))

    def test_a_node_that_ends_by_itself_ends_the_waiting(self) -> None:
        process = RunningProcess()
        node = self.cluster.nodes[1]
        node.process = process  # type: ignore[assignment]
        node.log.write_text(
            "2026-11-23T07:00:00+0000 [-] Log opened.\ntxraft: n2.yaml: no such key\n2026-11-23T07:00:00+0000 [-] Closed.\n"
        )

        def look() -> None:
            process.exit_code = 78

        trouble = self.assertRaises(ClusterTrouble, self.cluster.wait_until, look, 60, "nothing")
        self.assertEqual(str(trouble), "n2 has ended with 78: txraft: n2.yaml: no such key")

    def test_a_process_that_does_not_end_is_killed(self) -> None:
        class Stubborn(RunningProcess):
            killed = False

            def send_signal(self, number: int) -> None:
                pass

            def kill(self) -> None:
                self.killed = True

            def wait(self, timeout_s: float | None = None) -> int:
                if timeout_s is not None:
                    raise subprocess.TimeoutExpired("twistd", timeout_s)
                return -9

        process = Stubborn()
        self.cluster.nodes[0].process = process  # type: ignore[assignment]
        trouble = self.assertRaises(ClusterTrouble, self.cluster.nodes[0].stop)
        self.assertIn("n1 did not end", str(trouble))
        self.assertTrue(process.killed)
