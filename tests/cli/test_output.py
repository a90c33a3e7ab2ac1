"""What people read."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.cli_case import Terminal
from txraft.cli.output import Progress, table, text_of_value


class Tables(SynchronousTestCase):
    """Aligned columns."""

    def test_columns_are_aligned_and_lines_end_clean(self) -> None:
        self.assertEqual(table([["NAME", "N", ""], ["a", "10", ""], ["long one", "9", "!"]]), "NAME      N\na         10\nlong one  9   !")

    def test_rows_may_be_short(self) -> None:
        self.assertEqual(table([["commands"], ["add", "adds"]], indent="  "), "  commands\n  add       adds")
        self.assertEqual(table([]), "")


class Values(SynchronousTestCase):
    """Results as text."""

    def test_scalars(self) -> None:
        values: list[object] = ["a b", 5, True, None, 0.5, {}, []]
        self.assertEqual([text_of_value(value) for value in values], ["a b", "5", "true", "null", "0.5", "{}", "[]"])

    def test_mapping(self) -> None:
        self.assertEqual(text_of_value({"swapped": False, "value": None, "of": [1, 2]}), "swapped  false\nvalue    -\nof       [1,2]")

    def test_list(self) -> None:
        self.assertEqual(text_of_value(["a", 1]), "a\n1")

    def test_list_of_mappings(self) -> None:
        self.assertEqual(
            text_of_value([{"name": "a", "value": 1}, {"name": "b", "more": "x"}]), "NAME  VALUE  MORE\na     1      -\nb     -      x"
        )

    def test_tables_within_a_mapping(self) -> None:
        self.assertEqual(text_of_value({"counters": [{"name": "a", "value": 1}], "next": None}), "next  -\ncounters\nNAME  VALUE\na     1")


class ProgressLines(SynchronousTestCase):
    """How far something is."""

    def shown(self, stream: io.StringIO) -> str:
        with redirect_stdout(stream):
            progress = Progress(40)
            for done in (0, 1, 20, 20, 40):
                progress.show(done, f"{done} done")
            progress.pause()
        return stream.getvalue()

    def test_a_line_for_each_tenth(self) -> None:
        self.assertEqual(self.shown(io.StringIO()), "    0%  0 done\n   50%  20 done\n  100%  40 done\n")

    def test_somewhere_else_and_on_terminals_only(self) -> None:
        for stream in (io.StringIO(), Terminal()):
            with redirect_stdout(io.StringIO()) as stdout:
                progress = Progress(40, stream, tenths=False)
                progress.show(40, "done")
                progress.pause()
            self.assertEqual((stdout.getvalue(), "100%  done" in stream.getvalue()), ("", stream.isatty()))

    def test_a_bar_on_a_terminal(self) -> None:
        shown = self.shown(Terminal())
        self.assertTrue(shown.endswith(f"\r  [{'#' * 30}] 100%  40 done\x1b[K\n"))
        self.assertIn(f"[{'#' * 15}{'.' * 15}]  50%", shown)
        self.assertEqual(shown.count("\n"), 1)
