from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.effects import Base, Metadata, Persist, Receipt
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import DiskFailed, DiskFull
from txraft.node.durability import ANSWERS_MAX, RETRY_S, Durability


def entries(index: int) -> Persist:
    return Persist(None, None, Index(index), [Entry(1, 1, b"x")], Receipt(Term(1), Index(index), Term(1)), ())


def only_answers(index: int) -> Persist:
    return Persist(None, None, Index(0), [], Receipt(Term(1), Index(index), Term(1)), ())


class DurabilityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.worker = Clock(), PumpedWorker()
        self.written: list[list[Persist]] = []
        self.durable: list[Persist] = []
        self.failures: list[Failure] = []
        self.full: list[DiskFull] = []
        self.durability = self.make(self.write)

    def make(self, write: Callable[[Sequence[Persist]], None]) -> Durability:
        return Durability(self.clock, self.worker, write, self.durable.extend, self.failures.append, self.full.append)

    def write(self, persists: Sequence[Persist]) -> None:
        self.written.append(list(persists))

    def test_an_idle_disk_begins_at_once(self) -> None:
        first = entries(1)
        self.durability.persist(first)
        self.assertEqual(len(self.worker.jobs), 1)
        self.worker.flush()
        self.assertEqual(self.written, [[first]])
        self.assertEqual(self.durable, [first])

    def test_nothing_is_durable_before_the_disk_has_answered(self) -> None:
        self.durability.persist(entries(1))
        self.assertEqual(self.durable, [])
        self.assertFalse(self.durability.idle)

    def test_what_gathers_while_the_disk_is_busy_is_the_next_write(self) -> None:
        late = [entries(2), only_answers(2), entries(3)]
        self.durability.persist(entries(1))
        for persist in late:
            self.durability.persist(persist)
            self.assertEqual(len(self.worker.jobs), 1)
        self.worker.pump()
        self.assertEqual(len(self.durable), 1)
        self.worker.pump()
        self.assertEqual(self.written[1], [late[0], late[2]])
        self.assertEqual(self.durable[1:], late)

    def test_answers_alone_wait_for_the_writes_before_them_but_need_none(self) -> None:
        self.durability.persist(only_answers(0))
        self.assertEqual((len(self.durable), len(self.worker.jobs)), (1, 0))
        self.durability.persist(entries(1))
        self.durability.persist(only_answers(1))
        self.assertEqual(len(self.durable), 1)
        self.worker.flush()
        self.assertEqual(len(self.durable), 3)
        self.assertTrue(self.durability.idle)

    def test_a_changed_vote_and_a_bare_truncation_are_written(self) -> None:
        vote = Persist(Metadata(Term(2), None), None, Index(0), [], Receipt(Term(2), Index(1), Term(1)), ())
        cut = Persist(None, Index(1), Index(0), [], Receipt(Term(2), Index(0), Term(0)), ())
        self.durability.persist(vote)
        self.durability.persist(cut)
        self.worker.flush()
        self.assertEqual(self.written, [[vote], [cut]])

    def test_a_failed_write_is_reported_once_and_never_called_durable(self) -> None:
        def failing(persists: Sequence[Persist]) -> None:
            raise DiskFailed("fsync: EIO")

        durability = self.make(failing)
        durability.persist(entries(1))
        self.worker.pump()
        durability.persist(entries(2))
        self.assertEqual([failure.type for failure in self.failures], [DiskFailed])
        self.assertEqual((self.durable, len(self.worker.jobs)), ([], 0))

    def test_what_finds_no_room_is_tried_again_and_what_comes_meanwhile_waits_behind_it(self) -> None:
        room = [False]

        def write(persists: Sequence[Persist]) -> None:
            if not room[0]:
                raise DiskFull("no room")
            self.write(persists)

        durability, (one, other) = self.make(write), (entries(1), entries(2))
        durability.persist(one)
        self.worker.flush()
        durability.persist(other)
        self.assertEqual((len(self.full), self.failures, self.durable, durability.idle), (1, [], [], False))
        self.clock.advance(RETRY_S)
        self.worker.flush()
        self.assertEqual(len(self.full), 2)
        room[0] = True
        self.clock.advance(RETRY_S)
        self.worker.flush()
        self.assertEqual((self.written, self.durable, durability.idle), ([[one], [other]], [one, other], True))

    def test_a_stopped_one_tries_nothing_again(self) -> None:
        def write(persists: Sequence[Persist]) -> None:
            raise DiskFull("no room")

        durability = self.make(write)
        durability.persist(entries(1))
        self.worker.flush()
        durability.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_beginning_of_the_log_and_the_end_of_a_repair_are_written(self) -> None:
        base = Base(Index(1), Term(1), Snapshot(1, 1, 10, b"s" * 32, []), True)
        receipt = Receipt(Term(1), Index(1), Term(1))
        told = [Persist(None, None, Index(0), [], receipt, (), base=base), Persist(None, None, Index(0), [], receipt, (), repaired=True)]
        for persist in told:
            self.durability.persist(persist)
        self.worker.flush()
        self.assertEqual(self.written, [[told[0]], [told[1]]])

    def test_answers_that_wait_behind_a_write_are_told_of_after_it(self) -> None:
        """Found by review: answers alone were durable before the write that they had waited for, by a turn."""
        first, answers = entries(1), only_answers(1)
        self.durability.persist(first)
        self.durability.persist(answers)
        self.worker.flush()
        self.assertEqual(self.durable, [first, answers])

    def test_what_becomes_durable_while_something_is_told_of_is_told_of_after_it(self) -> None:
        told: list[Persist] = []
        late = [only_answers(3), entries(4)]

        def on_durable(batch: list[Persist]) -> None:
            for persist in batch:
                while late:
                    durability.persist(late.pop(0))
                told.append(persist)

        durability = Durability(self.clock, self.worker, self.write, on_durable, self.failures.append, self.full.append)
        expected = [entries(1), only_answers(2), late[0], late[1]]
        durability.persist(expected[0])
        durability.persist(expected[1])
        self.worker.flush()
        self.assertEqual(told, expected)

    def test_answers_that_wait_for_a_disk_for_very_long_are_bounded(self) -> None:
        """Found by review: a full disk gathered the answer to each heartbeat, ten a second, for as long as it was full."""
        kept = [entries(1), entries(2), entries(3)]
        self.durability.persist(kept[0])
        self.durability.persist(kept[1])
        for index in range(5 * ANSWERS_MAX):
            self.durability.persist(only_answers(index))
        self.durability.persist(kept[2])
        self.assertLess(len(self.durability._gathered), ANSWERS_MAX + 5)
        self.worker.flush()
        self.assertEqual([persist for persist in self.durable if persist.entries], kept)
        answers = [persist.receipt.index for persist in self.durable if not persist.entries]
        self.assertEqual(answers, list(range(answers[0], 5 * ANSWERS_MAX)))

    def test_the_age_of_the_oldest_job_grows_while_the_disk_hangs(self) -> None:
        self.assertEqual(self.durability.oldest_age_s(), 0.0)
        self.durability.persist(entries(1))
        self.clock.advance(3)
        self.durability.persist(entries(2))
        self.clock.advance(4)
        self.assertEqual(self.durability.oldest_age_s(), 7.0)
        self.worker.pump()
        self.assertEqual(self.durability.oldest_age_s(), 0.0)
        self.assertEqual(self.durability.write_max_s, 7.0)
