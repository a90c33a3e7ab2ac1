from __future__ import annotations

import contextlib

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.callers import RecordingCaller
from txraft.core.effects import Proposed
from txraft.core.ids import Index, Term
from txraft.errors import NotApplied
from txraft.limits import Limits, Timing
from txraft.node.ports import Caller
from txraft.node.proposals import PATIENCE_S, Proposals
from txraft.statemachine.log_commands import KeepSession, decode_log_command
from txraft.statemachine.results import answer_of_value


class ProposalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.batches: list[list[bytes]] = []
        self.caller = RecordingCaller()
        self.proposals = Proposals(self.clock, Limits(requests_pending_max=10), Timing(request_s=10.0), self.batches.append)

    def take(self, *request_ids: int) -> None:
        for request_id in request_ids:
            self.proposals.take(self.caller, request_id, KeepSession(0, request_id))

    def apply(self, *indexes: int) -> None:
        touched: set[Caller] = set()
        for index in indexes:
            self.proposals.applied(index, answer_of_value(index, index, 1), touched)
        for caller in touched:
            caller.flush()

    def test_all_commands_of_a_turn_are_one_batch(self) -> None:
        self.take(1, 2, 3)
        self.assertEqual(self.batches, [])
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 3))
        self.take(4)
        self.clock.advance(0)
        sessions = [[getattr(decode_log_command(payload), "session", None) for payload in batch] for batch in self.batches]
        self.assertEqual(sessions, [[1, 2, 3], [4]])

    def test_a_frame_alone_need_not_wait_for_the_end_of_the_turn(self) -> None:
        self.take(1, 2)
        self.proposals.frame_taken()
        self.assertEqual([len(batch) for batch in self.batches], [2])
        self.proposals.proposed(Proposed(Index(7), Term(1), 2))
        self.take(3)
        self.proposals.frame_taken()
        self.assertEqual(len(self.batches), 1)
        self.clock.advance(0)
        self.assertEqual([len(batch) for batch in self.batches], [2, 1])

    def take_patiently(self, *request_ids: int) -> None:
        for request_id in request_ids:
            self.proposals.take(self.caller, request_id, KeepSession(0, request_id), patient=True)
            self.proposals.frame_taken()

    def accept(self, first_index: int) -> None:
        self.proposals.proposed(Proposed(Index(first_index), Term(1), len(self.batches[-1])))

    def test_patient_commands_wait_for_each_other(self) -> None:
        self.take_patiently(1)
        self.clock.advance(PATIENCE_S / 2)
        self.take_patiently(2, 3)
        self.assertEqual(self.batches, [])
        self.clock.advance(PATIENCE_S / 2)
        self.assertEqual([len(batch) for batch in self.batches], [3])
        self.accept(7)
        self.take_patiently(4)
        self.apply(7, 8, 9)
        self.proposals.batch_applied(9)
        self.assertEqual(len(self.batches), 1)
        self.clock.advance(PATIENCE_S)
        self.assertEqual([len(batch) for batch in self.batches], [3, 1])

    def test_patient_commands_go_along_with_one_that_is_not_in_their_order(self) -> None:
        self.take_patiently(1, 2)
        self.take(3)
        self.proposals.frame_taken()
        sessions = [getattr(decode_log_command(payload), "session", None) for payload in self.batches[0]]
        self.assertEqual(sessions, [1, 2, 3])
        self.accept(7)
        self.take_patiently(4)
        self.take(5)
        self.clock.advance(0)
        self.assertEqual([len(batch) for batch in self.batches], [3, 2])

    def test_patient_commands_are_told_when_leadership_is_lost_and_the_next_are_as_patient(self) -> None:
        self.take_patiently(1)
        self.proposals.lost("for the test")
        self.assertEqual(self.caller.problems(), [(1, "not_applied", "leadership_lost")])
        self.take_patiently(2)
        self.assertEqual(self.batches, [])
        self.clock.advance(2 * PATIENCE_S)
        self.assertEqual([len(batch) for batch in self.batches], [1])

    def test_with_two_batches_under_way_the_next_gathers_until_one_is_applied(self) -> None:
        for first_index in (7, 8):
            self.take(first_index)
            self.clock.advance(0)
            self.proposals.proposed(Proposed(Index(first_index), Term(1), 1))
        self.take(9, 10)
        self.clock.advance(1)
        self.take(11)
        self.clock.advance(1)
        self.assertEqual(len(self.batches), 2)
        self.apply(7)
        self.proposals.batch_applied(7)
        self.assertEqual([len(batch) for batch in self.batches], [1, 1, 3])

    def test_a_batch_waits_until_the_core_has_said_what_became_of_the_one_before(self) -> None:
        self.take(1)
        self.clock.advance(0)
        self.take(2)
        self.clock.advance(0)
        self.assertEqual(len(self.batches), 1)
        self.proposals.proposed(Proposed(Index(7), Term(1), 1))
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(8), Term(1), 1))
        self.apply(7, 8)
        self.assertEqual((len(self.batches), self.caller.ids()), (2, [1, 2]))

    def test_a_command_that_cannot_be_encoded_shifts_nobodys_answer(self) -> None:
        self.take(1)
        self.assertRaises(OverflowError, self.proposals.take, self.caller, 2, KeepSession(0, 2**64))
        self.take(3)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 2))
        self.apply(7, 8)
        self.assertEqual((len(self.batches[0]), self.caller.ids()), (2, [1, 3]))

    def test_the_bytes_that_gather_are_bounded_too(self) -> None:
        self.patch(self.proposals, "_limits", Limits(uncommitted_bytes_max=20))
        self.take(1)
        for request_id in range(2, 50):
            with contextlib.suppress(NotApplied):
                self.take(request_id)
        self.assertLess(self.proposals.count, 6)

    def two_batches_under_way(self) -> None:
        for first_index in (7, 8):
            self.take(first_index)
            self.clock.advance(0)
            self.proposals.proposed(Proposed(Index(first_index), Term(1), 1))

    def test_what_was_not_proposed_when_leadership_was_lost_is_not_applied_and_nothing_is_held_up(self) -> None:
        self.two_batches_under_way()
        self.take(9)
        self.proposals.lost("for the test")
        self.assertEqual(self.caller.problems()[2], (9, "not_applied", "leadership_lost"))
        self.take(10)
        self.clock.advance(0)
        self.assertEqual((len(self.batches), self.proposals.count), (3, 0))

    def test_batches_that_are_never_committed_do_not_hold_up_the_gathered_for_ever(self) -> None:
        self.two_batches_under_way()
        self.clock.advance(1)
        self.take(9)
        self.clock.advance(9.5)
        self.proposals.expire(self.clock.seconds())
        self.assertEqual(self.caller.problems(), [(7, "unknown", "timeout"), (8, "unknown", "timeout")])
        self.assertEqual(len(self.batches), 3)

    def test_what_gathers_longer_than_a_request_may_wait_is_not_applied(self) -> None:
        self.take(1)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 1))
        self.clock.advance(5)
        self.two_batches_under_way()
        self.take(9)
        self.proposals._batches[0] = self.proposals._batches[1] = (8, self.clock.seconds() + 9)
        self.clock.advance(10.5)
        self.proposals.expire(self.clock.seconds())
        self.assertIn((9, "not_applied", "timeout"), self.caller.problems())

    def test_callers_are_answered_by_index_with_one_flush(self) -> None:
        self.take(1, 2, 3)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 3))
        self.apply(5, 6, 7, 8, 9)
        self.assertEqual((self.caller.ids(), self.caller.flushes, self.proposals.count), ([1, 2, 3], 1, 0))

    def test_a_proposed_command_need_not_be_decoded_again(self) -> None:
        self.take(1)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 1))
        self.assertEqual((self.proposals.command_at(6), self.proposals.command_at(7)), (None, KeepSession(0, 1)))

    def test_what_the_core_does_not_take_is_overloaded(self) -> None:
        self.take(1, 2, 3)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 1))
        self.assertEqual(self.caller.problems(), [(2, "not_applied", "overloaded"), (3, "not_applied", "overloaded")])

    def test_beyond_the_bound_a_command_is_overloaded_and_memory_stays_flat(self) -> None:
        self.take(*range(10))
        for request_id in range(10, 100):
            self.assertEqual(self.assertRaises(NotApplied, self.take, request_id).code, "overloaded")
        self.assertEqual(self.proposals.count, 10)

    def test_what_the_node_itself_must_say_is_never_overloaded(self) -> None:
        self.take(*range(10))
        self.proposals.take(None, 0, KeepSession(0, 1))
        self.assertEqual(self.proposals.count, 11)

    def test_when_leadership_is_lost_what_waits_is_unknown(self) -> None:
        self.take(1, 2)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 2))
        self.apply(7)
        self.proposals.lost("for the test")
        self.assertEqual([decoded[1:] for decoded in self.problems_of(2)], [("unknown", "leadership_lost")])
        self.apply(8)
        self.assertEqual(self.caller.ids(), [1, 2])

    def problems_of(self, request_id: int) -> list[tuple[int, str, str]]:
        self.caller.flushed = [answer for answer in self.caller.flushed if answer[0] == request_id]
        found = self.caller.problems()
        self.caller.flushed = list(self.caller.answers)
        return found

    def test_what_waits_too_long_is_unknown_and_later_ones_still_get_their_own_answer(self) -> None:
        self.take(1, 2)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(7), Term(1), 2))
        self.clock.advance(6)
        self.take(3)
        self.clock.advance(0)
        self.proposals.proposed(Proposed(Index(9), Term(1), 1))
        self.clock.advance(6)
        self.proposals.expire(self.clock.seconds())
        self.assertEqual(self.caller.problems(), [(1, "unknown", "timeout"), (2, "unknown", "timeout")])
        self.apply(7, 8, 9)
        self.assertEqual(self.caller.ids(), [1, 2, 3])
