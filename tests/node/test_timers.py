from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txraft.limits import Timing
from txraft.node.timers import Timers

TIMING = Timing(heartbeat_s=0.1, election_s=1.0)


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.elections: list[float] = []
        self.heartbeats: list[float] = []
        self.timers = Timers(
            self.clock,
            TIMING,
            Random(1),
            lambda: self.elections.append(self.clock.seconds()),
            lambda: self.heartbeats.append(self.clock.seconds()),
        )

    def pass_time(self, seconds: float, step: float = 0.01) -> None:
        self.clock.pump([step] * round(seconds / step))

    def test_election_timeouts_are_drawn_anew_between_one_and_two(self) -> None:
        drawn = set()
        for _ in range(20):
            before = self.clock.seconds()
            self.timers.reset_election()
            count = len(self.elections)
            while len(self.elections) == count:
                self.pass_time(0.01)
            drawn.add(round(self.elections[-1] - before, 1))
        self.assertTrue(all(1.0 <= timeout <= 2.1 for timeout in drawn), drawn)
        self.assertGreater(len(drawn), 4)

    def test_a_leader_that_is_heard_puts_the_election_off(self) -> None:
        for _ in range(100):
            self.timers.reset_election()
            self.pass_time(0.1)
        self.assertEqual(self.elections, [])

    def test_an_earlier_timeout_than_the_one_before_comes_in_time(self) -> None:
        for _ in range(30):
            self.timers.reset_election()
            self.pass_time(0.02)
        self.pass_time(3)
        self.assertEqual(len(self.elections), 1)
        self.assertLess(self.timers.lag_max_s, 0.02)

    def test_resetting_costs_no_new_timer(self) -> None:
        for _ in range(1000):
            self.timers.reset_election()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_stopped_election_timer_is_silent_and_can_be_set_again(self) -> None:
        self.timers.reset_election()
        self.timers.stop_election()
        self.pass_time(3)
        self.assertEqual(self.elections, [])
        self.timers.reset_election()
        self.pass_time(2.2)
        self.assertEqual(len(self.elections), 1)

    def test_a_process_that_was_paused_reads_its_messages_before_it_campaigns(self) -> None:
        self.timers.reset_election()
        self.clock.advance(60)
        self.assertEqual(self.elections, [])
        self.timers.reset_election()  # a heartbeat was waiting in the socket
        self.pass_time(0.5)
        self.assertEqual(self.elections, [])

    def test_a_paused_process_campaigns_soon_when_nothing_was_waiting(self) -> None:
        self.timers.reset_election()
        self.clock.advance(60)
        self.pass_time(0.2)
        self.assertEqual(len(self.elections), 1)
        self.assertGreater(self.timers.lag_max_s, 50)

    def test_heartbeats_come_regularly_until_stopped(self) -> None:
        self.timers.start_heartbeats()
        self.timers.start_heartbeats()
        self.pass_time(1.05)
        self.assertEqual(len(self.heartbeats), 10)
        self.timers.stop_heartbeats()
        self.pass_time(1)
        self.assertEqual(len(self.heartbeats), 10)

    def test_a_leader_that_was_paused_reads_the_answers_before_it_judges_its_followers(self) -> None:
        self.timers.start_heartbeats()
        self.clock.advance(5)
        self.assertEqual(self.heartbeats, [])
        self.pass_time(0.15)
        self.assertEqual(len(self.heartbeats), 1)

    def test_stop_leaves_nothing_behind(self) -> None:
        self.timers.reset_election()
        self.timers.start_heartbeats()
        self.timers.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
