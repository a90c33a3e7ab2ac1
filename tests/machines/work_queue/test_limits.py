"""What does not fit, is too long or is no number is refused, and changes nothing."""

from __future__ import annotations

from typing import Any

from tests.machines.work_queue.case import QueueCase
from txraft.machines.work_queue.bounds import BODY_BYTES_MAX, QUEUES_MAX, TAKEN_BYTES_MAX


class FullQueues(QueueCase):
    def test_a_queue_has_a_length(self) -> None:
        self.call("configure", max_length=3)
        self.call("put_batch", messages=[{"body": b"1"}, {"body": b"2", "delay_s": 9}])
        self.take()
        refusal = self.refused("put_batch", messages=[{"body": b"3"}, {"body": b"4"}])
        self.assertEqual(refusal.code, "queue_full")
        self.assertIn("max_length is 3", refusal.message)
        self.put(b"3")
        self.assertEqual(self.refused("put", body=b"4").code, "queue_full", "in flight and delayed count too")

    def test_a_queue_has_bytes(self) -> None:
        self.call("configure", max_bytes=10)
        self.put(b"12345")
        self.assertIn("max_bytes 10", self.refused("put", body=b"123456").message)
        self.put(b"12345")
        self.put(b"")
        (receipt, *_) = self.take()
        self.call("ack", receipt=receipt)
        self.put(b"12345")

    def test_larger_than_the_whole_queue(self) -> None:
        for overflow in ("reject", "drop_oldest"):
            self.call("configure", max_bytes=10, overflow=overflow)
            self.assertEqual(self.refused("put", body=b"x" * 11).code, "too_large")

    def test_what_comes_back_is_never_refused(self) -> None:
        self.put(b"12345")
        (receipt,) = self.take()
        self.call("configure", max_length=1, max_bytes=1)
        self.call("nack", receipt=receipt)
        self.assertEqual(self.bodies(), [b"12345"])


class DropOldest(QueueCase):
    def setUp(self) -> None:
        super().setUp()
        self.call("configure", max_length=3, max_bytes=10, overflow="drop_oldest")

    def test_the_oldest_whatever_its_priority(self) -> None:
        for body, priority in ((b"1", 9), (b"2", 0), (b"3", 5), (b"4", 0)):
            self.put(body, priority=priority)
        self.assertEqual(self.bodies(), [b"3", b"2", b"4"])
        self.assertEqual(self.totals()["dropped"], 1)

    def test_as_many_as_it_takes(self) -> None:
        for body in (b"111", b"222", b"333", b"4444444"):
            self.put(body)
        self.assertEqual(self.bodies(), [b"333", b"4444444"])

    def test_what_is_in_flight_or_delayed_stays(self) -> None:
        self.put(b"flying")
        self.take()
        self.put(b"late", delay_s=1)
        self.assertEqual(self.refused("put", body=b"x").code, "queue_full")
        self.call("configure", max_bytes=12)
        self.put(b"a")
        self.put(b"b")
        self.assertEqual(self.counts(), (1, 1, 1))
        self.wait(1)
        self.put(b"c")
        self.assertEqual(self.bodies(), [b"b", b"c"], "the delayed one was the oldest, once it was ready")

    def test_what_came_back_or_is_gone_may_be_displaced_again(self) -> None:
        self.put(b"12345678", delay_s=1)
        self.wait(1)
        self.put(b"23456789")
        self.call("nack", receipt=self.take()[0])
        self.put(b"34567890")
        self.call("ack", receipt=self.take()[0])
        self.put(b"45678901")
        self.assertEqual((self.bodies(), self.totals()["dropped"]), ([b"45678901"], 2))

    def test_a_batch_is_all_or_none(self) -> None:
        batch = [{"body": b"1"}, {"body": b"2", "delay_s": 1}, {"body": b"3", "delay_s": 1}, {"body": b"4", "delay_s": 1}]
        self.assertEqual(self.refused("put_batch", messages=[*batch, {"body": b"5"}]).code, "queue_full")
        self.call("put_batch", messages=batch)
        self.assertEqual(self.counts(), (0, 0, 3))

    def test_a_batch_may_displace_itself(self) -> None:
        self.call("put_batch", messages=[{"body": bytes([number])} for number in range(100)])
        self.assertEqual(self.bodies(), [b"\x61", b"\x62", b"\x63"])

    def test_it_is_told_once_a_second(self) -> None:
        for _ in range(6):
            self.put()
        self.wait(1)
        self.put()
        dropped = [fields["total"] for _, fields in self.events() if fields["type"] == "dropped"]
        self.assertEqual(dropped, [1, 4])


