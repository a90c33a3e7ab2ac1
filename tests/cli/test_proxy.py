"""The module written for a machine: its types, and that its calls come to the client as the machine wants them."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec

from tests.cli.cli_case import CliTestCase
from txraft.cli import proxy
from txraft.cli.proxy import module_source
from txraft.cli.proxy_types import Types, as_source, default_source, is_bytes, struct_names
from txraft.statemachine import Context, Declaration, Operation, StateMachine, command, query

NUMBERS = itertools.count()


class Article(msgspec.Struct):
    """What is on a shelf."""

    name: str


class Shelf(StateMachine):
    r"""Things on a shelf: "quoted", \back\slashes, and \"""three\"""."""

    def snapshot(self) -> None:
        return None

    def restore(self, state: None) -> None:
        pass

    @command
    def put(self, ctx: Context, key: bytes, body: bytes | None = None, tags: list[bytes] = [], size: float = 1.5) -> bytes:  # noqa: B006
        """Put something there; what was there before. It ends with a "quotation\""""
        return key

    @command
    def sort(self, ctx: Context, by: Literal["name", "size"] = "name", article: Article | None = None) -> None:
        return None

    @query
    def list(self, prefix: str = 'a"b', mark: bytes = b"\x00x", weights: Mapping[int, float] | None = None) -> Sequence[Article]:
        """All articles.

        * in order,
        * with everything.
        """
        return []

    @query
    def pairs(self) -> list[tuple[str, int]]:  # type: ignore[valid-type]
        """Two and two."""
        return []

    @query
    def find(self, key: bytes) -> bytes | None:
        return key

    @query
    def odd(self, consistency: str) -> str:
        """A parameter that is an option of the client, too."""
        return consistency


def described() -> dict[str, Any]:
    return {"plugin": "tests:Shelf", "version": 1, **Shelf().declaration().describe()}


class RecordingClient:
    """Stands for both clients: remembers calls, and answers all alike."""

    def __init__(self, answer: Any = None) -> None:
        self.answer, self.calls = answer, list[Any]()

    def command(self, machine: str, command: str, /, **arguments: Any) -> Any:
        self.calls.append((machine, command, arguments))
        return self.answer

    query = command


class TypesTests(CliTestCase):
    """From what a machine says of its types to annotations."""

    def check(self, kind: str, parameter: str, result: str | None = None, *, in_json: bool = False) -> None:
        types = Types({"Article"}, {"list"}, in_json=in_json)
        self.assertEqual((types.parameter(kind), types.result(kind)), (parameter, result or parameter))

    def test_what_can_be_written(self) -> None:
        self.check("int", "int")
        self.check("int | None", "int | None")
        self.check("Optional[str]", "str | None")
        self.check("dict[str, list[int]]", "dict[str, builtins.list[int]]")
        self.check("Sequence[bytes]", "builtins.list[bytes]")
        self.check("tuple[int, ...]", "tuple[int, ...]", "builtins.list[int]")
        self.check("tuple[int, str]", "tuple[int, str]", "builtins.list[Any]")
        self.check("Literal['a', 1, None]", 'Literal["a", 1, None]')
        self.check("Article | list[Article]", "dict[str, Any] | builtins.list[dict[str, Any]]")
        self.check("list", "builtins.list[Any]")

    def test_what_cannot(self) -> None:
        for kind in ("Decimal", "Any", "int | Decimal", "a.b", "x()", "Literal[1.5]", "int[", "Callable[[int], str]", "[" * 9_999):
            self.check(kind, "Any")
        self.check("dict[Decimal, int]", "dict[Any, int]")

    def test_bytes_in_json(self) -> None:
        self.check("bytes", "bytes", in_json=True)
        self.check("bytes | None", "bytes | None", in_json=True)
        self.check("list[bytes]", "builtins.list[bytes]", "builtins.list[str]", in_json=True)
        self.check("str | bytes", "str | bytes", "str", in_json=True)
        self.check("dict[int, bytes]", "dict[int, bytes]", "dict[str, str]", in_json=True)
        self.assertEqual([is_bytes(kind) for kind in ("bytes", "None | bytes", "list[bytes]", "str")], [True, True, False, False])

    def test_defaults(self) -> None:
        self.assertEqual(default_source("bytes", "bytes", "AHg="), 'b"\\x00x"')
        self.assertEqual(default_source("str", "str", "ä\n"), '"\\u00e4\\n"')
        self.assertEqual(default_source("int | None", "int | None", None), "None")
        self.assertEqual(default_source("float", "float", 2.5), "2.5")
        odd: tuple[Any, ...] = ([], {}, float("inf"))
        for default in odd:
            self.assertIsNone(default_source("list", "list[Any]", default))
        self.assertIsNone(default_source("float", "float", None))
        self.assertEqual(as_source('say "x"'), "'say \"x\"'")

    def test_structs_are_found_in_parameters_and_results(self) -> None:
        self.assertEqual(struct_names(Shelf().declaration()), {"Article"})


