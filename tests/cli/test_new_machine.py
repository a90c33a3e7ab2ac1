"""Which names can be machines, and what is written. That it installs and passes its tests is seen in tests/end_to_end/test_tutorial.py."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from tests.cli.cli_case import CliTestCase
from txraft.cli import new_machine
from txraft.cli.new_machine import class_name_of
from txraft.statemachine import PluginListing


class Names(CliTestCase):
    """A name serves as package, plug-in, machine and folder."""

    def setUp(self) -> None:
        super().setUp()
        listings = [PluginListing("sale", "/x/sale.py"), PluginListing("odd_plugin.py", "/x/odd_plugin.py", error="SyntaxError")]
        self.patch(new_machine, "available_plugins", lambda: listings)
        self.folder = Path(self.mktemp())

    def refusal(self, name: str) -> str:
        told = self.run_command("new-machine", name, "--directory", str(self.folder))
        self.assertEqual((told.exit_code, told.stdout, told.stderr.count("\n"), self.folder.exists()), (64, "", 1, False), told)
        return told.stderr

    def test_what_is_no_name(self) -> None:
        for name in ("Stock", "2nd", "a-b", "_a", "über", "a.b", "../a", "a" * 65, ""):
            self.assertIn("small letters", self.refusal(name))
        self.assertIn("keyword", self.refusal("lambda"))
        self.assertIn("keyword", self.refusal("match"))

    def test_what_is_taken(self) -> None:
        self.assertIn("txraft status", self.refusal("status"))
        self.assertIn("/v1/sessions", self.refusal("sessions"))
        for module in ("json", "tests", "msgspec", "txraft", "twisted"):
            self.assertIn("there is a module", self.refusal(module))
        self.assertIn("/x/sale.py", self.refusal("sale"))
        self.assertIn("/x/odd_plugin.py", self.refusal("odd"))

    def test_classes(self) -> None:
        self.assertEqual(class_name_of("stock"), "Stock")
        self.assertEqual(class_name_of("word_count2"), "WordCount2")
        self.assertEqual(class_name_of("context"), "ContextMachine")
        self.assertEqual(class_name_of("none"), "NoneMachine")

    def test_no_class_hides_what_its_file_imports(self) -> None:
        for template in ("machine.py", "test_machine.py"):
            text = (Path(new_machine.__file__).parent / "templates" / f"{template}.template").read_text()
            tree = ast.parse(text.replace("$", "X"))
            imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
            defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
            one_word = {name for name in imported | defined if name.capitalize() == name and name.isalpha()}
            self.assertEqual(one_word - new_machine.TAKEN - {"Xclass_name"}, set())


class Writing(CliTestCase):
    """The files, and nothing over what is there."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())

    def test_all_files_and_the_next_commands(self) -> None:
        told = self.run_command("new-machine", "word_stock", "--directory", str(self.folder))
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        written = {path.relative_to(self.folder).as_posix(): path.read_text() for path in self.folder.rglob("*") if path.is_file()}
        self.assertEqual(
            sorted(written),
            sorted([
                ".gitignore", "README.md", "pyproject.toml", "setup.cfg", "tests/__init__.py", "tests/test_word_stock.py",
                "twisted/plugins/word_stock_plugin.py", "word_stock/__init__.py", "word_stock/machine.py", "word_stock/py.typed",
            ]),
        )  # fmt: skip
        for path, text in written.items():
            self.assertNotIn("$name", text, path)
            if path.endswith(".py"):
                ast.parse(text, path)
        self.assertIn("name = txraft-word-stock", written["setup.cfg"])
        self.assertIn("\n$ pip install -e .\n", written["README.md"])
        _, *commands = told.stdout.splitlines()
        self.assertEqual(
            commands,
            [
                f"  cd {self.folder} && pip install -e .",
                "  python -m twisted.trial tests",
                "  txraft dev --machine word_stock.machine:WordStock",
            ],
        )

    def test_for_programs(self) -> None:
        told = self.run_command("new-machine", "stock2", "--directory", str(self.folder), "-o", "json")
        answer = json.loads(told.stdout)
        self.assertEqual((answer["machine"], len(answer["files"])), ("stock2.machine:Stock2", 10))

    def test_a_used_directory_is_left_alone(self) -> None:
        self.folder.mkdir()
        (self.folder / "mine").touch()
        told = self.run_command("new-machine", "stock2", "--directory", str(self.folder))
        self.assertEqual((told.exit_code, told.stdout), (64, ""))
        self.assertIn("is not empty", told.stderr)
        told = self.run_command("new-machine", "stock2", "--directory", str(self.folder / "mine"))
        self.assertEqual(told.exit_code, 64)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["mine"])
