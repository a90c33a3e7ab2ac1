"""How old a state may be: measured from what was answered, not from when a message happened to arrive."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from txraft.node import freshness
from txraft.node.freshness import Freshness


class FollowerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.freshness = Freshness()

    def message(self, now: float, round_number: int, confirmed: int, commit_index: int) -> None:
        self.freshness.began(round_number, now)
        self.freshness.heard(confirmed, commit_index)

    def test_nothing_is_known_before_the_leader_has_heard_an_answer(self) -> None:
        self.message(1.0, 7, 0, 5)
        self.message(1.1, 8, 6, 5)
        self.assertEqual(self.freshness.age_s(1.1, 9), inf)

    def test_it_counts_from_the_round_whose_answer_the_leader_had(self) -> None:
        self.message(1.0, 1, 0, 5)
        self.message(2.0, 2, 1, 5)
        self.assertEqual(self.freshness.age_s(2.5, 5), 1.5)
        self.message(3.0, 3, 2, 5)
        self.assertEqual(self.freshness.age_s(3.0, 5), 1.0)

    def test_words_that_were_long_under_way_do_not_make_it_young(self) -> None:
        """Found by review: a process woken after half a minute took what waited in its sockets for news."""
        self.message(1.0, 1, 0, 5)
        self.message(1.1, 2, 1, 5)
        self.message(31.0, 3, 2, 5)
        self.message(31.0, 4, 2, 5)
        self.assertAlmostEqual(self.freshness.age_s(31.0, 5), 29.9)

    def test_what_is_not_applied_yet_does_not_count(self) -> None:
        self.message(1.0, 1, 0, 5)
        self.message(2.0, 2, 1, 5)
        self.message(3.0, 3, 2, 8)
        self.assertEqual(self.freshness.age_s(4.0, 4), inf)
        self.assertEqual(self.freshness.age_s(4.0, 7), 3.0)
        self.assertEqual(self.freshness.age_s(4.0, 8), 2.0)

    def test_a_round_is_as_old_as_its_first_message(self) -> None:
        self.freshness.began(1, 1.0)
        self.freshness.began(1, 5.0)
        self.freshness.began(0, 6.0)
        self.assertEqual(self.freshness.since_s(6.0, 1), 5.0)

    def test_of_a_round_that_was_missed_the_one_before_is_taken(self) -> None:
        self.freshness.began(1, 1.0)
        self.freshness.began(4, 4.0)
        self.assertEqual([self.freshness.since_s(4.0, number) for number in (0, 1, 3, 4, 9)], [inf, 3.0, 3.0, 0.0, 0.0])

    def test_another_leader_begins_anew(self) -> None:
        self.message(1.0, 1, 0, 5)
        self.message(2.0, 2, 1, 5)
        self.freshness.reset()
        self.assertEqual((self.freshness.age_s(2.0, 5), self.freshness.since_s(2.0, 2)), (inf, inf))
        self.message(3.0, 1, 0, 6)
        self.message(4.0, 2, 1, 6)
        self.assertEqual(self.freshness.age_s(4.0, 6), 1.0)

    def test_memory_is_bounded_and_forgetting_makes_it_older_never_younger(self) -> None:
        self.patch(freshness, "KEPT_MAX", 4)
        self.freshness = Freshness()
        for number in range(1, 20):
            self.message(float(number), number, number - 1, number)
        self.assertEqual(self.freshness.age_s(20.0, 3), inf)
        self.assertEqual(self.freshness.age_s(20.0, 19), 2.0)
        self.assertEqual(self.freshness.since_s(20.0, 15), inf)
