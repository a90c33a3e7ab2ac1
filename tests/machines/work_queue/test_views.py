"""Peeking, statistics, lists, settings and events."""

from __future__ import annotations

from typing import Any

from tests.machines.work_queue.case import QueueCase
from txraft.errors import Refused


class Peeking(QueueCase):
    def test_ready_ones_as_they_would_be_taken(self) -> None:
        for body, priority in ((b"1", 5), (b"2", 9), (b"3", 5), (b"4", 5)):
            self.put(body, priority=priority)
        for receipt in self.take(3)[::-1]:
            self.call("nack", receipt=receipt)
        for count in (1, 3, 100):
            peeked = [message["body"] for message in self.ask("peek", count=count)]
            self.assertEqual(peeked, [b"2", b"1", b"3", b"4"][:count])
        self.assertEqual(self.bodies(), [b"2", b"1", b"3", b"4"])

    def test_the_others_in_the_order_in_which_they_became_so(self) -> None:
        self.call("put_batch", messages=[{"body": b"1"}, {"body": b"2", "priority": 9}, {"body": b"3", "delay_s": 9}])
        self.take(visibility_s=20)
        (receipt,) = self.take(visibility_s=10)
        for _ in range(2):
            peeked = [(one["id"], one["due_ms"]) for one in self.ask("peek", count=5, state="in_flight")]
            self.assertEqual(peeked, [(2, 21_000), (1, 11_000)])
            self.restart()
        self.call("nack", receipt=receipt, delay_s=1)
        self.assertEqual([one["id"] for one in self.ask("peek", count=5, state="delayed")], [3, 1])

    def test_unknown(self) -> None:
        for query in ("peek", "stats"):
            self.assertEqual(self.assertRaises(Refused, self.ask, query, "nowhere").code, "queue_not_found")


class Statistics(QueueCase):
    def test_all_of_them(self) -> None:
        self.call("configure", visibility_s=60)
        self.call("put_batch", messages=[{"body": b"abc"}, {"body": b"de", "priority": 0}, {"body": b"", "delay_s": 99}])
        self.take()
        self.wait(1.5)
        self.put(b"f")
        stats = self.ask("stats")
        settings = stats.pop("settings")
        totals = {what: count for what, count in stats.pop("totals").items() if count}
        self.assertEqual(totals, {"put": 4, "delivered": 1})
        self.assertEqual((settings["visibility_s"], settings["max_deliveries"], settings["dead_letter"]), (60, 0, None))
        expected = {
            "queue": "jobs",
            "length": 4,
            "ready": 2,
            "in_flight": 1,
            "delayed": 1,
            "dead": 0,
            "bytes": 6,
            "ready_by_priority": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            "oldest_age_s": 1.5,
            "rates": {"put_per_s": 2.667, "delivered_per_s": 0.667, "acked_per_s": 0.0},
            "created_ms": 1_000,
            "time_ms": 2_500,
        }
        self.assertEqual(stats, expected)

    def test_an_empty_queue(self) -> None:
        self.call("configure")
        stats = self.ask("stats")
        self.assertEqual((stats["oldest_age_s"], set(stats["rates"].values()), self.totals()), (None, {0.0}, {}))

    def test_rates_look_back_over_ten_to_twenty_seconds(self) -> None:
        for _ in range(300):
            self.wait(0.1)
            self.call("put_batch", messages=[{"body": b""}] * 2)
            for receipt in self.take(1):
                self.call("ack", receipt=receipt)
        self.assert_rates(20, 10, 10)
        for _ in range(100):
            self.wait(0.1)
            self.put()
        rates = self.ask("stats")["rates"]
        self.assertTrue(10 <= rates["put_per_s"] <= 16, rates)
        self.restart()
        self.assertEqual(self.ask("stats")["rates"], rates)
        self.put()

    def test_rates_fall_while_nothing_happens(self) -> None:
        self.put()
        self.wait(1_000)
        self.put(queue="other")
        self.assert_rates(0.001, 0, 0)
        self.put()
        self.assert_rates(0, 0, 0)
        self.wait(1)
        self.put()
        self.assert_rates(2, 0, 0)

    def assert_rates(self, put: float, delivered: float, acked: float) -> None:
        rates = self.ask("stats")["rates"]
        for what, wanted in (("put", put), ("delivered", delivered), ("acked", acked)):
            self.assertApproximates(rates[f"{what}_per_s"], wanted, wanted / 20, what)


