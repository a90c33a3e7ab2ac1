"""One word for one thing: names that say nothing, or that the dissertation has a better word for, are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.tidy.sources import Source, TidyTestCase, sources

SAYS_NOTHING = "say what it does or holds"
WORDS = {
    "engine": "consensus module, node or machine",
    "epoch": "term",
    "handler": SAYS_NOTHING,
    "helper": SAYS_NOTHING,
    "info": SAYS_NOTHING,
    "manager": SAYS_NOTHING,
    "processor": SAYS_NOTHING,
    "replica": "server",
    "util": SAYS_NOTHING,
}
"""A banned word and what to write instead; its plural is banned with it."""

ALONE = {"data": SAYS_NOTHING}
"""Banned as a whole name only: `data_dir` is clear enough."""

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

TWISTED_NAMED = re.compile("[a-z][A-Z]|^write$")


def check_names(source: Source) -> Iterator[str]:
    """The banned words among the names that this file gives, its own included. Names it only uses are others' affair."""
    stem = PurePosixPath(source.path).stem
    for line, name in [(1, stem), *_given_names(source.tree)]:
        for word in {name.lower() if name.lower() in ALONE else "", *(word.lower() for word in WORD.findall(name))}:
            singular = word if word in WORDS else word.removesuffix("s")
            instead = WORDS.get(singular) or (ALONE[word] if word in ALONE and name.lower() == word else None)
            if instead:
                yield source.at(line, f"the name {name} uses {word!r}: {instead}")


def _given_names(node: ast.AST, not_ours: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Names that the code gives; not the arguments of a function that Twisted has named (`dataReceived`), it has named them too."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.lineno, node.name
            if TWISTED_NAMED.search(node.name):
                not_ours |= {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        case ast.ClassDef():
            yield node.lineno, node.name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) if name not in not_ours:
            yield node.lineno, name
        case ast.Attribute(attr=name, ctx=ast.Store()):
            yield node.lineno, name
        case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            yield node.lineno, name
    for child in ast.iter_child_nodes(node):
        yield from _given_names(child, not_ours)


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_names_are_words_of_the_house(self) -> None:
        self.assert_tidy(problem for source in sources("txraft", "twisted", "tests") for problem in check_names(source))


class NamesAreChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, text: str, *words: str, path: str = "a.py") -> None:
        self.assert_rejected(check_names(Source.of(path, text)), *words)

    def test_every_kind_of_name(self) -> None:
        self.rejected("class LogManager: pass", "LogManager", "manager")
        self.rejected("def peer_info(): pass", "info")
        self.rejected("def f(engine): pass", "engine")
        self.rejected("def f(*, on_error_handler): pass", "handler")
        self.rejected("epoch = 1", "epoch")
        self.rejected("self.replicas = []", "replicas", "server")
        self.rejected("import a as utils", "utils")
        self.rejected("for helper in a: pass", "helper")
        self.rejected("try: pass\nexcept E as info: pass", ":2:", "info")
        self.rejected("HTTPHandler: int = 1", "HTTPHandler")
        self.rejected("", "helpers", path="txraft/helpers.py")

    def test_data_alone(self) -> None:
        self.rejected("data = 1", "data")
        self.rejected("def f(data): pass", "data")
        self.assert_tidy(check_names(Source.of("a.py", "data_dir = metadata = 1")))

    def test_the_words_of_others_are_not_ours(self) -> None:
        self.assert_tidy(check_names(Source.of("a.py", "log.info(handler=1)\nclass P:\n    def dataReceived(self, data): data = 1")))

    def test_within_a_longer_word(self) -> None:
        self.assert_tidy(check_names(Source.of("a.py", "information = utility = processed = 1")))
