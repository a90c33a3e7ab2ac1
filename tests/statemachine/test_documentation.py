"""What docs/writing-a-state-machine.md shows is what is tested."""

from __future__ import annotations

import re
import sys
import unittest

from tests.statemachine.test_plugin import DISTRIBUTIONS, PluginCase

STOCK = DISTRIBUTIONS / "txraft_stock"
DOCUMENT = DISTRIBUTIONS.parents[1] / "txraft" / "docs" / "writing-a-state-machine.md"
FILES = ("stock/machine.py", "stock/warehouse.py", "test_stock.py", "twisted/plugins/stock_plugin.py", "setup.cfg", "pyproject.toml")


class WritingAStateMachine(PluginCase):
    def test_the_document_quotes_the_files_of_the_example(self) -> None:
        quoted = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
        self.assertEqual(sorted(quoted), sorted(FILES))
        for name in FILES:
            self.assertEqual(quoted[name], (STOCK / name).read_text(), name)

    def test_the_tests_of_the_example_pass(self) -> None:
        self.install("txraft_stock")
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromNames(["test_stock.StockTests", "test_stock.HostedStockTests"]).run(result)
        self.addCleanup(sys.modules.pop, "test_stock")
        self.assertEqual((result.testsRun, result.errors, result.failures), (3, [], []))
