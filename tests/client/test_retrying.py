from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from txraft.client.retrying import BackOff, Fate, judge, overdue, told
from txraft.errors import NotApplied, Refused, Unknown


class JudgeTests(SynchronousTestCase):
    """The truth table: what is sent again, and what is told."""

    def assert_fate(self, fate: Fate, problem: Unknown | NotApplied | Refused, *, repeatable: bool, maybe_taken: bool) -> None:
        self.assertIs(judge(problem, repeatable=repeatable, maybe_taken=maybe_taken), fate, problem)

    def test_not_applied_is_tried_again_if_time_may_cure_it_whatever_came_before(self) -> None:
        for code in NotApplied.RETRYABLE:
            for repeatable in (True, False):
                for maybe_taken in (True, False):
                    self.assert_fate(Fate.RETRY, NotApplied(code), repeatable=repeatable, maybe_taken=maybe_taken)

    def test_not_applied_for_a_reason_that_stays_is_told(self) -> None:
        for code in ("invalid_arguments", "unknown_machine", "unknown_command", "too_large"):
            self.assert_fate(Fate.FINAL, NotApplied(code), repeatable=True, maybe_taken=False)

    def test_a_refusal_is_told(self) -> None:
        self.assert_fate(Fate.FINAL, Refused("out_of_stock"), repeatable=True, maybe_taken=True)

    def test_a_serial_number_beyond_the_window_waits_for_the_others(self) -> None:
        self.assert_fate(Fate.RETRY, Refused("serial_out_of_window"), repeatable=True, maybe_taken=False)

    def test_unknown_is_tried_again_only_where_that_applies_nothing_twice(self) -> None:
        for code in ("leadership_lost", "timeout", "connection_lost", "a code of a later version"):
            self.assert_fate(Fate.RETRY, Unknown(code), repeatable=True, maybe_taken=False)
            self.assert_fate(Fate.RETRY, Unknown(code), repeatable=True, maybe_taken=True)
            self.assert_fate(Fate.FINAL, Unknown(code), repeatable=False, maybe_taken=False)

    def test_unknown_that_stays_unknown_is_told(self) -> None:
        for code in ("serial_forgotten", "machine_error", "answer_too_large"):
            self.assert_fate(Fate.FINAL, Unknown(code), repeatable=True, maybe_taken=False)

    def test_an_expired_session_means_not_applied_only_at_the_first_try(self) -> None:
        self.assert_fate(Fate.NEW_SESSION, Unknown("session_expired"), repeatable=True, maybe_taken=False)
        self.assert_fate(Fate.FINAL, Unknown("session_expired"), repeatable=True, maybe_taken=True)
        self.assert_fate(Fate.FINAL, Unknown("session_expired"), repeatable=False, maybe_taken=False)


class TellingTests(SynchronousTestCase):
    def test_not_applied_becomes_unknown_when_an_earlier_try_may_have_been_applied(self) -> None:
        problem = told(NotApplied("unknown_command", "no add", machine="counter"), maybe_taken=True)
        self.assertIsInstance(problem, Unknown)
        self.assertEqual((problem.code, problem.details), ("unknown_command", {"machine": "counter"}))

    def test_anything_else_is_told_as_it_is(self) -> None:
        for problem in (NotApplied("too_large"), Refused("no"), Unknown("machine_error")):
            self.assertIs(told(problem, maybe_taken=False), problem)
        refused = Refused("no")
        self.assertIs(told(refused, maybe_taken=True), refused)

    def test_overdue_and_perhaps_taken_is_unknown(self) -> None:
        problem = overdue(10.0, NotApplied("no_leader"), maybe_taken=True)
        self.assertIsInstance(problem, Unknown)
        self.assertEqual(problem.code, "timeout")

    def test_overdue_and_certainly_not_taken_is_not_applied_with_the_reason(self) -> None:
        problem = overdue(10.0, NotApplied("no_leader", "nobody leads"), maybe_taken=False)
        self.assertIsInstance(problem, NotApplied)
        self.assertEqual(problem.code, "no_leader")
        self.assertIn("within 10 s", problem.message)
        self.assertIn("nobody leads", problem.message)

    def test_overdue_for_no_known_reason_is_a_timeout(self) -> None:
        for trouble in (None, Unknown("leadership_lost")):
            self.assertEqual(overdue(1.0, trouble, maybe_taken=False).code, "timeout")


class BackOffTests(SynchronousTestCase):
    def test_pauses_grow_to_a_bound_and_start_small_after_a_success(self) -> None:
        back_off = BackOff(random.Random(1), first_s=0.02, longest_s=1.0)
        pauses = [back_off.next_s() for _ in range(2_000)]
        for number, pause_s in enumerate(pauses[:6]):
            self.assertTrue(0.01 * 2**number <= pause_s <= 0.02 * 2**number, pauses[:6])
        self.assertTrue(all(0.5 <= pause_s <= 1.0 for pause_s in pauses[6:]))
        self.assertGreater(len(set(pauses)), 1_000)
        back_off.reset()
        self.assertLessEqual(back_off.next_s(), 0.02)
