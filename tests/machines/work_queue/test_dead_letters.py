"""Messages that were delivered too often, where they go, and how they come back."""

from __future__ import annotations

from typing import Any

from tests.machines.work_queue.case import QueueCase


class DeadLetters(QueueCase):
    def give_up(self, queue: str = "jobs") -> Any:
        """Take a message and give it back."""
        (receipt,) = self.take(queue=queue)
        return self.call("nack", queue, receipt=receipt)

    def test_after_so_many_deliveries(self) -> None:
        self.call("configure", max_deliveries=2)
        self.put(b"poison")
        self.assertEqual([self.give_up(), self.give_up()], [{"state": "ready"}, {"state": "dead", "queue": "jobs.dead"}])
        self.assertEqual((self.counts(), self.counts("jobs.dead")), ((0, 0, 0), (1, 0, 0)))
        self.assertEqual((self.totals()["dead"], self.totals("jobs.dead"), self.ask("stats")["dead"]), (1, {"received": 1}, 1))
        (message,) = self.ask("peek", "jobs.dead")
        self.assertEqual((message["id"], message["deliveries"], message["origin"], message["put_ms"]), (1, 0, "jobs", 1_000))

    def test_because_time_passed(self) -> None:
        self.call("configure", max_deliveries=1, dead_letter="failed", visibility_s=1)
        self.put()
        self.take()
        self.wait(1)
        self.assertEqual((self.counts(), self.counts("failed")), ((0, 0, 0), (1, 0, 0)))
        self.assertEqual(self.signals, ["jobs", "failed", "jobs"])

    def test_a_delay_does_not_keep_it_alive(self) -> None:
        self.call("configure", max_deliveries=1, backoff_min_s=9)
        self.put()
        self.assertEqual(self.give_up()["state"], "dead")
        self.wait(100)
        self.assertEqual(self.counts("jobs.dead"), (1, 0, 0))

    def test_without_a_limit_there_are_none(self) -> None:
        self.put()
        for _ in range(50):
            self.assertEqual(self.give_up(), {"state": "ready"})

    def test_a_full_queue_of_dead_letters_loses_nothing(self) -> None:
        self.call("configure", max_deliveries=1)
        self.call("configure", "jobs.dead", max_length=1)
        self.call("put_batch", messages=[{"body": b"1"}, {"body": b"2"}])
        self.assertEqual([self.give_up(), self.give_up()], [{"state": "dead", "queue": "jobs.dead"}, {"state": "ready"}])
        self.assertEqual(self.totals()["dead_refused"], 1)
        self.assertEqual(self.ask("peek")[0]["deliveries"], 1)
        self.call("purge", "jobs.dead")
        self.assertEqual(self.give_up()["state"], "dead")

    def test_a_full_queue_of_dead_letters_may_drop_the_oldest(self) -> None:
        self.call("configure", max_deliveries=1)
        self.call("configure", "jobs.dead", max_length=1, overflow="drop_oldest")
        self.call("put_batch", messages=[{"body": b"1"}, {"body": b"2"}])
        self.give_up()
        self.give_up()
        self.assertEqual(self.bodies(queue="jobs.dead"), [b"2"])

    def test_dead_letters_may_die_again_elsewhere(self) -> None:
        self.call("configure", max_deliveries=1)
        self.call("configure", "jobs.dead", max_deliveries=2, dead_letter="grave")
        self.put()
        self.assertEqual([self.give_up(), self.give_up("jobs.dead"), self.give_up("jobs.dead")][2], {"state": "dead", "queue": "grave"})
        self.assertEqual(self.ask("peek", "grave")[0]["origin"], "jobs.dead")

    def test_they_are_told_of(self) -> None:
        self.call("configure", max_deliveries=1)
        self.put()
        self.give_up()
        told = [(topic, fields) for topic, fields in self.events() if fields["type"] != "configured"]
        dead = ("jobs", {"type": "dead_lettered", "id": 1, "deliveries": 1, "to": "jobs.dead"})
        self.assertEqual(told, [("jobs", {"type": "created"}), ("jobs.dead", {"type": "created"}), dead])


