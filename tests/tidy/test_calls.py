"""What is never called or imported, or in one place only; and the comments that are never left behind."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from attrs import frozen

from tests.tidy.sources import Source, TidyTestCase, begins_with, imports, sources


@frozen
class Ban:
    """What to do instead of a banned thing, and the places (prefixes of paths) that may do it."""

    instead: str
    allowed: tuple[str, ...] = ()


NEVER_PICKLE = Ban("bytes of others would run as code: msgspec reads and writes, typed")
NEVER_RUN_TEXT = Ban("text is never run as code")
SAFE_YAML = Ban("use yaml.safe_load")
WALL_CLOCK = Ban(
    "the wall clock jumps: it is read in txraft/embed.py alone, to stamp entries, and by the doctor; take a clock as a parameter",
    ("txraft/embed.py", "txraft/cli/doctor.py", "tests/benchmarks/", "tests/end_to_end/"),
)

BANNED = {
    "pickle": NEVER_PICKLE,
    "marshal": NEVER_PICKLE,
    "shelve": NEVER_PICKLE,
    "eval": NEVER_RUN_TEXT,
    "exec": NEVER_RUN_TEXT,
    "yaml.load": SAFE_YAML,
    "yaml.load_all": SAFE_YAML,
    "yaml.full_load": SAFE_YAML,
    "yaml.unsafe_load": SAFE_YAML,
    "time.time": WALL_CLOCK,
    "time.time_ns": WALL_CLOCK,
    "datetime.datetime.now": WALL_CLOCK,
    "datetime.datetime.utcnow": WALL_CLOCK,
    "time.sleep": Ban(
        "nothing waits in the reactor or in a unit test: take a clock",
        ("txraft/cli/", "txraft/client/blocking", "tests/end_to_end/", "tests/support/processes", "tests/benchmarks/"),
    ),
}

REACTOR = "twisted.internet.reactor"
TAKES_THE_REACTOR = ("tap", "cli", "embed")
LEFT_BEHIND = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BLANKET = re.compile(r"type:\s*ignore(?!\[)|noqa(?!:\s*[A-Z]+[0-9]+)")


def check_calls(source: Source) -> Iterator[str]:
    """Uses of banned names, under whatever name they were imported; a name handed on counts as used."""
    full_names: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                yield from _uses(source, node.lineno, full_name)
                if alias.asname or isinstance(node, ast.ImportFrom):
                    full_names[alias.asname or alias.name] = full_name
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            head, dot, rest = ast.unparse(node).partition(".")
            if dot or head not in full_names:
                yield from _uses(source, node.lineno, full_names.get(head, head) + dot + rest)


def _uses(source: Source, line: int, name: str) -> Iterator[str]:
    for banned, ban in BANNED.items():
        if begins_with(name, [banned]) and not source.path.startswith(ban.allowed):
            yield source.at(line, f"{name}: {ban.instead}")


def check_comments(source: Source) -> Iterator[str]:
    """Notes of work left undone, and silencers that do not say which complaint they silence."""
    if not BLANKET.search(source.text) and not LEFT_BEHIND.search(source.text):
        return  # taking it to pieces takes a while
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and BLANKET.search(token.string):
            yield source.at(token.start[0], f"{token.string}: name the code of what is silenced")
        if token.type == tokenize.COMMENT and LEFT_BEHIND.search(token.string):
            yield source.at(token.start[0], f"{token.string}: do it, or leave it out and say so where users read")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            left = LEFT_BEHIND.search(ast.get_docstring(node) or "")
            if left:
                yield source.at(getattr(node, "lineno", 1), f"{left[0]} in the docstring: do it, or leave it out")


def check_reactor(source: Source) -> Iterator[str]:
    """Imports of the global reactor: it is passed in, and taken only where a process begins, when it begins."""
    for one in imports(source) if "reactor" in source.text else ():
        if begins_with(one.target, [REACTOR]):
            if not one.within_function:
                yield source.at(one.line, "importing the reactor installs it: import it in the function that needs it")
            elif source.path.split("/")[1].removesuffix(".py") not in TAKES_THE_REACTOR:
                yield source.at(one.line, "take the reactor as a parameter")


def check_test_reactor(source: Source) -> Iterator[str]:
    """Unit tests that use the global reactor."""
    for one in imports(source) if "reactor" in source.text else ():
        if begins_with(one.target, [REACTOR]) and not source.path.startswith(("tests/end_to_end/", "tests/benchmarks/")):
            yield source.at(one.line, "a unit test has a task.Clock, no reactor")


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_nothing_banned_is_called(self) -> None:
        self.assert_tidy(problem for source in sources("txraft", "twisted", "tests") for problem in check_calls(source))

    def test_comments_leave_nothing_undone_and_silence_nothing_wholesale(self) -> None:
        self.assert_tidy(problem for source in sources("txraft", "twisted", "tests") for problem in check_comments(source))

    def test_the_reactor_is_passed_in(self) -> None:
        self.assert_tidy(problem for source in sources("txraft", "twisted") for problem in check_reactor(source))

    def test_unit_tests_have_no_reactor(self) -> None:
        self.assert_tidy(problem for source in sources("tests") for problem in check_test_reactor(source))


class CallsAreChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, text: str, *words: str, path: str = "txraft/node/a.py") -> None:
        self.assert_rejected(check_calls(Source.of(path, text)), *words)

    def test_banned_calls(self) -> None:
        self.rejected("import pickle", "pickle", "msgspec")
        self.rejected("from marshal import loads\n", "marshal")
        self.rejected("x = eval(y)", "eval")
        self.rejected("exec(y)", "exec")
        self.rejected("import yaml\nyaml.load(y, Loader=yaml.SafeLoader)", ":2:", "safe_load")
        self.rejected("import time\ntime.time()", "take a clock")
        self.rejected("from datetime import datetime\ndatetime.now()", "datetime.datetime.now")

    def test_under_another_name_or_handed_on(self) -> None:
        self.rejected("import time as t\nf(t.sleep)", "time.sleep")
        self.rejected("from time import sleep\nsleep(1)", ":1:", "time.sleep")

    def test_sleeping_is_for_commands_and_whole_processes(self) -> None:
        text = "import time\ntime.sleep(1)"
        self.rejected(text, path="tests/node/test_node.py")
        self.assert_tidy(check_calls(Source.of("tests/end_to_end/test_kill.py", text)))
        self.assert_tidy(check_calls(Source.of("txraft/cli/demo.py", text)))

    def test_what_only_looks_alike(self) -> None:
        self.assert_tidy(check_calls(Source.of("txraft/node/a.py", "import time\nself.eval(1)\nclock.time()\ntime.monotonic()")))


class CommentsAreChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, text: str, *words: str) -> None:
        self.assert_rejected(check_comments(Source.of("a.py", text)), *words)

    def test_left_behind(self) -> None:
        self.rejected("x = 1  # TODO: y", "TODO")
        self.rejected('def f():\n    """XXX"""', ":1:", "XXX")

    def test_wholesale_silence(self) -> None:
        self.rejected("x = 1  # type: ignore", "name the code")
        self.rejected("x = 1  # noqa", "name the code")
        self.assert_tidy(check_comments(Source.of("a.py", "x = 1  # type: ignore[misc]  # noqa: E501")))

    def test_text_is_not_a_comment(self) -> None:
        self.assert_tidy(check_comments(Source.of("a.py", "x = '# TODO'")))


class ReactorIsChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, path: str, text: str, *words: str) -> None:
        self.assert_rejected(check_reactor(Source.of(path, text)), *words)

    def test_at_module_level_it_is_nowhere(self) -> None:
        self.rejected("txraft/cli/main.py", "from twisted.internet import reactor", "installs it")
        self.rejected("txraft/tap.py", "try:\n    import twisted.internet.reactor\nexcept E: pass", "installs it")

    def test_within_a_function_it_is_where_a_process_begins(self) -> None:
        text = "def main():\n    from twisted.internet import reactor"
        self.assert_tidy(check_reactor(Source.of("txraft/embed.py", text)))
        self.assert_tidy(check_reactor(Source.of("txraft/cli/bench.py", text)))
        self.rejected("txraft/node/node.py", text, "parameter")

    def test_in_a_unit_test(self) -> None:
        text = "def test_a():\n    from twisted.internet import reactor"
        self.assert_rejected(check_test_reactor(Source.of("tests/node/test_a.py", text)), "task.Clock")
        self.assert_tidy(check_test_reactor(Source.of("tests/end_to_end/test_a.py", text)))
