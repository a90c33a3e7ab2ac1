"""A state machine that somebody else wrote and packaged: installed beside txraft, hosted by name, called in every way.

A broken one is named.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.end_to_end import test_installs
from tests.support.processes import ProcessTestCase, post_json
from txraft.client import BlockingClient
from txraft.errors import Refused

DISTRIBUTIONS = Path(__file__).resolve().parents[1] / "distributions"
TWISTD = "from twisted.scripts.twistd import run; run()"


class PluginDistribution(ProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = test_installs.prepared()
        if self.made.unreachable:
            raise SkipTest(f"pip reaches no package registry: {self.made.unreachable}")

    def installed(self, *names: str) -> Path:
        """The python of a fresh environment with txraft's wheel and these distributions."""
        home = self.folder / "environment"
        (wheel,) = self.made.wheels.glob("txraft-*.whl")
        sources = [Path(shutil.copytree(DISTRIBUTIONS / name, self.folder / name)) for name in names]
        test_installs.must(*test_installs.PYTHON_VENV, home, folder=self.folder)
        python = home / "bin" / "python"
        offline = ("--no-index", "--find-links", self.made.wheels)
        test_installs.must(*test_installs.PIP, "--python", python, "install", *offline, wheel, *sources, folder=self.folder)
        return python

    def test_it_is_hosted_by_name_and_called_by_http_command_line_and_client(self) -> None:
        python = self.installed("txraft_stock")
        cluster = self.cluster(1, machines={"shelf": "stock", "counter": "counter"})
        (node,) = cluster.nodes
        node.command, node.environment = (str(python), "-c", TWISTD), {"PYTHONPATH": ""}
        cluster.start()
        cluster.leader(20)

        self.assertEqual(post_json(node.endpoint, "/v1/shelf/add", {"sku": "a", "n": 3})[1]["result"], 3)
        status, problem = post_json(node.endpoint, "/v1/shelf/add", {"sku": "a", "n": -5})
        self.assertEqual((status, problem["code"], problem["outcome"]), (409, "out_of_stock", "refused"))
        status, problem = post_json(node.endpoint, "/v1/shelf/add", {"sku": "a", "n": "many"})
        self.assertEqual((status, problem["code"]), (400, "invalid_arguments"))

        sold = self.txraft("--endpoints", node.endpoint, "shelf", "add", "a", "--n", "-1")
        self.assertEqual((sold.returncode, sold.stdout), (0, "2\n"), sold.stderr)
        refused = self.txraft("--endpoints", node.endpoint, "shelf", "add", "a", "--n", "-9")
        self.assertEqual((refused.returncode, "only 2 of a left" in refused.stderr), (1, True), refused.stderr)

        with BlockingClient([node.endpoint]) as client:
            self.assertEqual(client.machine("shelf").add("a", n=5), 7)
            self.assertEqual(client.machine("shelf").left("a"), 7)
            self.assertRaises(Refused, client.command, "shelf", "add", sku="a", n=-8)

    def test_a_broken_one_is_named_at_the_start(self) -> None:
        python = self.installed("txraft_broken")
        begun = self.run_command(python, "-c", TWISTD, "-n", "txraft", "--machine", "odd=broken", PYTHONPATH="")
        self.assertEqual(begun.returncode, 78, begun.stderr)
        self.assertIn("broken", begun.stderr)
        listed = self.run_command(python, "-c", TWISTD, "-n", "txraft", "--help-machines", PYTHONPATH="")
        self.assertIn("counter", listed.stdout)
        self.assertIn("broken", listed.stdout)
