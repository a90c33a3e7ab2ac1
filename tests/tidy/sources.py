"""The repository's Python files, parsed once, and what the rules ask of them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]

NOT_OURS = ("tests/distributions/",)
"""Distributions that tests install play somebody else's code: some are broken on purpose."""


@frozen
class Source:
    """A Python file: its path from the root of the repository, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        return cls(path, text, ast.parse(text, path))

    def at(self, line: int, problem: str) -> str:
        """The problem with its place, as editors understand it."""
        return f"{self.path}:{line}: {problem}"


@frozen
class Import:
    """One imported name in full: `from a.b import c` is `a.b.c`.

    `runs_at_import` is false within functions and under `if TYPE_CHECKING`: such an import cannot close a circle.
    """

    line: int
    module: str
    target: str
    within_function: bool
    runs_at_import: bool


@functools.cache
def sources(*folders: str) -> tuple[Source, ...]:
    """All Python files under these folders of the repository."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    names = [(path, path.relative_to(ROOT).as_posix()) for path in paths]
    return tuple(Source.of(name, path.read_text("utf-8")) for path, name in names if not name.startswith(NOT_OURS))


def imports(source: Source) -> Iterator[Import]:
    """Every import of a file, wherever it stands. A relative one begins with a dot."""
    yield from _imports(source.tree, within_function=False, runs_at_import=True)


def _imports(node: ast.AST, *, within_function: bool, runs_at_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, alias.name, within_function, runs_at_import)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            yield Import(node.lineno, module, f"{module}.{alias.name}", within_function, runs_at_import)
    within_function = within_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for_types_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    runs_at_import = runs_at_import and not within_function and not for_types_only
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, within_function=within_function, runs_at_import=runs_at_import)


def begins_with(target: str, modules: Iterable[str]) -> bool:
    """Whether the dotted name is one of these modules or lies within one."""
    return any(target == module or target.startswith(f"{module}.") for module in modules)


class TidyTestCase(SynchronousTestCase):
    """Asserts in problems: a failure lists all of them, one a line."""

    def assert_tidy(self, problems: Iterable[str]) -> None:
        found = sorted(problems)
        if found:
            self.fail("\n" + "\n".join(found))

    def assert_rejected(self, problems: Iterable[str], *words: str) -> None:
        """Exactly one problem, and its sentence holds these words."""
        found = list(problems)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])
