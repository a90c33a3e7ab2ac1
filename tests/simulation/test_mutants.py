"""The random schedules find a broken rule: each of these cores is caught within few seeds."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from functools import partial

from tests.simulation.schedule import Schedule
from tests.simulation.snapshot_mutants import MUTANTS
from tests.tidy.sources import TidyTestCase

SEEDS, SECONDS = 100, 12.0

CAUGHT_ELSEWHERE = {
    "a leader counts who is repairing": "core.test_repair.Counting",
    "a snapshot leaves what conflicts with it in the log": "scenarios.test_snapshots.ConflictingTail",
    "an old snapshot is installed": "scenarios.test_snapshots.LateSnapshots",
    "answers from before a loss are believed after it": "scenarios.test_losses.LostEntries",
    "entries from before the beginning of the log are appended again": "core.test_append_entries.BeforeTheLog",
    "repair ends with whatever a leader has committed, be it none of its own term": "scenarios.test_losses.LostEntries",
    "repair ends without the leader having forgotten anything": "core.test_repair.Ending",
    "the entry before the beginning of the log does not match": "core.test_append_entries.BeforeTheLog",
    "the log is dropped although it has the snapshot's last entry": "core.test_install_snapshot.Receiving",
    "votes that were asked for in an earlier start count": "scenarios.test_losses.LostVotes",
    "who has lost its vote has one to give in the term that it is told": "core.test_repair.TheVoteIsLost",
    "who is repairing votes": "scenarios.test_losses.LostEntries",
    "who has lost its vote votes again when one of the others has told its term": "scenarios.test_losses.LostVotes",
    "a leader without a majority stays in office": "scenarios.test_elections.OneWayLinks",
    "late answers are believed whatever their term": "core.test_append_entries.Understanding",
    "logs compared by length before term": "scenarios.test_restarts.ColdRestart",
    "requests of an older term go unanswered": "scenarios.test_elections.TheIsolatedReturn",
    "who hears from a leader helps to depose it": "scenarios.test_elections.PartialConnectivity",
}
"""They cost availability, or need a coincidence too rare for chance: which tests are made for them."""


LATE = {
    "the vote is forgotten by a restart": 87,
    "entries are taken behind one that does not match": 65,
    "reads are answered without a round of heartbeats": 55,
    "any later answer confirms a read, to whatever it answers": 55,
}
"""Those that chance catches late, and the seed that does: begun there, the suite is half a minute shorter."""


class Mutants(TidyTestCase):
    def with_mutant(self, name: str, check: Callable[[], bool]) -> bool:
        """What `check` says while the core is so broken."""
        case = Mutants("test_each_is_caught")
        MUTANTS[name](case.patch)
        try:
            return check()
        finally:
            case.doCleanups()

    def schedules_pass(self, first: int) -> bool:
        try:
            for seed in range(first, first + SEEDS):
                Schedule(seed, seconds=SECONDS).run()
        except Exception:
            return False
        return True

    def test_each_is_caught(self) -> None:
        by_chance = [name for name in MUTANTS if name not in CAUGHT_ELSEWHERE]
        self.assert_tidy(name for name in by_chance if self.with_mutant(name, partial(self.schedules_pass, LATE.get(name, 0))))

    def test_those_that_chance_seldom_catches_are_caught_by_tests_of_their_own(self) -> None:
        for name, test in CAUGHT_ELSEWHERE.items():
            self.assertFalse(self.with_mutant(name, lambda test=test: passes(test)), name)  # type: ignore[misc]


def passes(test: str) -> bool:
    result = unittest.TestResult()
    result.failfast = True
    unittest.defaultTestLoader.loadTestsFromName(f"tests.{test}").run(result)
    return result.testsRun > 0 and result.wasSuccessful()
