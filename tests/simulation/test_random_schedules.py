"""A few dozen random schedules: no promise is broken, and everything that should happen in them does."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.campaign import digest, replay_command
from tests.simulation.misfortunes import MISFORTUNES
from tests.simulation.schedule import Figures, Schedule
from tests.tidy.sources import ROOT

SEEDS, SECONDS = range(48), 12.0

MUST_HAPPEN = (
    "append accepted",
    "append refused",
    "became leader",
    "changes lost by a crash",
    "committed before it was on the leader's disk",
    "conflict truncated",
    "lost touch with the majority",
    "marks of directories put down",
    "pre-vote refused",
    "proposals found no room",
    "read from disk",
    "reads confirmed",
    "reads lost",
    "repaired",
    "snapshot installed",
    "snapshot recorded",
    "something durable is lost",
    "stale receipt",
    "vote refused",
)


@functools.cache
def figures() -> Figures:
    """What all schedules came to; played once for all tests."""
    total = Figures()
    for seed in SEEDS:
        try:
            total.add(Schedule(seed, seconds=SECONDS).run())
        except Exception as error:
            raise AssertionError(f"seed {seed} fails: {error}; see it again: {replay_command(seed, SECONDS)}") from error
    return total


class RandomSchedules(SynchronousTestCase):
    def test_no_promise_is_broken_and_peace_heals_everything(self) -> None:
        self.assertEqual(figures().schedules, len(SEEDS))

    def test_everything_worth_testing_happens(self) -> None:
        """A schedule in which nothing goes wrong proves nothing."""
        missing = [mark for mark in (*MUST_HAPPEN, *MISFORTUNES) if not figures().marks[mark]]

        self.assertEqual(missing, [])

    def test_clients_get_something_done(self) -> None:
        self.assertGreater(figures().commands_answered, 50 * len(SEEDS))
        self.assertGreater(figures().commands_overwritten, 0)
        self.assertGreater(figures().reads_answered, 5 * len(SEEDS))


class Determinism(SynchronousTestCase):
    """A seed that cannot be played again is worth nothing."""

    def test_the_same_seed_tells_the_same_story(self) -> None:
        self.assertEqual(digest(4, 6.0), digest(4, 6.0))
        self.assertNotEqual(digest(4, 6.0), digest(5, 6.0))

    def test_the_story_does_not_depend_on_the_order_of_sets(self) -> None:
        command = [sys.executable, "-m", "tests.simulation.campaign", "--seeds", "1", "--start", "4", "--seconds", "6", "--digest"]
        told = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "12345"}, capture_output=True, text=True, check=True
        ).stdout

        self.assertEqual(told, f"4 {digest(4, 6.0)}\n")
