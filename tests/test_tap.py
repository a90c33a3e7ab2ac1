"""The command line of `twistd txraft`, and how a node's process begins and ends; without a reactor that runs."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.scripts._twistd_unix import UnixApplicationRunner
from twisted.trial.unittest import SynchronousTestCase

from txraft import tap
from txraft.config import NodeConfig, layers
from txraft.errors import ConfigurationError, DiskFailed, ForeignDirectory, NotApplied
from txraft.statemachine.plugin import PluginListing
from txraft.storage.identity import Claim
from txraft.storage.layout import Layout


def open_files() -> set[str]:
    """What this process has open."""
    return {f"{number.name} {os.path.realpath(number)}" for number in Path("/proc/self/fd").iterdir() if number.exists()}


class Reactor(MemoryReactorClock):
    """One that signals can reach."""

    def callFromThread(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)


class TapTestCase(SynchronousTestCase):
    """A folder to be in, and what is said on stderr."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        before = Path.cwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        self.patch(os, "environ", {})
        self.patch(layers, "DEFAULT_FILES", (Path("txraft.yaml"), self.folder / "etc.yaml"))

    def options(self, *arguments: str) -> tap.Options:
        """As twistd would make them."""
        options = tap.Options()
        options.parseOptions(list(arguments))
        return options

    def exits(self, call: Callable[..., Any], *arguments: Any) -> tuple[object, str, str]:
        """The exit code, what went to stdout and what to stderr."""
        stdout = io.StringIO()
        with redirect_stdout(stdout):
            exit_code = self.assertRaises(SystemExit, call, *arguments).code
        return exit_code, stdout.getvalue(), self.stderr.getvalue()


class Help(TapTestCase):
    """What people read first."""

    def test_it_fits_a_terminal_and_ends_with_examples(self) -> None:
        exit_code, shown, _ = self.exits(self.options, "--help")
        lines = shown.rstrip().splitlines()
        self.assertEqual(exit_code, 0)
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertIn("Examples:", lines[-6:])

    def test_every_option_is_in_it(self) -> None:
        for option in tap.Options().longOpt:
            self.assertIn(f"--{option}", tap.USAGE)

    def test_version(self) -> None:
        exit_code, shown, _ = self.exits(self.options, "--version")
        self.assertEqual(exit_code, 0)
        self.assertRegex(shown, r"^txraft \d+\.\d+")


class Configuring(TapTestCase):
    """From flags, file and environment to a configuration."""

    def test_nothing_given_is_one_node_on_loopback(self) -> None:
        config = self.options().load({})
        self.assertEqual((config.name, config.client), ("n1", ("tcp:2379:interface=127.0.0.1",)))
        self.assertEqual(config.data_dir, self.folder / "txraft-data" / "n1")

    def test_every_flag_reaches_its_key(self) -> None:
        flags = {
            "name": "n2",
            "data-dir": "d2",
            "peer": "tcp:7002:interface=127.0.0.1",
            "advertise-peer": "10.0.0.2:7002",
            "advertise-client": "10.0.0.2:7102",
            "bootstrap": "n1=10.0.0.1:7001,n2=10.0.0.2:7002",
            "cluster": "blue",
        }
        config = self.options(
            *(f"--{flag}={value}" for flag, value in flags.items()),
            *("--client=tcp:7102", "--client=unix:/run/txraft"),
            *("--machine=counter", "--machine=visits=counter"),
        ).load({})
        self.assertEqual((config.name, config.cluster, config.data_dir.name), ("n2", "blue", "d2"))
        self.assertEqual(config.client, ("tcp:7102", "unix:/run/txraft"))
        self.assertEqual(dict(config.machines), {"counter": "counter", "visits": "counter"})
        self.assertEqual((config.advertise_peer, config.advertise_client), ("10.0.0.2:7002", "10.0.0.2:7102"))
        self.assertEqual(list(config.bootstrap), ["n1", "n2"])
        self.assertTrue({"--client", "--machine", "--name", "--peer"} <= set(config.origins.values()))

    def test_the_file_is_the_named_one_else_the_first_default_that_exists(self) -> None:
        for name in ("etc.yaml", "txraft.yaml", "environment.yaml", "named.yaml"):
            Path(name).write_text(f"cluster: of-{name}\n")
        named = self.options("--config", "named.yaml")
        self.assertEqual(named.load({"TXRAFT_CONFIG": "environment.yaml"}).cluster, "of-named.yaml")
        self.assertEqual(self.options().load({"TXRAFT_CONFIG": "environment.yaml"}).cluster, "of-environment.yaml")
        self.assertEqual(self.options().load({}).cluster, "of-txraft.yaml")
        Path("txraft.yaml").unlink()
        self.assertEqual(self.options().load({}).cluster, "of-etc.yaml")

    def test_flags_win_over_the_environment_and_that_over_the_file(self) -> None:
        Path("txraft.yaml").write_text("cluster: file\nname: file\nmachines: [counter]\n")
        config = self.options("--name=flag").load({"TXRAFT_NAME": "environment", "TXRAFT_CLUSTER": "environment"})
        self.assertEqual((config.name, config.cluster), ("flag", "environment"))

    def test_a_wrong_command_line_is_64(self) -> None:
        for wrong in (["--nmae=n1"], ["--name"], ["n1"]):
            exit_code, shown, said = self.exits(self.options, *wrong)
            self.assertEqual((exit_code, shown), (64, ""))
            self.assertTrue(said.endswith("Try: twistd txraft --help\n"), said)


