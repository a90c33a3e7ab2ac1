"""From a name to a machine: plug-ins that are there, missing, broken, or there twice."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import twisted.plugins
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.statemachine.driver import SAMPLES
from tests.statemachine.machines import Plain, Recorder
from tests.statemachine.values_given import Spot
from txraft.errors import MachineUnavailable
from txraft.limits import Limits
from txraft.statemachine import IStateMachinePlugin, StateMachinePlugin, available_plugins, plugin
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import HostMachine, Invoke
from txraft.statemachine.plugin import LoadedMachine, load_machine
from txraft.statemachine.results import decode_answer

DISTRIBUTIONS = Path(__file__).resolve().parents[1] / "distributions"
GOOD = "from txraft.statemachine import StateMachinePlugin\n"


class PluginCase(SynchronousTestCase):
    """A test with `sys.path`, `twisted.plugins` and the imported modules of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "twisted" / "plugins").mkdir(parents=True)
        self.patch(sys, "path", [str(self.folder.resolve()), *sys.path])
        self.see(self.folder)
        before = set(sys.modules)

        def forget() -> None:
            self.flushLoggedErrors()
            for name in set(sys.modules) - before:
                if name.startswith(("twisted.plugins.", "stock", "broken_stock", "sample_")):
                    del sys.modules[name]

        self.addCleanup(forget)

    def see(self, folder: Path) -> None:
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, str((folder / "twisted" / "plugins").resolve())])

    def write_plugin(self, name: str, text: str) -> None:
        (self.folder / "twisted" / "plugins" / f"{name}.py").write_text(text)

    def install(self, distribution: str) -> None:
        """As an installation would: the packages side by side, the plug-in into `twisted/plugins/`."""
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info", "build")
        shutil.copytree(DISTRIBUTIONS / distribution, self.folder, dirs_exist_ok=True, ignore=ignored)

    def unavailable(self, plugin: str, *words: str) -> None:
        error = self.assertRaises(MachineUnavailable, load_machine, plugin, machine="jobs")
        for word in ("machines.jobs", "'jobs'", repr(plugin), *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))


