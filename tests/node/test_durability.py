from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.effects import Metadata, Persist, Receipt
from txraft.core.entry import Entry
from txraft.core.ids import Index, Term
from txraft.errors import DiskFailed
from txraft.node.durability import Durability


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
        self.durability = Durability(self.clock, self.worker, self.write, self.durable.extend, self.failures.append)

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

        durability = Durability(self.clock, self.worker, failing, self.durable.extend, self.failures.append)
        durability.persist(entries(1))
        self.worker.pump()
        durability.persist(entries(2))
        self.assertEqual([failure.type for failure in self.failures], [DiskFailed])
        self.assertEqual((self.durable, len(self.worker.jobs)), ([], 0))

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
