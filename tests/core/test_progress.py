"""What a leader knows of a follower: probing, sending ahead, and going back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import snapshot_at
from txraft.core.ids import Index
from txraft.core.progress import Progress, ProgressState, Transfer
from txraft.limits import Limits

WINDOW = Limits(in_flight_messages_max=2, in_flight_bytes_max=100)


def probing(next_index: int, match_index: int = 0) -> Progress:
    return Progress(Index(next_index), last_heard=0.0, match_index=Index(match_index))


def replicating(match_index: int) -> Progress:
    progress = probing(match_index + 1)
    progress.matched(Index(match_index))
    return progress


class Probing(SynchronousTestCase):
    def test_one_message_at_a_time(self) -> None:
        progress = probing(8)
        self.assertTrue(progress.may_send(WINDOW))

        progress.sent(Index(9), 10)

        self.assertFalse(progress.may_send(WINDOW))
        self.assertEqual((progress.next_index, progress.in_flight), (8, 0))

    def test_a_match_ends_it(self) -> None:
        progress = probing(8)
        progress.sent(Index(9), 10)

        self.assertTrue(progress.matched(Index(9)))

        self.assertEqual((progress.state, progress.match_index, progress.next_index), (ProgressState.REPLICATE, 9, 10))
        self.assertTrue(progress.may_send(WINDOW))

    def test_the_refusal_of_the_probe_moves_back_to_where_the_logs_may_agree(self) -> None:
        progress = probing(8)
        progress.sent(Index(9), 10)

        progress.mismatched(Index(7), Index(4))

        self.assertEqual((progress.state, progress.next_index), (ProgressState.PROBE, 5))
        self.assertTrue(progress.may_send(WINDOW))

    def test_each_refusal_moves_back_at_least_one(self) -> None:
        progress = probing(8)

        progress.mismatched(Index(7), Index(7))

        self.assertEqual(progress.next_index, 7)

    def test_a_late_or_doubled_refusal_moves_nothing(self) -> None:
        progress = probing(8)
        progress.mismatched(Index(7), Index(4))
        progress.sent(Index(6), 10)

        progress.mismatched(Index(7), Index(2))

        self.assertEqual(progress.next_index, 5)
        self.assertFalse(progress.may_send(WINDOW))

    def test_it_never_goes_back_behind_what_matched(self) -> None:
        progress = probing(8, match_index=5)

        progress.mismatched(Index(7), Index(2))

        self.assertEqual(progress.next_index, 6)


class Replicating(SynchronousTestCase):
    def test_messages_are_sent_ahead_of_their_answers(self) -> None:
        progress = replicating(5)

        progress.sent(Index(7), 10)
        progress.sent(Index(9), 10)

        self.assertEqual((progress.next_index, progress.match_index, progress.in_flight), (10, 5, 2))

    def test_the_window_is_bounded_by_messages(self) -> None:
        progress = replicating(5)
        progress.sent(Index(6), 10)
        progress.sent(Index(7), 10)
        self.assertFalse(progress.may_send(WINDOW))

        progress.matched(Index(6))

        self.assertTrue(progress.may_send(WINDOW))

    def test_the_window_is_bounded_by_bytes(self) -> None:
        progress = replicating(5)

        progress.sent(Index(6), 100)

        self.assertFalse(progress.may_send(WINDOW))

    def test_one_answer_may_stand_for_several_messages(self) -> None:
        progress = replicating(5)
        progress.sent(Index(6), 60)
        progress.sent(Index(7), 60)

        progress.matched(Index(7))

        self.assertEqual(progress.in_flight, 0)
        self.assertTrue(progress.may_send(WINDOW))

    def test_late_answers_never_move_the_match_index_back(self) -> None:
        progress = replicating(5)

        self.assertFalse(progress.matched(Index(3)))

        self.assertEqual((progress.match_index, progress.next_index), (5, 6))

    def test_a_refusal_shows_that_something_was_lost(self) -> None:
        progress = replicating(5)
        progress.sent(Index(9), 10)

        progress.mismatched(Index(9), Index(5))

        self.assertEqual((progress.state, progress.next_index, progress.in_flight), (ProgressState.PROBE, 6, 0))

    def test_a_late_refusal_of_what_has_matched_since_moves_nothing(self) -> None:
        progress = replicating(5)
        progress.sent(Index(9), 10)

        progress.mismatched(Index(5), Index(2))

        self.assertEqual((progress.state, progress.next_index, progress.in_flight), (ProgressState.REPLICATE, 10, 1))

    def test_loss_leads_back_to_probing_behind_what_is_known_to_match(self) -> None:
        progress = replicating(5)
        progress.sent(Index(9), 100)
        progress.reading = True

        progress.lost()

        self.assertEqual((progress.state, progress.next_index, progress.in_flight), (ProgressState.PROBE, 6, 0))
        self.assertTrue(progress.may_send(WINDOW))

    def test_the_window_is_empty_after_going_back_and_forth(self) -> None:
        progress = replicating(5)
        for _ in range(10):
            progress.sent(Index(6), 100)
            progress.lost()
            progress.matched(Index(5))

        self.assertTrue(progress.may_send(WINDOW))

    def test_nothing_is_sent_while_entries_are_being_read(self) -> None:
        progress = replicating(5)

        progress.reading = True

        self.assertFalse(progress.may_send(WINDOW))


INDEXES = st.integers(0, 12)
ANSWERS = st.one_of(
    st.tuples(st.just("sent"), INDEXES),
    st.tuples(st.just("matched"), INDEXES),
    st.tuples(st.just("lost"), INDEXES),
    st.tuples(st.just("mismatched"), INDEXES, INDEXES),
)


class AnyAnswers(SynchronousTestCase):
    @given(st.lists(ANSWERS, max_size=30))
    @settings(deadline=None, max_examples=100)
    def test_the_match_index_only_grows_and_next_stays_beyond_it(self, answers: list[tuple[str, int] | tuple[str, int, int]]) -> None:
        progress = probing(6)
        for what, index, *candidate in answers:
            matched = progress.match_index
            match what:
                case "sent" if progress.may_send(WINDOW) and index >= progress.next_index:
                    progress.sent(Index(index), 30)
                case "matched":
                    progress.matched(Index(index))
                case "mismatched":
                    progress.mismatched(Index(index), Index(candidate[0]))
                case "lost":
                    progress.lost()
            self.assertGreaterEqual(progress.match_index, matched)
            self.assertGreater(progress.next_index, progress.match_index)
            self.assertLessEqual(progress.in_flight, WINDOW.in_flight_messages_max)


class SendingASnapshot(SynchronousTestCase):
    def setUp(self) -> None:
        self.progress = replicating(3)
        self.progress.sent(Index(9), 10)
        self.transfer = Transfer(snapshot_at(20, 2))
        self.progress.sends_snapshot(self.transfer)

    def test_no_entries_are_sent_and_those_under_way_do_not_count(self) -> None:
        self.assertFalse(self.progress.may_send(WINDOW))
        self.assertEqual((self.progress.in_flight, self.progress.next_index), (0, 4))

    def test_refusals_move_nothing(self) -> None:
        self.progress.mismatched(Index(20), Index(1))

        self.assertEqual((self.progress.state, self.progress.next_index), (ProgressState.SNAPSHOT, 4))

    def test_a_match_is_noted_and_does_not_end_it(self) -> None:
        self.progress.matched(Index(5))

        self.assertEqual((self.progress.state, self.progress.match_index, self.progress.next_index), (ProgressState.SNAPSHOT, 5, 6))

    def test_with_the_snapshot_it_is_probed_behind_it(self) -> None:
        self.progress.has_snapshot(Index(20))

        self.assertEqual((self.progress.state, self.progress.match_index, self.progress.next_index), (ProgressState.PROBE, 3, 21))
        self.assertTrue(self.progress.may_send(WINDOW))

    def test_lost_it_is_probed_and_the_transfer_kept_without_what_was_under_way(self) -> None:
        self.transfer.reading, self.transfer.under_way = 40, 20

        self.progress.lost()

        self.assertIs(self.progress.state, ProgressState.PROBE)
        self.assertEqual(self.progress.transfer, Transfer(snapshot_at(20, 2)))


class Incarnations(SynchronousTestCase):
    """Which answers count, when a follower was started again between them."""

    def setUp(self) -> None:
        self.progress = replicating(5)

    def test_those_of_an_earlier_start_do_not(self) -> None:
        self.assertTrue(self.progress.believes(3, repairing=False, prev_index=Index(5)))
        self.assertFalse(self.progress.believes(2, repairing=False, prev_index=Index(5)))
        self.assertFalse(self.progress.believes(2, repairing=True, prev_index=Index(5)))
        self.assertEqual((self.progress.incarnation, self.progress.match_index), (3, 5))

    def test_the_first_of_one_that_repairs_takes_everything_back(self) -> None:
        self.progress.believes(3, repairing=True, prev_index=Index(2))

        self.assertEqual((self.progress.match_index, self.progress.next_index, self.progress.state), (0, 3, ProgressState.PROBE))
        self.assertTrue(self.progress.repairing)

    def test_further_ones_do_not(self) -> None:
        self.progress.believes(3, repairing=True, prev_index=Index(2))
        self.progress.matched(Index(4))

        self.progress.believes(3, repairing=True, prev_index=Index(2))

        self.assertEqual((self.progress.match_index, self.progress.repairing), (4, True))

    def test_repaired_it_stays_so_for_this_start(self) -> None:
        self.progress.believes(3, repairing=True, prev_index=Index(2))
        self.progress.matched(Index(4))
        self.progress.believes(3, repairing=False, prev_index=Index(4))
        self.assertFalse(self.progress.repairing)

        self.progress.believes(3, repairing=True, prev_index=Index(2))
        self.assertEqual((self.progress.match_index, self.progress.repairing), (4, False))

        self.progress.believes(4, repairing=True, prev_index=Index(2))
        self.assertEqual((self.progress.match_index, self.progress.repairing), (0, True))
