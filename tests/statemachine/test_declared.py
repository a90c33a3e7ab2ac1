"""Declaring a machine as a class: what comes out of the type hints, and which mistakes are told when the class is created."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from tests.statemachine.machines import Plain, Recorder
from txraft.statemachine import Context, IStateMachine, Meta, StateMachine, command, patient_command, query

if TYPE_CHECKING:
    from nowhere import Something  # type: ignore[import-not-found]

    from txraft.statemachine.context import Context as HiddenContext


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Node(msgspec.Struct):
    inner: Node | None = None


class Own:
    """A class msgspec knows nothing of."""


class Declarations(SynchronousTestCase):
    def test_machines_provide_the_interface(self) -> None:
        for machine in (Recorder, Plain):
            verifyClass(IStateMachine, machine)
            verifyObject(IStateMachine, machine())

    def test_commands_and_queries_are_found_with_doc_and_types(self) -> None:
        class Shelf(StateMachine):
            """What is where.

            In detail.
            """

            @command
            def put(self, ctx: Context, what: str, where: Point, n: int = 1, *, how: Literal["slow", "fast"] = "slow") -> list[int]:
                """Put it there."""
                return []

            @query
            def find(self, what: str | None = None, tags: list[str] = []) -> dict[str, Point]:  # noqa: B006
                return {}

            def private(self, anything, at_all): ...  # type: ignore[no-untyped-def]

        described = Shelf().declaration().describe()
        self.assertEqual(described["doc"], "What is where.\n\nIn detail.")
        self.assertEqual(
            described["commands"],
            {
                "put": {
                    "doc": "Put it there.",
                    "parameters": [
                        {"name": "what", "type": "str", "required": True, "default": None},
                        {"name": "where", "type": "Point", "required": True, "default": None},
                        {"name": "n", "type": "int", "required": False, "default": 1},
                        {"name": "how", "type": "Literal['slow', 'fast']", "required": False, "default": "slow"},
                    ],
                    "returns": "list[int]",
                }
            },
        )
        self.assertEqual([parameter["type"] for parameter in described["queries"]["find"]["parameters"]], ["str | None", "list[str]"])
        self.assertEqual(Shelf().declaration().commands["put"].signature()[:50], "(what: str, where: Point, n: int = 1, how: Literal")

    def test_subclasses_inherit_and_override(self) -> None:
        class Base(StateMachine):
            @command
            def one(self, ctx: Context, a: int) -> int:
                return 1

            @query
            def two(self) -> int:
                return 2

        class Derived(Base):
            def one(self, ctx: Context, a: int, b: str = "") -> int:  # still a command
                return 10

            @command
            def three(self, ctx: Context) -> int:
                return 3

        self.assertEqual(sorted(Derived().declaration().commands), ["one", "three"])
        self.assertEqual(Derived().declaration().commands["one"].parameters, ("a", "b"))
        self.assertEqual(sorted(Base().declaration().commands), ["one"])

    def test_the_hint_of_ctx_need_not_be_importable(self) -> None:
        class Machine(StateMachine):
            @command
            def do(self, ctx: HiddenContext, a: int) -> None: ...

        self.assertEqual(Machine().declaration().commands["do"].parameters, ("a",))

    def test_every_type_that_msgspec_checks_is_possible(self) -> None:
        kinds: list[Any] = [
            int,
            str,
            bytes,
            float,
            bool,
            list[int],
            dict[str, Any],
            int | None,
            Literal["a"],
            Point,
            Node,
            Any,
            tuple[int, str],
        ]
        for kind in [*kinds, list, dict, "int | str"]:

            def do(self: Any, ctx: Context, a: Any) -> None: ...

            do.__annotations__["a"] = kind
            machine = type("Machine", (StateMachine,), {"do": command(do)})
            self.assertEqual(machine().declaration().commands["do"].parameters, ("a",))


class Mistakes(SynchronousTestCase):
    def declare(self, method: Callable[..., Any], mark: Any = command, name: str = "do", **others: Any) -> type:
        return type("Shelf", (StateMachine,), {name: mark(method), **others})

    def rejected(self, method: Callable[..., Any], *words: str, mark: Any = command, name: str = "do", **others: Any) -> None:
        error = self.assertRaises(TypeError, self.declare, method, mark, name, **others)
        for word in ("Shelf", *words):
            self.assertIn(word, str(error))

    def test_missing_type_hint(self) -> None:
        def do(self, ctx, sku, n: int = 1): ...  # type: ignore[no-untyped-def]

        self.rejected(do, "Shelf.do: parameter 'sku'", "no type hint")

    def test_type_hint_that_cannot_be_read(self) -> None:
        def do(self: Any, ctx: Context, sku: Something) -> None: ...

        self.rejected(do, "Shelf.do: parameter 'sku'", "'Something'", "not defined")

    def test_parameters_without_a_name(self) -> None:
        def star(self: Any, ctx: Context, *rest: int) -> None: ...
        def stars(self: Any, ctx: Context, **rest: int) -> None: ...
        def slash(self: Any, a: int, /) -> None: ...

        self.rejected(star, "Shelf.do: parameter 'rest'", "*")
        self.rejected(stars, "Shelf.do: parameter 'rest'", "**")
        self.rejected(slash, "Shelf.do: parameter 'a'", "/", mark=query)

    def test_command_without_ctx(self) -> None:
        def none(self: Any) -> None: ...
        def other(self: Any, sku: str) -> None: ...
        def keyword(self: Any, *, ctx: Context) -> None: ...

        for method in (none, other, keyword):
            self.rejected(method, "Shelf.do", "ctx")

    def test_query_with_ctx(self) -> None:
        def do(self: Any, ctx: Context) -> None: ...

        self.rejected(do, "Shelf.do", "a query has no ctx", mark=query)

    def test_names_that_are_private_or_taken(self) -> None:
        def do(self: Any, ctx: Context) -> None: ...
        def private(self: Any, ctx: Context, _a: int) -> None: ...

        for name in (
            "_do",
            "snapshot",
            "restore",
            "deadline",
            "expire",
            "version",
            "declaration",
            "apply_command",
            "é",
            "a" * 129,
            "watch",
            "events",
            "supply",
        ):
            self.rejected(do, f"Shelf.{name}", name=name)
        self.rejected(private, "Shelf.do: parameter '_a'")

    def test_a_patient_command_stays_one_when_it_is_overridden(self) -> None:
        class Keeper(StateMachine):
            @patient_command
            def keep(self, ctx: Context) -> None: ...

            @command
            def put(self, ctx: Context) -> None: ...

        class Better(Keeper):
            def keep(self, ctx: Context) -> None: ...

        for made in (Keeper(), Better()):
            commands = made.declaration().commands
            self.assertEqual({name: one.patient for name, one in commands.items()}, {"keep": True, "put": False})

    def test_a_command_that_waits_without_saying_for_what(self) -> None:
        def do(self: Any, ctx: Context, wait_s: float = 0.0) -> None: ...
        def waits_on(self: Any, name: str, arguments: Any) -> None: ...
        def supply(self: Any, topic: bytes) -> int:
            return 0

        for others in ({}, {"waits_on": waits_on}, {"supply": supply}):
            self.rejected(do, "Shelf.do", "wait_s", "waits_on() and supply()", **others)
        self.assertTrue(self.declare(do, waits_on=waits_on, supply=supply))

    def test_a_query_may_have_a_parameter_of_that_name(self) -> None:
        def do(self: Any, wait_s: float = 0.0) -> None: ...

        self.assertTrue(self.declare(do, query))

    def test_results_that_come_later(self) -> None:
        async def coroutine(self: Any, ctx: Context) -> None: ...

        def generator(self: Any, ctx: Context) -> Any:
            yield 1

        self.rejected(coroutine, "Shelf.do", "async")
        self.rejected(generator, "Shelf.do", "yield")

    def test_types_that_cannot_be_checked_or_differ(self) -> None:
        def do(self: Any, ctx: Context, a: Any) -> None: ...

        for kind, word in (
            (Own, "Own"),
            (list[Own], "Own"),
            (complex, "complex"),
            (object, "object"),
            (set[int], "a list"),
            (dict[str, frozenset[str]], "a list"),
            (msgspec.Raw, ""),
        ):
            do.__annotations__["a"] = kind
            self.rejected(do, "Shelf.do: parameter 'a'", word)

    def test_defaults_that_are_not_of_the_type(self) -> None:
        def none(self: Any, ctx: Context, n: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
        def true(self: Any, ctx: Context, n: int = True) -> None: ...
        def mutable(self: Any, ctx: Context, n: list[int] = [1]) -> None: ...  # noqa: B006
        def below(self: Any, ctx: Context, n: int = 0) -> None: ...

        below.__annotations__["n"] = Annotated[int, Meta(ge=1)]
        for method in (none, true, mutable, below):
            self.rejected(method, "Shelf.do: parameter 'n'", "default")
        self.rejected(mutable, "make it None, or empty")

    def test_decorators_on_what_is_no_method(self) -> None:
        wrongs: list[Any] = [staticmethod(len), property(len), 5, Own]
        for wrong in wrongs:
            for mark in (command, query):
                self.assertRaises(TypeError, mark, wrong)
        marked = command(lambda self, ctx: None)
        self.assertRaises(TypeError, type, "Shelf", (StateMachine,), {"do": staticmethod(marked)})

    def test_deadline_without_expire(self) -> None:
        def do(self: Any, ctx: Context) -> None: ...
        def deadline(self: Any) -> None: ...

        self.rejected(do, "expire", deadline=deadline)
