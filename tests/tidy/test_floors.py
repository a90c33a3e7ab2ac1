"""Imports go strictly downward from floor to floor, never to a sibling, and each floor keeps to its own tools."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from attrs import frozen

from tests.tidy.sources import Import, Source, TidyTestCase, begins_with, imports, sources

CLOCK_AND_CHANCE = frozenset({"datetime", "random", "secrets", "time", "uuid"})
DISK = frozenset({"glob", "io", "logging", "os", "pathlib", "shutil", "tempfile"})
NETWORK = frozenset({"http", "select", "selectors", "socket", "ssl", "urllib"})
OTHERS_AT_WORK = frozenset({"asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading"})
IMPURE = CLOCK_AND_CHANCE | DISK | NETWORK | OTHERS_AT_WORK
"""Standard library modules by which more than the arguments comes in."""


@frozen
class Floor:
    """Where a unit (a package or module right under `txraft`) stands.

    Attributes:
        number: it imports from units of lower numbers only.
        outside: the third-party modules it may import.
        without: the standard library modules it may not import.
        sees: if given, the only units it may import (besides what `number` forbids).
    """

    number: int
    outside: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    sees: frozenset[str] | None = None


RECORDS = frozenset({"attr", "attrs", "msgspec"})
TWISTED = RECORDS | {"twisted", "zope.interface", "constantly"}

FINDS_PLUG_INS = frozenset({"zope.interface", "twisted.plugin", "twisted.plugins", "twisted.python.reflect"})

FLOORS = {
    "errors": Floor(0),
    "limits": Floor(0),
    "addresses": Floor(0),
    "core": Floor(1, RECORDS, IMPURE),
    "statemachine": Floor(1, RECORDS | FINDS_PLUG_INS, IMPURE - {"datetime", "pathlib", "random", "uuid"}),
    "config": Floor(1, RECORDS | {"yaml"}),
    "storage": Floor(2, RECORDS),
    "wire": Floor(2, RECORDS, IMPURE),
    "machines": Floor(2, RECORDS | {"sortedcontainers"}, IMPURE, sees=frozenset({"statemachine", "errors", "limits"})),
    "node": Floor(3, TWISTED),
    "net": Floor(4, TWISTED),
    "client": Floor(4, TWISTED),
    "http": Floor(5, TWISTED),
    "testing": Floor(5, TWISTED | {"hypothesis"}),
    "embed": Floor(6, TWISTED),
    "tap": Floor(7, TWISTED),
    "cli": Floor(7, TWISTED | {"yaml"}),
    "__main__": Floor(8),
}
"""`__init__` has none: it runs before everything, so it may import nothing of ours but on demand."""

STANDARD_LIBRARY_ONLY = ("txraft/client/blocking", "txraft/client/recipes/blocking", "txraft/client/recipes/shared/")
"""Files that must work under a bare interpreter (a prefix of their paths)."""

ONLY_DOORS = {("net", "node"): "txraft.node.ports"}
"""A unit that sees one module of another, and no more."""

PLUGINS_IMPORT = ("__future__", "twisted.application.service", "txraft.statemachine")
"""Plug-in files run in every twistd and trial of the machine, so they are kept light."""


def unit_of(path: str) -> str:
    """`core` of txraft/core/log.py, `errors` of txraft/errors.py."""
    return path.split("/")[1].removesuffix(".py")


def check_floors(source: Source) -> Iterator[str]:
    """What this file of txraft/ imports that it must not."""
    unit = unit_of(source.path)
    if unit != "__init__" and unit not in FLOORS:
        yield source.at(1, f"{unit} has no floor: give it one in tests/tidy/test_floors.py")
        return
    for one in imports(source):
        problem = _problem(source, unit, one)
        if problem:
            yield source.at(one.line, problem)


def _problem(source: Source, unit: str, one: Import) -> str | None:
    top = one.target.split(".")[0]
    if top == "":
        return f"{one.target}: write imports in full, from txraft on"
    if top == "txraft":
        return _problem_with_ours(source, unit, one)
    if top in sys.stdlib_module_names:
        if unit in FLOORS and top in FLOORS[unit].without:
            return f"{unit} is without {top}: what it would bring comes in through parameters"
        return None
    if unit == "__init__" or source.path.startswith(STANDARD_LIBRARY_ONLY):
        return f"{one.target}: only the standard library is imported here"
    if not begins_with(one.target, FLOORS[unit].outside):
        return f"{unit} does not import {one.target}"
    return None


def _problem_with_ours(source: Source, unit: str, one: Import) -> str | None:
    if unit == "__init__":
        return f"{one.target} would be imported with everything: import it on demand" if one.runs_at_import else None
    if one.target == "txraft.__version__":
        return None
    seen = (one.target.split(".") + [""])[1]
    if seen == unit:
        return None
    if seen not in FLOORS:
        return f"{one.target} is imported from where it is defined, not from its package's front"
    floor = FLOORS[unit]
    if FLOORS[seen].number >= floor.number:
        return f"{unit} (floor {floor.number}) does not see {seen} (floor {FLOORS[seen].number}): imports go strictly downward"
    if floor.sees is not None and seen not in floor.sees:
        return f"{unit} sees only {', '.join(sorted(floor.sees))}, not {seen}"
    door = ONLY_DOORS.get((unit, seen))
    if door and not begins_with(one.target, [door]):
        return f"{unit} sees of {seen} only {door}, not {one.target}"
    if source.path.startswith(STANDARD_LIBRARY_ONLY) and FLOORS[seen].number > 0:
        return f"{one.target}: only the standard library and floor 0 are imported here"
    return None


def check_plugin_imports(source: Source) -> Iterator[str]:
    """What a file of twisted/plugins/ imports that makes other people's commands slow."""
    for one in imports(source):
        if not begins_with(one.target, PLUGINS_IMPORT):
            yield source.at(one.line, f"a plug-in file names things by string, it does not import {one.target}")


