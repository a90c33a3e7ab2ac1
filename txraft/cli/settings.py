"""What all subcommands share: the common options, and a parser that exits as the others do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import evolve, field, frozen

__all__ = [
    "EX_TEMPFAIL",
    "EX_USAGE",
    "INTERRUPTED",
    "Parser",
    "Settings",
    "Subparser",
    "UsageProblem",
    "add_common_options",
    "positive",
    "settings_of",
    "with_options",
]

EX_USAGE = 64
EX_TEMPFAIL = 75
INTERRUPTED = 130

DEFAULT_ENDPOINT = "127.0.0.1:2379"
DEFAULT_TIMEOUT_S = 10.0


class UsageProblem(Exception):
    """The command line cannot be understood; the sentence says why."""


class Parser(argparse.ArgumentParser):
    """Raises `UsageProblem` instead of exiting with 2."""

    def error(self, message: str) -> NoReturn:
        """A wrong command line."""
        raise UsageProblem(f"{message}. Try: {self.prog} --help")


class Subparser(Parser):
    """Of a second word. It complains itself of what it does not know: its own help lists what there is."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """All must be known."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown


@frozen
class Settings:
    """The common options.

    Attributes:
        endpoints: client ports of nodes, in the order in which they are tried.
        output: `table` or `json`.
        timeout_s: how long a call may take.
        timeout_given: somebody said so; else it is the default.
        endpoints_given: somebody named them; else they are the default.
        environ: the environment, where a command reads more of it than this.
    """

    endpoints: tuple[str, ...]
    output: str = "table"
    timeout_s: float = DEFAULT_TIMEOUT_S
    timeout_given: bool = False
    endpoints_given: bool = True
    environ: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    @property
    def as_json(self) -> bool:
        """Whether output is for programs."""
        return self.output == "json"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that may stand before or after any subcommand."""
    group = parser.add_argument_group("common options")
    unset: dict[str, Any] = {"default": argparse.SUPPRESS}
    group.add_argument(
        "--endpoints",
        metavar="H:P,...",
        **unset,
        help=f"client ports of nodes, tried in turn; else TXRAFT_ENDPOINTS, else {DEFAULT_ENDPOINT}",
    )
    group.add_argument("-o", "--output", choices=("table", "json"), **unset, help="for people (the default) or for programs")
    group.add_argument("--timeout", type=_seconds, metavar="S", **unset, help=f"seconds that a call may take ({DEFAULT_TIMEOUT_S:g})")


def settings_of(given: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The common options as given before the subcommand."""
    named = environ.get("TXRAFT_ENDPOINTS")
    endpoints = _split(named or DEFAULT_ENDPOINT, "TXRAFT_ENDPOINTS")
    return with_options(Settings(endpoints, endpoints_given=bool(named), environ=environ), given)


def with_options(settings: Settings, given: argparse.Namespace) -> Settings:
    """The settings, but for what was given after the subcommand."""
    if "endpoints" in given:
        settings = evolve(settings, endpoints=_split(given.endpoints, "--endpoints"), endpoints_given=True)
    if "output" in given:
        settings = evolve(settings, output=given.output)
    if "timeout" in given:
        settings = evolve(settings, timeout_s=given.timeout, timeout_given=True)
    return settings


def _split(text: str, origin: str) -> tuple[str, ...]:
    endpoints = tuple(part.strip() for part in text.split(",") if part.strip())
    if not endpoints:
        raise UsageProblem(f"{origin} names no endpoint: write HOST:PORT,HOST:PORT")
    return endpoints


def positive(text: str) -> int:
    """A number of things, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("seconds must be more than 0 and at most 3600")
    return seconds
