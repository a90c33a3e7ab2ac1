"""`txraft MACHINE OPERATION …` for whatever machines a cluster has, and `txraft machines`: made from what the cluster says of itself."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from txraft.cli import watch
from txraft.cli.output import json_line, text_of_value
from txraft.cli.settings import Parser, Settings, UsageProblem, add_common_options, with_options
from txraft.client import BlockingClient
from txraft.client.blocking_http import JsonApi, open_connection
from txraft.client.options import CONSISTENCIES
from txraft.errors import NotApplied, Outcome

__all__ = ["argument_of", "call", "run"]

_TEXT = re.compile(r"\b(str|bytes)\b")
_LIST = re.compile(r"\b(list|tuple|sequence|collection)\[(?P<item>.*)\]|list|tuple", re.IGNORECASE)
_OWN = frozenset({"help", "endpoints", "output", "timeout", "consistency", "at_least", "max_staleness"})
"""Options of the command itself: a parameter of the same name is given by position."""
_OF_CLIENT = {"queries": frozenset({"consistency", "at_least", "max_staleness_s"}), "commands": frozenset({"exactly_once"})}
"""Parameters of these names would be taken for options of the client."""


def run(settings: Settings, arguments: list[str]) -> int:
    """`txraft machines`: all machines with all they can do."""
    parser = Parser(prog="txraft machines", description="The state machines of the cluster.", allow_abbrev=False)
    add_common_options(parser)
    settings = with_options(settings, parser.parse_args(arguments))
    machines = _describe(settings)
    print(json_line(machines) if settings.as_json else "\n\n".join(_listing(name, machine) for name, machine in machines.items()))
    return 0


def call(settings: Settings, machine: str, arguments: list[str]) -> int:
    """`txraft MACHINE OPERATION …`: call it, print the result."""
    # What stands after "--" is never an option; argparse of some versions forgets that when options and arguments are mixed.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    before, operation, after = _split(arguments[:at])
    if operation is None:
        return _help_of(settings, machine, before)
    if operation == "watch":  # No machine has a command of this name.
        return watch.run(settings, [machine, *before, *after, *arguments[at:]])
    # Where to ask what the operation takes must be known before what it takes can be.
    given, _ = _common_parser(f"txraft {machine}").parse_known_args(before + after)
    settings = with_options(settings, given)
    kind, operation, described = _find(_machine(settings, machine), machine, operation)
    parser = _operation_parser(machine, operation, described, is_query=kind == "queries")
    after = _flags_set(after, described["parameters"])
    given = parser.parse_intermixed_args(before + after)
    given.values += arguments[at + 1 :]
    values = _values(machine, operation, described, given)
    taken = sorted(values.keys() & _OF_CLIENT[kind])
    if taken:
        raise UsageProblem(
            f"{machine} {operation}: a parameter named {taken[0]!r} cannot be given here; POST it to /v1/{machine}/{operation}"
        )
    freshness = _freshness(given) if kind == "queries" else {}
    with BlockingClient(settings.endpoints, settings.timeout_s, text_bytes=True) as client:
        result = (client.query if kind == "queries" else client.command)(machine, operation, **freshness, **values)
    _print_result(result, settings, described)
    return 0


def _split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Common options before the operation, the operation, what follows."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 1 if "=" in arguments[at] or arguments[at] in ("-h", "--help") else 2
    return arguments[:at], arguments[at] if at < len(arguments) else None, arguments[at + 1 :]


def _common_parser(prog: str) -> Parser:
    parser = Parser(prog=prog, add_help=False, allow_abbrev=False)
    add_common_options(parser)
    return parser


def _help_of(settings: Settings, machine: str, arguments: list[str]) -> int:
    parser = _common_parser(f"txraft {machine}")
    parser.add_argument("-h", "--help", action="store_true")
    given = parser.parse_args(arguments)
    settings = with_options(settings, given)
    described = _machine(settings, machine)
    if not given.help:
        raise UsageProblem(f"say which operation of {machine}: {', '.join([*described['commands'], *described['queries']])}")
    print(f"Usage: txraft {machine} OPERATION [ARGUMENT ...] [--name VALUE ...]\n\n{_listing(machine, described)}")
    return 0


def _describe(settings: Settings) -> dict[str, Any]:
    """The machines of the cluster, by the first endpoint that answers. Without a node there, that is known at once."""
    trouble: Outcome = NotApplied("unreachable")
    for endpoint in settings.endpoints:
        api = JsonApi([endpoint], open_connection)
        try:
            machines: dict[str, Any] = api.exchange("GET", "/v1/machines", None, {}, settings.timeout_s)
            return machines
        except Outcome as problem:
            trouble = problem
        finally:
            api.close()
    raise NotApplied("unreachable", f"no node answers: {trouble.message}")


def _machine(settings: Settings, machine: str) -> dict[str, Any]:
    machines = _describe(settings)
    if machine not in machines:
        raise UsageProblem(f"{machine!r} is neither a command of txraft nor a machine of this cluster ({', '.join(machines)})")
    described: dict[str, Any] = machines[machine]
    return described


def _find(described: Mapping[str, Any], machine: str, operation: str) -> tuple[str, str, dict[str, Any]]:
    """`commands` or `queries`, the operation's name as declared (hyphens may stand for underscores), and what is said of it."""
    for name in (operation, operation.replace("-", "_")):
        for kind in ("commands", "queries"):
            if name in described[kind]:
                return kind, name, described[kind][name]
    known = ", ".join([*described["commands"], *described["queries"]])
    raise UsageProblem(f"{machine} has no {operation!r}; it has: {known}")


