"""What `txraft proxy` writes is as clean as code that somebody has typed, and works with a real node."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.support.processes import ROOT, ProcessTestCase
from txraft.client import BlockingClient
from txraft.statemachine import available_plugins

SAMPLE = "tests.cli.test_proxy:Shelf"


class Proxies(ProcessTestCase):
    """The machines that come with txraft, and one with everything that is odd."""

    def written(self) -> list[Path]:
        machines = {plugin.name: plugin.name for plugin in available_plugins() if plugin.origin.endswith("txraft_machines.py")}
        self.assertIn("counter", machines)
        files = []
        for name, plugin in {**machines, "shelf": SAMPLE}.items():
            files.append(self.folder / f"{name}_calls.py")
            done = self.txraft("proxy", name, "--plugin", plugin, "--file", str(files[-1]))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        return files

    def test_mypy_has_no_complaint(self) -> None:
        if importlib.util.find_spec("mypy") is None:
            raise SkipTest("mypy is not installed")
        checked = self.run_command(sys.executable, "-m", "mypy", "--strict", *self.written(), MYPYPATH=ROOT)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_ruff_has_no_complaint(self) -> None:
        ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}:/usr/bin")
        if ruff is None:
            raise SkipTest("ruff is not installed")
        files = self.written()
        for command in (["check"], ["format", "--check", "--line-length=120"]):
            checked = self.run_command(ruff, *command, "--isolated", "--no-cache", *files)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_written_class_calls_a_node(self) -> None:
        node = self.node()
        file = self.folder / "counter_calls.py"
        done = self.txraft("--endpoints", node.endpoint, "proxy", "counter", "--file", str(file))
        self.assertEqual(done.returncode, 0, done.stderr)
        spec = importlib.util.spec_from_file_location("counter_calls_of_a_test", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with BlockingClient([node.endpoint]) as client:
            counter = module.BlockingCounter(client)
            self.assertEqual(counter.add("a", amount=3), 3)
            self.assertEqual(counter.get("a", consistency="local"), 3)
