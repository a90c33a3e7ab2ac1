"""A node as operators run it: started, asked, stopped, misconfigured, killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.support.processes import ROOT, TXRAFT, ProcessTestCase, post_json, taken
from txraft.cli.local_cluster import TWISTD, free_ports

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Starting(ProcessTestCase):
    """From nothing to the first answer, in each of the ways there are."""

    def test_without_any_configuration(self) -> None:
        """`twistd -n txraft`, then curl, then the command: each with its defaults."""
        port = taken(2379, 2380)
        if port is not None:
            raise SkipTest(f"somebody listens on the default port {port}")
        process = self.start([*TWISTD, "-n", "txraft"])
        self.wait_for(lambda: "READY: n1 answers" in self.output, "the line that says READY")
        self.assertIn("http://127.0.0.1:2379/v1/counter/add", self.output)
        status, answer = post_json("127.0.0.1:2379", "/v1/counter/add", {"name": "a", "amount": 2})
        self.assertEqual((status, answer["result"]), (200, 2))
        added = self.txraft("counter", "add", "a", "2")
        self.assertEqual((added.stdout, added.stderr, added.returncode), ("4\n", "", 0))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)
        self.assertFalse((self.folder / "twistd.pid").exists())
        self.assertTrue((self.folder / "txraft-data" / "n1").is_dir())

    def test_as_a_daemon(self) -> None:
        cluster = self.cluster(1)
        (node,) = cluster.nodes
        pid_file, log = self.folder / "node.pid", self.folder / "node.log"
        begun = self.twistd("--pidfile", pid_file, "--logfile", log, "txraft", "--config", node.file)
        self.assertEqual((begun.returncode, begun.stderr), (0, ""))
        self.wait_for(lambda: "READY" in log.read_text(), "READY in the log")
        pid = int(pid_file.read_text())
        self.addCleanup(lambda: None if self.gone(pid) else os.kill(pid, signal.SIGKILL))
        status, _ = post_json(node.endpoint, "/v1/counter/add", {"name": "a"})
        self.assertEqual(status, 200)
        os.kill(pid, signal.SIGTERM)
        self.wait_for(lambda: self.gone(pid), "the end of the daemon")
        self.assertFalse(pid_file.exists())
        self.assertIn("n1 has stopped", log.read_text())

    def test_in_other_shells(self) -> None:
        """`twist txraft` and `txraft node`, which Ctrl-C ends."""
        (node,) = self.cluster(1).nodes
        twist = f"import sys; sys.path[0] = {ROOT!r}; from twisted.application.twist._twist import Twist; Twist.main()"
        for command in ([sys.executable, "-c", twist, "--log-format=text", "txraft"], [*TXRAFT, "node"]):
            process = self.start([*command, "--config", node.file])
            self.wait_for(lambda: "READY" in self.output, "READY")
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(20), 0, self.output)


class Refusing(ProcessTestCase):
    """What cannot be started says why in one sentence, and how by its exit code."""

    def test_a_wrong_key_is_named_with_its_file(self) -> None:
        (self.folder / "bad.yaml").write_text("name: n1\ndata_dri: somewhere\n")
        for arguments in (["-n", "txraft"], ["--pidfile=bad.pid", "txraft"]):
            refused = self.twistd(*arguments, "--config", "bad.yaml")
            self.assertEqual(refused.returncode, 78)
            self.assertEqual(refused.stderr.count("\n"), 1, refused.stderr)
            for word in ("bad.yaml", "data_dri", "Did you mean data_dir"):
                self.assertIn(word, refused.stderr)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["bad.yaml"])

    def test_a_wrong_option(self) -> None:
        refused = self.twistd("-n", "txraft", "--nmae=n1")
        self.assertEqual((refused.returncode, refused.stdout), (64, ""))
        self.assertIn("option --nmae not recognized", refused.stderr)

    def test_a_machine_that_is_not_installed(self) -> None:
        refused = self.twistd("-n", "txraft", "--machine", "jobs=no_such_machine")
        self.assertEqual(refused.returncode, 78)
        for word in ("--machine", "'jobs'", "no_such_machine"):
            self.assertIn(word, refused.stderr)

    def test_a_port_that_is_taken(self) -> None:
        """At once, in the foreground and as a daemon, whose parent tells; and nothing is left behind."""
        node = self.node()
        other = ["--name=n2", "--data-dir=n2", f"--client=tcp:{node.client_port}:interface=127.0.0.1", f"--peer=tcp:{free_ports(1)[0]}"]
        refused = self.twistd("-n", "--pidfile=n2.pid", "txraft", *other)
        self.assertEqual(refused.returncode, 78)
        self.assertIn(f"--client, key 'client': cannot listen at tcp:{node.client_port}", refused.stderr)
        self.assertNotIn("Traceback", refused.stdout + refused.stderr)
        refused = self.twistd("--pidfile=n2.pid", "--logfile=n2.log", "txraft", *other)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"cannot listen at tcp:{node.client_port}", refused.stderr)
        self.assertIn("key 'client'", (self.folder / "n2.log").read_text())
        for name in ("n2", "n2.pid"):
            self.assertFalse((self.folder / name).exists(), name)

    def test_a_directory_in_use(self) -> None:
        node = self.node()
        again = self.twistd("-n", "--pidfile=b.pid", "txraft", "--config", node.file, "--peer=tcp:0", "--client=tcp:0")
        self.assertEqual(again.returncode, 73)
        self.assertIn(f"is in use by process {node.pid}", again.stderr)
        self.assertFalse((self.folder / "b.pid").exists())
        self.assertTrue(node.running)

    def test_a_directory_of_another_server(self) -> None:
        node = self.node()
        self.assertEqual(node.stop(), 0)
        foreign: list[str | Path] = ["txraft", "--data-dir", self.folder / "n1", "--name=n2"]
        for arguments in ([*foreign, "--check"], [*foreign, "--peer=tcp:0", "--client=tcp:0"]):
            refused = self.twistd("-n", *arguments)
            self.assertEqual(refused.returncode, 78, refused.stderr)
            self.assertIn("'n1'", refused.stderr)


class Telling(ProcessTestCase):
    """What can be asked without starting anything."""

    def test_check_and_help_machines(self) -> None:
        checked = self.twistd("-n", "txraft", "--check", "--name=n7", TXRAFT_CLUSTER="blue")
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        for line in (
            "name = n7 (--name)",
            "cluster = blue (TXRAFT_CLUSTER)",
            "machines = counter=counter, queue=queue, config=config (default)",
        ):
            self.assertIn(line, checked.stdout.splitlines())
        listed = self.twistd("txraft", "--help-machines")
        self.assertEqual(listed.returncode, 0)
        for name in ("counter", "queue", "config"):
            self.assertRegex(listed.stdout, rf"{name} +version 1 ")
        self.assertEqual(list(self.folder.iterdir()), [])


class Living(ProcessTestCase):
    """What a running cluster goes through."""

    def test_a_follower_forwards_and_nothing_is_lost_by_kill(self) -> None:
        cluster = self.cluster(3)
        cluster.start()
        leader = cluster.leader(30)
        follower, other = (node for node in cluster.nodes if node is not leader)
        status, answer = post_json(follower.endpoint, "/v1/counter/add", {"name": "a", "amount": 5})
        self.assertEqual((status, answer["result"]), (200, 5))
        shown = self.txraft("status", TXRAFT_ENDPOINTS=",".join(cluster.endpoints))
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertRegex(shown.stdout, rf"\n{leader.endpoint} +{leader.name} +leader ")
        self.assertEqual(shown.stdout.count("follower"), 2)
        follower.kill()
        other.kill()
        status, answer = post_json(leader.endpoint, "/v1/counter/add?timeout=1", {"name": "a"})
        self.assertIn((status, answer["outcome"]), [(503, "not_applied"), (504, "unknown")])
        cluster.kill()
        cluster.start()
        cluster.leader(30)
        found = self.txraft("-o", "json", "--endpoints", other.endpoint, "counter", "get", "a")
        # What was unknown may have been done, once.
        self.assertIn(json.loads(found.stdout), (5, 6))
        self.assertEqual([node.stop() for node in cluster.nodes], [0, 0, 0])

    def test_a_jump_of_the_wall_clock_changes_nothing(self) -> None:
        if FAKETIME is None:
            raise SkipTest("libfaketime is not installed")
        cluster = self.cluster(3, settings={"timing": {"election_s": 2.0}})
        clock = self.folder / "clock"
        clock.write_text("+0\n")
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
        for node in cluster.nodes:
            node.environment = faked
        cluster.start()
        leader = cluster.leader(30)
        before = leader.status()
        assert before is not None
        for jump, value in (("+1h", 1), ("-1h", 2)):
            clock.write_text(f"{jump}\n")
            status, answer = post_json(leader.endpoint, "/v1/counter/add", {"name": "a"}, timeout_s=3)
            self.assertEqual((status, answer["result"]), (200, value))
            time.sleep(4.5)  # any election would be over
            after = leader.status()
            assert after is not None
            self.assertEqual((after["role"], after["term"]), ("leader", before["term"]), jump)
        self.assertEqual(leader.stop(), 0)
        hours = {line[:13] for line in leader.log.read_text().splitlines() if line[:2] == "20"}
        self.assertGreater(len(hours), 1, "the clock of the processes was not faked")
