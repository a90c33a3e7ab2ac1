"""A few rounds of `recipe_rounds`, which has the whole story; and the judge itself is judged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.end_to_end.recipe_rounds import Record
from tests.support.processes import ROOT, ProcessTestCase


def note(what: str, at: float, pid: int, token: int = 0, **fields: Any) -> dict[str, Any]:
    return {"what": what, "kind": "lock", "at": at, "pid": pid, "name": f"process {pid}", "token": token, **fields}


def held(pid: int, token: int, begin: float, end: float, what: str = "left") -> list[dict[str, Any]]:
    return [note("entered", begin, pid, token), note(what, end, pid, token, until=end)]


class TheJudge(SynchronousTestCase):
    """What must not be is found."""

    def found(self, *notes: dict[str, Any], deaths: Mapping[int, float] = {}) -> str:
        return "\n".join(Record(sorted(notes, key=lambda one: float(one["at"])), deaths).problems())

    def test_one_after_the_other(self) -> None:
        self.assertEqual(self.found(*held(1, 5, 1.0, 2.0), *held(2, 7, 2.0, 3.0, "lost"), *held(1, 9, 3.5, 4.0)), "")

    def test_two_at_once(self) -> None:
        self.assertIn("while process 1 held it with 5", self.found(*held(1, 5, 1.0, 2.0), *held(2, 7, 1.9, 3.0)))
        self.assertIn("while process 1", self.found(note("entered", 1.0, 1, 5), *held(2, 7, 1.9, 3.0)))

    def test_the_dead_hold_nothing(self) -> None:
        self.assertEqual(self.found(note("entered", 1.0, 1, 5), *held(2, 7, 1.9, 3.0), deaths={1: 1.5}), "")
        self.assertIn("while process 1", self.found(note("entered", 1.0, 1, 5), *held(2, 7, 1.9, 3.0), deaths={1: 2.5}))

    def test_tokens_that_do_not_grow(self) -> None:
        self.assertIn("token 5 comes after 5", self.found(*held(1, 5, 1.0, 2.0), *held(2, 5, 2.0, 3.0)))

    def test_a_holder_who_is_fenced_off(self) -> None:
        for held, words in ((True, "has seen a greater token"), (False, "")):
            self.assertIn(words, self.found(note("written", 1.0, 1, 5, fenced_off=True, held=held)))
        self.assertEqual(self.found(note("written", 1.0, 1, 5, fenced_off=True, held=False)), "")


class RecipeRounds(ProcessTestCase):
    """The leader, while somebody holds, and a holder."""

    def test_never_two_hold_one(self) -> None:
        done = self.run_command(sys.executable, "-m", "tests.end_to_end.recipe_rounds", "--rounds=2", PYTHONPATH=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("  killed "), 2)
        self.assertRegex(done.stdout, r"All is well: [\d,]{2,} entered")
