"""Where the `txraft` command begins: common options, which subcommand, and what its end means as an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from txraft import __version__
from txraft.cli.settings import EX_TEMPFAIL, EX_USAGE, INTERRUPTED, Parser, Settings, UsageProblem, add_common_options, settings_of
from txraft.errors import NotApplied, Outcome, Refused, TxraftError

__all__ = ["main"]

SUBCOMMANDS = {
    "status": "what nodes know of themselves and of the cluster",
    "machines": "the state machines of the cluster and what they can do",
    "watch": "the events of a machine, as they happen",
    "doctor": "whether a node can run here, and run well",
    "log": "what a data directory holds, and whether it is whole",
    "snapshot": "back up a cluster, check a backup, restore one",
    "demo": "three nodes on this computer; the leader is killed; nothing is lost",
    "bench": "how much a cluster can take",
    "node": "one node in the foreground: twistd -n txraft",
    "new-machine": "write a state machine of your own, with plug-in and tests",
    "dev": "three nodes in one process, which reload your machine when you change it",
    "proxy": "write typed Python classes for a machine",
}
"""Each is the module of that name in this package, with _ for -."""

EPILOG = f"""\
commands:
{"".join(f"  {name:<12} {summary}{chr(10)}" for name, summary in SUBCOMMANDS.items())}\
  MACHINE OPERATION [ARGUMENT ...] [--name VALUE ...]
             calls a command or query of a state machine, e.g.
               txraft counter add visits 2
               txraft counter add visits --amount 2
             txraft MACHINE --help lists them

exit codes: 0 done, 1 refused by the machine, 64 wrong usage, 74 a file here, 75 unavailable or outcome unknown"""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Do what the command line says; the exit code."""
    try:
        status = _run(sys.argv[1:] if argv is None else argv, environ)
        sys.stdout.flush()
    except UsageProblem as problem:
        return _complain(str(problem), EX_USAGE)
    except TxraftError as error:
        return _complain(str(error), _exit_code_of(error))
    except BrokenPipeError:
        # Whoever read our output has enough; without this, Python complains once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    return status


def _run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser(prog="txraft", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"txraft {__version__}")
    add_common_options(parser)
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="one of the commands below, or a state machine")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.command is None:
        raise UsageProblem("say what to do. Try: txraft --help")
    settings = settings_of(given, environ)
    return _subcommand(given.command, settings, given.rest)


def _subcommand(command: str, settings: Settings, rest: list[str]) -> int:
    if command in SUBCOMMANDS:
        status: int = importlib.import_module(f"txraft.cli.{command.replace('-', '_')}").run(settings, rest)
        return status
    from txraft.cli import machines

    return machines.call(settings, command, rest)


def _complain(sentence: str, exit_code: int) -> int:
    print(f"txraft: {sentence}", file=sys.stderr)
    return exit_code


_NO_MISTAKES = {"machine_error": EX_TEMPFAIL, "too_many_waits": EX_TEMPFAIL, "no_snapshot": EX_TEMPFAIL, "compacted": Refused.exit_code}
"""Exit codes of what is not applied, will not be if it is tried again, and yet is not wrong usage."""


def _exit_code_of(error: TxraftError) -> int:
    if isinstance(error, NotApplied):
        return _NO_MISTAKES.get(error.code, EX_TEMPFAIL if error.retryable else EX_USAGE)
    return error.exit_code if isinstance(error, Outcome) else EX_USAGE if error.exit_code == 78 else error.exit_code
