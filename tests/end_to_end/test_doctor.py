"""The tools that look at one computer, beside a node that runs: they see it, and leave it alone."""

from __future__ import annotations

import json
from typing import Any

from tests.support.processes import ProcessTestCase, post_json
from txraft.cli.local_cluster import LocalNode


class BesideANode(ProcessTestCase):
    """`txraft doctor` and `txraft log` while the directory is in use."""

    def findings(self, node: LocalNode, *arguments: str) -> dict[str, list[dict[str, Any]]]:
        """By what they are about."""
        told = self.txraft("-o", "json", "doctor", "--config", str(node.file), *arguments)
        self.assertEqual((told.stderr, told.returncode), ("", 0), told.stdout)
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(told.stdout):
            found.setdefault(finding["about"], []).append(finding)
        return found

    def test_a_node_is_known_by_its_ports_and_its_directory(self) -> None:
        node = self.node()
        found = self.findings(node, "--endpoints", f"{node.endpoint},127.0.0.1:1")
        self.assertEqual([finding["figures"].get("pid") for finding in found["port"]], [node.pid, node.pid])
        self.assertEqual(found["in use"][0]["figures"], {"pid": node.pid})
        self.assertEqual(found["identity"][0]["figures"]["name"], "n1")
        clocks = [finding for finding in found["clock"] if finding["figures"].get("node") == "n1"]
        self.assertEqual([finding["verdict"] for finding in clocks], ["ok"], "it runs by the clock of this computer")
        self.assertEqual([finding["figures"]["endpoint"] for finding in found["nodes"]], ["127.0.0.1:1"])
        self.assertEqual(found["nodes' versions"][0]["verdict"], "ok")
        self.assertEqual(node.stop(), 0)
        found = self.findings(node)
        self.assertNotIn("pid", found["in use"][0]["figures"])
        self.assertEqual([finding["verdict"] for finding in found["port"]], ["ok", "ok"])

    def test_the_log_is_read_while_it_is_written(self) -> None:
        node = self.node()
        for number in range(20):
            self.assertEqual(post_json(node.endpoint, "/v1/counter/add", {"name": f"c{number}"})[0], 200)
        directory = str(self.folder / "n1")
        shown = self.txraft("log", "show", directory, "--json")
        self.assertEqual(shown.returncode, 0)
        self.assertIn(f"in use by process {node.pid}", shown.stderr)
        names = [entry["arguments"]["name"] for entry in map(json.loads, shown.stdout.splitlines()) if entry["kind"] == "invoke"]
        self.assertEqual(names, [f"c{number}" for number in range(20)])
        verified = self.txraft("log", "verify", directory)
        self.assertEqual(verified.returncode, 0, verified)
        self.assertEqual(post_json(node.endpoint, "/v1/counter/add", {"name": "c0"})[1]["result"], 2)
        self.assertEqual(node.stop(), 0)
        figures = json.loads(self.txraft("-o", "json", "log", "stat", directory).stdout)
        self.assertEqual((figures["in_use_by"], figures["problem"], figures["torn_tail"]), (None, None, None))
        self.assertEqual({one["machine"]: one["entries"] for one in figures["kinds"] if one["kind"] == "invoke"}, {"counter": 21})
