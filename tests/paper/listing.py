"""The table of paper tests: `python -m tests.paper.listing` writes it into the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tests.tidy.sources import ROOT, Source, sources

DOCUMENT = ROOT / "txraft" / "docs" / "paper-tests.md"
RULE = re.compile(r"§(?P<section>[0-9.]+[0-9]): (?P<rule>.+)", re.DOTALL)

HEAD = """\
# Paper tests

Diego Ongaro's dissertation ("Consensus: Bridging Theory and Practice", 2014) sentence by sentence, in words of our own, and the
test that shows each. Written by `python -m tests.paper.listing` from the tests themselves; a test fails when it is out of date.

| section | rule | test |
|---|---|---|
"""


@frozen(order=True)
class PaperTest:
    """One row."""

    section: tuple[int, ...]
    place: int
    rule: str
    test: str

    def row(self) -> str:
        return f"| §{'.'.join(map(str, self.section))} | {self.rule} | `{self.test}` |\n"


def tests_of(source: Source) -> Iterator[tuple[str, str]]:
    """Dotted name and docstring of every test method in a file."""
    module = source.path.removesuffix(".py").replace("/", ".")
    for each in source.tree.body:
        if isinstance(each, ast.ClassDef):
            for method in each.body:
                if isinstance(method, ast.FunctionDef) and method.name.startswith("test_"):
                    yield f"{module}.{each.name}.{method.name}", ast.get_docstring(method) or ""


def paper_sources() -> list[Source]:
    """The files of this package that hold paper tests."""
    return [source for source in sources("tests/paper") if Path(source.path).name.startswith("test_section_")]


def paper_tests() -> list[PaperTest]:
    """All paper tests, by section and then as they stand."""
    found = []
    for source in paper_sources():
        for place, (test, docstring) in enumerate(tests_of(source)):
            match = RULE.fullmatch(docstring)
            if match:
                section = tuple(int(number) for number in match["section"].split("."))
                found.append(PaperTest(section, place, " ".join(match["rule"].split()), test))
    return sorted(found)


def table() -> str:
    """The whole document."""
    return HEAD + "".join(test.row() for test in paper_tests())


if __name__ == "__main__":
    DOCUMENT.write_text(table(), "utf-8")