class ModuleTests(CliTestCase):
    """The module, imported and used."""

    def imported(self, source: str) -> ModuleType:
        file = Path(self.mktemp() + ".py")
        file.write_text(source, "utf-8")
        spec = importlib.util.spec_from_file_location(f"written_proxy_{next(NUMBERS)}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def shelf(self) -> ModuleType:
        return self.imported(module_source("shelf", described(), {"Article"}))

    def test_arguments_come_to_the_client_by_name(self) -> None:
        client = RecordingClient("answer")
        shelf = self.shelf().Shelf(client)
        self.assertEqual(shelf.put(b"k"), "answer")
        shelf.put(b"k", b"b", [b"t"], size=2.0)
        shelf.list(consistency="local")
        self.assertEqual(
            client.calls,
            [
                ("shelf", "put", {"key": b"k", "body": None, "size": 1.5}),
                ("shelf", "put", {"key": b"k", "body": b"b", "tags": [b"t"], "size": 2.0}),
                ("shelf", "list", {"prefix": 'a"b', "mark": b"\x00x", "weights": None, "consistency": "local"}),
            ],
        )

    def test_bytes_come_as_bytes_in_the_blocking_one(self) -> None:
        client = RecordingClient("AHg=")
        shelf = self.shelf().BlockingShelf(client, machine="other")
        self.assertEqual(shelf.put(b"k", None), b"\x00x")
        self.assertEqual(shelf.put(b"k", b"b"), b"\x00x")
        self.assertEqual(client.calls[0], ("other", "put", {"key": b"k", "body": None, "size": 1.5}))
        self.assertEqual(client.calls[1], ("other", "put", {"key": b"k", "body": b"b", "size": 1.5}))
        self.assertEqual(shelf.find(b"k"), b"\x00x")
        client.answer = None
        self.assertIsNone(shelf.find(b"k"))
        self.assertIsNone(shelf.sort())

    def test_docstrings_are_those_of_the_machine(self) -> None:
        module = self.shelf()
        self.assertIn('"quoted", \\back\\slashes, and', module.Shelf.__doc__)
        self.assertEqual(module.Shelf.put.__doc__.strip(), 'Put something there; what was there before. It ends with a "quotation"')
        self.assertEqual(module.Shelf.sort.__doc__, "The command sort.")
        self.assertIn("\n        * in order,\n        * with everything.\n", module.BlockingShelf.list.__doc__)

    def test_what_cannot_be_called_by_name_is_left_out_and_told(self) -> None:
        source = module_source("shelf", described(), {"Article"})
        self.assertIn('"odd" is left out: "consistency" cannot be written here', source)
        self.assertFalse(hasattr(self.imported(source).Shelf, "odd"))

    def test_a_description_that_is_no_declaration_writes_no_code(self) -> None:
        evil = described()
        evil["commands"]['x(): pass\nimport os #"""'] = evil["commands"].pop("sort")
        evil["doc"] = '"""\nimport os\n"""'
        evil["plugin"] = '"""\nimport os'
        for source in (module_source("shelf", evil), module_source('a"""\nimport os', described())):
            self.assertFalse(hasattr(self.imported(source), "os"))
            self.assertNotIn("\nimport os\n", source.replace("\\", "").replace('"""', "").split("class ")[0])

    def test_required_parameters_after_optional_ones_are_given_by_name(self) -> None:
        arguments = msgspec.defstruct("move", [("count", int, 1), ("to", str)], kw_only=True, forbid_unknown_fields=True)
        described = {"plugin": "p", "version": 1, **Declaration("", {"move": Operation("move", arguments)}, {}).describe()}
        client = RecordingClient()
        self.imported(module_source("shelf", described)).Shelf(client).move(to="x")
        self.assertEqual(client.calls, [("shelf", "move", {"count": 1, "to": "x"})])

    def test_class_names(self) -> None:
        for machine, class_name in (
            ("work-queue", "WorkQueue"),
            ("2nd", "Machine2nd"),
            ("any", "MachineAny"),
            ("consistency", "MachineConsistency"),
            ("none", "MachineNone"),
        ):
            self.assertIn(f"\nclass Blocking{class_name}:\n", module_source(machine, described()))

    def test_nothing_is_imported_for_a_word_in_a_docstring(self) -> None:
        arguments = msgspec.defstruct("move", [("to", str, "Any")], kw_only=True, forbid_unknown_fields=True)
        doc = 'Any of builtins.list, base64.b64decode or a Literal; """ \\ Any'
        source = module_source(
            "shelf", {"plugin": "p", "version": 1, **Declaration(doc, {"move": Operation("move", arguments, doc, None)}, {}).describe()}
        )
        self.assertIn("\nfrom typing import TYPE_CHECKING\n", source)
        self.assertNotIn("import b", source)
        self.imported(source)


class CommandLine(CliTestCase):
    """Asked of a cluster or of a class; printed or written."""

    def setUp(self) -> None:
        super().setUp()
        endpoints: list[Any] = []

        class Describing:
            def __init__(self, *connected: object) -> None:
                endpoints.append(connected)

            def __enter__(self) -> Describing:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def describe(self) -> dict[str, Any]:
                return {"shelf": described()}

        self.patch(proxy, "BlockingClient", Describing)
        self.endpoints = endpoints

    def test_of_a_cluster(self) -> None:
        told = self.run_command("proxy", "shelf", "--endpoints", "a:1")
        self.assertEqual((told.exit_code, told.stderr, self.endpoints), (0, "", [(("a:1",), 10.0)]))
        self.assertEqual(told.stdout, module_source("shelf", described()))

    def test_of_a_class_into_a_file(self) -> None:
        file = Path(self.mktemp())
        told = self.run_command("proxy", "shelf", "--plugin", f"{__name__}:Shelf", "--file", str(file))
        self.assertEqual((told, self.endpoints), (told.__class__(0, "", ""), []))
        self.assertIn("Deferred[builtins.list[dict[str, Any]]]", file.read_text())

    def test_what_is_refused(self) -> None:
        for words, why in (
            (["box"], "it has: shelf"),
            (["shelf", "--plugin", "a_module_that_is_not_there:Shelf"], "No module named"),
            (["shelf", "--file", "/a/folder/that/is/not/there"], "No such file"),
        ):
            told = self.run_command("proxy", *words)
            self.assertEqual((told.exit_code, told.stdout), (64, ""))
            self.assertIn(why, told.stderr)
