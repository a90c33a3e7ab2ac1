"""Putting, taking, acknowledging and giving back."""

from __future__ import annotations

from tests.machines.work_queue.case import QueueCase


class PutAndTake(QueueCase):
    def test_first_in_first_out(self) -> None:
        for body in (b"1", b"2", b"3"):
            self.put(body)
        self.assertEqual(self.bodies(2), [b"1", b"2"])
        self.assertEqual(self.bodies(2), [b"3"])
        self.assertEqual(self.bodies(2), [])

    def test_what_a_put_answers_and_a_take_delivers(self) -> None:
        self.assertEqual(self.call("put", body=b"\x00x"), {"id": 1, "duplicate": False})
        self.wait(2)
        delivered = {"receipt": "1-1", "id": 1, "body": b"\x00x", "priority": 5, "deliveries": 1, "put_ms": 1_000}
        self.assertEqual(self.call("take"), [delivered])

    def test_strictly_by_priority_then_in_order(self) -> None:
        for body, priority in ((b"low", 0), (b"first", 9), (b"middle", 5), (b"second", 9)):
            self.put(body, priority=priority)
        self.assertEqual(self.bodies(3), [b"first", b"second", b"middle"])
        self.put(b"late", priority=6)
        self.assertEqual(self.bodies(), [b"late", b"low"])

    def test_batches(self) -> None:
        stored = self.call("put_batch", messages=[{"body": b"a"}, {"body": b"b", "priority": 9}, {"body": b"c", "delay_s": 5}])
        self.assertEqual(stored, [{"id": number, "duplicate": False} for number in (1, 2, 3)])
        self.assertEqual(self.bodies(), [b"b", b"a"])
        self.assertEqual(self.counts(), (0, 2, 1))

    def test_queues_do_not_mix_but_ids_are_the_machines(self) -> None:
        self.assertEqual((self.put(queue="a"), self.put(queue="b"), self.put(queue="a")), (1, 2, 3))
        self.assertEqual((self.take(9, queue="a"), self.take(9, queue="b")), (["1-1", "3-1"], ["2-1"]))

    def test_a_take_creates_no_queue(self) -> None:
        self.assertEqual(self.call("take"), [])
        self.assertEqual(self.driver.ask("queue", "list")["queues"], [])

    def test_a_command_that_is_sent_again_takes_nothing_more(self) -> None:
        session = self.driver.open_session()
        self.call("put_batch", messages=[{"body": b"a"}, {"body": b"b"}])
        first = self.call("take", session=session, serial=1)
        self.assertEqual(self.call("take", session=session, serial=1), first)
        self.assertEqual(self.bodies(), [b"b"])


