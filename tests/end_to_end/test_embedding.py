"""The program in docs/embedding.md, run as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources

from twisted.trial.unittest import SynchronousTestCase

THREE_IN_ONE = """
import sys
from twisted.internet import task
from twisted.internet.defer import gatherResults
from txraft import NodeConfig, RaftNode

async def main(reactor, directory):
    addresses = dict(pair.split("=") for pair in sys.argv[2:])
    nodes = [
        RaftNode(NodeConfig.of(name=name, data_dir=f"{directory}/{name}", bootstrap=addresses, client=[], advertise_client="x:1"), reactor)
        for name in addresses
    ]
    for node in nodes:
        node.startService()
    await gatherResults([node.when_ready() for node in nodes])
    watch = nodes[2].watch("counter", "visits")
    await watch.started
    await nodes[1].machine("counter").configure("visits", watched=True)
    print([await node.machine("counter").add("visits", 1) for node in nodes])
    print([(await watch.__anext__()).fields["value"] for node in nodes])
    await gatherResults([node.stopService() for node in nodes])
    print(reactor.getDelayedCalls())

task.react(lambda reactor: main(reactor, sys.argv[1]))
"""


def run(program: str, *args: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


class EmbeddingTests(SynchronousTestCase):
    def test_the_program_of_the_documentation_runs(self) -> None:
        page = (resources.files("txraft") / "docs" / "embedding.md").read_text()
        program = page.split("```python\n")[1].split("```")[0]
        self.assertLessEqual(len([line for line in program.splitlines() if line.strip()]), 12)
        self.assertEqual(run(program, self.mktemp()), "2\n")

    def test_three_servers_live_in_one_process(self) -> None:
        from tests.support.processes import free_ports

        addresses = [f"n{number}=127.0.0.1:{port}" for number, port in enumerate(free_ports(3), 1)]
        self.assertEqual(run(THREE_IN_ONE, self.mktemp(), *addresses), "[1, 2, 3]\n[1, 2, 3]\n[]\n")