def check_circles(files: Sequence[Source]) -> Iterator[str]:
    """Circles among the imports that run when a module is imported."""
    modules = {_module_name(source.path): source for source in files}
    edges = {name: sorted(_imported(source, modules)) for name, source in modules.items()}
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> Iterator[str]:
        if name in trail:
            yield "imports in a circle: " + " -> ".join([*trail[trail.index(name) :], name])
        elif name not in done:
            for next_name in edges[name]:
                yield from walk(next_name, [*trail, name])
            done.add(name)

    for name in edges:
        yield from walk(name, [])


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(source: Source, modules: dict[str, Source]) -> set[str]:
    targets = [(one.target, one.module) for one in imports(source) if one.runs_at_import]
    found = {next((name for name in names if name in modules), "") for names in targets}
    return found - {"", _module_name(source.path)}


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_imports_go_strictly_downward(self) -> None:
        self.assert_tidy(problem for source in sources("txraft") for problem in check_floors(source))

    def test_plug_in_files_import_next_to_nothing(self) -> None:
        self.assert_tidy(problem for source in sources("twisted") for problem in check_plugin_imports(source))

    def test_nothing_is_imported_in_a_circle(self) -> None:
        self.assert_tidy(check_circles(sources("txraft")))


class FloorsAreChecked(TidyTestCase):
    """The rules can fail."""

    def rejected(self, path: str, text: str, *words: str) -> None:
        self.assert_rejected(check_floors(Source.of(path, text)), *words)

    def allowed(self, path: str, text: str) -> None:
        self.assert_tidy(check_floors(Source.of(path, text)))

    def test_upward(self) -> None:
        self.rejected("txraft/core/log.py", "from txraft.node.node import RaftNode", "core (floor 1)", "node (floor 3)", ":1:")

    def test_upward_within_a_function_or_for_types_only(self) -> None:
        self.rejected("txraft/wire/a.py", "def f():\n    from txraft import node", "wire", ":2:")
        self.rejected("txraft/wire/a.py", "if TYPE_CHECKING:\n    import txraft.node.ports", "wire")

    def test_sideways(self) -> None:
        self.rejected("txraft/storage/a.py", "import txraft.wire.codec", "strictly downward")

    def test_downward_and_within_a_package_is_allowed(self) -> None:
        self.allowed("txraft/storage/a.py", "from txraft.core.entry import Entry\nfrom txraft.storage.b import c")
        self.allowed("txraft/storage/a.py", "from txraft import limits")

    def test_relative(self) -> None:
        self.rejected("txraft/core/a.py", "from . import entry", "in full")

    def test_a_unit_without_a_floor(self) -> None:
        self.rejected("txraft/common/a.py", "", "no floor")

    def test_from_the_front_of_the_distribution(self) -> None:
        self.rejected("txraft/cli/a.py", "from txraft import RaftNode", "where it is defined")
        self.allowed("txraft/cli/a.py", "from txraft import __version__")

    def test_twisted_below_the_node(self) -> None:
        for package in ("core", "storage", "wire", "machines", "config"):
            self.rejected(f"txraft/{package}/a.py", "from twisted.internet import defer", "twisted.internet.defer")

    def test_statemachine_sees_of_twisted_what_finds_plug_ins(self) -> None:
        self.allowed("txraft/statemachine/a.py", "from twisted.plugin import getPlugins\nfrom twisted.python import reflect")
        self.rejected("txraft/statemachine/a.py", "from twisted.python import log", "twisted.python.log")

    def test_the_core_has_no_clock(self) -> None:
        for module in ("time", "random", "os.path", "socket", "threading", "logging"):
            self.rejected("txraft/core/a.py", f"import {module}", "without " + module.split(".")[0])

    def test_machines_see_the_statemachine_package_only(self) -> None:
        self.allowed("txraft/machines/a.py", "from txraft.statemachine import StateMachine")
        self.rejected("txraft/machines/a.py", "from txraft.core.entry import Entry", "sees only")
        self.rejected("txraft/machines/a.py", "import twisted", "does not import twisted")
        self.allowed("txraft/machines/a.py", "import msgspec")

    def test_net_sees_of_the_node_its_ports(self) -> None:
        self.allowed("txraft/net/a.py", "from txraft.node.ports import PeerGate\nfrom txraft.node import ports")
        self.rejected("txraft/net/a.py", "from txraft.node.node import RaftNode", "only txraft.node.ports")

    def test_the_bottom_floor_and_the_blocking_client_need_the_standard_library_only(self) -> None:
        self.rejected("txraft/errors.py", "import attrs", "attrs")
        self.rejected("txraft/client/blocking.py", "import msgspec", "standard library")
        self.rejected("txraft/client/blocking.py", "from txraft.wire import codec", "floor 0")
        self.rejected("txraft/client/recipes/shared/locks.py", "from twisted.internet.defer import Deferred", "standard library")
        self.rejected("txraft/client/recipes/blocking.py", "import attrs", "standard library")
        self.allowed("txraft/client/blocking.py", "import http.client\nfrom txraft.errors import Unknown")
        self.allowed("txraft/client/recipes/deferred_store.py", "from twisted.internet.defer import Deferred")

    def test_the_package_itself_imports_on_demand(self) -> None:
        self.rejected("txraft/__init__.py", "from txraft.embed import RaftNode", "on demand")
        self.allowed("txraft/__init__.py", "def __getattr__(name):\n    from txraft.embed import RaftNode\n    return RaftNode")

    def test_heavy_plug_in(self) -> None:
        heavy = Source.of("twisted/plugins/a.py", "from txraft.machines.counter import Counter")
        self.assert_rejected(check_plugin_imports(heavy), "txraft.machines.counter.Counter")

    def test_circle(self) -> None:
        one = Source.of("txraft/core/one.py", "from txraft.core.two import b")
        two = Source.of("txraft/core/two.py", "from txraft.core import one")
        self.assert_rejected(check_circles([one, two]), "txraft.core.one -> txraft.core.two -> txraft.core.one")

    def test_circle_through_the_front_of_a_package(self) -> None:
        front = Source.of("txraft/core/__init__.py", "from txraft.core.two import b")
        two = Source.of("txraft/core/two.py", "from txraft.core import b")
        self.assert_rejected(check_circles([front, two]), "txraft.core -> txraft.core.two -> txraft.core")

    def test_what_runs_later_closes_no_circle(self) -> None:
        one = Source.of("txraft/core/one.py", "from txraft.core.two import b")
        two = Source.of("txraft/core/two.py", "if TYPE_CHECKING:\n    from txraft.core.one import a\ndef f():\n    import txraft.core.one")
        self.assert_tidy(check_circles([one, two]))
