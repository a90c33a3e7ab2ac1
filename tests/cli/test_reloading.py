"""A log rehearsed with new code, and what comes of it: the nodes get it, or the old code goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.shop import SHOP, Shop, log_of
from txraft.cli.rehearsal import Failed, Rehearsal, last_lines, rehearse
from txraft.cli.reloading import LOOK_S, Reloading
from txraft.cli.source_files import SourceFiles
from txraft.core.entry import Entry
from txraft.errors import MachineUnavailable, TxraftError

SAME = SHOP + "    @query\n    def twice(self) -> int:\n        return 2 * self.sold\n"


class ShopTestCase(SynchronousTestCase):
    """A shop whose log holds three sales: entries 3 to 5."""

    def setUp(self) -> None:
        self.shop = Shop(Path(self.mktemp()))
        self.addCleanup(self.shop.close)
        self.log = log_of(self.shop, 1, 2, 3)
        self.reads: list[int] = []
        self.pauses = 0

    def read(self, first_index: int) -> Deferred[list[Entry]]:
        """Two at a time."""
        self.reads.append(first_index)
        return succeed(self.log[first_index - 1 : first_index + 1])

    def pause(self) -> Deferred[None]:
        self.pauses += 1
        return succeed(None)

    def rehearsing(self, **options: Any) -> Deferred[Rehearsal]:
        return Deferred.fromCoroutine(rehearse(self.shop.machines, self.read, len(self.log), self.pause, **options))

    def rehearsed(self) -> Rehearsal:
        return self.successResultOf(self.rehearsing())


class RehearsalTests(ShopTestCase):
    """Applying a log to machines that nobody asks."""

    def load(self, text: str) -> None:
        """From now on, this is the machine."""
        self.shop.write(text)
        SourceFiles([self.shop.file.parent]).forget()

    def test_every_entry_is_applied_once(self) -> None:
        rehearsal = self.rehearsed()
        self.assertEqual(self.reads, [1, 3, 5])
        self.assertEqual(len(rehearsal.answers), 5)
        self.assertEqual(rehearsal.commands, {2: "the beginning of machine shop", 3: "shop.sell", 4: "shop.sell", 5: "shop.sell"})
        self.assertEqual(rehearsal.broken, {})

    def test_the_same_log_gives_the_same_and_another_one_not(self) -> None:
        first, again = self.rehearsed(), self.rehearsed()
        self.assertEqual((again.digest, again.first_difference(first)), (first.digest, None))
        self.log = log_of(self.shop, 1, 9, 3)
        other = self.rehearsed()
        self.assertNotEqual(other.digest, first.digest)
        self.assertEqual(other.first_difference(first), 4)

    def test_others_work_meanwhile(self) -> None:
        self.log = log_of(self.shop, *[1] * 100)
        times = iter(range(1_000))
        self.successResultOf(self.rehearsing(monotonic=lambda: float(next(times))))
        self.assertEqual(self.pauses, 102 // 32)

    def test_what_the_disk_does_not_have_yet_is_waited_for(self) -> None:
        whole, self.log = self.log, self.log[:2]
        waiting: Deferred[None] = Deferred()
        call = Deferred.fromCoroutine(rehearse(self.shop.machines, self.read, len(whole), lambda: waiting))
        self.assertNoResult(call)
        self.log = whole
        waiting.callback(None)
        self.assertEqual(len(self.successResultOf(call).answers), 5)

    def test_a_command_that_the_code_does_not_have_any_more(self) -> None:
        self.load(SHOP.replace("def sell", "def vend"))
        failed = self.failureResultOf(self.rehearsing(), Failed).value
        self.assertIn("entry 3 of the log, shop.sell, cannot be applied", str(failed))
        self.assertIn("no such command", failed.lines[-1])

    def test_another_version(self) -> None:
        self.load(SHOP.replace("version = 1", "version = 2"))
        failed = self.failureResultOf(self.rehearsing(), Failed).value
        self.assertIn("the beginning of machine shop", str(failed))
        self.assertIn("version 1", failed.lines[-1])

    def test_exceptions_of_the_machine_are_counted_by_entry(self) -> None:
        self.load(SHOP.replace("self.sold += n", "self.sold += 1 // (n - 2)"))
        self.assertIn("ZeroDivisionError", self.rehearsed().broken[4])

    def test_the_last_lines_of_a_traceback_are_the_authors(self) -> None:
        self.load("1 / 0\n")
        failed = self.failureResultOf(self.rehearsing(), MachineUnavailable).value
        first, *lines, last = last_lines(failed)
        self.assertEqual((first, last), ("Traceback (most recent call last):", "ZeroDivisionError: division by zero"))
        self.assertEqual(["machine.py" in line for line in lines if line.startswith("  File")], [True])
        self.assertEqual(last_lines(TxraftError("a sentence")), ["a sentence"])


class FakeNodes:
    """Nodes that have applied a log and remember being stopped and started."""

    def __init__(self, test: ShopTestCase) -> None:
        self.test, self.calls = test, list[str]()

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def state(self) -> tuple[int, str]:
        return len(self.test.log), self.digest

    def read_log(self, first_index: int) -> Deferred[list[Entry]]:
        return self.test.read(first_index)

    digest = ""


class ReloadingTests(ShopTestCase):
    """From a changed file to what is said about it."""

    def setUp(self) -> None:
        super().setUp()
        self.nodes, self.clock, self.said = FakeNodes(self), Clock(), list[str]()
        self.nodes.digest = self.rehearsed().digest
        sources = SourceFiles([self.shop.file.parent])
        self.reloading = Reloading(self.shop.machines, self.nodes, sources, self.clock, self.said.append, self.pause)
        self.reloading.watch()

    def change(self, text: str) -> str:
        """What is said after the file was changed."""
        self.said.clear()
        self.shop.write(text)
        self.clock.pump([LOOK_S] * 2)
        return "\n".join(self.said)

    def test_nothing_is_said_while_nothing_changes(self) -> None:
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual((self.said, self.nodes.calls), ([], []))

    def test_a_change_is_reloaded_once_when_it_is_over(self) -> None:
        self.shop.write(SAME + "\n")
        self.clock.advance(LOOK_S)
        self.assertEqual(self.said, [])
        said = self.change(SAME)
        self.assertRegex(said, r"^Changed: \S+machine.py\nReplayed 5 entries into the new code in \d+ ms: the state is the same.\nThe new")
        self.assertEqual(self.nodes.calls, ["stop", "start"])
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(self.nodes.calls, ["stop", "start"])

    def test_altered_history_is_told(self) -> None:
        said = self.change(SHOP.replace("self.sold += n", "self.sold += n * n"))
        self.assertIn("the state is ANOTHER", said)
        self.assertIn("that of entry 4, shop.sell", said)
        self.assertEqual(self.nodes.calls, ["stop", "start"])

    def test_other_answers_were_passed_over_when_the_state_was_the_same(self) -> None:
        said = self.change(SHOP.replace("return self.sold\n    @query", "return -self.sold\n    @query"))
        self.assertIn("the state is the same, but ANSWERS are others", said)
        self.assertIn("that of entry 3, shop.sell", said)
        self.assertEqual(self.nodes.calls, ["stop", "start"])

    def test_a_restore_that_fails_was_found_when_a_server_started_from_a_snapshot(self) -> None:
        said = self.change(SHOP.replace("self.sold = state", "self.sold = 0 if not state else state['sold']"))
        self.assertIn("The new code cannot serve: `restore` of machine shop fails with what `snapshot` gives", said)
        self.assertIn("machine.py", said)
        self.assertIn("TypeError", said)
        self.assertIn("The old code goes on serving.", said)

    def test_a_snapshot_that_fails_is_named(self) -> None:
        said = self.change(SHOP.replace("return self.sold\n    def restore", "return {self.sold} if self.sold else 0\n    def restore"))
        self.assertIn("The new code cannot serve: `snapshot` of machine shop fails with the state after the log", said)
        self.assertIn("TypeError: it is a set", said)
        self.nodes.digest = ""
        self.assertIn("`snapshot` of the OLD code fails, so its state cannot be compared; all answers are the same.", self.change(SAME))

    def test_a_restore_that_makes_another_state_was_found_by_nobody(self) -> None:
        said = self.change(SHOP.replace("self.sold = state", "self.sold = min(state, 5)"))
        self.assertIn("the state is the same.\nBut a SNAPSHOT loses it: of what `snapshot` of machine shop gives", said)
        self.assertIn("The new code serves", said)
        self.assertNotIn("SNAPSHOT", self.change(SAME))

    def test_another_form_of_the_state_is_told(self) -> None:
        said = self.change(SHOP.replace("return self.sold\n    def restore", "return [self.sold]\n    def restore"))
        self.assertIn("all answers are the same", said)

    def test_code_that_rests_on_something_else_than_the_log(self) -> None:
        self.nodes.digest = "another"
        said = self.change(SAME)
        self.assertIn("it rests on what is not in the log", said)
        self.assertIn("or its `restore` has made another state", said)
        said = self.change(SHOP.replace("return self.sold\n    @query", "return -self.sold\n    @query"))
        self.assertIn("the first other answer is that of entry 3", said)

    def test_what_cannot_serve_does_not(self) -> None:
        wrong = {
            "SyntaxError": SHOP + "def (",
            "no type hint": SHOP.replace("n: int = 1", "n"),
            "entry 3 of the log, shop.sell": SHOP.replace("n: int = 1", "n: str"),
            "ZeroDivisionError": SHOP.replace("self.sold += n", "self.sold += 1 // (n - 2)"),
            "No module named": "import a_module_that_is_not_there\n",
            "version 1": SHOP.replace("version = 1", "version = 2"),
        }
        for why, text in wrong.items():
            said = self.change(text)
            self.assertIn(why, said)
            self.assertIn("The new code cannot serve", said)
            self.assertIn("The old code goes on serving.", said)
            self.assertEqual(self.nodes.calls, [])
        self.assertIn("the state is the same", self.change(SAME))

    def test_a_bug_that_was_there_before_holds_up_nothing(self) -> None:
        wrong = SHOP.replace("self.sold += n", "self.sold += 1 // (n - 2)")
        self.log = log_of(self.shop, 1)
        self.nodes.digest = self.rehearsed().digest
        self.assertIn("The new code serves", self.change(wrong))
        self.log = log_of(self.shop, 1, 2)
        self.assertIn("The new code serves", self.change(wrong + "\n"))

    def test_at_the_end_nothing_is_left_running(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.reloading.end()))
        self.assertEqual((self.nodes.calls, self.clock.getDelayedCalls()), (["stop"], []))
