"""The random schedules find a broken rule: each of these cores is caught within few seeds."""

from __future__ import annotations

import unittest
from collections.abc import Callable

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import Schedule
from tests.tidy.sources import TidyTestCase

SEEDS, SECONDS = 60, 12.0

SCENARIOS = "tests.scenarios.test_"
CAUGHT_ELSEWHERE = {
    "a leader without a majority stays in office": f"{SCENARIOS}elections.OneWayLinks.test_a_leader_that_hears_nobody_steps_down_and_another_takes_over",
    "logs compared by length before term": f"{SCENARIOS}restarts.ColdRestart.test_a_server_that_missed_the_last_commits_cannot_overwrite_them",
    "late answers are believed whatever their term": "tests.core.test_append_entries.Understanding.test_answers_of_an_older_term_prove_nothing",
    "requests of an older term go unanswered": f"{SCENARIOS}elections.TheIsolatedReturn.test_a_learner_with_a_far_later_term_is_absorbed",
    "who hears from a leader helps to depose it": f"{SCENARIOS}elections.PartialConnectivity.test_a_chain",
}
"""They cost availability, or need a coincidence too rare for chance: the tests that are made for them."""


class Mutants(TidyTestCase):
    def with_mutant(self, name: str, check: Callable[[], bool]) -> bool:
        """What `check` says while the core is so broken."""
        case = Mutants("test_each_is_caught")
        MUTANTS[name](case.patch)
        try:
            return check()
        finally:
            case.doCleanups()

    def schedules_pass(self) -> bool:
        try:
            for seed in range(SEEDS):
                Schedule(seed, seconds=SECONDS).run()
        except Exception:
            return False
        return True

    def test_each_is_caught(self) -> None:
        self.assert_tidy(name for name in MUTANTS if name not in CAUGHT_ELSEWHERE and self.with_mutant(name, self.schedules_pass))

    def test_those_that_chance_seldom_catches_are_caught_by_a_test_of_their_own(self) -> None:
        for name, test in CAUGHT_ELSEWHERE.items():
            self.assertTrue(passes(test), test)
            self.assertFalse(self.with_mutant(name, lambda test=test: passes(test)), name)  # type: ignore[misc]


def passes(test: str) -> bool:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromName(test).run(result)
    return result.testsRun == 1 and result.wasSuccessful()
