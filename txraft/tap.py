"""`twistd txraft`: a node as a process. Its command line, how it begins, and with which exit code it ends.

`makeService` runs before twistd forks and drops privileges: it reads the configuration and opens nothing else.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, TextIO, TypeVar

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from txraft import __version__
from txraft.addresses import host_and_port
from txraft.config import NodeConfig
from txraft.config.layers import default_file
from txraft.embed import RaftNode, require_endpoints
from txraft.errors import ConfigurationError, MachineUnavailable, NotApplied, TxraftError
from txraft.net.descriptors import raise_descriptor_limit
from txraft.statemachine import Host
from txraft.statemachine.plugin import PluginListing, available_plugins
from txraft.storage.identity import Claim
from txraft.storage.layout import Layout

T = TypeVar("T")

__all__ = ["CannotStart", "NodeProcess", "Options", "makeService"]

EX_USAGE = 64
READY_NEWS_S = 10.0
"""How often a node that is not ready says why."""

USAGE = """\
Usage: twistd [twistd options] txraft [options]
One node of a Raft cluster. Without options: alone, on loopback, ./txraft-data.
  --config=FILE         YAML; else ./txraft.yaml, else /etc/txraft/txraft.yaml
  --name=NAME           of this server (n1)
  --data-dir=DIR        its log and votes (txraft-data/NAME)
  --peer=ENDPOINT       listen for servers (tcp:2380:interface=127.0.0.1)
  --client=ENDPOINT     for clients, repeatable (tcp:2379:interface=127.0.0.1)
  --advertise-peer=HOST:PORT, --advertise-client=HOST:PORT   how others reach it
  --cluster=NAME        of the cluster (txraft)
  --bootstrap=n1=HOST:PORT,n2=HOST:PORT,...   the first voters; first start only
  --machine=NAME[=PLUGIN]   repeatable (counter, queue, config)
  --check               check and print the configuration, with origins; exit
  --help-machines       list the state machines that are installed here; exit
  --version, --help
