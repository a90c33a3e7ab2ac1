"""Several machines behind one log."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import SAMPLES, Driver
from txraft.errors import Halted, MachineUnavailable, NotApplied, Unknown
from txraft.limits import INDEX_MAX, Limits
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import Clock, HostMachine, Invoke, KeepSession
from txraft.statemachine.results import decode_answer
from txraft.statemachine.values import decode_value, encode_value

EMPTY = msgspec.Raw(b"\x80")


class Applying(SynchronousTestCase):
    def test_machines_do_not_see_each_other(self) -> None:
        driver = Driver(one="Recorder", two="Recorder", three="Plain")
        driver.call("one", "integer", value=5)
        self.assertEqual((driver.ask("one", "count"), driver.ask("two", "count")), (1, 0))
        self.assertEqual(driver.call("three", "add", amount=4), 4)
        self.assertEqual(driver.ask("three", "total"), 4)

    def test_answers_carry_index_and_term(self) -> None:
        driver = Driver(one="Recorder")
        answer = decode_answer(driver.host.apply(2, 9, Invoke(0, 0, 0, 0, "one", "none", EMPTY)))
        self.assertEqual((answer.index, answer.term, answer.value()), (2, 9, None))
        answer = decode_answer(driver.host.query("one", "count", EMPTY, 11))
        self.assertEqual((answer.index, answer.term, answer.value()), (2, 11, 0))

    def test_defaults_and_keywords_reach_the_method(self) -> None:
        driver = Driver(one="Recorder")
        self.assertEqual(driver.call("one", "text", value="a"), ["a", 1, False])
        self.assertEqual(driver.call("one", "text", value="a", loud=True, times=3), ["a", 3, True])
        self.assertEqual(driver.call("one", "anything"), [None])

    def test_integers_of_any_size_in_and_out(self) -> None:
        driver = Driver(one="Recorder")
        for value in (1 << 63, -(1 << 900)):
            self.assertEqual(driver.call("one", "integer", value=value), [value])
            self.assertEqual(driver.call("one", "anything", value={"a": [value]}), [{"a": [value]}])
        self.assertEqual(driver.replayed().digest(), driver.host.digest())
        self.assertEqual(driver.restored().digest(), driver.host.digest())

    def test_the_context_comes_out_of_the_entry(self) -> None:
        driver = Driver(one="Recorder", time_ms=1_500)
        session = driver.open_session()
        context = driver.call("one", "context", session=session, serial=1)
        self.assertEqual(context[:5], [3, 1, 1_500, 1.5, session])
        self.assertNotEqual(driver.call("one", "context")[5:], context[5:])
        self.assertEqual(driver.replayed_answers(), driver.answers)

    def test_log_time_never_goes_back(self) -> None:
        driver = Driver(one="Recorder", time_ms=5_000)
        for stamped, expected in ((7_000, 7_000), (1, 7_000), (0, 7_000), (7_001, 7_001)):
            driver.time_ms = stamped
            self.assertEqual(driver.call("one", "context")[2], expected)
            self.assertEqual(driver.host.log_time_ms, expected)

    def test_entries_come_in_order_and_once(self) -> None:
        driver = Driver(one="Recorder")
        for index in (0, 1, 3):
            self.assertRaises(Halted, driver.host.apply, index, 1, Clock(0))
            self.assertRaises(Halted, driver.host.skip, index)
        driver.host.skip(2)
        self.assertEqual(driver.host.applied_index, 2)
        driver.host.apply(3, 1, Clock(0))


class BeforeTheLog(SynchronousTestCase):
    """Row 23: what nobody can run is not proposed."""

    def rejected(self, driver: Driver, machine: str, command: str, code: str, *words: str) -> None:
        for prepare in (driver.host.prepare, driver.host.arguments_of_json):
            body = b"\x80" if prepare == driver.host.prepare else b"{}"
            error = self.assertRaises(NotApplied, prepare, machine, command, body)
            self.assertEqual(error.code, code)
            for word in words:
                self.assertIn(word, error.message)

    def test_unknown_machine(self) -> None:
        self.rejected(Driver(one="Recorder", two="Plain"), "three", "add", "unknown_machine", "'three'", "one, two")

    def test_unknown_command(self) -> None:
        driver = Driver(two="Plain")
        self.rejected(driver, "two", "subtract", "unknown_command", "'subtract'", "add", "total")
        for private in ("snapshot", "apply_command", "__init__", ""):
            self.rejected(driver, "two", private, "unknown_command")

    def test_a_query_is_no_command_and_the_other_way_round(self) -> None:
        driver = Driver(two="Plain")
        error = self.assertRaises(NotApplied, driver.host.prepare, "two", "total", b"\x80")
        self.assertIn("as a query only", error.message)
        error = self.assertRaises(NotApplied, driver.host.prepare_query, "two", "add", b"\x80")
        self.assertIn("as a command only", error.message)
        self.assertEqual(error.code, "unknown_command")

    def test_a_machine_the_log_does_not_know_yet(self) -> None:
        host = Host({"two": SAMPLES + "Plain"}, limits=Limits())
        error = self.assertRaises(NotApplied, host.prepare, "two", "add", b"\x80")
        self.assertEqual((error.code, error.retryable), ("not_ready", True))
        self.assertEqual(self.assertRaises(NotApplied, host.prepare_query, "two", "total", b"\x80").code, "not_ready")
        self.assertEqual(decode_answer(host.query("two", "total", EMPTY, 1)).problem().code, "not_ready")
        self.assertEqual(decode_value(host.arguments_of_json("two", "add", b"{}")), {"amount": 1})

    def test_asking_what_is_not_there(self) -> None:
        driver = Driver(two="Plain")
        for machine, query, code in (("three", "x", "unknown_machine"), ("two", "x", "unknown_command")):
            problem = decode_answer(driver.host.query(machine, query, EMPTY, 1)).problem()
            self.assertIsInstance(problem, NotApplied)
            self.assertEqual(problem.code, code)


class BeyondUs(SynchronousTestCase):
    """Row 23: what stands in the log and cannot be run here stops this server; it is never passed over."""

    def halted(self, host: Host, command: Invoke | HostMachine, *words: str) -> None:
        before = host.applied_index
        error = self.assertRaises(MachineUnavailable, host.apply, before + 1, 1, command)
        for word in words:
            self.assertIn(word, str(error))
        self.assertEqual(host.applied_index, before)

    def test_unknown_command_in_the_log(self) -> None:
        driver = Driver(two="Plain")
        self.halted(driver.host, Invoke(0, 0, 0, 0, "two", "subtract", EMPTY), "two.subtract", "version 3", "Install")
        self.halted(driver.host, Invoke(0, 0, 0, 0, "three", "add", EMPTY), "three.add", "no plug-in")

    def test_arguments_of_another_version_in_the_log(self) -> None:
        driver = Driver(two="Plain")
        for arguments in ({"amount": "5"}, {"amount": 5, "unit": "kg"}):
            self.halted(driver.host, Invoke(0, 0, 0, 0, "two", "add", msgspec.Raw(encode_value(arguments))), "two.add", "arguments")

    def test_plugin_in_the_log_that_is_not_here(self) -> None:
        driver = Driver()
        self.halted(driver.host, HostMachine(0, "jobs", "tests.nowhere.Queue", 1), "the log", "'jobs'", "tests.nowhere", "Install")

    def test_plugin_in_the_log_in_another_version(self) -> None:
        for version in (2, 4):
            driver = Driver()
            self.halted(driver.host, HostMachine(0, "two", SAMPLES + "Plain", version), f"version {version}", "installed is version 3")

    def test_plugin_in_the_log_that_is_not_the_configured_one(self) -> None:
        host = Host({"two": SAMPLES + "NewerPlain"}, limits=Limits())
        self.halted(host, HostMachine(0, "two", SAMPLES + "Plain", 3), "'two'", "Plain", "NewerPlain")


class Hosting(SynchronousTestCase):
    def test_configured_machines_are_named_until_the_log_knows_them(self) -> None:
        host = Host({"b": SAMPLES + "Plain", "a": SAMPLES + "Recorder"}, limits=Limits())
        self.assertEqual(host.unhosted(), [("a", SAMPLES + "Recorder", 1), ("b", SAMPLES + "Plain", 3)])
        host.apply(1, 1, HostMachine(0, "b", SAMPLES + "Plain", 3))
        self.assertEqual(host.unhosted(), [("a", SAMPLES + "Recorder", 1)])

    def test_hosting_again_changes_nothing(self) -> None:
        driver = Driver(two="Plain")
        driver.call("two", "add", amount=4)
        for plugin, version in ((SAMPLES + "Plain", 3), (SAMPLES + "Recorder", 1), ("nowhere.at.all", 9)):
            driver.apply(HostMachine(0, "two", plugin, version)).value()
        self.assertEqual(driver.ask("two", "total"), 4)

    def test_a_machine_that_only_the_log_asks_for_is_hosted(self) -> None:
        driver = Driver()
        driver.apply(HostMachine(0, "two", SAMPLES + "Plain", 3)).value()
        self.assertEqual(driver.call("two", "add"), 1)
        self.assertEqual(driver.host.unhosted(), [])

    def test_another_spelling_of_the_same_class_is_the_same_machine(self) -> None:
        host = Host({"two": "tests.statemachine.machines.Plain"}, limits=Limits())
        host.apply(1, 1, HostMachine(0, "two", SAMPLES + "Plain", 3))
        self.assertEqual(host.digest(), Driver(two="Plain", time_ms=0).host.digest())

    def test_a_missing_machine_is_named_at_start(self) -> None:
        error = self.assertRaises(MachineUnavailable, Host, {"jobs": "tests.nowhere.Queue"}, limits=Limits())
        for word in ("machines.jobs", "'jobs'", "tests.nowhere.Queue", "No module named"):
            self.assertIn(word, str(error))


class ForPeople(SynchronousTestCase):
    def test_description(self) -> None:
        driver = Driver(two="Plain", one="Recorder")
        described = driver.host.describe()
        self.assertEqual(list(described), ["one", "two"])
        add = {"doc": "Add.", "parameters": [{"name": "amount", "type": "int", "required": False, "default": 1}], "returns": "int"}
        self.assertEqual(
            described["two"],
            {
                "plugin": SAMPLES + "Plain",
                "version": 3,
                "doc": "A sum.",
                "commands": {"add": add},
                "queries": {"total": {"doc": "The sum.", "parameters": [], "returns": "int"}},
            },
        )
        self.assertEqual(msgspec.json.decode(msgspec.json.encode(described)), described)

    def test_status(self) -> None:
        driver = Driver(two="Plain", time_ms=42)
        driver.open_session()
        sound = {"plugin": SAMPLES + "Plain", "version": 3, "degraded": False, "last_error": ""}
        self.assertEqual(driver.host.status(), {"machines": {"two": sound}, "sessions": 1, "log_time_ms": 42})

    def test_a_session_nobody_knows(self) -> None:
        driver = Driver()
        error = self.assertRaises(Unknown, driver.apply(KeepSession(0, INDEX_MAX)).value)
        self.assertEqual(error.code, "session_expired")
