from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.node.pace import BUSY, REST_MAX_S, Abandoned, Pace


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 5.0
        self.others_s = 70.0
        self.rests: list[float] = []

    def pace(self, share: float, idle_share: float | None = None) -> Pace:
        return Pace(share, idle_share or share, lambda: self.now, self.rests.append, lambda: self.others_s)

    def work(self, pace: Pace, busy: float) -> float:
        """Work for a millisecond, again and again, while others need that part of a processor; the part worked in the end."""
        for _ in range(101):
            self.now += 0.001
            self.others_s += 0.001 * busy
            pace.step()
        return 0.001 / (0.001 + self.rests[-1])

    def test_while_others_have_nothing_to_do_it_works_more(self) -> None:
        self.assertAlmostEqual(self.work(self.pace(0.1, 0.5), busy=0.0), 0.5)

    def test_while_others_are_busy_it_works_less(self) -> None:
        pace = self.pace(0.1, 0.5)
        self.work(pace, busy=0.0)
        self.assertAlmostEqual(self.work(pace, busy=BUSY), 0.1)
        self.assertAlmostEqual(self.work(pace, busy=1.7), 0.1)
        self.assertAlmostEqual(self.work(pace, busy=BUSY / 2), 0.3)

    def test_as_long_as_nothing_is_known_they_may_be_busy(self) -> None:
        pace = self.pace(0.1, 0.5)
        self.now += 0.001
        pace.step()
        self.assertAlmostEqual(self.rests[0], 0.009)

    def test_a_fifth_of_the_time_is_worked_and_the_rest_rested(self) -> None:
        pace = self.pace(0.2)
        self.now += 0.001
        pace.step()
        self.assertAlmostEqual(self.rests[0], 0.004)

    def test_resting_counts_for_no_work(self) -> None:
        pace = self.pace(0.5)
        self.now += 0.001
        pace.step()
        self.now += 0.002
        pace.step()
        self.assertAlmostEqual(self.rests[1], 0.002)

    def test_a_step_that_took_long_earns_no_long_rest(self) -> None:
        pace = self.pace(0.1)
        self.now += 10
        pace.step()
        self.assertEqual(self.rests, [REST_MAX_S])

    def test_a_job_that_may_work_all_the_time_does_not_rest(self) -> None:
        pace = self.pace(1.0)
        self.now += 1
        pace.step()
        self.assertEqual(self.rests, [0.0])

    def test_an_abandoned_job_ends_at_its_next_step(self) -> None:
        pace = self.pace(0.5)
        pace.step()
        pace.abandon()
        self.assertRaises(Abandoned, pace.step)

    def test_by_itself_a_rest_ends_as_soon_as_the_job_is_abandoned(self) -> None:
        pace = Pace(0.001, 0.001, lambda: self.now)
        pace.abandon()
        self.now += 1000
        self.assertRaises(Abandoned, pace.step)
