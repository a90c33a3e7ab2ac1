"""A few rounds of `queue_rounds`, which has the whole story; and the judge itself is judged."""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.end_to_end.queue_rounds import Record
from tests.support.processes import ROOT, ProcessTestCase


def note(what: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"what": what, "at": at, **fields}


def taken(at: float, number: int, deliveries: int = 1, asked_at: float | None = None) -> dict[str, Any]:
    asked_at = at if asked_at is None else asked_at
    return note("taken", at, id=number, deliveries=deliveries, priority=5, body=f"body {number}", asked_at=asked_at)


class TheJudge(SynchronousTestCase):
    """What a queue must not do is found."""

    def found(self, *notes: dict[str, Any]) -> str:
        return "\n".join(Record([list(notes)]).problems())

    def test_a_quiet_life(self) -> None:
        put = note("put", 1.0, bodies=["body 1"], ids=[1])
        self.assertEqual(self.found(put, taken(2.0, 1), note("acking", 2.1, id=1), note("acked", 2.2, id=1)), "")

    def test_lost(self) -> None:
        self.assertIn("lost", self.found(note("put", 1.0, bodies=["body 1"], ids=[1]), taken(2.0, 1)))

    def test_there_twice(self) -> None:
        put = note("put", 1.0, bodies=["body 1"], ids=[2])
        acks = [note("acking", 2.1, id=number) for number in (1, 2)]
        self.assertIn("2 times", self.found(put, taken(2.0, 1), *acks))

    def test_delivered_again_too_early(self) -> None:
        self.assertIn("before its timeout", self.found(taken(2.0, 1), taken(4.0, 1, 2)))
        self.assertEqual(self.found(taken(2.0, 1), taken(5.1, 1, 2)), "")
        self.assertEqual(self.found(taken(2.0, 1), note("nacking", 2.1, id=1, deliveries=1), taken(2.3, 1, 2)), "")

    def test_an_answer_that_came_late_tells_of_an_earlier_delivery(self) -> None:
        self.assertEqual(self.found(taken(5.1, 1, 2), taken(6.0, 1, 1, asked_at=1.0)), "")

    def test_delivered_after_the_ack(self) -> None:
        acked = [note("acking", 3.0, id=1), note("acked", 3.1, id=1)]
        self.assertIn("after its ack", self.found(taken(2.0, 1), *acked, taken(9.0, 1, 2)))

    def test_out_of_order(self) -> None:
        self.assertIn("same priority", self.found(taken(2.0, 2), taken(2.1, 1)))


class QueueRounds(ProcessTestCase):
    """The leader, a consumer, a follower, a producer."""

    def test_nothing_is_lost_doubled_or_out_of_turn(self) -> None:
        done = self.run_command(sys.executable, "-m", "tests.end_to_end.queue_rounds", "--rounds=4", "--consumers=2", PYTHONPATH=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("  killed "), 4)
        self.assertRegex(done.stdout, r"All is well: [\d,]{2,} messages put")