class ByDottedName(PluginCase):
    def test_with_dots_or_a_colon(self) -> None:
        for path in ("tests.statemachine.machines.Recorder", "tests.statemachine.machines:Recorder"):
            loaded = load_machine(path)
            self.assertIs(loaded.make, Recorder)
            self.assertEqual((loaded.plugin, loaded.version, loaded.origin), (path, 1, path))

    def test_what_is_not_there(self) -> None:
        self.unavailable("tests.nowhere.Queue", "No module named 'tests.nowhere'", "correct the name")
        self.unavailable(SAMPLES + "Nothing", "no attribute 'Nothing'")
        self.unavailable("tests.statemachine.machines:", "package.module.Class")
        self.unavailable(":Recorder", "package.module.Class")
        self.unavailable("x." * 100 + "y", "longer than")

    def test_what_is_no_machine(self) -> None:
        self.unavailable(SAMPLES + "NotAMachine", "does not provide IStateMachine")
        self.unavailable(SAMPLES + "ERRORS", "not callable")
        self.unavailable(SAMPLES + "NeedsArguments", "size")
        self.unavailable(SAMPLES + "Mute", "@command")
        self.unavailable(SAMPLES + "NoSnapshot", "NoSnapshot does not define snapshot()")
        self.unavailable(SAMPLES + "Hidden", "'left' hides")
        self.unavailable(SAMPLES + "NoVersion", "version is '1'")

    def test_what_snapshot_gave_or_restore_made_of_it_was_not_named(self) -> None:
        class Odd(Recorder):
            state: Any = None

            def snapshot(self) -> Any:
                return iter(self.state) if isinstance(self.state, tuple) else self.state

            def restore(self, state: Any) -> None:
                self.seen = [*state]

        for state, said in (
            (None, "snapshot() of a fresh one gave None, and restore() failed with it: TypeError: "),
            ({"tags": set()}, "gave {'tags': set()}, which is not plain data: TypeError: a value in a dict is a set"),
            ({1, 2}, "gave {1, 2}, which is not plain data: TypeError: it is a set"),
            (
                ([1], {Spot(1): 1}),
                "gave the items [[1], {Spot(floor=1, desk=0): 1}], which is not plain data: TypeError: a key of a dict is",
            ),
            (object, "gave <class 'object'>, which is not plain data: TypeError"),
        ):
            self.patch(Odd, "state", state)
            error = self.assertRaises(ValueError, plugin._try_restoring, Odd(), Odd())
            self.assertIn(said, str(error))
        self.patch(Odd, "snapshot", lambda self: 1 // 0)
        error = self.assertRaises(ValueError, plugin._try_restoring, Odd(), Odd())
        self.assertIn("snapshot() of a fresh one failed: ZeroDivisionError", str(error))

    def test_a_module_that_fails_or_ends_the_process(self) -> None:
        for name, text, words in (
            ("sample_a", "1 / 0", "ZeroDivisionError"),
            ("sample_b", "def f(:", "SyntaxError"),
            ("sample_c", "raise SystemExit(0)", "SystemExit"),
            ("sample_d", "raise ValueError('first line\\nsecond ' + 'x' * 10_000)", "ValueError: first line second"),
        ):
            (self.folder / f"{name}.py").write_text(text)
            self.unavailable(f"{name}.Machine", words)

    def test_a_declaration_that_is_wrong(self) -> None:
        text = "from txraft.statemachine import *\nclass Shelf(StateMachine):\n    @command\n    def put(self, ctx, what): ...\n"
        (self.folder / "sample_e.py").write_text(text)
        self.unavailable("sample_e.Shelf", "TypeError", "Shelf.put: parameter 'what'")


class ByPlugin(PluginCase):
    def test_the_machines_that_come_with_txraft(self) -> None:
        loaded = load_machine("counter")
        self.assertEqual((loaded.version, loaded.plugin), (1, "counter"))
        self.assertIn("add", loaded.declaration.commands)

    def test_an_installed_distribution(self) -> None:
        self.install("txraft_stock")
        loaded = load_machine("stock")
        self.assertTrue(loaded.origin.endswith("stock_plugin.py"), loaded.origin)
        host = Host({"shelf": "stock"}, limits=Limits())
        host.apply(1, 1, HostMachine(0, *host.unhosted()[0]))
        for index, (amount, outcome, value) in enumerate(((5, 0, 5), (-2, 0, 3), (-9, 1, None)), 2):
            arguments = host.prepare("shelf", "add", host.arguments_of_json("shelf", "add", b'{"sku": "a", "n": %d}' % amount))
            answer = decode_answer(host.apply(index, 1, Invoke(0, 0, 0, 0, "shelf", "add", arguments)))
            self.assertEqual(answer.outcome, outcome)
            self.assertEqual(answer.value() if outcome == 0 else None, value)
        self.assertEqual(answer.problem().message, "only 3 of a left")

    def test_machines_are_imported_only_when_used(self) -> None:
        self.install("txraft_stock")
        self.install("txraft_broken")
        load_machine("counter")
        self.assertNotIn("stock.machine", sys.modules)
        load_machine("stock")
        self.assertIn("stock.machine", sys.modules)

    def test_a_plugin_whose_machine_cannot_be_imported(self) -> None:
        self.install("txraft_broken")
        self.unavailable("broken", "broken_stock_plugin.py", "ModuleNotFoundError", "a_library_that_is_not_installed")

    def test_a_missing_plugin_is_named_with_those_that_are_there(self) -> None:
        self.install("txraft_stock")
        self.unavailable("absent", "no such plug-in", "Found: ", "counter", "stock", "twisted/plugins/", "package.module.Class")

    def test_a_plugin_file_that_cannot_be_imported_does_not_stay_silent(self) -> None:
        self.write_plugin("sample_plugin", GOOD + "import nothing_like_it\nunread = StateMachinePlugin('unread', 'a.B')\n")
        for _ in range(2):  # the second time out of twisted's cache
            self.unavailable("unread", "no such plug-in", "sample_plugin.py cannot be imported", "nothing_like_it")
        load_machine("counter")

    def test_a_plugin_file_that_broke_after_it_was_cached(self) -> None:
        self.write_plugin("sample_plugin", GOOD + "sums = StateMachinePlugin('sums', 'tests.statemachine.machines.Plain')\n")
        self.assertIs(load_machine("sums").make, Plain)
        del sys.modules["twisted.plugins.sample_plugin"]
        self.write_plugin("sample_plugin", GOOD + "raise RuntimeError('broken since')\n")
        for cached in (self.folder / "twisted" / "plugins").glob("__pycache__/*"):
            cached.unlink()
        self.unavailable("sums", "sample_plugin.py cannot be imported", "broken since")

    def test_two_of_the_same_name(self) -> None:
        for name in ("sample_one", "sample_two"):
            self.write_plugin(name, GOOD + "sums = StateMachinePlugin('sums', 'tests.statemachine.machines.Plain')\n")
        self.unavailable("sums", "offered 2 times", "sample_one.py", "sample_two.py", "Uninstall")

    def test_one_under_two_names_in_its_module_is_one(self) -> None:
        self.write_plugin("sample_one", GOOD + "sums = again = StateMachinePlugin('sums', 'tests.statemachine.machines.Plain')\n")
        self.assertIs(load_machine("sums").make, Plain)

    def test_a_plugin_of_another_make(self) -> None:
        self.write_plugin(
            "sample_own",
            "from twisted.plugin import IPlugin\nfrom txraft.statemachine import IStateMachinePlugin\n"
            "from zope.interface import implementer\n"
            "@implementer(IPlugin, IStateMachinePlugin)\nclass Own:\n    name = 'own'\n"
            "    def load(self):\n        from tests.statemachine.machines import Plain\n        return Plain\n"
            "own = Own()\n@implementer(IPlugin, IStateMachinePlugin)\nclass Nameless: ...\nnameless = Nameless()\n",
        )
        loaded: LoadedMachine = load_machine("own")
        self.assertIs(loaded.make, Plain)
        self.assertTrue(loaded.origin.endswith("sample_own.py"))

    def test_bad_names_of_plugins_break_their_file(self) -> None:
        for name in ("", "a.b", "a b", "1a", "é", "a" * 129, "a:b"):
            self.assertRaises(ValueError, StateMachinePlugin, name, "a.B")
        plugin = StateMachinePlugin("a-b_9", "a.B")
        verifyObject(IStateMachinePlugin, plugin)
        self.assertTrue(IPlugin.providedBy(plugin))


class Listing(PluginCase):
    def test_all_plugins_with_what_ails_them(self) -> None:
        self.install("txraft_stock")
        self.install("txraft_broken")
        self.write_plugin("sample_plugin", "1 / 0")
        listed = {listing.name: listing for listing in available_plugins()}
        self.assertEqual((listed["counter"].version, listed["counter"].error), (1, ""))
        self.assertIn("counters", listed["counter"].doc)
        self.assertTrue(listed["stock"].origin.endswith("stock_plugin.py"))
        self.assertEqual((listed["broken"].version, listed["broken"].doc), (None, ""))
        self.assertIn("a_library_that_is_not_installed", listed["broken"].error)
        self.assertIn("ZeroDivisionError", listed["sample_plugin.py"].error)