def _operation_parser(machine: str, operation: str, described: Mapping[str, Any], *, is_query: bool) -> Parser:
    """A parser for the parameters as declared: each may be given by position or by name."""
    parameters = described["parameters"]
    parser = Parser(
        prog=f"txraft {machine} {operation}",
        usage=f"txraft {machine} {_synopsis(operation, parameters)}",
        description=described["doc"],
        allow_abbrev=False,
    )
    parser.add_argument("values", nargs="*", metavar="ARGUMENT", help="the parameters below, in order; a list or mapping as JSON")
    group = parser.add_argument_group("parameters")
    for number, parameter in enumerate(parameters):
        told = f"{parameter['type']}, " + ("required" if parameter["required"] else f"default {json_line(parameter['default'])}")
        if parameter["name"] not in _OWN:
            names = dict.fromkeys([f"--{parameter['name'].replace('_', '-')}", f"--{parameter['name']}"])
            group.add_argument(
                *names, dest=f"named_{number}", action="append", metavar="VALUE", help=told.replace("%", "%%"), default=argparse.SUPPRESS
            )
    add_common_options(parser)
    if is_query:
        group = parser.add_argument_group("how fresh the answer must be")
        told = "linearizable sees all that was acknowledged before; local is what the asked node has, however old"
        group.add_argument("--consistency", choices=CONSISTENCIES, help=told)
        group.add_argument("--at-least", type=int, metavar="INDEX", help="the asked node has applied this index of the log")
        group.add_argument("--max-staleness", type=float, metavar="S", help="the asked node has heard of the leader within S seconds")
    return parser


def _flags_set(words: list[str], parameters: list[Mapping[str, Any]]) -> list[str]:
    """`--name` alone says that a parameter that is true or false is true."""
    flags = {f"--{name}" for one in parameters if one["type"] == "bool" for name in (one["name"], one["name"].replace("_", "-"))}
    following = [*words[1:], ""]
    return [
        f"{word}=true" if word in flags and next_word.lower() not in ("true", "false") else word
        for word, next_word in zip(words, following, strict=False)
    ]


def _freshness(given: argparse.Namespace) -> dict[str, Any]:
    """What is asked of a query beside its arguments."""
    consistency = given.consistency
    if consistency is None:
        consistency = "linearizable" if given.at_least is None and given.max_staleness is None else "local"
    if consistency == "at_least" and given.at_least is None:
        raise UsageProblem("--consistency at_least needs --at-least INDEX: this command has seen nothing before")
    freshness = {"consistency": consistency, "at_least": given.at_least, "max_staleness_s": given.max_staleness}
    return {name: wanted for name, wanted in freshness.items() if wanted is not None}