class Acknowledging(QueueCase):
    def test_it_is_gone(self) -> None:
        self.put()
        (receipt,) = self.take()
        self.assertTrue(self.call("ack", receipt=receipt))
        self.assertEqual(self.counts(), (0, 0, 0))
        self.wait(100)
        self.assertEqual(self.take(), [])
        self.assertEqual(self.refused("ack", receipt=receipt).details, {"reason": "gone"})

    def test_a_batch_names_those_that_are_stale(self) -> None:
        self.put_three()
        receipts = self.take(3)
        self.call("ack", receipt=receipts[1])
        answer = self.call("ack_batch", receipts=[*receipts, receipts[0], "nonsense"])
        self.assertEqual(answer, {"acked": 2, "stale": [receipts[1], receipts[0], "nonsense"]})
        self.assertEqual(self.counts(), (0, 0, 0))

    def put_three(self) -> None:
        self.call("put_batch", messages=[{"body": b"x"}] * 3)

    def test_why_a_receipt_is_stale(self) -> None:
        self.put()
        (receipt,) = self.take(visibility_s=1)
        self.wait(1)
        self.assert_stale(receipt, "ready", "visibility timeout has passed")
        (second,) = self.take()
        self.assert_stale(receipt, "in_flight", "delivered again, as 1-2")
        self.call("nack", receipt=second, delay_s=5)
        self.assert_stale(second, "delayed", "waits to be delivered again")
        self.restart()
        self.assert_stale(second, "delayed", "waits to be delivered again")
        self.call("purge")
        self.assert_stale(second, "gone", "has left the queue")

    def assert_stale(self, receipt: str, reason: str, words: str) -> None:
        for command in ("ack", "nack", "extend"):
            refusal = self.refused(command, receipt=receipt)
            self.assertEqual((refusal.code, refusal.details), ("stale_receipt", {"reason": reason}))
            self.assertIn(words, refusal.message)

    def test_a_guessed_receipt_tells_nothing_about_undelivered_messages(self) -> None:
        self.put(delay_s=1)
        self.put()
        for receipt in ("1-1", "2-1", "99-1"):
            self.assert_stale(receipt, "gone", "was not delivered yet")
        self.wait(1)
        self.assert_stale("1-1", "gone", "was not delivered yet")

    def test_what_is_no_receipt(self) -> None:
        self.put()
        self.take()
        for wrong in ("-1-1", "01-1", "1-01", " 1-1", "1-1 ", "1_0-1", "1-1-1", "¹-1", "١-1", "0-1", "a-b", "--1"):
            self.assertEqual(self.refused("ack", receipt=wrong).code, "bad_receipt", wrong)

    def test_how_long_a_receipt_is(self) -> None:
        for wrong in ("", "1-", "1" * 41):
            self.assertIn("`receipt`", self.invalid("ack", receipt=wrong))

    def test_receipts_are_of_one_queue(self) -> None:
        self.put()
        self.put(queue="other")
        (receipt,) = self.take()
        self.assertEqual(self.refused("ack", "other", receipt=receipt).code, "stale_receipt")
        self.assertEqual(self.refused("ack", "nowhere", receipt=receipt).code, "queue_not_found")


class GivingBack(QueueCase):
    def test_it_keeps_its_place(self) -> None:
        self.call("put_batch", messages=[{"body": body} for body in (b"1", b"2", b"3")])
        first, second = self.take(2)
        self.assertEqual(self.call("nack", receipt=second), {"state": "ready"})
        self.assertEqual(self.call("nack", receipt=first), {"state": "ready"})
        delivered = self.call("take", count=3)
        self.assertEqual([(one["body"], one["deliveries"]) for one in delivered], [(b"1", 2), (b"2", 2), (b"3", 1)])

    def test_with_a_delay(self) -> None:
        self.put()
        (receipt,) = self.take()
        self.assertEqual(self.call("nack", receipt=receipt, delay_s=2.5), {"state": "delayed", "due_ms": 3_500})
        self.wait(2.499)
        self.assertEqual(self.counts(), (0, 0, 1))
        self.wait(0.001)
        self.assertEqual(self.take(), ["1-2"])

    def test_back_off_grows_with_deliveries_up_to_a_limit(self) -> None:
        self.call("configure", backoff_min_s=2, backoff_max_s=5)
        self.put()
        waited = []
        for _ in range(4):
            (receipt,) = self.take()
            answer = self.call("nack", receipt=receipt)
            waited.append((answer["due_ms"] - self.driver.time_ms) / 1000)
            self.wait(waited[-1])
        self.assertEqual(waited, [2, 4, 5, 5])
        (receipt,) = self.take()
        self.assertEqual(self.call("nack", receipt=receipt, delay_s=0), {"state": "ready"})

    def test_an_extension_counts_from_now(self) -> None:
        self.call("configure", visibility_s=10)
        self.put()
        (receipt,) = self.take()
        self.wait(8)
        self.assertEqual(self.call("extend", receipt=receipt), {"until_ms": 19_000})
        self.wait(9.999)
        self.assertEqual(self.counts(), (0, 1, 0))
        self.assertEqual(self.call("extend", receipt=receipt, visibility_s=3), {"until_ms": 21_999})
        self.wait(3)
        self.assertEqual(self.counts(), (1, 0, 0))

    def test_an_extension_may_be_shorter(self) -> None:
        self.put()
        (receipt,) = self.take(visibility_s=100)
        self.call("extend", receipt=receipt, visibility_s=1)
        self.wait(1)
        self.assertEqual(self.counts(), (1, 0, 0))
        self.refused("extend", receipt=receipt)
        self.wait(99)
        self.assertEqual(self.totals(), {"put": 1, "delivered": 1, "expired": 1})