Order: defaults < file < environment (TXRAFT_NAME, TXRAFT_TIMING__ELECTION_S) <
options. More in the file: timing, limits. See docs/operating.md.
Examples:
  twistd -n txraft
  twistd -n txraft --config n1.yaml
  twistd --pidfile n1.pid --logfile n1.log txraft --name n1 --data-dir d1 \\
    --bootstrap n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380"""


class CannotStart(SystemExit, Exception):
    """A node that could not be started; its text is one sentence, its `code` the exit code.

    Both bases are needed: twistd sees an `Exception`, removes the pid file and (as a daemon) tells the waiting parent; the interpreter sees
    a `SystemExit` and ends without a traceback.
    """

    # A daemon's parent is sent 98 bytes, the full name of the class among them.
    __module__ = "builtins"

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class Options(usage.Options):
    """The flags of `twistd txraft`. Each is the configuration key of the same name."""

    optFlags = [["check", None, "Check and print the configuration."], ["help-machines", None, "List the installed state machines."]]
    optParameters = [
        ["config", None, None, "A YAML file."],
        ["name", None, None, "Name of this server."],
        ["data-dir", None, None, "Directory for log and votes."],
        ["peer", None, None, "Server endpoint for servers."],
        ["advertise-peer", None, None, "How servers reach this one."],
        ["advertise-client", None, None, "How clients reach this one."],
        ["bootstrap", None, None, "The first voters."],
        ["cluster", None, None, "Name of the cluster."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["client"], self["machine"] = None, None

    def opt_client(self, endpoint: str) -> None:
        """Server endpoint for clients."""
        self["client"] = [*(self["client"] or []), endpoint]

    def opt_machine(self, machine: str) -> None:
        """A state machine: NAME or NAME=PLUGIN."""
        self["machine"] = [*(self["machine"] or []), machine]

    def opt_version(self) -> None:
        """Print the version."""
        print(f"txraft {__version__}")  # noqa: T201 - what the user asked for
        raise SystemExit(0)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is not an option")

    def parseOptions(self, options: Any = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _say(f"twistd txraft: {error}. Try: twistd txraft --help")
            raise SystemExit(EX_USAGE) from None

    def postOptions(self) -> None:
        if self["help-machines"]:
            _show(_describe_plugins(available_plugins()))
        if self["check"]:
            _show(_or_exit(lambda: _check(self)))

    def __str__(self) -> str:
        return USAGE

    def load(self, environ: Mapping[str, str]) -> NodeConfig:
        """The configuration that these flags, the file they name and `environ` make. Raises `ConfigurationError`."""
        keys = ("name", "data-dir", "peer", "client", "advertise-peer", "advertise-client", "bootstrap", "cluster")
        flags = {key.replace("-", "_"): self[key] for key in keys} | {"machines": self["machine"]}
        file = self["config"] or default_file(environ)
        return NodeConfig.load(file, environ, {key: value for key, value in flags.items() if value is not None})


def makeService(options: Options) -> IService:
    """The service of a node. Opens no file but the configuration, no socket, thread or lock. Exits if the configuration cannot be used."""
    return _or_exit(lambda: _with_origin(options.load(os.environ), NodeProcess))


class NodeProcess(MultiService):
    """A `RaftNode` and what makes a process of it: signals, the line that says it is ready, the exit code.

    Attributes:
        node: the node.
        exit_code: what the process ends with; 0 until the node halts.
    """

    _log = Logger()

    def __init__(
        self,
        config: NodeConfig,
        reactor: Any = None,
        *,
        make_node: Callable[..., RaftNode] = RaftNode,
        at_exit: Callable[..., Any] = atexit.register,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if reactor is None:
            from twisted.internet import reactor
        self.exit_code = 0
        self._reactor, self._at_exit = reactor, at_exit
        self._waiting: Deferred[None] | None = None
        self._stop_asked = False
        self.node = make_node(config, reactor, on_halt=self._halted)
        self.node.setServiceParent(self)

    def privilegedStartService(self) -> None:
        raise_descriptor_limit(self.node.config.limits.client_connections_max)
        self._begin(super().privilegedStartService)

    def startService(self) -> None:
        self._begin(super().startService)
        self._reactor.callWhenRunning(self._running)

    def _begin(self, start: Callable[[], None]) -> None:
        try:
            start()
        except TxraftError as error:
            self._log.critical("{node} cannot start: {why}", node=self.node.config.name, why=str(error))
            _say(str(error))
            brief = error.problem if isinstance(error, ConfigurationError) else str(error)
            raise CannotStart(brief, error.exit_code) from None

    def stopService(self) -> Any:
        if self._waiting is not None:
            self._waiting.cancel()
        return super().stopService()  # type: ignore[no-untyped-call]

    def _running(self) -> None:
        # Twisted's own would end the process by the signal once more, after everything has been stopped in order: no exit code 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):  # not the main thread
                signal.signal(number, self._signalled)
        self._waiting = Deferred.fromCoroutine(self._tell_when_ready())

    def _signalled(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, why: str) -> None:
        if not self._stop_asked:
            self._stop_asked = True
            self._log.info("{node} stops: {why}", node=self.node.config.name, why=why)
            with suppress(ReactorNotRunning):  # it is on its way already
                self._reactor.stop()

    async def _tell_when_ready(self) -> None:
        name = self.node.config.name
        with suppress(CancelledError):
            while not self.exit_code:
                try:
                    await self.node.when_ready(READY_NEWS_S)
                except NotApplied as problem:
                    self._log.info("{why}", why=problem.message)
                else:
                    self._log.info("READY: {node} answers. Try: {command}", node=name, command=_something_to_try(self.node))
                    break

    def _halted(self, why: BaseException) -> None:
        sentence = str(why) or type(why).__name__
        self.exit_code = why.exit_code if isinstance(why, TxraftError) else TxraftError.exit_code
        _say(f"{self.node.config.name} halts: {sentence}")
        # twistd ends with 0 whatever has happened, and offers no other way to say how it went.
        self._at_exit(_leave, self.exit_code)
        self._reactor.callLater(0, self._stop, "it has halted")


def _leave(exit_code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def _say(sentence: str, stream: TextIO | None = None) -> None:
    """Tell it to whoever sits at the terminal, even when twistd has turned `sys.stderr` into a log."""
    stream = stream or sys.__stderr__
    if stream is not None:
        with suppress(OSError, ValueError):
            print(f"txraft: {sentence}", file=stream, flush=True)


def _with_origin(config: NodeConfig, use: Callable[[NodeConfig], T]) -> T:
    """Use the configuration; the error about a machine that cannot be had then says, too, who asked for it."""
    try:
        return use(config)
    except MachineUnavailable as error:
        origin = error.origin or config.origins.get("machines", "")
        raise MachineUnavailable(error.problem, origin=origin, key=error.key, remedy=error.remedy) from error


def _or_exit(step: Callable[[], T]) -> T:
    try:
        return step()
    except TxraftError as error:
        _say(str(error))
        raise SystemExit(error.exit_code) from None


def _something_to_try(node: RaftNode) -> str:
    config = node.config
    place = host_and_port(config.advertise_client) if config.advertise_client else None
    host, port = place or ("127.0.0.1", next((port for port in node.client_ports if port), 0))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if config.machines.get("counter") == "counter":
        return f"""curl -d '{{"name": "a", "amount": 2}}' http://{address}/v1/counter/add"""
    return f"curl http://{address}/v1/status"


# --- --check and --help-machines ---


def _show(lines: list[str]) -> NoReturn:
    """Print what the user asked for, and end. Whoever reads it may have enough before."""
    try:
        print("\n".join(lines), flush=True)  # noqa: T201
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def _check(options: Options) -> list[str]:
    """What is configured, once it is certain that it can be used. Raises `TxraftError`."""
    config = options.load(os.environ)
    _with_origin(config, lambda config: Host(config.machines, limits=config.limits))
    require_endpoints(config)
    _check_directory(config)
    return [*config.describe(), f"cluster id: {config.cluster_id}", "The configuration can be used."]


def _check_directory(config: NodeConfig) -> None:
    """Whether the data directory is this server's, or can be made. Changes nothing."""
    layout = Layout(config.data_dir)
    if layout.identity.exists():
        Claim.stake(layout, config.cluster_id, config.name)
    existing = next(path for path in (config.data_dir, *config.data_dir.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        what = "is not a directory" if not existing.is_dir() else "cannot be written to"
        raise ConfigurationError(
            f"{config.data_dir}: {existing} {what}",
            origin=config.origins.get("data_dir", ""),
            key="data_dir",
            remedy="Name another directory, or change its owner or mode",
        )


def _describe_plugins(listings: list[PluginListing]) -> list[str]:
    if not listings:
        return ["No state machine is installed here."]
    width = max(len(listing.name) for listing in listings)
    lines = []
    for listing in listings:
        summary = next(iter(listing.doc.splitlines()), "")
        told = f"version {listing.version}  {summary}" if not listing.error else f"CANNOT BE USED: {listing.error}"
        lines += [f"{listing.name:<{width}}  {told}", f"{'':<{width}}  from {listing.origin}"]
    return lines
