"""Real processes whose data directory is wiped, copied or put back: who forgot what it promised is kept out, and the cluster serves on."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.processes import ProcessTestCase, free_ports, post_json
from txraft.cli.local_cluster import TWISTD, LocalCluster, LocalNode

START_S = 20.0


class DirectoriesTestCase(ProcessTestCase):
    """Three nodes that have put down each other's directories; `third` does not lead."""

    def setUp(self) -> None:
        super().setUp()
        self.nodes = self.cluster(3, settings={"timing": {"election_s": 0.5, "heartbeat_s": 0.05}})
        self.nodes.start()
        self.added = 0
        self.assert_serves()
        self.wait_for(lambda: all(map(self.knows_all, self.nodes.nodes)), "the directories are put down everywhere")
        leader = self.nodes.leader(START_S)
        self.third = next(node for node in self.nodes.nodes if node is not leader)
        self.directory = self.nodes.directory / self.third.name

    def knows_all(self, node: LocalNode) -> bool:
        members = (node.status() or {}).get("members", {})
        return len(members) == 3 and all(member["directory_known"] for member in members.values())

    def assert_serves(self) -> None:
        """A command is acknowledged, and all that ever were are there."""
        self.added += 1
        leader = self.nodes.leader(START_S)
        self.assertEqual(post_json(leader.endpoint, "/v1/counter/add", {"name": "a"})[1].get("result"), self.added)

    def say(self, node: LocalNode) -> str:
        return node.log.read_text("utf-8", "replace")

    def readyz(self, node: LocalNode) -> str:
        try:
            urllib.request.urlopen(f"http://{node.endpoint}/readyz", timeout=5).close()
        except urllib.error.HTTPError as error:
            self.assertEqual(error.code, 503)
            return error.read().decode()
        except OSError:
            pass
        return ""

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.directory, self.folder / name))

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.directory)
        shutil.copytree(copy, self.directory)

    def assert_ends_as_a_copy(self, node: LocalNode) -> None:
        assert node.process is not None
        self.assertEqual(node.process.wait(START_S), 78, self.say(node))
        *_, sentence = (line for line in self.say(node).splitlines() if line.startswith("txraft: "))
        for words in ("does not take this process for", "was copied and runs twice", "docs/operating.md"):
            self.assertIn(words, sentence)

    def assert_level(self, cluster: LocalCluster) -> None:
        statuses = cluster.level(START_S)
        self.assertEqual(len({status["digest"] for status in statuses}), 1)


class AWipedDirectory(DirectoriesTestCase):
    def test_row_32_is_refused_by_peers_that_were_all_restarted_since(self) -> None:
        kept = self.copy("kept")
        self.nodes.kill()
        shutil.rmtree(self.directory)
        self.nodes.start()

        why = self.wait_for(lambda: "data directory" in (said := self.readyz(self.third)) and said, "readyz says why")
        self.assertIn("put the old directory back", why)
        self.assertIn(f"{self.third.name} is shut out", self.say(self.third))
        self.assert_serves()
        status = self.third.status() or {}
        self.assertEqual((status["leader"], status["last_index"], status["ready"]), (None, 1, False))
        self.assertTrue(self.third.running)

        self.third.stop()
        self.put_back(kept)
        self.third.start()
        self.assert_level(self.nodes)


class ACopiedDirectory(DirectoriesTestCase):
    def test_row_72_started_beside_the_other_one_of_the_two_ends(self) -> None:
        self.third.stop()
        copied = self.copy("copied")
        peer_port, client_port = free_ports(2)
        file = self.folder / "copied.yaml"
        settings = [line for line in self.third.file.read_text().splitlines() if line.split(":")[0] not in ("data_dir", "peer", "client")]
        settings += [f"data_dir: {copied}", f"peer: tcp:{peer_port}:interface=127.0.0.1", f"client: tcp:{client_port}:interface=127.0.0.1"]
        file.write_text("\n".join(settings) + "\n")
        twin = LocalNode(self.third.name, client_port, file, self.folder / "copied.log", TWISTD)
        self.addCleanup(twin.kill)
        self.third.start()
        self.wait_for(lambda: (self.third.status() or {}).get("ready"), "the directory runs again")

        twin.start()

        self.assert_ends_as_a_copy(twin)
        self.assertTrue(self.third.running)
        self.assert_serves()
        self.assert_level(self.nodes)

    def test_row_32_an_older_one_that_is_put_back_is_refused_each_time_it_is_started(self) -> None:
        self.third.stop()
        backup = self.copy("backup")
        self.third.start()
        self.assert_serves()
        self.assert_level(self.nodes)
        self.third.stop()
        newest = self.copy("newest")
        self.put_back(backup)

        for _ in range(2):
            self.third.start()
            self.assert_ends_as_a_copy(self.third)
            self.assert_serves()

        self.put_back(newest)
        self.third.start()
        self.assert_level(self.nodes)
