"""Everything public says what it is for, and the core says which sentence of the dissertation it carries out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.tidy.sources import Source, TidyTestCase, sources

CAMEL_CASE = re.compile("[a-z][A-Z]")
"""The name of a method that one of Twisted's interfaces asks for, and documents."""

NO_RULE_OF_THE_PAPER = ("txraft/core/__init__.py", "txraft/core/require.py")


def check_docstrings(source: Source) -> Iterator[str]:
    """The module, and its public functions, classes and methods, that have no docstring. Empty files need none."""
    if source.tree.body and not ast.get_docstring(source.tree):
        yield source.at(1, "the module has no docstring")
    yield from _undocumented(source, source.tree)


def _undocumented(source: Source, parent: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in parent.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not _excused(node):
            if not ast.get_docstring(node):
                yield source.at(node.lineno, f"{node.name} has no docstring")
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(source, node)


def _excused(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    if node.name.startswith("_"):
        return True
    if isinstance(node, ast.ClassDef):
        return False
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    adds_to_its_base = f"super().{node.name}(" in ast.unparse(node)
    named_by_others = CAMEL_CASE.search(node.name) is not None or node.name.startswith("render_")
    return adds_to_its_base or named_by_others or not decorators.isdisjoint({"overload", "override", "setter"})


def check_source(source: Source) -> Iterator[str]:
    """A module of the core that names no source."""
    if "Source:" not in source.text and source.path not in NO_RULE_OF_THE_PAPER:
        yield source.at(1, 'no "Source:" names the section of the dissertation')


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_everything_public_has_a_docstring(self) -> None:
        self.assert_tidy(problem for source in sources("txraft") for problem in check_docstrings(source))

    def test_the_core_names_its_sources(self) -> None:
        self.assert_tidy(problem for source in sources("txraft/core") for problem in check_source(source))


class DocstringsAreChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, text: str, *words: str) -> None:
        self.assert_rejected(check_docstrings(Source.of("a.py", text)), *words)

    def allowed(self, text: str) -> None:
        self.assert_tidy(check_docstrings(Source.of("a.py", text)))

    def test_missing(self) -> None:
        self.rejected("x = 1", "the module")
        self.rejected('"""A."""\ndef f(): pass', ":2: f")
        self.rejected('"""A."""\nclass A:\n    """A."""\n    @property\n    async def f(self): pass', ":5: f")
        self.rejected('"""A."""\nclass A: pass', "A has")

    def test_not_needed(self) -> None:
        self.allowed("")
        self.allowed('"""A."""\ndef _f():\n    def g(): pass\nclass _A:\n    def f(self): pass')
        self.allowed('"""A."""\nclass A:\n    """A."""\n    def __init__(self): pass\n    def dataReceived(self, d): pass')
        self.allowed('"""A."""\nclass A(B):\n    """A."""\n    def close(self):\n        super().close()')

    def test_source_missing(self) -> None:
        self.assert_rejected(check_source(Source.of("txraft/core/a.py", '"""A."""')), "Source:")
        self.assert_tidy(check_source(Source.of("txraft/core/a.py", '"""Source: §3.5."""')))
