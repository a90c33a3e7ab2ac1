"""`txraft dev`, as an author sees it: edit, look, edit."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

from tests.cli.shop import SHOP
from tests.support.processes import TXRAFT, ProcessTestCase, post_json


class Dev(ProcessTestCase):
    """One process, three nodes, and a file that is changed."""

    def test_edit_after_edit(self) -> None:
        source = self.folder / "shop.py"
        source.write_text(SHOP)
        process = self.start([*TXRAFT, "dev", "--machine", "shop:Shop", "--port", "0"], PYTHONPATH="")
        self.wait_for(lambda: "Ctrl-C" in self.output, "three nodes")
        endpoints = re.findall(r"n\d  (127\.0\.0\.1:\d+)", self.output)
        directory = Path(re.findall("Three nodes in (.*)", self.output)[0])
        self.assertEqual(len(endpoints), 3)
        self.assertEqual([self.call(endpoint, "sell", n=2) for endpoint in endpoints], [2, 4, 6])

        self.edit(source, lambda text: text + "    @query\n    def twice(self) -> int:\n        return 2 * self.sold\n", "new code serves.")
        self.assertIn("the state is the same.", self.output)
        self.assertEqual(self.call(endpoints[1], "twice"), 12)

        self.edit(source, lambda text: text + "def (\n", "The old code goes on serving.")
        self.assertIn("SyntaxError", self.output)
        self.assertEqual(self.call(endpoints[2], "sell"), 7)

        self.edit(source, lambda text: text.replace("def (\n", "").replace("self.sold += n", "self.sold += 10 * n"), "new code serves.")
        self.assertRegex(
            self.output, r"the state is ANOTHER: the change alters history \(the first other answer is that of entry \d+, shop.sell"
        )
        self.assertEqual(self.call(endpoints[0], "total"), 70)

        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 0, self.output)
        self.assertNotIn("Traceback", self.output)
        self.assertFalse(directory.exists())

    def test_a_directory_is_kept_and_a_port_that_is_taken_is_named(self) -> None:
        (self.folder / "shop.py").write_text(SHOP)
        command = [*TXRAFT, "dev", "--machine", "sales=shop:Shop", "--port", "0", "--directory", "kept"]
        for total in (1, 2):
            process = self.start(command, PYTHONPATH="")
            self.wait_for(lambda: "Ctrl-C" in self.output, "three nodes")
            endpoint = re.findall(r"n1  (127\.0\.0\.1:\d+)", self.output)[0]
            self.assertEqual(post_json(endpoint, "/v1/sales/sell", {})[1]["result"], total)
            if total == 2:
                taken = self.txraft("dev", "--machine", "shop:Shop", "--port", endpoint.rpartition(":")[2])
                self.assertEqual((taken.returncode, taken.stdout), (64, ""), taken)
                self.assertIn("cannot listen", taken.stderr)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(20), 0, self.output)

    def call(self, endpoint: str, operation: str, **arguments: int) -> object:
        answered: list[tuple[int, dict[str, object]]] = []

        def is_answered() -> bool:
            answered.append(post_json(endpoint, f"/v1/shop/{operation}", arguments))
            return answered[-1][1].get("outcome") != "not_applied"  # an election, on a busy computer: it may be asked again

        self.wait_for(is_answered, f"an answer to {operation}")
        status, answer = answered[-1]
        self.assertEqual(status, 200, answer)
        return answer["result"]

    def edit(self, source: Path, change: Callable[[str], str], until: str) -> None:
        """Change the file, and wait until that is said once more."""
        said = self.output.count(until)
        source.write_text(change(source.read_text()))
        self.wait_for(lambda: self.output.count(until) > said, until)
