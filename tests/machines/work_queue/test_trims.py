"""Queues that drop their oldest: never much at once, whatever is too much."""

from __future__ import annotations

from typing import Any

from tests.machines.work_queue.case import QueueCase
from tests.machines.work_queue.test_many import calls_of
from txraft.errors import Refused
from txraft.machines.work_queue.queues import EXPIRED_AT_ONCE
from txraft.machines.work_queue.trims import DROPPED_AT_ONCE, TRIM_PAUSE_MS
from txraft.statemachine import Context


class Trimming(QueueCase):
    def fill(self, number: int, queue: str = "jobs", body: bytes = b"x") -> None:
        for _ in range(number // 100):
            self.call("put_batch", queue, messages=[{"body": body}] * 100)

    def pause(self) -> None:
        self.wait(TRIM_PAUSE_MS / 1000)

    def dropped(self, queue: str = "jobs") -> int:
        return self.totals(queue).get("dropped", 0)

    def test_a_put_after_max_length_was_lowered_dropped_half_a_million_messages_in_one_entry(self) -> None:
        self.fill(5_000)
        self.call("configure", max_length=1_500, overflow="drop_oldest")
        self.assertEqual(self.dropped(), 0)
        for portion in (1, 2, 3):
            refusal = self.refused("put", body=b"new")
            self.assertEqual(refusal.code, "queue_full")
            self.assertIn("is being trimmed", refusal.message)
            self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + TRIM_PAUSE_MS)
            self.restart()
            self.pause()
            self.assertEqual(self.dropped(), portion * DROPPED_AT_ONCE)
        self.put(b"new")
        self.assertEqual((self.counts(), self.dropped()), ((1_500, 0, 0), 3_501))
        self.pause()
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_a_put_after_max_bytes_was_lowered_dropped_all_of_it_in_one_entry(self) -> None:
        self.fill(5_000, body=b"xx")
        self.call("configure", max_bytes=4_000, overflow="drop_oldest")
        self.assertIn("is being trimmed", self.refused("put", body=b"y").message)
        for _ in range(3):
            self.pause()
        self.assertEqual((self.ask("stats")["bytes"], self.dropped()), (4_000, 3_000))
        self.assertIsNone(self.driver.host.deadline_ms())
        self.put(b"y")

    def test_a_large_put_displaced_any_number_of_tiny_messages(self) -> None:
        self.call("configure", max_bytes=3_000, overflow="drop_oldest")
        self.fill(3_000)
        refusal = self.refused("put", body=bytes(DROPPED_AT_ONCE + 1))
        self.assertEqual(refusal.code, "queue_full")
        self.assertIn(f"more than {DROPPED_AT_ONCE} messages would have to be dropped", refusal.message)
        self.assertIsNone(self.driver.host.deadline_ms(), "the queue is within its limits: there is nothing to be trimmed")
        self.put(bytes(DROPPED_AT_ONCE))
        self.assertEqual(self.dropped(), DROPPED_AT_ONCE)

    def test_a_batch_drops_no_more_than_one_put(self) -> None:
        self.call("configure", max_bytes=3_000, overflow="drop_oldest")
        self.fill(3_000)
        half = bytes(DROPPED_AT_ONCE // 2)
        self.assertEqual(self.refused("put_batch", messages=[{"body": half}, {"body": half}, {"body": b"x"}]).code, "queue_full")
        self.call("put_batch", messages=[{"body": half, "priority": 9}, {"body": half, "delay_s": 9}])
        self.assertEqual((self.counts(), self.dropped()), ((2_001, 0, 1), DROPPED_AT_ONCE))

    def test_of_a_batch_itself_only_what_is_ready_counts_as_dropped_for_it(self) -> None:
        self.call("configure", max_bytes=1_000, overflow="drop_oldest")
        self.call("put_batch", messages=[{"body": b"x"}] * 60)
        self.fill(900)
        batch = [{"body": bytes(40), "delay_s": 9}, *[{"body": b"y"}] * 60]
        self.assertEqual(self.refused("put_batch", messages=[*batch, {"body": bytes(960)}]).code, "queue_full", "60 and 960")
        self.call("put_batch", messages=[*batch, {"body": bytes(940)}])
        self.assertEqual((self.counts(), self.dropped()), ((21, 0, 1), 1_000))

    def test_a_refused_put_looks_at_no_more_than_it_may_drop(self) -> None:
        self.call("configure", max_bytes=20_000, overflow="drop_oldest")
        self.fill(20_000)
        machine: Any = self.driver.host.hosted("queue").machine
        refused = calls_of(lambda: self.assertRaises(Refused, machine.put, Context(time_ms=1_000), "jobs", bytes(15_000)))
        self.assertLess(refused, 10 * DROPPED_AT_ONCE)

    def test_whoever_comes_back_to_an_overfull_queue_is_dropped_in_portions_too(self) -> None:
        self.fill(3_000)
        for _ in range(30):
            self.take(100, visibility_s=5)
        self.call("configure", max_length=100, overflow="drop_oldest")
        self.assertIn("in flight or delayed is not dropped", self.refused("put", body=b"y").message)
        self.wait(5)
        for _ in range(3):
            self.pause()
        self.assertEqual((self.counts(), self.dropped()), ((100, 0, 0), 2_900))
        self.put(b"y")

    def test_those_whose_delay_is_over_are_dropped_in_portions_too(self) -> None:
        for _ in range(30):
            self.call("put_batch", messages=[{"body": b"", "delay_s": 5}] * 100)
        self.call("configure", max_length=100, overflow="drop_oldest")
        self.wait(5)
        for _ in range(3):
            self.pause()
        self.assertEqual((self.counts(), self.dropped()), ((100, 0, 0), 2_900))

    def test_one_that_is_given_back_is_ready_until_it_is_dropped(self) -> None:
        self.fill(100)
        first, *_ = self.take(100)
        self.call("configure", max_length=10, overflow="drop_oldest")
        self.assertEqual(self.call("nack", receipt=first), {"state": "ready"})
        self.assertEqual(self.counts(), (1, 99, 0))
        self.restart()
        self.pause()
        self.assertEqual((self.counts(), self.dropped()), ((0, 99, 0), 1))

    def test_it_ends_when_the_limit_is_raised_or_nothing_is_to_be_dropped_any_more(self) -> None:
        for changes in ({"max_length": 10_000}, {"overflow": "reject"}):
            self.fill(3_000)
            self.call("configure", max_length=100, overflow="drop_oldest")
            self.call("configure", **changes)
            self.restart()
            self.pause()
            self.assertIsNone(self.driver.host.deadline_ms())
            self.assertEqual(self.dropped(), 0)
            self.call("configure", max_length=10_000)
            self.call("purge")

    def test_a_queue_that_is_deleted_meanwhile_and_there_again_is_another(self) -> None:
        self.fill(3_000)
        self.call("configure", max_length=100, overflow="drop_oldest")
        self.call("delete")
        self.fill(3_000)
        self.pause()
        self.assertEqual(self.dropped(), 0)

    def test_several_queues_share_a_portion(self) -> None:
        for queue in ("b", "a"):
            self.fill(800, queue)
            self.call("configure", queue, max_length=100, overflow="drop_oldest")
        self.pause()
        self.assertEqual((self.dropped("a"), self.dropped("b")), (700, 300))
        self.restart()
        self.pause()
        self.assertEqual((self.dropped("a"), self.dropped("b")), (700, 700))

    def test_a_dead_letter_displaced_any_number_of_tiny_ones(self) -> None:
        self.call("configure", "jobs.dead", max_bytes=3_000, overflow="drop_oldest")
        self.call("configure", max_deliveries=1)
        self.fill(3_000, "jobs.dead")
        self.put(bytes(DROPPED_AT_ONCE + 1))
        self.put(bytes(DROPPED_AT_ONCE))
        first, second = self.take(2)
        self.assertEqual(self.call("nack", receipt=first), {"state": "ready"}, "rather too often than lost")
        self.assertEqual(self.call("nack", receipt=second), {"state": "dead", "queue": "jobs.dead"})
        self.assertEqual((self.totals()["dead_refused"], self.dropped("jobs.dead")), (1, DROPPED_AT_ONCE))

    def test_dead_letters_that_displace_many_come_in_portions(self) -> None:
        self.call("configure", "jobs.dead", max_bytes=9_000, overflow="drop_oldest")
        self.call("configure", max_deliveries=1, visibility_s=5)
        self.fill(9_000, "jobs.dead")
        for _ in range(9):
            self.put(bytes(900))
        self.take(9)
        self.wait(5)
        for portion in (1, 2, 3, 4):
            self.assertEqual(self.totals()["dead"], 2 * portion)
            self.assertLess(self.dropped("jobs.dead"), portion * (EXPIRED_AT_ONCE + DROPPED_AT_ONCE))
            self.restart()
            self.pause()
        self.assertEqual((self.totals()["dead"], self.dropped("jobs.dead")), (9, 8_100))
