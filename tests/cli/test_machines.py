"""Commands and queries of any machine, from the words of the command line."""

from __future__ import annotations

import base64
import io
import os
import sys
from typing import Any

from tests.cli.cli_case import MACHINES, CliTestCase, FakeClient, operation, parameter
from txraft.cli import machines
from txraft.cli.machines import argument_of
from txraft.cli.settings import Settings, UsageProblem


class Calling(CliTestCase):
    """What is asked of the cluster, and what is printed."""

    def asked(self, *arguments: str) -> tuple[Any, ...]:
        told = self.run_command(*arguments)
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        return self.called[-2]

    def test_arguments_by_position_and_by_name(self) -> None:
        wanted = ("command", "stock", "add", {"sku": "a", "n": 2})
        for words in (["a", "2"], ["a", "--n", "2"], ["--n=2", "a"], ["--n", "2", "--sku", "a"]):
            self.assertEqual(self.asked("stock", "add", *words), wanted, words)

    def test_negative_numbers_are_no_options(self) -> None:
        self.assertEqual(self.asked("stock", "add", "a", "-2")[3], {"sku": "a", "n": -2})
        self.assertEqual(self.asked("stock", "add", "a", "--n", "-2")[3], {"sku": "a", "n": -2})
        self.assertEqual(self.asked("stock", "add", "--", "--n", "-2")[3], {"sku": "--n", "n": -2})

    def test_what_is_not_given_is_left_to_the_machine(self) -> None:
        self.assertEqual(self.asked("stock", "add", "a")[3], {"sku": "a"})

    def test_queries_and_their_consistency(self) -> None:
        self.assertEqual(self.asked("stock", "left", "a"), ("query", "stock", "left", "linearizable", {"sku": "a"}))
        self.assertEqual(self.asked("stock", "left", "a", "--consistency", "local")[3], "local")
        self.assertEqual(self.asked("stock", "left", "a", "--at-least", "7")[3], "local 7")
        self.assertEqual(self.asked("stock", "left", "a", "--max-staleness", "0.5", "--consistency", "local")[3], "local 0.5")
        self.assertEqual(self.asked("stock", "left", "a", "--consistency", "at_least", "--at-least", "7")[3], "at_least 7")
        for wrong in (["add", "a", "--consistency", "local"], ["left", "a", "--consistency", "at_least"], ["left", "a", "--at-least", "x"]):
            self.assertEqual(self.run_command("stock", *wrong).exit_code, 64)

    def test_what_is_true_or_false_may_be_an_option_alone(self) -> None:
        parameters = [parameter("key", "bytes"), parameter("prefix_too", "bool", False)]
        described = operation("Delete it.", "int", *parameters)
        machine = {**MACHINES["stock"], "commands": {"delete": described}}
        self.patch(machines, "_describe", lambda settings: {"store": machine})
        wanted = ("command", "store", "delete", {"key": "a", "prefix_too": True})
        for words in (["a", "--prefix-too"], ["--prefix_too", "a"], ["a", "true"], ["a", "--prefix-too", "TRUE"]):
            self.assertEqual(self.asked("store", "delete", *words), wanted, words)
        self.assertEqual(self.asked("store", "delete", "a", "--prefix-too=false")[3], {"key": "a", "prefix_too": False})

    def test_a_parameter_that_is_named_like_the_option_is_a_mistake_not_a_refusal(self) -> None:
        self.patch(machines, "_values", lambda *_: {"consistency": "local"})
        told = self.run_command("stock", "left", "a")
        self.assertEqual((told.exit_code, "POST it to /v1/stock/left" in told.stderr), (64, True))

    def test_hyphens_for_underscores(self) -> None:
        self.assertEqual(self.asked("stock", "take-all"), ("command", "stock", "take_all", {}))

    def test_the_connection_is_closed(self) -> None:
        self.asked("stock", "add", "a")
        self.assertEqual(self.called[-1], ("close",))

    def printed(self, result: Any, *arguments: str) -> str:
        self.patch(FakeClient, "result", result)
        return self.run_command(*arguments).stdout

    def test_results(self) -> None:
        self.assertEqual(self.printed(2**70, "stock", "add", "a"), f"{2**70}\n")
        self.assertEqual(self.printed(None, "stock", "take_all"), "done\n")
        self.assertEqual(self.printed(None, "stock", "left", "a"), "none\n")
        self.assertEqual(self.printed(None, "stock", "left", "a", "-o", "json"), "null\n")
        self.assertEqual(self.printed("grün", "stock", "label", "a"), "grün\n")
        self.assertEqual(self.printed("grün", "-o", "json", "stock", "label", "a"), '"grün"\n')

    def test_a_result_of_bytes_that_are_no_text(self) -> None:
        raw = {"base64": base64.b64encode(b"\xff\x00").decode()}
        self.patch(FakeClient, "result", raw)
        self.assertEqual(self.run_command("-o", "json", "stock", "label", "a").stdout, '{"base64":"/wA="}\n')
        written = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(written, write_through=True))
        machines._print_result(raw, Settings(("a:1",)), {"returns": "bytes"})
        self.assertEqual(written.getvalue(), b"\xff\x00\n")