class Circles(QueueCase):
    def assert_circle(self, queue: str, **settings: Any) -> None:
        refusal = self.refused("configure", queue, **settings)
        self.assertEqual(refusal.code, "dead_letter_circle")
        self.assertIn(f"'{queue}'", refusal.message)

    def test_dead_letters_cannot_come_back(self) -> None:
        self.assert_circle("a", max_deliveries=1, dead_letter="a")
        self.call("configure", "a", max_deliveries=1)
        self.assert_circle("a.dead", max_deliveries=1, dead_letter="a")
        self.call("configure", "a.dead", max_deliveries=1, dead_letter="b")
        self.call("configure", "b", dead_letter="a")
        self.assert_circle("b", max_deliveries=3)
        self.call("configure", "a", max_deliveries=0)
        self.call("configure", "b", max_deliveries=3)
        self.assert_circle("a", max_deliveries=1)

    def test_they_pass_through_a_bounded_number_of_queues(self) -> None:
        for number in range(15):
            self.call("configure", f"q{number}", max_deliveries=1, dead_letter=f"q{number + 1}")
        self.assertIn("16 queues", self.refused("configure", "first", max_deliveries=1, dead_letter="q0").message)
        self.call("configure", "first", max_deliveries=1, dead_letter="q1")

    def test_a_name_for_them_must_fit(self) -> None:
        long = "x" * 124
        self.assertIn("128 characters", self.refused("configure", long, max_deliveries=1).message)
        self.call("configure", long, max_deliveries=1, dead_letter="y")
        self.call("configure", "x" * 123, max_deliveries=1)


class Moving(QueueCase):
    def setUp(self) -> None:
        super().setUp()
        self.call("configure", max_deliveries=1)
        self.call("put_batch", messages=[{"body": bytes([number]), "priority": number % 2} for number in range(4)])
        for receipt in self.take(4):
            self.call("nack", receipt=receipt)
        self.signals.clear()

    def test_back_from_the_dead_letters(self) -> None:
        self.assertEqual(self.call("move", "jobs.dead", to="jobs", count=3), {"moved": 3, "left": 1})
        self.assertEqual(self.signals, ["jobs"])
        self.assertEqual(
            [(one["body"], one["deliveries"]) for one in self.ask("peek", count=9)], [(b"\x01", 0), (b"\x03", 0), (b"\x00", 0)]
        )
        self.assertEqual(self.ask("stats", "jobs.dead")["totals"]["moved"], 1 + 2)

    def test_an_old_receipt_is_none_of_the_new_delivery(self) -> None:
        self.call("move", "jobs.dead", to="jobs", count=1)
        (message,) = self.call("take")
        self.assertEqual((message["receipt"], message["deliveries"]), ("2-2", 1))
        self.assertNotIn("origin", message)
        self.assertEqual(self.refused("ack", receipt="2-1").details, {"reason": "in_flight"})

    def test_it_may_die_again(self) -> None:
        self.call("move", "jobs.dead", to="jobs", count=1)
        (receipt,) = self.take()
        self.assertEqual(self.call("nack", receipt=receipt)["state"], "dead")
        self.assertEqual(self.counts("jobs.dead"), (4, 0, 0))

    def test_as_many_as_there_is_room_for(self) -> None:
        self.call("configure", "small", max_length=3, overflow="drop_oldest")
        self.put(queue="small")
        self.assertEqual(self.call("move", "jobs.dead", to="small"), {"moved": 2, "left": 2})
        refusal = self.refused("move", "jobs.dead", to="small")
        self.assertEqual(refusal.code, "queue_full")
        self.assertEqual(self.counts("small"), (3, 0, 0))

    def test_to_a_new_queue_and_from_an_empty_one(self) -> None:
        self.assertEqual(self.call("move", "jobs", to="new"), {"moved": 0, "left": 0})
        self.assertEqual(self.refused("purge", "new").code, "queue_not_found")
        self.call("move", "jobs.dead", to="new")
        self.assertEqual(self.counts("new"), (4, 0, 0))

    def test_not_to_itself(self) -> None:
        self.assertEqual(self.refused("move", "jobs", to="jobs").code, "same_queue")

    def test_what_is_in_flight_or_delayed_stays(self) -> None:
        self.take(queue="jobs.dead")
        self.put(queue="jobs.dead", delay_s=9)
        self.assertEqual(self.call("move", "jobs.dead", to="jobs"), {"moved": 3, "left": 0})
        self.assertEqual(self.counts("jobs.dead"), (0, 1, 1))