def _values(machine: str, operation: str, described: Mapping[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """The arguments by name, of the declared types as far as text can be."""
    parameters = described["parameters"]
    if len(given.values) > len(parameters):
        lists = [
            f"{parameter['name'].upper()} is a list: JSON, or --{parameter['name']} repeated"
            for parameter in parameters
            if _is_list(parameter)
        ]
        told = "; ".join([f"{machine} {operation} takes {len(parameters)} arguments: {_synopsis(operation, parameters)}", *lists])
        raise UsageProblem(told)
    texts = {parameter["name"]: [text] for parameter, text in zip(parameters, given.values, strict=False)}
    for number, parameter in enumerate(parameters):
        named = getattr(given, f"named_{number}", None)
        if named is not None and parameter["name"] in texts:
            raise UsageProblem(f"{parameter['name']!r} is given by position and by name")
        if named is not None:
            texts[parameter["name"]] = named
        if parameter["required"] and parameter["name"] not in texts:
            raise UsageProblem(f"{parameter['name']!r} is missing: {_synopsis(operation, parameters)}")
    return {parameter["name"]: argument_of(parameter, texts[parameter["name"]]) for parameter in parameters if parameter["name"] in texts}


def _is_list(parameter: Mapping[str, Any]) -> bool:
    return _LIST.match(str(parameter["type"])) is not None


def argument_of(parameter: Mapping[str, Any], texts: list[str]) -> Any:
    """The value of one parameter. What its type does not say to be text is read as JSON where it is JSON; the cluster judges the rest."""
    name, kind = parameter["name"], str(parameter["type"])
    is_list = _LIST.match(kind)
    if is_list and not texts[0].startswith("["):
        return [_item(text, is_list["item"] or "") for text in texts]
    if len(texts) > 1:
        raise UsageProblem(f"{name!r} is given {len(texts)} times")
    return _item(texts[0], "" if is_list else kind)


def _item(text: str, kind: str) -> Any:
    if _TEXT.search(kind) and not re.match("dict|mapping", kind, re.IGNORECASE):
        return _text_of(os.fsencode(text)) if "bytes" in kind else text
    if "bool" in kind and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text


def _text_of(typed: bytes) -> Any:
    """Bytes as the HTTP API takes and gives them with `bytes=text`."""
    try:
        return typed.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(typed).decode()}


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _print_result(result: Any, settings: Settings, described: Mapping[str, Any]) -> None:
    if settings.as_json:
        print(json_line(result))
    elif result is None:
        print("none" if described.get("returns") not in (None, "None") else "done")
    elif re.match(r"bytes\b", str(described.get("returns"))):
        sys.stdout.flush()
        raw = result.encode() if isinstance(result, str) else base64.b64decode(result["base64"])
        sys.stdout.buffer.write(raw + b"\n")
    else:
        print(text_of_value(result))


def _listing(name: str, machine: Mapping[str, Any]) -> str:
    """A machine and its operations, for people."""
    title = f"{name} (plug-in {machine['plugin']}, version {machine['version']})"
    doc = next(iter(machine["doc"].splitlines()), "")
    lines = _wrapped(f"{title}: {doc}" if doc else title, 0)
    for kind in ("commands", "queries"):
        if machine[kind]:
            lines.append(kind)
            for operation, described in machine[kind].items():
                lines += _wrapped(_synopsis(operation, described["parameters"]), 2)
                lines += _wrapped(next(iter(described["doc"].splitlines()), ""), 6)
    return "\n".join(lines)


def _wrapped(text: str, indent: int) -> list[str]:
    """Lines that fit into the terminal; a synopsis goes on further in than the sentence below it."""
    width = max(40, shutil.get_terminal_size().columns)
    further = " " * (10 if indent == 2 else indent)
    return textwrap.wrap(
        text, width, initial_indent=" " * indent, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _synopsis(operation: str, parameters: list[Mapping[str, Any]]) -> str:
    words = [parameter["name"].upper() if parameter["required"] else f"[{parameter['name'].upper()}]" for parameter in parameters]
    return " ".join([operation, *words])