class Making(TapTestCase):
    """`makeService`, before twistd forks."""

    def test_it_opens_nothing(self) -> None:
        threads, files = threading.active_count(), open_files()
        service = tap.makeService(self.options())
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(open_files(), files)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_wrong_configuration_is_78_and_names_file_and_key(self) -> None:
        Path("txraft.yaml").write_text("nmae: n1\n")
        exit_code, _, said = self.exits(tap.makeService, self.options())
        self.assertEqual(exit_code, 78)
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("txraft.yaml, key 'nmae'", said)

    def test_a_machine_that_cannot_be_had_names_who_asked_for_it(self) -> None:
        Path("txraft.yaml").write_text("machines: {jobs: no_such_plugin}\n")
        exit_code, _, said = self.exits(tap.makeService, self.options())
        self.assertEqual(exit_code, 78)
        self.assertIn("txraft.yaml, key 'machines.jobs'", said)


class Checking(TapTestCase):
    """`--check` and `--help-machines`."""

    def test_what_can_be_used_is_shown_with_origins(self) -> None:
        exit_code, shown, said = self.exits(self.options, "--check", "--name=n2")
        self.assertEqual((exit_code, said), (0, ""))
        self.assertIn("name = n2 (--name)\n", shown)
        self.assertTrue(shown.endswith("The configuration can be used.\n"))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_who_reads_it_may_go_before_its_end(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as gone, redirect_stdout(gone):
            self.assertEqual(self.assertRaises(SystemExit, self.options, "--check").code, 0)

    def test_a_machine_that_is_missing(self) -> None:
        exit_code, _, said = self.exits(self.options, "--check", "--machine=jobs=no_such_plugin")
        self.assertEqual(exit_code, 78)
        self.assertIn("--machine, key 'machines.jobs'", said)

    def test_a_directory_of_another_server(self) -> None:
        root = self.folder / "d1"
        root.mkdir()
        Claim.stake(Layout(root), "0" * 32, "n9")
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        exit_code, _, said = self.exits(self.options, "--check", "--data-dir=d1")
        self.assertEqual(exit_code, ForeignDirectory.exit_code)
        self.assertIn("'n9'", said)
        self.assertEqual({path: path.read_bytes() for path in root.rglob("*") if path.is_file()}, before)

    def test_a_directory_that_cannot_be_made(self) -> None:
        Path("file").write_text("")
        exit_code, _, said = self.exits(self.options, "--check", "--data-dir=file/d1")
        self.assertEqual(exit_code, 78)
        self.assertIn("file is not a directory", said)

    def test_machines_are_listed_and_broken_ones_say_why(self) -> None:
        broken = PluginListing("broken", "/site/broken_plugin.py", error="ImportError: no module named x")
        listings = [PluginListing("counter", "/site/a.py", 1, "Named counters.\nMore."), broken]
        self.patch(tap, "available_plugins", lambda: listings)
        exit_code, shown, _ = self.exits(self.options, "--help-machines")
        self.assertEqual(exit_code, 0)
        self.assertEqual(
            shown.splitlines(),
            [
                "counter  version 1  Named counters.",
                "         from /site/a.py",
                "broken   CANNOT BE USED: ImportError: no module named x",
                "         from /site/broken_plugin.py",
            ],
        )


class FakeNode(Service):
    """Stands for a `RaftNode`.

    Attributes:
        trouble: what starting it raises.
        waiting: what `when_ready` has returned, the newest last.
    """

    client_ports = [7777]

    def __init__(self, config: NodeConfig, reactor: Any, *, on_halt: Callable[[BaseException], None]) -> None:
        self.config, self.on_halt = config, on_halt
        self.trouble: Exception | None = None
        self.waiting: list[Deferred[None]] = []

    def privilegedStartService(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def when_ready(self, timeout_s: float) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


class Process(TapTestCase):
    """Beginning, being ready, ending."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()
        self.signals: dict[int, Callable[..., None]] = {}
        self.patch(signal, "signal", self.signals.__setitem__)
        self.at_exit: list[Any] = []
        self.log: list[LogEvent] = []
        observer: Any = self.log.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def process(self, **settings: Any) -> tap.NodeProcess:
        """Made, not started."""
        made = tap.NodeProcess(
            NodeConfig.of(**settings), self.reactor, make_node=FakeNode, at_exit=lambda *call: self.at_exit.append(call)  # type: ignore[arg-type]
        )  # fmt: skip
        assert isinstance(made.node, FakeNode)
        self.node: FakeNode = made.node
        return made

    def started(self, **settings: Any) -> tap.NodeProcess:
        """As twistd does it; then the reactor runs."""
        process = self.process(**settings)
        process.privilegedStartService()
        process.startService()
        self.reactor.run()
        self.reactor.hasStopped = False  # it only pretends to run
        return process

    def said(self) -> list[str]:
        """The formatted log."""
        return [str(event["log_format"]).format(**event) for event in self.log if event["log_namespace"].startswith("txraft")]

    def test_it_says_when_it_is_ready_and_what_to_try(self) -> None:
        self.started()
        self.node.waiting[0].callback(None)
        (ready,) = self.said()
        self.assertTrue(ready.startswith("READY: n1 answers. Try: curl "))
        self.assertIn("http://127.0.0.1:2379/v1/counter/add", ready)

    def test_without_a_counter_or_a_fixed_port_there_is_something_else_to_try(self) -> None:
        self.started(machines={"visits": "counter"}, client=("tcp:0:interface=127.0.0.1",))
        self.node.waiting[0].callback(None)
        self.assertIn("Try: curl http://127.0.0.1:7777/v1/status", self.said()[0])

    def test_it_says_why_it_is_not_ready_and_goes_on_waiting(self) -> None:
        self.started()
        self.node.waiting[0].errback(NotApplied("not_ready", "n1 is not ready: no leader is known"))
        self.assertEqual(self.said(), ["n1 is not ready: no leader is known"])
        self.assertEqual(len(self.node.waiting), 2)

    def test_it_stops_in_the_middle_of_waiting(self) -> None:
        process = self.started()
        self.successResultOf(process.stopService())
        self.assertEqual((self.said(), self.flushLoggedErrors()), ([], []))

    def test_a_signal_stops_the_reactor_once(self) -> None:
        self.started()
        self.assertEqual(set(self.signals), {signal.SIGTERM, signal.SIGINT})
        self.signals[signal.SIGTERM](signal.SIGTERM, None)
        self.assertTrue(self.reactor.hasStopped)
        self.reactor.hasStopped = False
        self.signals[signal.SIGINT](signal.SIGINT, None)
        self.assertFalse(self.reactor.hasStopped)
        self.assertEqual((self.at_exit, self.said()), ([], ["n1 stops: SIGTERM"]))

    def test_a_halt_stops_the_reactor_and_becomes_the_exit_code(self) -> None:
        process = self.started()
        self.node.on_halt(DiskFailed("d1/log: Input/output error"))
        self.assertFalse(self.reactor.hasStopped, "not in the middle of whatever has failed")
        self.reactor.advance(0)
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(process.exit_code, 74)
        self.assertEqual(self.at_exit, [(tap._leave, 74)])
        self.assertEqual(self.stderr.getvalue(), "txraft: n1 halts: d1/log: Input/output error\n")

    def test_a_halt_by_a_bug_is_70(self) -> None:
        self.started()
        self.node.on_halt(ZeroDivisionError())
        self.assertEqual(self.at_exit, [(tap._leave, 70)])
        self.assertIn("ZeroDivisionError", self.stderr.getvalue())

    def test_what_cannot_start_says_so_to_twistd_the_shell_and_people(self) -> None:
        process = self.process()
        self.node.trouble = ConfigurationError(
            "cannot listen at tcp:2379:interface=127.0.0.1: [Errno 98] Address already in use",
            origin="/etc/txraft/txraft.yaml",
            key="client",
            remedy="Stop whatever uses that port, or choose another one",
        )
        error = self.assertRaises(tap.CannotStart, process.privilegedStartService)
        self.assertEqual(error.code, 78)
        self.assertEqual(self.stderr.getvalue(), f"txraft: {self.node.trouble}\n")
        self.assertIsInstance(error, Exception, "else twistd would leave its pid file and its parent waiting")
        format_for_parent: Any = UnixApplicationRunner._formatChildException
        sent = format_for_parent(None, error)
        self.assertTrue(sent.endswith(b"Address already in use"), sent)

    def test_without_privileges_to_shed_it_starts_as_well(self) -> None:
        """As `twist` does it."""
        process = self.process()
        self.node.trouble = ConfigurationError("taken")
        self.patch(self.node, "startService", self.node.privilegedStartService)
        self.assertEqual(self.assertRaises(SystemExit, process.startService).code, 78)
