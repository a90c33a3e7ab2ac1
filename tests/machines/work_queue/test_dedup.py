"""Puts under a `dedup_id` that the queue has seen lately."""

from __future__ import annotations

from tests.machines.work_queue.case import QueueCase


class Duplicates(QueueCase):
    def put_twice(self, dedup_id: str = "a") -> tuple[int, bool]:
        stored = self.call("put", body=b"", dedup_id=dedup_id)
        return stored["id"], stored["duplicate"]

    def test_only_the_first_is_stored(self) -> None:
        self.assertEqual([self.put_twice(), self.put_twice(), self.put_twice("b")], [(1, False), (1, True), (2, False)])
        self.assertEqual((self.counts(), self.totals()), ((2, 0, 0), {"put": 2, "duplicate": 1}))

    def test_even_when_it_is_done_with(self) -> None:
        self.put_twice()
        self.call("ack", receipt=self.take()[0])
        self.restart()
        self.assertEqual(self.put_twice(), (1, True))
        self.call("purge")
        self.assertEqual(self.put_twice(), (1, True))

    def test_each_queue_has_its_own(self) -> None:
        self.put_twice()
        self.assertFalse(self.call("put", "other", body=b"", dedup_id="a")["duplicate"])

    def test_the_window_is_bounded_in_time(self) -> None:
        self.call("configure", dedup_window_s=10)
        self.put_twice()
        self.wait(9.999)
        self.assertEqual(self.put_twice(), (1, True))
        self.wait(0.001)
        self.assertEqual(self.put_twice(), (2, False), "a duplicate does not prolong it")
        self.assertEqual(self.put_twice(), (2, True))

    def test_the_window_is_bounded_in_count(self) -> None:
        self.call("configure", dedup_ids_max=2)
        self.assertEqual([self.put_twice(dedup_id)[1] for dedup_id in "abacabc"], [False, False, True, False, False, False, False])

    def test_within_a_batch(self) -> None:
        messages = [{"body": b"", "dedup_id": dedup_id} for dedup_id in "aba"] + [{"body": b""}] * 2
        self.assertEqual([one["id"] for one in self.call("put_batch", messages=messages)], [1, 2, 1, 3, 4])
        self.assertEqual([one["id"] for one in self.call("put_batch", messages=messages)], [1, 2, 1, 5, 6])

    def test_duplicates_take_no_room(self) -> None:
        self.call("configure", max_length=2)
        messages = [{"body": b"", "dedup_id": dedup_id} for dedup_id in "abab"]
        self.call("put_batch", messages=messages)
        self.call("put_batch", messages=messages)
        self.assertEqual(self.refused("put", body=b"", dedup_id="c").code, "queue_full")

    def test_what_was_refused_is_not_remembered(self) -> None:
        self.call("configure", max_length=1)
        self.put()
        self.refused("put", body=b"", dedup_id="a")
        self.call("purge")
        self.assertEqual(self.put_twice(), (2, False))

    def test_it_can_be_switched_off(self) -> None:
        for count, window_s in ((0, 5), (5, 0)):
            self.call("configure", dedup_ids_max=count, dedup_window_s=window_s)
            self.assertEqual([self.put_twice()[1], self.put_twice()[1]], [False, False])
