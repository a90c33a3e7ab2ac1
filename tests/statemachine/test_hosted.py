"""What becomes of a machine's mistakes, and when machines run by themselves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import SAMPLES, Driver
from tests.statemachine.values_given import PLAIN, UNPLAIN
from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.statemachine.hosted import EXPIRE_PAUSE_MS, EXPIRE_ROUNDS_MAX, _milliseconds
from txraft.statemachine.log_commands import HostMachine
from txraft.statemachine.values import RESULT_NESTING_MAX


class Bugs(SynchronousTestCase):
    """Scenario 53: a command that cannot be applied ends in the same answer on every server, and the log goes on."""

    def setUp(self) -> None:
        self.driver = Driver(buggy="Buggy", other="Plain")

    def outcome(self, kind: type[Outcome], command: str, name: str) -> Outcome:
        problem: Outcome = self.assertRaises(kind, self.driver.call, "buggy", command, name=name)
        return problem

    def test_an_exception_is_an_answer_and_the_log_goes_on(self) -> None:
        for name in ("bug", "exit", "unspeakable", "unknown", "refused_oddly", "refused_unplain"):
            self.assertEqual(self.outcome(Unknown, "raise_it", name).code, "machine_error")
        self.assertEqual(self.driver.host.applied_index, 8)
        self.assertEqual(self.driver.call("other", "add"), 1)

    def test_a_result_that_cannot_be_sent_is_an_answer(self) -> None:
        for name in ("object", "cycle", "surrogate", "large", "too_big"):
            self.assertEqual(self.outcome(Unknown, "give", name).code, "machine_error")
        self.assertEqual(self.driver.ask("buggy", "count"), 5)

    def test_how_deep_a_result_may_be_nested_does_not_depend_on_the_servers_stack(self) -> None:
        def answer(levels: int, frames: int, *, in_key: bool) -> object:
            if frames:
                return answer(levels, frames - 1, in_key=in_key)
            try:
                return self.driver.call("buggy", "give_nested", levels=levels, in_key=in_key)
            except Unknown as problem:
                return problem.message

        for in_key in (False, True):  # in a key: found by review
            for levels in (1, RESULT_NESTING_MAX - 1):
                self.assertIsInstance(answer(levels, 0, in_key=in_key), dict if in_key else list)
            for levels in (RESULT_NESTING_MAX + 1, 700, 900, 970, 5_000):
                told = {str(answer(levels, frames, in_key=in_key)) for frames in (0, 20, 120)}
                self.assertEqual(told, {str(answer(RESULT_NESTING_MAX + 1, 0, in_key=False))})
        self.assertIn("failed with ValueError", str(answer(900, 0, in_key=False)))

    def test_wide_results_are_not_deep(self) -> None:
        self.driver.call("buggy", "give", name="wide")

    def test_plain_results_of_every_kind(self) -> None:
        self.assertEqual(self.driver.call("buggy", "give", name="tuple_keys"), {(1, 2): "x", None: "y", 3: "z"})
        self.assertEqual(self.driver.call("buggy", "give", name="big"), -(1 << 14_000))

    def test_a_result_that_no_client_could_read_was_given_out(self) -> None:
        """And those that came back as something else, which nobody told the author of."""
        for name, (_, named) in UNPLAIN.items():
            for command in ("give", "tell", "refuse"):
                self.driver.failures.clear()
                problem = self.outcome(Unknown, command, f"unplain: {name}")
                self.assertEqual(problem.code, "machine_error")
                self.assertIn(f"buggy.{command} failed with TypeError: a bug", problem.message)  # no more: it is the same on every server
                self.assertIn("" if command == "refuse" and name == "extension" else named.partition(" is ")[2], self.driver.failures[0][2])
            problem = self.assertRaises(NotApplied, self.driver.ask, "buggy", "ask_give", name=f"unplain: {name}")
            self.assertEqual(problem.code, "machine_error")
        self.assertEqual(self.driver.replayed_answers(), self.driver.answers)
        self.assertEqual(self.driver.replayed().digest(), self.driver.host.digest())

    def test_records_tuples_and_keys_that_can_be_read_are_results(self) -> None:
        for name in PLAIN:
            self.driver.call("buggy", "give", name=f"plain: {name}")
            self.driver.call("buggy", "tell", name=f"plain: {name}")
            self.driver.ask("buggy", "ask_give", name=f"plain: {name}")
        self.assertEqual(self.driver.failures, [])

    def test_what_is_refused_does_not_depend_on_what_was_seen_before(self) -> None:
        """A record whose fields are scalars is taken at its word, on every server, from the first one on."""
        self.driver.call("buggy", "give", name="plain: record")
        answers = [self.driver.call("buggy", "give_odd_record", kind=kind) for kind in ("seen", "unseen")]
        self.assertEqual(answers, [{"floor": [1], "desk": 0}, {"number": [1]}])

    def test_servers_agree_on_bugs(self) -> None:
        for name in ("bug", "refused_oddly"):
            self.outcome(Unknown, "raise_it", name)
        replayed, restored = self.driver.replayed(), self.driver.restored()
        self.assertEqual(replayed.digest(), self.driver.host.digest())
        self.assertEqual(restored.digest(), self.driver.host.digest())
        self.assertTrue(restored.status()["machines"]["buggy"]["degraded"])

    def test_the_machine_shows_as_degraded_and_the_bug_is_reported(self) -> None:
        problem = self.outcome(Unknown, "raise_it", "bug")
        self.assertIn("buggy.raise_it failed with ValueError", problem.message)
        self.assertNotIn("a bug\n", problem.message)
        status = self.driver.host.status()["machines"]
        self.assertEqual((status["buggy"]["degraded"], status["other"]["degraded"]), (True, False))
        self.assertEqual(status["buggy"]["last_error"], "raise_it: ValueError: a bug")
        [(machine, operation, text)] = self.driver.failures
        self.assertEqual((machine, operation), ("buggy", "raise_it"))
        self.assertIn("Traceback", text)
        self.assertIn("machines.py", text)

    def test_nobody_has_to_listen(self) -> None:
        self.driver.host.on_machine_error = None
        self.outcome(Unknown, "raise_it", "bug")

    def test_a_bug_in_a_session_is_answered_the_same_again(self) -> None:
        session = self.driver.open_session()
        for _ in range(2):
            self.assertRaises(Unknown, self.driver.call, "buggy", "raise_it", session=session, serial=1, name="bug", after_change=True)
        self.assertEqual(self.driver.answers[-1], self.driver.answers[-2])
        self.assertEqual(self.driver.ask("buggy", "count"), 1)

    def test_what_differs_from_server_to_server_halts(self) -> None:
        for name, kind in (("memory", MemoryError), ("disk", OSError), ("recursion", RecursionError)):
            driver = Driver(buggy="Buggy")
            self.assertRaises(kind, driver.call, "buggy", "raise_it", name=name)
            self.assertEqual(driver.host.applied_index, 1)
            self.assertEqual(driver.failures, [])

    def test_refused_is_a_result(self) -> None:
        problem = self.outcome(Refused, "raise_it", "refused")
        self.assertEqual((problem.code, problem.message, problem.details), ("no", "not today", {"limit": 3}))
        self.assertFalse(self.driver.host.status()["machines"]["buggy"]["degraded"])

    def test_a_kept_answer_does_not_change_with_the_state(self) -> None:
        session = self.driver.open_session()
        for serial in (1, 2, 1):
            self.driver.call("buggy", "give_shared", session=session, serial=serial)
        self.assertEqual(self.driver.answers[-1], self.driver.answers[-3])
        self.assertNotEqual(self.driver.answers[-1], self.driver.answers[-2])

    def test_a_state_that_cannot_be_saved_is_told_to_who_asks_for_it(self) -> None:
        self.driver.call("buggy", "spoil")
        for capture in (self.driver.host.digest, self.driver.host.capture):
            problem = self.assertRaises(NotApplied, capture)
            self.assertEqual(problem.code, "machine_error")
            self.assertIn("buggy.snapshot failed with TypeError", problem.message)
        self.assertEqual([failure[:2] for failure in self.driver.failures], [("buggy", "snapshot")] * 2)
        self.assertEqual(self.driver.call("other", "add"), 1)


class BugsInQueries(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(buggy="Buggy")

    def test_nothing_halts(self) -> None:
        for name in ("bug", "exit", "memory", "disk", "recursion", "refused_oddly", "refused_unplain"):
            problem = self.assertRaises(NotApplied, self.driver.ask, "buggy", "ask_raise", name=name)
            self.assertEqual(problem.code, "machine_error")
        for name in ("object", "cycle", "surrogate", "large"):
            problem = self.assertRaises(NotApplied, self.driver.ask, "buggy", "ask_give", name=name)
            self.assertEqual(problem.code, "machine_error")
        self.assertEqual(len(self.driver.failures), 11)

    def test_the_state_is_not_suspected(self) -> None:
        self.assertRaises(NotApplied, self.driver.ask, "buggy", "ask_raise", name="bug")
        status = self.driver.host.status()["machines"]["buggy"]
        self.assertEqual((status["degraded"], status["last_error"]), (False, "ask_raise: ValueError: a bug"))

    def test_refused(self) -> None:
        problem = self.assertRaises(Refused, self.driver.ask, "buggy", "ask_raise", name="refused")
        self.assertEqual(problem.code, "no")


class Deadlines(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(leases="Leases", time_ms=10_000)

    def test_the_host_says_when_it_next_wants_to_run(self) -> None:
        driver = self.driver
        driver.call("leases", "take", name="a", seconds=30)
        driver.call("leases", "take", name="b", seconds=20)
        self.assertEqual(driver.host.deadline_ms(), 30_000)
        driver.clock(30_000)
        self.assertEqual(driver.host.deadline_ms(), 40_000)
        driver.clock(50_000)
        self.assertIsNone(driver.host.deadline_ms())

    def test_expire_runs_before_the_command_that_shows_the_time(self) -> None:
        driver = self.driver
        driver.call("leases", "take", name="a", seconds=5)
        driver.time_ms = 14_999
        driver.call("leases", "take", name="b", seconds=100)
        self.assertEqual(driver.ask("leases", "history"), [])
        driver.time_ms = 15_000
        driver.call("leases", "take", name="a", seconds=100)
        self.assertEqual(driver.ask("leases", "history"), [["a", 4, 15.0, 0]])
        driver.clock(112_000)
        self.assertEqual(driver.host.deadline_ms(), 114_999)

    def test_a_deadline_of_a_whole_millisecond_is_that_millisecond(self) -> None:
        for milliseconds in range(1_700_000_000_000, 1_700_000_003_000):
            self.assertEqual(_milliseconds(milliseconds / 1000), milliseconds)

    def test_a_deadline_between_milliseconds_is_met_at_the_next(self) -> None:
        driver = self.driver
        for seconds, due in ((0.0001, 10_001), (0.0015, 10_002), (1.1, 11_100), (0.3, 10_300)):
            driver.call("leases", "take", name="a", seconds=seconds)
            self.assertEqual(driver.host.deadline_ms(), due)
            self.assertTrue(due / 1000 >= 10 + seconds)

    def test_every_rounding_leaves_nothing_to_do_early(self) -> None:
        driver = Driver(leases="Leases", time_ms=1_764_000_000_000)
        for milliseconds in range(0, 3_000, 7):
            driver.time_ms += milliseconds
            driver.call("leases", "take", name="a", seconds=milliseconds / 1000 + 0.001)
            due = driver.host.deadline_ms() or 0
            self.assertTrue(due / 1000 >= driver.time_ms / 1000 + (milliseconds / 1000 + 0.001))
            self.assertTrue((due - 1) / 1000 < driver.time_ms / 1000 + (milliseconds / 1000 + 0.001))

    def test_machines_run_in_the_order_of_their_names(self) -> None:
        driver = Driver()
        for name in ("c", "a", "b"):
            driver.apply(HostMachine(0, name, SAMPLES + "Restless", 1)).value()
        for name in ("b", "c", "a"):
            driver.call(name, "take", name="x", seconds=5)
            driver.call(name, "break_it", expire=True)
        driver.clock(60_000)
        self.assertEqual([machine for machine, _, _ in driver.failures], ["a", "b", "c"])

    def test_servers_agree_on_what_ended_when(self) -> None:
        driver = self.driver
        for step in range(40):
            driver.time_ms += 700
            driver.call("leases", "take", name=str(step % 7), seconds=(step * 37 % 50) / 10)
        self.assertEqual(driver.replayed().digest(), driver.host.digest())
        restored = driver.restored()
        self.assertEqual(restored.deadline_ms(), driver.host.deadline_ms())
        driver.clock(90_000)
        self.assertEqual(driver.replayed(restored).digest(), driver.host.digest())

    def test_the_session_of_the_entry_is_not_that_of_expire(self) -> None:
        session = self.driver.open_session()
        self.driver.call("leases", "take", name="a", seconds=5)
        self.driver.time_ms = 20_000
        self.driver.call("leases", "take", session=session, serial=1, name="b", seconds=5)
        self.assertEqual(self.driver.ask("leases", "history"), [["a", 4, 20.0, 0]])


class RestlessMachines(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(restless="Restless", time_ms=10_000)
        self.driver.call("restless", "take", name="a", seconds=5)

    def test_an_expire_that_does_not_end_is_stopped_and_paused(self) -> None:
        self.driver.clock(15_000)
        self.assertEqual(self.driver.ask("restless", "count"), EXPIRE_ROUNDS_MAX)
        self.driver.clock(15_000)
        self.assertEqual(self.driver.ask("restless", "count"), EXPIRE_ROUNDS_MAX)
        self.assertEqual(self.driver.host.deadline_ms(), 15_000 + EXPIRE_PAUSE_MS)
        self.driver.clock(15_000 + EXPIRE_PAUSE_MS)
        self.assertEqual(self.driver.ask("restless", "count"), 2 * EXPIRE_ROUNDS_MAX)
        self.assertEqual(self.driver.restored().deadline_ms(), self.driver.host.deadline_ms())

    def test_an_expire_that_fails_is_a_bug_and_paused(self) -> None:
        self.driver.call("restless", "break_it", expire=True)
        self.driver.clock(15_000)
        self.assertEqual(self.driver.host.status()["machines"]["restless"]["last_error"], "expire: ZeroDivisionError")
        self.assertEqual([failure[:2] for failure in self.driver.failures], [("restless", "expire")])
        self.assertEqual(self.driver.host.deadline_ms(), 15_000 + EXPIRE_PAUSE_MS)
        self.driver.call("restless", "break_it")
        self.assertEqual(len(self.driver.failures), 1)

    def test_a_deadline_that_fails_is_a_bug_and_never_comes(self) -> None:
        self.driver.call("restless", "break_it", deadline=True)
        self.assertIsNone(self.driver.host.deadline_ms())
        self.assertTrue(self.driver.host.status()["machines"]["restless"]["degraded"])
        self.driver.failures.clear()
        self.assertEqual(self.driver.restored().digest(), self.driver.host.digest())

    def test_a_deadline_that_failed_once_comes_when_it_is_told_again(self) -> None:
        self.driver.call("restless", "break_it", deadline=True)
        self.driver.call("restless", "break_it")
        self.assertEqual(self.driver.host.deadline_ms(), 15_000)
        self.driver.clock(15_000)
        self.driver.call("restless", "break_it")
        self.assertEqual(self.driver.host.deadline_ms(), 15_000 + EXPIRE_PAUSE_MS, "the pause holds whatever commands come")