class Misunderstanding(CliTestCase):
    """Wrong words cost nothing and are explained."""

    def explained(self, *arguments: str) -> str:
        told = self.run_command(*arguments)
        self.assertEqual((told.exit_code, told.stdout, told.stderr.count("\n"), self.called), (64, "", 1, []), told)
        return told.stderr

    def test_unknown_machine_or_operation(self) -> None:
        self.assertIn("neither a command of txraft nor a machine of this cluster (stock)", self.explained("stcok", "add"))
        self.assertIn("stock has no 'sell'; it has: add, take_all, label, left", self.explained("stock", "sell"))
        self.assertIn("say which operation of stock: add, take_all", self.explained("stock"))

    def test_arguments(self) -> None:
        self.assertIn("'sku' is missing: add SKU [N]", self.explained("stock", "add"))
        self.assertIn("takes 2 arguments: add SKU [N]", self.explained("stock", "add", "a", "2", "3"))
        self.assertIn("LABELS is a list: JSON, or --labels repeated", self.explained("stock", "label", "a", "b", "c"))
        self.assertIn("'sku' is given by position and by name", self.explained("stock", "add", "a", "--sku", "b"))
        self.assertIn("'n' is given 2 times", self.explained("stock", "add", "a", "--n", "1", "--n", "2"))
        self.assertIn("unrecognized arguments: --m", self.explained("stock", "add", "a", "--m"))


class Listing(CliTestCase):
    """What there is."""

    def test_machines(self) -> None:
        told = self.run_command("machines")
        self.assertEqual(
            told.stdout.splitlines(),
            [
                "stock (plug-in stock, version 2): Units on the shelf, by article.",
                "commands",
                "  add SKU [N]",
                "      Put units on the shelf.",
                "  take_all",
                "      Take everything.",
                "  label SKU [LABELS]",
                "      Stick labels.",
                "queries",
                "  left SKU",
                "      100% of what is left.",
            ],
        )
        self.assertIn("left SKU", self.run_command("stock", "--help").stdout)

    def test_nothing_is_wider_than_the_terminal(self) -> None:
        names = [f"parameter_{number}" for number in range(9)]
        described = operation("Do this, " * 20, "int", *(parameter(name, "int", 0) for name in names))
        self.patch(machines, "_describe", lambda settings: {"stock": {**MACHINES["stock"], "commands": {"sell": described}}})
        for columns in (60, 100):
            self.patch(os, "environ", {**os.environ, "COLUMNS": str(columns)})
            told = self.run_command("machines").stdout
            self.assertLessEqual(max(map(len, told.splitlines())), columns)
            self.assertEqual(told.count("this,"), 20)
            self.assertTrue(all(f"[{name.upper()}]" in told for name in names), told)

    def test_help_of_an_operation(self) -> None:
        told = self.run_command("stock", "add", "--help")
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        for words in ("txraft stock add SKU [N]", "Put units on the shelf.", "int, default 1", "str, required"):
            self.assertIn(words, told.stdout)
        self.assertIn("100% of what", self.run_command("stock", "left", "--help").stdout)


class Values(CliTestCase):
    """One parameter, by its declared type."""

    def value(self, kind: str, *texts: str) -> Any:
        return argument_of(parameter("p", kind), list(texts))

    def test_text_is_taken_as_it_is(self) -> None:
        for kind in ("str", "str | None", "int | str"):
            self.assertEqual(self.value(kind, "5"), "5")

    def test_bytes_are_those_of_the_argument(self) -> None:
        self.assertEqual(self.value("bytes", "ä"), "ä")
        self.assertEqual(self.value("bytes", "\udcff"), {"base64": "/w=="})
        self.assertEqual(self.value("list[bytes]", "a", "\udcff"), ["a", {"base64": "/w=="}])

    def test_others_are_json_where_they_are_json(self) -> None:
        self.assertEqual(self.value("int", "-5"), -5)
        self.assertEqual(self.value("int", str(2**80)), 2**80)
        self.assertEqual(self.value("float", "0.5"), 0.5)
        self.assertEqual(self.value("int | None", "null"), None)
        self.assertEqual(self.value("bool", "True"), True)
        self.assertEqual(self.value("dict[str, int]", '{"a": 1}'), {"a": 1})
        self.assertEqual(self.value("int", "five"), "five")
        self.assertEqual(self.value("float", "NaN"), "NaN")
        self.assertEqual(self.value("int", "[" * 100_000), "[" * 100_000)

    def test_lists(self) -> None:
        self.assertEqual(self.value("list[str]", "1", "2"), ["1", "2"])
        self.assertEqual(self.value("list[int]", "1"), [1])
        self.assertEqual(self.value("list[int]", "[1, 2]"), [1, 2])
        self.assertEqual(self.value("tuple[str, ...]", '["a"]'), ["a"])

    def test_two_values_for_what_is_no_list(self) -> None:
        self.assertRaises(UsageProblem, self.value, "int", "1", "2")
