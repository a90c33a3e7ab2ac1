"""The random schedules find a broken rule: each of these cores is caught within few seeds."""

from __future__ import annotations

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import Schedule
from tests.tidy.sources import TidyTestCase

SEEDS, SECONDS = 60, 12.0

CAUGHT_ELSEWHERE = {
    "a leader without a majority stays in office": "tests.scenarios.test_elections.OneWayLinks",
    "logs compared by length before term": "tests.scenarios.test_restarts.ColdRestart",
    "late answers are believed whatever their term": "tests.core.test_append_entries.Understanding",
    "requests of an older term go unanswered": "tests.scenarios.test_elections.TheIsolatedReturn",
    "who hears from a leader helps to depose it": "tests.scenarios.test_elections.PartialConnectivity",
}
"""They cost availability, or need a coincidence too rare for chance; which tests are made for them."""


class Mutants(TidyTestCase):
    def is_caught(self, name: str) -> bool:
        case = Mutants("test_each_is_caught")
        MUTANTS[name](case.patch)
        try:
            for seed in range(SEEDS):
                Schedule(seed, seconds=SECONDS).run()
        except Exception:
            return True
        finally:
            case.doCleanups()
        return False

    def test_each_is_caught(self) -> None:
        self.assert_tidy(name for name in MUTANTS if name not in CAUGHT_ELSEWHERE and not self.is_caught(name))
