"""`txraft demo`, as its first users see it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

from tests.support.processes import TXRAFT, ProcessTestCase


class Demo(ProcessTestCase):
    """It proves what it says, and cleans up."""

    def pids(self, said: str) -> list[int]:
        """Of all the node processes that the demo has named."""
        return [int(pid) for pid in re.findall(r"pid (\d+)", said)]

    def test_it_proves_that_nothing_is_lost_or_doubled(self) -> None:
        begin = time.monotonic()
        done = self.txraft("demo", "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertLess(time.monotonic() - begin, 20 + 10)  # 20 on a computer that does nothing else
        *_, proved, last = done.stdout.splitlines()
        self.assertRegex(proved, "^PROVED in ")
        figures = json.loads(last)
        self.assertEqual((figures["proved"], figures["acknowledged"], figures["counter"]), (True, 1000, 1000))
        self.assertEqual((len(figures["digests"]), len(set(figures["digests"].values()))), (3, 1))
        self.assertNotEqual(figures["killed"], figures["new_leader"])
        self.assertIn("kill -9", done.stdout)
        pids = self.pids(done.stdout)
        self.assertEqual(len(pids), 4)
        self.assertTrue(all(self.gone(pid) for pid in pids))
        self.assertFalse(Path(figures["directory"]).exists())

    def end(self, pids: list[int]) -> None:
        for pid in pids:
            if not self.gone(pid):
                os.kill(pid, signal.SIGKILL)

    def test_it_leaves_the_nodes_running_when_told_to_keep_them(self) -> None:
        directory = self.folder / "kept"
        kept = self.txraft("demo", "--keep", "--json", "--increments=20", "--clients=2", "--directory", str(directory))
        running = [int(pid) for pid in kept.stdout.partition("Stop them with: kill ")[2].split("\n")[0].split()]
        self.addCleanup(lambda: self.end(running))
        self.assertEqual(kept.returncode, 0, kept.stdout + kept.stderr)
        self.assertEqual(len(running), 3)
        endpoints = ",".join(json.loads(kept.stdout.splitlines()[-1])["endpoints"])
        added = self.txraft("counter", "add", "demo", "5", TXRAFT_ENDPOINTS=endpoints)
        self.assertEqual(added.stdout, "25\n", added.stderr)
        again = self.txraft("demo", "--directory", str(directory))
        self.assertEqual(again.returncode, 64)
        self.assertIn("is not empty", again.stderr)

    def test_interrupted_it_ends_its_nodes(self) -> None:
        process = self.start([*TXRAFT, "demo"])
        self.wait_for(lambda: len(self.pids(self.output)) == 3, "three nodes")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 130)
        self.assertTrue(all(self.gone(pid) for pid in self.pids(self.output)), self.output)
        self.assertIn("interrupted", self.output)
