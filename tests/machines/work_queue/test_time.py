"""What happens by itself, when log time has come."""

from __future__ import annotations

from typing import Any

from tests.machines.work_queue.case import QueueCase
from txraft.machines.work_queue.queues import EXPIRE_PAUSE_MS, EXPIRED_AT_ONCE
from txraft.machines.work_queue.timers import Timers
from txraft.statemachine.values import encode_value


class Expiry(QueueCase):
    def timers(self) -> Timers:
        machine: Any = self.driver.host.hosted("queue").machine
        timers: Timers = machine.queues.timers
        return timers

    def test_what_is_not_acknowledged_comes_back_in_its_place(self) -> None:
        self.call("configure", visibility_s=5)
        self.call("put_batch", messages=[{"body": body} for body in (b"1", b"2", b"3")])
        self.take(2)
        self.wait(4.999)
        self.assertEqual(self.counts(), (1, 2, 0))
        self.wait(0.001)
        self.assertEqual(self.totals(), {"put": 3, "delivered": 2, "expired": 2})
        self.assertEqual(self.bodies(), [b"1", b"2", b"3"])

    def test_each_take_has_a_visibility_of_its_own(self) -> None:
        self.call("put_batch", messages=[{"body": body} for body in (b"1", b"2")])
        self.take(visibility_s=7)
        self.take(visibility_s=0.1)
        self.wait(0.1)
        self.assertEqual(self.counts(), (1, 1, 0))
        self.wait(6.9)
        self.assertEqual(self.counts(), (2, 0, 0))

    def test_to_the_millisecond_whatever_the_time(self) -> None:
        for ms in range(100, 160):  # among these moments are some that cannot be told in seconds without rounding
            self.put()
            self.take(visibility_s=ms / 1000)
            self.wait((ms - 1) / 1000)
            self.assertEqual(self.counts(), (0, 1, 0))
            self.wait(0.001)
            self.assertEqual(self.counts(), (1, 0, 0))
            self.call("purge")

    def test_the_host_is_told_when_to_wake(self) -> None:
        self.driver.host.deadline_ms()
        self.put(delay_s=2)
        self.put()
        self.take(visibility_s=1)
        self.assertEqual(self.driver.host.deadline_ms(), 2_000)
        self.wait(1)
        self.assertEqual(self.driver.host.deadline_ms(), 3_000)
        self.wait(1)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_a_wake_in_vain_is_the_last(self) -> None:
        self.put()
        self.call("ack", receipt=self.take(visibility_s=1)[0])
        self.restart()
        self.assertEqual(self.driver.host.deadline_ms(), 2_000)
        self.wait(1)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_many_at_once_come_back_in_portions(self) -> None:
        portions = 3
        for _ in range(portions * EXPIRED_AT_ONCE // 100):
            self.call("put_batch", messages=[{"body": b""}] * 100)
            self.take(100, visibility_s=9)
        self.wait(9)
        for portion in range(1, portions):
            self.assertEqual(self.counts(), (portion * EXPIRED_AT_ONCE, (portions - portion) * EXPIRED_AT_ONCE, 0))
            self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + EXPIRE_PAUSE_MS)
            self.restart()
            self.wait(EXPIRE_PAUSE_MS / 1000)
        self.assertEqual(self.counts(), (portions * EXPIRED_AT_ONCE, 0, 0))
        self.assertIsNone(self.driver.host.deadline_ms())
        self.assertEqual(self.totals()["expired"], portions * EXPIRED_AT_ONCE)

    def test_until_its_portion_comes_a_message_is_in_flight(self) -> None:
        number = EXPIRED_AT_ONCE + 1
        while number > 0:
            self.call("put_batch", messages=[{"body": b""}] * min(100, number))
            self.take(100, visibility_s=9)
            number -= 100
        self.wait(9)
        last = f"{EXPIRED_AT_ONCE + 1}-1"
        self.assertEqual(self.refused("ack", receipt="1-1").details, {"reason": "ready"})
        self.assertEqual(self.call("extend", receipt=last, visibility_s=5), {"until_ms": 15_000})
        self.wait(4.999)
        self.assertTrue(self.call("ack", receipt=last))

    def test_timers_that_mean_nothing_do_not_gather(self) -> None:
        self.put()
        for _ in range(3_000):
            (receipt,) = self.take()
            self.call("nack", receipt=receipt)
        self.assertLess(len(self.timers()), 600)
        (receipt,) = self.take()
        for step in range(3_000):
            self.call("extend", receipt=receipt, visibility_s=1_000 - step % 2 - step / 100)
        self.assertLess(len(self.timers()), 600)
        self.wait(1_000)
        self.assertEqual(self.counts(), (1, 0, 0))
        self.assertEqual(len(self.timers()), 0)

    def test_timers_of_acknowledged_messages_are_swept_before_their_time(self) -> None:
        for visibility_s in (1, 5):
            self.put()
            self.take(visibility_s=visibility_s)
        for _ in range(10):
            self.call("put_batch", messages=[{"body": b""}] * 100)
        receipts = [receipt for _ in range(10) for receipt in self.take(100)]
        for receipt in receipts[::-1]:
            self.call("ack", receipt=receipt)
        self.assertGreater(len(self.timers()), 1_000)
        self.wait(1)
        self.assertEqual(len(self.timers()), 1)

    def test_timers_of_removed_messages_are_swept_at_once(self) -> None:
        for queue in ("a", "b"):
            for _ in range(10):
                self.call("put_batch", queue, messages=[{"body": b"", "delay_s": 5}] * 100)
        self.call("purge", "a")
        self.call("delete", "b")
        self.assertLess(len(self.timers()), 600)


class Signals(QueueCase):
    def test_whoever_waits_is_told_of_everything_that_becomes_ready(self) -> None:
        self.call("configure", visibility_s=1)
        self.assertEqual(self.signals, [])
        self.put()
        self.call("put_batch", messages=[{"body": b""}, {"body": b"", "delay_s": 3}])
        self.put(delay_s=3)
        self.assertEqual(self.signals, ["jobs", "jobs"])
        first, _ = self.take(2)
        self.call("nack", receipt=first)
        self.assertEqual(self.signals, ["jobs"] * 3)
        self.wait(1)
        self.assertEqual(self.signals, ["jobs"] * 4)
        self.wait(2)
        self.assertEqual(self.signals, ["jobs"] * 5, "two, but told once")
        first, *_ = self.take(1)
        self.call("nack", receipt=first, delay_s=1)
        self.assertEqual(self.signals, ["jobs"] * 5)

    def test_what_a_take_waits_for(self) -> None:
        host = self.driver.host
        for queue in ("jobs", "ready:x", "é"):
            wait = host.wait_of("queue", "take", host.prepare("queue", "take", encoded(queue=queue, wait_s=7, count=3)))
            assert wait is not None
            topic = wait.topic
            self.assertEqual((wait.wait_s, wait.demand, host.hosted("queue").supply(topic)), (7, 3, 0))
            self.call("put_batch", queue, messages=[{"body": b""}, {"body": b""}, {"body": b"", "delay_s": 5}])
            self.assertEqual(host.hosted("queue").supply(topic), 2)
            self.take(queue=queue)
            self.assertEqual(host.hosted("queue").supply(topic), 1)

    def test_without_a_wait_there_is_none(self) -> None:
        host = self.driver.host
        self.assertIsNone(host.wait_of("queue", "take", host.prepare("queue", "take", encoded(queue="jobs"))))


def encoded(**arguments: Any) -> bytes:
    return encode_value(arguments)
