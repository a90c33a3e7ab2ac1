"""What records add up to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import base, commands, configuration
from txraft.core.snapshot import Snapshot
from txraft.storage.records import Run
from txraft.storage.replay import Replay

FOUR = Snapshot(4, 2, 5, bytes(32), [(1, b"one"), (3, b"three")])


class ReplayTests(SynchronousTestCase):
    def replay(self, *runs: Run, begin: tuple[int, int, int] = (1, 0, 0), tail_bytes_max: int = 1 << 20) -> Replay:
        replay = Replay(tail_bytes_max)
        replay.begin(*begin)
        for run in runs:
            self.assertIsNone(replay.take(run))
        return replay

    def test_terms_configurations_and_tail_are_those_behind_the_base(self) -> None:
        entries = [configuration(b"one"), *commands("a"), configuration(b"three", 2), *commands("b", "c", term=2), configuration(b"six", 3)]
        replay = self.replay(Run(1, entries), Run(7, [], base(FOUR, 4)))
        self.assertEqual(replay.term_runs(), [(5, 2), (6, 3)])
        self.assertEqual(replay.configurations(), [(1, b"one"), (3, b"three"), (6, b"six")])
        self.assertEqual(replay.tail(), entries[4:])
        self.assertIsNone(replay.missing())

    def test_a_base_at_the_end_leaves_an_empty_log(self) -> None:
        replay = self.replay(Run(1, commands("a", "b", "c", "d", term=2)), Run(5, [], base(FOUR, 4)))
        self.assertEqual((replay.term_runs(), replay.tail(), replay.last_index, replay.last_term), ([], [], 4, 2))

    def test_what_was_before_the_oldest_segment_is_missed_until_a_base_covers_it(self) -> None:
        replay = self.replay(Run(5, commands("e", term=2)), begin=(5, 2, 1))
        self.assertEqual(replay.missing(), (3, 4))
        self.assertIsNone(replay.take(Run(6, [], base(FOUR, 3, 1))))
        self.assertEqual(replay.missing(), (4, 4))
        self.assertIsNone(replay.take(Run(6, [], base(FOUR, 4))))
        self.assertIsNone(replay.missing())
        self.assertEqual(replay.term_runs(), [(5, 2)])

    def test_the_first_entry_that_is_read_has_a_term_even_if_it_is_that_of_the_base(self) -> None:
        replay = self.replay(Run(5, commands("e", term=2)), Run(6, [], base(FOUR, 4)), begin=(5, 4, 2))
        self.assertEqual(replay.term_runs(), [(5, 2)])

    def test_a_truncation_may_reach_before_the_oldest_segment(self) -> None:
        replay = self.replay(Run(6, commands("x", term=2)), Run(5, commands("y", term=3)), Run(6, [], base(FOUR, 4)), begin=(6, 3, 1))
        self.assertIsNone(replay.missing())
        self.assertEqual((replay.term_runs(), replay.tail()), ([(5, 3)], commands("y", term=3)))

    def test_an_installed_snapshot_is_all_there_is(self) -> None:
        replay = self.replay(Run(1, [configuration(b"1"), *commands("a", "b", term=2)]), Run(5, [], base(FOUR, keeps_log=False)))
        self.assertEqual((replay.last_index, replay.last_term, replay.base_index, replay.base_term), (4, 2, 4, 2))
        self.assertEqual((replay.term_runs(), replay.tail(), replay.configurations()), ([], [], FOUR.configurations))
        self.assertIsNone(replay.take(Run(5, commands("c", term=2))))
        self.assertEqual((replay.term_runs(), replay.tail(), replay.missing()), ([(5, 2)], commands("c", term=2), None))

    def test_what_makes_no_sense_is_told(self) -> None:
        good = Run(1, commands("a", "b", "c", "d", term=2))
        for run, words in (
            (Run(4, [], base(FOUR, 4)), "replaces entry 4"),
            (Run(5, [], base(FOUR, 5)), "moves the beginning"),
            (Run(5, [], base(FOUR, 3, 1)), "entry 3 has term 1, but the log has term 2"),
            (Run(6, commands("x", term=2)), "the log ends with entry 4"),
            (Run(5, commands("x", term=1)), "has term 1 after term 2"),
            (Run(4, commands("x", term=0)), "has term 0 after term 2"),
            (Run(6, [], base(FOUR, keeps_log=False)), "the log ends with entry 4"),
            (Run(5, [], base(Snapshot(5, 2, 5, bytes(32), []), 4)), "includes entry 5"),
        ):
            self.assertIn(words, self.replay(good).take(run) or "")
        replay = self.replay(good, Run(5, [], base(FOUR, 4)))
        self.assertIn("moves the beginning", replay.take(Run(5, [], base(FOUR, 3))) or "")
        self.assertIn("replaces entry 4", replay.take(Run(4, [])) or "")
        self.assertIn("term 0", Replay(0).take(Run(1, commands("a", term=0))) or "")