class Lists(QueueCase):
    def test_by_name_and_page_by_page(self) -> None:
        for name in ("b/2", "a", "b/1", "c"):
            self.put(b"xy", queue=name)
        self.take(queue="a")
        page = self.driver.ask("queue", "list", limit=1)
        row = {"queue": "a", "length": 1, "ready": 0, "in_flight": 1, "delayed": 0, "bytes": 2}
        self.assertEqual(page, {"queues": [row], "next": "a"})
        self.assertEqual(self.names(prefix="b/"), (["b/1", "b/2"], None))
        self.assertEqual(self.names(after="a", limit=2), (["b/1", "b/2"], "b/2"))
        self.assertEqual(self.names(after="b/2", limit=2), (["c"], None))
        self.call("delete", "b/1")
        self.restart()
        self.assertEqual(self.names(), (["a", "b/2", "c"], None))

    def names(self, **arguments: Any) -> tuple[list[str], str | None]:
        page = self.driver.ask("queue", "list", **arguments)
        return [row["queue"] for row in page["queues"]], page["next"]


class Settings(QueueCase):
    def test_only_those_that_are_given_change(self) -> None:
        first = self.call("configure", visibility_s=5, backoff_min_s=1, max_length=7)
        second = self.call("configure", max_bytes=9)
        self.assertEqual(second, {**first, "max_bytes": 9})
        self.assertEqual((second["visibility_s"], second["backoff_min_s"], second["max_length"]), (5.0, 1.0, 7))
        self.restart()
        self.assertEqual(self.ask("stats")["settings"], second)

    def test_dead_letter_can_be_taken_back(self) -> None:
        self.assertEqual(self.call("configure", dead_letter="d", max_deliveries=1)["dead_letter"], "d")
        self.assertEqual(self.call("configure", dead_letter="")["dead_letter"], "jobs.dead")

    def test_back_off(self) -> None:
        refusal = self.refused("configure", backoff_min_s=5, backoff_max_s=4)
        self.assertEqual(refusal.code, "bad_setting")
        self.assertIn("backoff_min_s would be 5", refusal.message)
        self.assertEqual(self.driver.ask("queue", "list")["queues"], [])

    def test_each_is_checked(self) -> None:
        for name, wrong in (
            ("visibility_s", 0),
            ("max_deliveries", 1_001),
            ("dead_letter", "x" * 129),
            ("max_length", 0),
            ("max_bytes", 0),
            ("overflow", "block"),
            ("backoff_min_s", -1),
            ("backoff_max_s", 1e9),
            ("dedup_window_s", 86_401),
            ("dedup_ids_max", -1),
        ):
            self.assertIn(f"`{name}`", self.invalid("configure", **{name: wrong}))


class Events(QueueCase):
    def test_rare_things_are_told(self) -> None:
        self.put()
        self.call("ack", receipt=self.take()[0])
        self.call("configure", max_length=5)
        self.call("configure", max_length=5)
        self.put()
        self.call("move", "jobs", to="other")
        self.call("purge", "other")
        self.call("delete", "other")
        told = [(topic, {name: value for name, value in fields.items() if name != "settings"}) for topic, fields in self.events()]
        self.assertEqual(
            told,
            [
                ("jobs", {"type": "created"}),
                ("jobs", {"type": "configured"}),
                ("other", {"type": "created"}),
                ("jobs", {"type": "moved", "to": "other", "count": 1}),
                ("other", {"type": "purged", "count": 1}),
                ("other", {"type": "deleted", "count": 0}),
            ],
        )
        self.assertEqual(self.events()[1][1]["settings"]["max_length"], 5)
