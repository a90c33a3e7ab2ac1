"""What is removed all at once is freed bit by bit."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.machines.work_queue.case import QueueCase
from tests.machines.work_queue.test_many import calls_of, filled
from txraft.machines.work_queue import WorkQueue
from txraft.machines.work_queue.dedup import FORGOTTEN_AT_ONCE, Dedup
from txraft.machines.work_queue.discards import DISCARD_PAUSE_MS, DISCARDED_AT_ONCE, WHOLE, Discards
from txraft.machines.work_queue.records import NewMessage
from txraft.machines.work_queue.timers import Entry, Timers
from txraft.statemachine import Context

MANY = 2 * DISCARDED_AT_ONCE + 1_000


class Removed(QueueCase):
    def discards(self) -> Discards:
        machine: Any = self.driver.host.hosted("queue").machine
        discards: Discards = machine.queues.discards
        return discards

    def fill(self, number: int, **arguments: Any) -> None:
        for _ in range(number // 100):
            self.call("put_batch", messages=[{"body": b"x", **arguments}] * 100)

    def pause(self) -> None:
        self.wait(DISCARD_PAUSE_MS / 1000)

    def test_a_purge_of_ten_million_messages_freed_them_in_one_entry(self) -> None:
        self.fill(MANY)
        self.take(100)
        self.call("nack", receipt=self.take()[0])
        self.assertEqual(self.call("purge"), {"messages": MANY})
        self.assertEqual((self.counts(), self.ask("stats")["bytes"]), ((0, 0, 0), 0))
        self.assertGreaterEqual(self.discards().places, MANY)
        for left in (MANY - DISCARDED_AT_ONCE, MANY - 2 * DISCARDED_AT_ONCE, 0):
            self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + DISCARD_PAUSE_MS)
            self.pause()
            self.assertEqual(self.discards().left, left)
        self.assertEqual(self.discards().places, 0)
        self.wait(30)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_it_is_freed_in_portions(self) -> None:
        discards, order = Discards(), list(range(4 * DISCARDED_AT_ONCE))
        discards.add([order, dict.fromkeys(order)], 3 * DISCARDED_AT_ONCE, 1_000)
        before = discards.places
        discards.free(2_000)
        self.assertEqual((before - discards.places, discards.left, discards.at_ms), (3 * DISCARDED_AT_ONCE, 2 * DISCARDED_AT_ONCE, 2_020))
        discards.free(2_020)
        discards.free(2_040)
        self.assertEqual((discards.places, discards.left), (0, 0))
        self.assertLessEqual(len(order), WHOLE)

    def test_one_that_restored_a_snapshot_has_nothing_to_free_and_goes_on_the_same(self) -> None:
        self.fill(MANY)
        self.call("delete")
        self.restart()
        self.assertEqual((self.discards().places, self.discards().left), (0, MANY))
        self.put()
        for _ in range(3):
            self.pause()
        self.assertIsNone(self.driver.host.deadline_ms())
        self.assertEqual(self.bodies(), [b"x"])

    def test_little_is_freed_at_once(self) -> None:
        self.fill(DISCARDED_AT_ONCE)
        self.call("purge")
        self.assertEqual((self.discards().places, self.driver.host.deadline_ms()), (0, None))

    def test_timers_of_removed_messages_are_freed_bit_by_bit_too(self) -> None:
        self.fill(MANY, delay_s=5)
        self.call("delete")
        self.assertGreaterEqual(self.discards().places, 2 * MANY)

    def test_the_dedup_ids_of_a_deleted_queue_are_freed_bit_by_bit_too(self) -> None:
        self.call("configure", dedup_ids_max=MANY)
        for first in range(0, MANY, 100):
            self.call("put_batch", messages=[{"body": b"", "dedup_id": str(number)} for number in range(first, first + 100)])
        self.call("delete")
        self.assertEqual(self.discards().left, 2 * MANY)
        self.assertFalse(self.call("put", body=b"", dedup_id="1")["duplicate"])


class Forgetting(QueueCase):
    def put_all(self, prefix: str, number: int) -> list[bool]:
        messages = [{"body": b"", "dedup_id": f"{prefix}{count}"} for count in range(number)]
        return [one["duplicate"] for one in self.call("put_batch", messages=messages)]

    def known(self) -> Dedup:
        machine: Any = self.driver.host.hosted("queue").machine
        dedup: Dedup = machine.queues.by_name["jobs"].dedup
        return dedup

    def test_a_put_after_a_pause_forgot_a_million_dedup_ids_in_one_entry(self) -> None:
        for prefix in "abc":
            self.put_all(prefix, 100)
        self.wait(300)
        for left in (201, 102, 3, 4):
            self.put_all(f"new{left}-", 1)
            self.assertEqual(len(self.known()), left)
            self.restart()

    def test_an_id_that_is_out_of_the_window_but_not_forgotten_is_as_new(self) -> None:
        for prefix in "ab":
            self.put_all(prefix, 100)
        self.wait(300)
        self.assertEqual(self.call("put", body=b"", dedup_id="b99"), {"id": 201, "duplicate": False})
        self.restart()
        self.assertEqual(self.call("put", body=b"", dedup_id="other"), {"id": 202, "duplicate": False})
        self.assertEqual(self.call("put", body=b"", dedup_id="b99"), {"id": 201, "duplicate": True})
        self.assertEqual(len(self.known()), 2)

    def test_after_dedup_ids_max_was_lowered_they_are_forgotten_bit_by_bit(self) -> None:
        for prefix in "abc":
            self.put_all(prefix, 100)
        self.call("configure", dedup_ids_max=10)
        self.put_all("d", 1)
        self.assertEqual(len(self.known()), 301 - FORGOTTEN_AT_ONCE)
        self.assertEqual(self.put_all("a", 1), [False])
        self.put_all("e", 1)
        self.assertEqual(len(self.known()), 10)


class ManyMessages(SynchronousTestCase):
    def test_a_take_sorted_out_the_timers_of_a_million_messages_though_there_was_nothing_to_sort_out(self) -> None:
        sorted_out: list[int] = []

        class Watched(Timers):
            def rebuild(self) -> list[Entry]:
                sorted_out.append(len(self))
                return super().rebuild()

        machine, ctx = WorkQueue(), Context(time_ms=1_000)
        machine.queues.timers = Watched(machine.queues.by_name)
        for _ in range(50):
            machine.put_batch(ctx, "jobs", [NewMessage(b"x")] * 100)
            machine.take(ctx, "jobs", 100)
        self.assertEqual(sorted_out, [])
        for step in range(20_000):
            machine.extend(ctx, "jobs", "1-1", visibility_s=29 - step / 1_000)
        self.assertTrue(1 < len(sorted_out) < 10, sorted_out)
        self.assertLess(len(machine.queues.timers), 11_000)

    def test_a_purge_or_delete_costs_the_same_whatever_is_in_the_queue(self) -> None:
        ctx = Context(time_ms=1_000)
        for remove in (WorkQueue.purge, WorkQueue.delete):
            few, many = (calls_of(partial(remove, machine, ctx, "jobs")) for machine in (filled(1_000), filled(MANY)))
            self.assertLess(many, few + 20)