class Delays(QueueCase):
    def test_delayed(self) -> None:
        self.put(b"later", delay_s=1.5)
        self.put(b"now")
        self.assertEqual(self.bodies(), [b"now"])
        self.wait(1.499)
        self.assertEqual(self.bodies(), [])
        self.wait(0.001)
        self.assertEqual(self.bodies(), [b"later"])

    def test_a_delayed_message_takes_the_place_of_its_put(self) -> None:
        self.put(b"1", delay_s=1)
        self.put(b"2")
        self.wait(1)
        self.put(b"3")
        self.assertEqual(self.bodies(), [b"1", b"2", b"3"])

    def test_not_before(self) -> None:
        self.put(not_before=3.0001)
        self.wait(2)
        self.assertEqual(self.counts(), (0, 0, 1))
        self.wait(0.001)
        self.assertEqual(self.counts(), (1, 0, 0))
        self.put(not_before=1)
        self.assertEqual(self.counts(), (2, 0, 0), "in the past")

    def test_the_later_of_both(self) -> None:
        self.put(delay_s=5, not_before=3.0)
        self.put(delay_s=1, not_before=4.0)
        self.assertEqual([message["due_ms"] for message in self.ask("peek", state="delayed", count=2)], [6_000, 4_000])

    def test_not_before_is_no_more_than_a_year_ahead(self) -> None:
        self.put(not_before=1 + 31_536_000)
        refusal = self.refused("put", body=b"", not_before=1.001 + 31_536_000)
        self.assertEqual(refusal.code, "too_far_ahead")
        self.assertIn("31536000", refusal.message)
        self.refused("put_batch", "other", messages=[{"body": b""}, {"body": b"", "not_before": 4e10}])


class Removing(QueueCase):
    def setUp(self) -> None:
        super().setUp()
        self.call("configure", max_length=7)
        self.call("put_batch", messages=[{"body": b"x"}, {"body": b"x"}, {"body": b"x", "delay_s": 1}])
        (self.receipt,) = self.take()

    def test_purge_removes_all_messages_and_keeps_the_queue(self) -> None:
        self.assertEqual(self.call("purge"), {"messages": 3})
        self.assertEqual((self.counts(), self.ask("stats")["bytes"]), ((0, 0, 0), 0))
        self.assertEqual(self.refused("ack", receipt=self.receipt).code, "stale_receipt")
        self.wait(1_000)
        self.assertEqual(self.totals(), {"put": 3, "delivered": 1, "purged": 3})
        self.assertEqual(self.ask("stats")["settings"]["max_length"], 7)
        self.put(b"y")
        self.assertEqual(self.bodies(), [b"y"])

    def test_delete_removes_everything(self) -> None:
        self.assertEqual(self.call("delete"), {"messages": 3})
        self.assertEqual(self.refused("delete").code, "queue_not_found")
        self.assertEqual(self.refused("ack", receipt=self.receipt).code, "queue_not_found")
        self.put(b"y")
        self.wait(1_000)
        self.assertEqual(self.totals(), {"put": 1})
        self.assertNotEqual(self.ask("stats")["settings"]["max_length"], 7)

    def test_unknown_queues(self) -> None:
        for command, arguments in (("purge", {}), ("delete", {}), ("move", {"to": "jobs"}), ("ack_batch", {"receipts": ["1-1"]})):
            refusal = self.refused(command, "nowhere", **arguments)
            self.assertEqual(refusal.code, "queue_not_found")
            self.assertIn("'nowhere'", refusal.message)
