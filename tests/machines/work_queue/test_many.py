"""Many messages: what a command does must not grow with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.work_queue import WorkQueue
from txraft.machines.work_queue.records import NewMessage
from txraft.statemachine import Context
from txraft.statemachine.values import decode_value, encode_canonical, encode_value

MANY = 200_000


def calls_of(run: Callable[[], Any]) -> int:
    """How many functions are called, those written in C included."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def filled(number: int) -> WorkQueue:
    """A queue with so many messages: a quarter each are new, have come back, are in flight and delayed."""
    machine, ctx = WorkQueue(), Context(time_ms=1_000)
    for _ in range(number // 200):
        machine.put_batch(ctx, "jobs", [NewMessage(b"x"), NewMessage(b"x", delay_s=1_000.0)] * 50)
        machine.put_batch(ctx, "jobs", [NewMessage(b"x", priority=9), NewMessage(b"x", priority=8)] * 50)
        machine.take(ctx, "jobs", 50, visibility_s=600.0)
        for delivery in machine.take(ctx, "jobs", 50):
            machine.nack(ctx, "jobs", delivery.receipt)
    assert [machine.stats("jobs")[state] for state in ("ready", "in_flight", "delayed")] == [number // 2, number // 4, number // 4]
    return machine


class Many(SynchronousTestCase):
    def costs(self, machine: WorkQueue) -> dict[str, int]:
        ctx = Context(time_ms=1_000)
        first, second, third = machine.take(ctx, "jobs", 3)
        return {
            "put": calls_of(lambda: machine.put(ctx, "jobs", b"x")),
            "delayed": calls_of(lambda: machine.put(ctx, "jobs", b"x", delay_s=1.0)),
            "take": calls_of(lambda: machine.take(ctx, "jobs")),
            "take 100": calls_of(lambda: machine.take(ctx, "jobs", 100)),
            "ack": calls_of(lambda: machine.ack(ctx, "jobs", first.receipt)),
            "nack": calls_of(lambda: machine.nack(ctx, "jobs", second.receipt)),
            "extend": calls_of(lambda: machine.extend(ctx, "jobs", third.receipt, 1.0)),
            "move": calls_of(lambda: machine.move(ctx, "jobs", "other", 10)),
            "stats": calls_of(lambda: machine.stats("jobs")),
            "peek": calls_of(lambda: machine.peek("jobs", 50)),
            "peek in flight": calls_of(lambda: machine.peek("jobs", 50, "in_flight")),
            "deadline": calls_of(machine.deadline),
        }

    def test_commands_cost_the_same_in_a_long_queue(self) -> None:
        few, many = self.costs(filled(1_000)), self.costs(filled(MANY))
        self.assertEqual(set(few), set(many))
        for what, calls in many.items():
            self.assertLessEqual(calls, few[what] * 1.1 + 5, what)

    def test_a_restored_queue_goes_on_the_same(self) -> None:
        machine, other = filled(MANY // 4), WorkQueue()
        other.restore(map(decode_value, map(encode_value, machine.snapshot())))
        for step in range(40):
            ctx = Context(time_ms=1_000 + step * 60_000)
            for one in (machine, other):
                if (one.deadline() or ctx.time) < ctx.time:
                    one.expire(ctx)
            self.assertEqual(machine.take(ctx, "jobs", 100), other.take(ctx, "jobs", 100))
            self.assertEqual(machine.deadline(), other.deadline())
        self.assertEqual(list(map(encode_canonical, machine.snapshot())), list(map(encode_canonical, other.snapshot())))