class Bounds(QueueCase):
    def test_names_of_queues(self) -> None:
        for right in ("x" * 128, " ", "é/\n"):
            self.put(queue=right)
        for wrong in ("", "x" * 129, 5, None, b"a"):
            self.assertIn("`queue`", self.invalid("put", queue=wrong, body=b""))

    def test_numbers(self) -> None:
        receipt: dict[str, Any] = {"receipt": "1-1"}
        needed = {"put": {"body": b""}, "nack": receipt, "extend": receipt, "move": {"to": "b"}}
        for command, arguments in (
            ("put", {"priority": 10}),
            ("put", {"priority": -1}),
            ("put", {"priority": 5.0}),
            ("put", {"priority": True}),
            ("put", {"delay_s": -0.1}),
            ("put", {"delay_s": float("nan")}),
            ("put", {"delay_s": float("inf")}),
            ("put", {"delay_s": 31_536_001}),
            ("put", {"not_before": -1}),
            ("put", {"not_before": 1e300}),
            ("put", {"dedup_id": ""}),
            ("put", {"dedup_id": "x" * 257}),
            ("put", {"body": "text"}),
            ("take", {"count": 0}),
            ("take", {"count": 101}),
            ("take", {"visibility_s": 0}),
            ("take", {"visibility_s": 604_801}),
            ("take", {"wait_s": 61}),
            ("take", {"wait_s": float("nan")}),
            ("nack", {"delay_s": -1}),
            ("extend", {"visibility_s": 0.05}),
            ("move", {"count": 1_001}),
            ("move", {"count": 0}),
        ):
            self.invalid(command, **{**needed.get(command, {}), **arguments})

    def test_batches(self) -> None:
        self.invalid("put_batch", messages=[])
        self.invalid("put_batch", messages=[{"body": b""}] * 101)
        self.invalid("put_batch", messages=[{"body": b"", "unknown": 1}])
        self.invalid("put_batch", messages=[{"body": b"", "priority": 10}])
        self.invalid("ack_batch", receipts=["1-1"] * 101)
        self.assertEqual(len(self.call("put_batch", messages=[{"body": b""}] * 100)), 100)
        self.assertEqual(len(self.take(100)), 100)

    def test_bodies(self) -> None:
        self.put(b"x" * BODY_BYTES_MAX)
        self.invalid("put", body=b"x" * (BODY_BYTES_MAX + 1))
        self.assertEqual(len(self.call("take")[0]["body"]), BODY_BYTES_MAX)

    def test_an_answer_holds_a_bounded_number_of_bytes(self) -> None:
        self.call("configure", dead_letter="o" * 128, max_deliveries=1)
        for _ in range(3):
            self.put(b"x" * (TAKEN_BYTES_MAX // 2))
        self.put(b"y" * BODY_BYTES_MAX)
        self.assertEqual(len(self.ask("peek", count=100)), 2)
        self.assertEqual([len(self.take(100)) for _ in range(4)], [2, 1, 1, 0])
        self.assertEqual(len(self.ask("peek", count=100, state="in_flight")), 2)


class NumberOfQueues(QueueCase):
    def test_it_is_bounded(self) -> None:
        for number in range(QUEUES_MAX - 1):
            self.put(queue=f"q{number}")
        self.call("configure", "last", max_deliveries=1)
        for command, arguments in (("put", {"body": b""}), ("configure", {}), ("put_batch", {"messages": [{"body": b""}]})):
            refusal = self.refused(command, "more", **arguments)
            self.assertEqual(refusal.code, "too_many_queues")
            self.assertIn("10000 queues", refusal.message)
        self.refused("move", "q0", to="more")
        self.put(queue="last")
        (receipt,) = self.take(queue="last")
        self.assertEqual(self.call("nack", "last", receipt=receipt), {"state": "ready"}, "no queue for dead letters: it stays")
        self.call("delete", "q0")
        self.put(queue="more")
