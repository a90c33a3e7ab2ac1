"""`txraft dev --machine MODULE:CLASS`: three nodes in this process, whose machine is loaded anew when its source changes.

The new code gets the state that the whole log leads to, so a reload is a test: whether the code still runs what was once accepted, and
whether it makes the same of it. Code that fails it never serves.
"""

from __future__ import annotations

import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure
from zope.interface import provider

from txraft.cli.dev_nodes import NAMES, DevNodes
from txraft.cli.local_cluster import free_ports
from txraft.cli.output import table
from txraft.cli.rehearsal import last_lines
from txraft.cli.reloading import Reloading
from txraft.cli.settings import Parser, Settings, UsageProblem
from txraft.cli.source_files import SourceFiles, source_of
from txraft.errors import MachineUnavailable
from txraft.statemachine.plugin import LoadedMachine, load_machine

__all__ = ["machine_of", "run"]

PORT = 2379
_WORD = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def run(settings: Settings, arguments: list[str]) -> int:
    """Serve until Ctrl-C."""
    parser = Parser(prog="txraft dev", description="Three nodes in this process; the machine is loaded anew when its source changes.")
    parser.add_argument(
        "--machine",
        action="append",
        required=True,
        metavar="[NAME=]MODULE:CLASS",
        help="what to host, repeatable; NAME is that of the class in small letters if not given; an installed plug-in's name will do, too",
    )
    parser.add_argument("--port", type=_port, default=PORT, metavar="P", help=f"the nodes serve at P, P+1, P+2 ({PORT}); 0 for free ones")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="for the nodes' logs, kept; else a temporary one")
    parser.add_argument("--watch-path", action="append", type=Path, default=[], metavar="PATH", help="further sources to watch, repeatable")
    given = parser.parse_args(arguments)
    machines = _machines_of(given.machine)
    # As `python -m` does: what is being written need not be installed. No bytecode: a file may change twice within a second.
    sys.path.insert(0, str(Path.cwd()))
    sys.dont_write_bytecode = True
    sources = SourceFiles(_sources_of(_load(machines), machines, given.watch_path))
    directory = _directory(given.directory)
    try:
        return _serve(machines, sources, directory, [given.port + number for number in range(3)] if given.port else free_ports(3))
    finally:
        if given.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535 - len(NAMES):
        raise ValueError(f"{port} is no port")
    return port


def _machines_of(given: list[str]) -> dict[str, str]:
    machines = dict(map(machine_of, given))
    if len(machines) < len(given):
        raise UsageProblem("two machines have the same name: write NAME=MODULE:CLASS")
    return machines


def machine_of(text: str) -> tuple[str, str]:
    """Name and plug-in of what was given: `stock.machine:StockRoom` is hosted as `stock_room`."""
    name, equals, plugin = text.rpartition("=")
    if equals:
        return name, plugin
    if ":" not in plugin and "." not in plugin:
        return plugin, plugin
    return _WORD.sub("_", re.split("[.:]", plugin)[-1]).lower(), plugin


def _load(machines: Mapping[str, str]) -> dict[str, LoadedMachine]:
    try:
        return {name: load_machine(plugin, machine=name) for name, plugin in machines.items()}
    except MachineUnavailable as problem:
        if problem.__cause__ is not None:
            print("\n".join(last_lines(problem.__cause__)), file=sys.stderr)
        raise


def _sources_of(loaded: Mapping[str, LoadedMachine], machines: Mapping[str, str], further: list[Path]) -> list[Path]:
    modules = [getattr(one.make, "__module__", None) or "" for one in loaded.values()]
    modules += [re.split("[:]", plugin)[0] if ":" in plugin else plugin.rpartition(".")[0] for plugin in machines.values()]
    return list(dict.fromkeys([path for module in modules if (path := source_of(module)) is not None] + further))


def _directory(wished: Path | None) -> Path:
    if wished is None:
        return Path(tempfile.mkdtemp(prefix="txraft-dev-"))
    try:
        wished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageProblem(f"{wished}: {error.strerror}") from None
    return wished.absolute()


def _serve(machines: Mapping[str, str], sources: SourceFiles, directory: Path, ports: list[int]) -> int:
    from twisted.internet import reactor as installed

    reactor: Any = installed

    def halted(name: str, why: BaseException) -> None:
        _say(f"{name} has halted, until the next change: {why}")

    nodes = DevNodes(directory, machines, ports, reactor, halted)
    reloading = Reloading(machines, nodes, sources, reactor, _say, lambda: deferLater(reactor, 0))
    failures: list[Failure] = []

    async def begin() -> None:
        await nodes.start()
        _say(f"Three nodes in {directory}")
        _say(table([[name, endpoint] for name, endpoint in nodes.endpoints.items()], indent="  "))
        for name, plugin in machines.items():
            _say(f"machine {name}: {plugin}; POST http://{nodes.endpoints['n1']}/v1/{name}/..., or: {_command_line(nodes, name)}")
        watched = ", ".join(map(str, sources.paths))
        _say(f"Watching {watched}" if watched else "Nothing to watch: these machines come with txraft")
        _say("Ctrl-C ends it.")
        await reloading.watch()

    def failed(failure: Failure) -> None:
        failures.append(failure)
        reactor.stop()

    with (directory / "nodes.log").open("a") as log:
        globalLogBeginner.beginLoggingTo([textFileLogObserver(log), _show_errors], redirectStandardIO=False)
        signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(reactor.stop))
        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(failed))
        reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(reloading.end()))
        reactor.run()
    if failures:
        failures[0].raiseException()
    return 0


def _command_line(nodes: DevNodes, name: str) -> str:
    first = nodes.endpoints["n1"]
    where = "" if first == f"127.0.0.1:{PORT}" else f" --endpoints {first}"
    return f"txraft{where} {name} --help"


@provider(ILogObserver)
def _show_errors(event: LogEvent) -> None:
    """What concerns the author: a bug in the machine, which all three nodes tell of alike."""
    if event.get("log_level") == LogLevel.error and "traceback" in event and event.get("node") == NAMES[0]:
        _say(f"{event['machine']}.{event['command']} failed; this is a bug in the machine:")
        _say("\n".join(f"    {line}" for line in str(event["traceback"]).rstrip().splitlines()[-8:]))


def _say(text: str) -> None:
    print(text, flush=True)
