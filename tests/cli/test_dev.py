"""What `txraft dev` makes of its command line. The nodes themselves are in tests/end_to_end/test_dev.py."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cli.cli_case import CliTestCase
from txraft.cli.dev import machine_of
from txraft.cli.dev_nodes import peer_ports
from txraft.cli.settings import UsageProblem


class CommandLine(CliTestCase):
    """Names, and what is refused before anything is started."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "path", list(sys.path))
        self.patch(sys, "dont_write_bytecode", sys.dont_write_bytecode)

    def test_a_machine_is_named_like_its_class(self) -> None:
        self.assertEqual(machine_of("stock.machine:Stock"), ("stock", "stock.machine:Stock"))
        self.assertEqual(machine_of("a.b.WordCount"), ("word_count", "a.b.WordCount"))
        self.assertEqual(machine_of("a:HTTPLog2"), ("http_log2", "a:HTTPLog2"))
        self.assertEqual(machine_of("shelf=stock.machine:Stock"), ("shelf", "stock.machine:Stock"))
        self.assertEqual(machine_of("counter"), ("counter", "counter"))

    def test_what_is_refused(self) -> None:
        for words, why in (
            ([], "--machine"),
            (["--machine", "a_module_that_is_not_there:Stock"], "No module named"),
            (["--machine", "counter", "--machine", "counter"], "same name"),
            (["--machine", "counter", "--port", "65533"], "--port"),
            (["--machine", "counter", "--watch-path", "gone"], "is not there"),
        ):
            told = self.run_command("dev", *words)
            self.assertEqual((told.exit_code, told.stdout), (64, ""), told)
            self.assertIn(why, told.stderr)

    def test_the_ports_of_peers_stay(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        ports = peer_ports(folder)
        self.assertEqual(len(set(ports)), 3)
        self.assertEqual(peer_ports(folder), ports)
        (folder / "peers.json").write_text('{"n1": 1}')
        self.assertRaises(UsageProblem, peer_ports, folder)
        (folder / "peers.json").rename(folder / "other")
        self.assertRaises(UsageProblem, peer_ports, folder)
