"""No file swallows the algorithm: files and functions stay small enough to be read whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, TidyTestCase, sources

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 50


def check_sizes(source: Source) -> Iterator[str]:
    """The file and the functions in it that are too long, docstrings included, decorators not."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield source.at(lines, f"{lines} lines, at most {FILE_LINES_MAX}: divide the file by what it is about")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield source.at(node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_files_and_functions_stay_small(self) -> None:
        self.assert_tidy(problem for source in sources("txraft") for problem in check_sizes(source))


class SizesAreChecked(TidyTestCase):
    """The rules can fail."""

    def test_long_file(self) -> None:
        self.assert_tidy(check_sizes(Source.of("a.py", "x = 1\n" * 350)))
        self.assert_rejected(check_sizes(Source.of("a.py", "x = 1\n" * 351)), "351 lines")

    def test_long_function(self) -> None:
        self.assert_tidy(check_sizes(Source.of("a.py", "def f():\n" + "    x = 1\n" * 49)))
        self.assert_rejected(check_sizes(Source.of("a.py", "def f():\n" + "    x = 1\n" * 50)), "a.py:1:", "f has 51 lines")

    def test_long_method_even_async(self) -> None:
        text = "class A:\n    @decorated\n    async def f(self):\n" + "        x = 1\n" * 50
        self.assert_rejected(check_sizes(Source.of("a.py", text)), "a.py:3:")
