"""`txraft proxy MACHINE`: a Python module with two classes for a machine, typed as it declares itself; one for each client."""

from __future__ import annotations

import keyword
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from txraft.cli.proxy_types import Types, as_source, default_source, is_bytes, struct_names
from txraft.cli.settings import Parser, Settings, UsageProblem, add_common_options, with_options
from txraft.client import BlockingClient
from txraft.statemachine.plugin import load_machine

__all__ = ["module_source", "run"]

DOC_WIDTH = 100
OWN = {"commands": frozenset({"exactly_once"}), "queries": frozenset({"consistency", "at_least", "max_staleness_s"})}
"""Options of the clients' own: an argument of that name cannot be given to them by name."""

TAKEN = frozenset({"Any", "BlockingClient", "Client", "Consistency", "Deferred", "Literal"})
"""Names that stand in the module for something else."""

_TEXT_OR_COMMENT = re.compile(r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|^ *#.*$', re.MULTILINE)

CONSISTENCY = 'Consistency = Literal["linearizable", "local", "at_least"]'

GIVEN = """\
def _given(**arguments: Any) -> dict[str, Any]:
    \"\"\"Without what is left to the server's default.\"\"\"
    return {name: argument for name, argument in arguments.items() if argument is not None}


"""


def run(settings: Settings, arguments: list[str]) -> int:
    """Write the module to a file or to the standard output."""
    parser = Parser(prog="txraft proxy", description="Typed Python classes for a machine of the cluster.", allow_abbrev=False)
    parser.add_argument("machine", metavar="MACHINE", help="the machine's name")
    parser.add_argument("--file", type=Path, metavar="FILE", help="where to write the module; else it is printed")
    parser.add_argument("--plugin", metavar="MODULE:CLASS", help="ask this class, or this plug-in, instead of the cluster")
    add_common_options(parser)
    given = parser.parse_args(arguments)
    settings = with_options(settings, given)
    structs: set[str] = set()
    if given.plugin is not None:
        sys.path.insert(0, str(Path.cwd()))
        loaded = load_machine(given.plugin, machine=given.machine)
        described: Mapping[str, Any] = {"plugin": loaded.plugin, "version": loaded.version, **loaded.declaration.describe()}
        structs = struct_names(loaded.declaration)
    else:
        described = _ask(settings, given.machine)
    source = module_source(given.machine, described, structs)
    if given.file is None:
        print(source, end="")
        return 0
    try:
        given.file.write_text(source, "utf-8")
    except OSError as error:
        raise UsageProblem(f"{given.file}: {error.strerror}") from None
    return 0


def _ask(settings: Settings, machine: str) -> Mapping[str, Any]:
    with BlockingClient(settings.endpoints, settings.timeout_s) as client:
        machines = client.describe()
    if machine not in machines:
        raise UsageProblem(f"the cluster has no machine {machine!r}; it has: {', '.join(machines)}")
    described: Mapping[str, Any] = machines[machine]
    return described


@frozen
class Parameter:
    """One of an operation. Without default it is required; left out, its default is left to the server."""

    name: str
    annotation: str
    default: str | None
    is_left_out: bool


def module_source(machine: str, described: Mapping[str, Any], structs: Iterable[str] = ()) -> str:
    """The module.

    Args:
        machine: its name; calls go to it unless another one is named.
        described: as the cluster describes it.
        structs: names of types that travel as mappings from text.
    """
    class_name = _class_name(machine)
    body = "\n\n".join(
        _class(name, machine, described, structs, blocking=name != class_name) for name in (class_name, f"Blocking{class_name}")
    )
    given = GIVEN if "_given(" in body else ""
    consistency = f"{CONSISTENCY}\n\n" if "consistency: Consistency" in body else ""
    code = _TEXT_OR_COMMENT.sub("", consistency + given + body)
    imports = [name for name in ("base64", "builtins") if f"{name}." in code]
    names = [name for name in ("Any", "Literal") if re.search(rf"\b{name}\b", code)]
    title = (
        f"Calls of the machine {machine} (plug-in {described['plugin']}, version {described['version']}), typed. Written by txraft proxy."
    )
    return "".join([
        f'{_docstring(title, "")}\nfrom __future__ import annotations\n\n',
        *(f"import {name}\n" for name in imports),
        f"from typing import {', '.join(['TYPE_CHECKING', *names])}\n\n",
        "if TYPE_CHECKING:\n    from twisted.internet.defer import Deferred\n    from txraft.client import BlockingClient, Client\n\n",
        f"__all__ = [{', '.join(map(as_source, sorted([class_name, f'Blocking{class_name}'])))}]\n\n",
        f"{consistency}\n{given}{body}",
    ])  # fmt: skip


def _class_name(machine: str) -> str:
    name = "".join(word[:1].upper() + word[1:] for word in re.split("[^A-Za-z0-9]+", machine))
    return f"Machine{name}" if not name.isidentifier() or keyword.iskeyword(name) or name in TAKEN else name


def _class(class_name: str, machine: str, described: Mapping[str, Any], structs: Iterable[str], *, blocking: bool) -> str:
    types = Types(structs, {*described["commands"], *described["queries"]}, in_json=blocking)
    tells = "Each call waits for its result" if blocking else "Each call returns a Deferred of its result"
    doc = f"{described['doc']}\n\n{tells}; `Refused`, `NotApplied` and `Unknown` of txraft.errors are what else can come of it."
    lines = [
        f"class {class_name}:",
        _docstring(doc, "    "),
        f"    def __init__(self, client: {'Blocking' if blocking else ''}Client, machine: str = {as_source(machine)}) -> None:",
        "        self._client = client",
        "        self._machine = machine",
    ]
    source = "\n".join(lines) + "\n"
    for kind in ("commands", "queries"):
        for name, operation in described[kind].items():
            source += "\n" + _method(name, operation, kind, types, blocking=blocking)
    return source


def _method(name: str, operation: Mapping[str, Any], kind: str, types: Types, *, blocking: bool) -> str:
    names = [parameter["name"] for parameter in operation["parameters"]]
    if impossible := [one for one in (name, *names) if not one.isidentifier() or keyword.iskeyword(one) or one in (*OWN[kind], "self")]:
        shown = " ".join(as_source(impossible[0]).split())
        return f"    # {as_source(name)} is left out: {shown} cannot be written here. Call the client's own command() or query().\n"
    parameters = [_parameter(parameter, types) for parameter in operation["parameters"]]
    returns = types.result(operation["returns"])
    lines = [f"    def {name}(self) -> {returns if blocking else f'Deferred[{returns}]'}:"]
    if parameters or kind == "queries":
        # A keyword by itself where required ones follow optional ones, as keyword-only parameters may.
        after_default = next((number for number, one in enumerate(parameters) if one.default is not None), len(parameters))
        star = next((number for number, one in enumerate(parameters) if number > after_default and one.default is None), None)
        rows = [f"{one.name}: {one.annotation}" + (f" = {one.default}" if one.default is not None else "") for one in parameters]
        if star is not None:
            rows.insert(after_default, "*")
        if kind == "queries":
            rows += [*(["*"] if star is None else []), 'consistency: Consistency = "linearizable"']
        lines = [
            f"    def {name}(",
            "        self,",
            *(f"        {row},".replace("*,", "*,") for row in rows),
            lines[0].replace(f"def {name}(self", ""),
        ]
    lines.append(_docstring(operation["doc"] or f"The {'command' if kind == 'commands' else 'query'} {name}.", "        ").rstrip("\n"))
    call = [f"self._client.{'command' if kind == 'commands' else 'query'}(", "    self._machine,", f"    {as_source(name)},"]
    call += [f"    {one.name}={one.name}," for one in parameters if not one.is_left_out]
    call += ["    consistency=consistency,"] if kind == "queries" else []
    if left_out := [f"{one.name}={one.name}" for one in parameters if one.is_left_out]:
        call += ["    **_given(", *(f"        {one}," for one in left_out), "    ),"]
    return "\n".join([*lines, *_answered([*call, ")"], returns, operation["returns"], names, blocking=blocking)]) + "\n"


def _answered(call: list[str], returns: str, declared: str, names: list[str], *, blocking: bool) -> list[str]:
    """The last statements of a method: the call, and what is made of its answer."""
    answer = "answer" if "answer" not in names else "answer_"
    after: list[str] = []
    if blocking and returns == "None":
        before = ""
    elif not blocking or returns == "Any":
        before = "return "
    elif is_bytes(declared):
        before = f"{answer}: {'str | None' if 'None' in declared else 'str'} = "
        after = [f"return {f'None if {answer} is None else ' if 'None' in declared else ''}base64.b64decode({answer})"]
    else:
        before, after = f"{answer}: {returns} = ", [f"return {answer}"]
    return [f"        {line}" for line in (before + call[0], *call[1:], *after)]


def _parameter(parameter: Mapping[str, Any], types: Types) -> Parameter:
    name, kind = parameter["name"], str(parameter["type"])
    annotation, default = types.parameter(kind), None
    is_left_out = False
    if not parameter["required"]:
        default = default_source(kind, annotation, parameter["default"])
        is_left_out = default is None
        if default is None:
            annotation, default = (annotation if annotation == "Any" or annotation.endswith("None") else f"{annotation} | None"), "None"
    return Parameter(name, annotation, default, is_left_out)


def _docstring(doc: str, indent: str) -> str:
    """Text as a docstring, wrapped, whatever it holds."""
    clean = "".join(character if character.isprintable() or character == "\n" else " " for character in doc)
    clean = clean.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines: list[str] = []
    for line in clean.strip().splitlines():
        margin = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(line, DOC_WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False) or [""]
    if len(lines) == 1:
        return f'{indent}"""{lines[0]}{" " if lines[0].endswith(chr(34)) else ""}"""\n'
    first, *rest = lines
    return "\n".join([f'{indent}"""{first}', *((indent + line).rstrip() for line in rest), f'{indent}"""']) + "\n"
