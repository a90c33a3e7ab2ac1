"""The state as items, read while the queue goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from tests.machines.work_queue.case import QueueCase
from txraft.machines.work_queue import WorkQueue
from txraft.machines.work_queue.arrivals import PIECE
from txraft.machines.work_queue.items import ITEM_BYTES, ITEM_MESSAGES
from txraft.machines.work_queue.records import NewMessage
from txraft.statemachine import Context
from txraft.statemachine.values import decode_value, encode_canonical, encode_value


def plain(items: Iterator[Any]) -> list[Any]:
    """As they come back from a file."""
    return [decode_value(encode_value(item)) for item in items]


class Items(QueueCase):
    def machine(self) -> WorkQueue:
        machine = self.driver.host.hosted("queue").machine
        assert isinstance(machine, WorkQueue)
        return machine

    def fill(self, number: int) -> None:
        """So many of each kind, in one queue and in another."""
        for queue in ("a", "b"):
            for _ in range(number // 50):
                self.call("put_batch", queue, messages=[{"body": b"x", "dedup_id": f"i{self.machine().queues.last_id}"}])
                self.call("put_batch", queue, messages=[{"body": b"x"}, {"body": b"y", "priority": 7}, {"body": b"z", "delay_s": 9}] * 33)
                for receipt in self.take(40, queue=queue)[::2]:
                    self.call("nack", queue, receipt=receipt)

    def change_everything(self) -> None:
        for queue in ("a", "b"):
            self.assertGreater(self.counts(queue)[1], PIECE)
            receipt = f"{self.ask('peek', queue, state='in_flight')[0]['id']}-1"  # not in the last piece
            if queue == "a":
                self.call("ack", queue, receipt=receipt)
            else:
                self.call("extend", queue, receipt=receipt, visibility_s=50)
            self.call("configure", queue, visibility_s=3, backoff_min_s=1)
            self.put(b"new", queue=queue, dedup_id="new")
            self.call("put", queue, body=b"later", delay_s=2)
            receipts = self.take(30, queue=queue)
            self.call("ack", queue, receipt=receipts[0])
            self.call("ack_batch", queue, receipts=receipts[1:15:2])
            self.call("nack", queue, receipt=receipts[2])
            self.call("extend", queue, receipt=receipts[4], visibility_s=50)
        self.call("move", "a", to="c", count=20)
        self.wait(20)
        self.call("purge", "a")
        self.call("put_batch", "a", messages=[{"body": b"again"}] * 10)
        self.call("delete", "b")

    def test_they_are_of_the_moment_at_which_they_were_asked_for(self) -> None:
        self.fill(300)
        expected = self.state()
        whole, half = self.machine().snapshot(), self.machine().snapshot()
        begun = list(islice(half, len(expected) // 2))
        self.change_everything()
        self.assertEqual(list(map(encode_canonical, whole)), expected)
        self.assertEqual([encode_canonical(item) for item in [*begun, *half]], expected)
        self.assertNotEqual(self.state(), expected)

    def test_also_if_they_are_read_in_the_midst_of_commands(self) -> None:
        self.fill(300)
        expected, read, done = self.state(), list[bytes](), threading.Event()
        items = self.machine().snapshot()

        def read_all() -> None:
            read.extend(map(encode_canonical, items))
            done.set()

        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        thread = threading.Thread(target=read_all)
        thread.start()
        self.change_everything()
        while not done.is_set() and thread.is_alive():
            self.call("ack", "c", receipt=self.take(queue="c")[0])
            self.put(queue="c")
        thread.join()
        self.assertEqual(read, expected)

    def test_whatever_is_done_next(self) -> None:
        nexts: dict[str, Callable[[], object]] = {
            "configure": lambda: self.call("configure", max_length=1, overflow="drop_oldest"),
            "trim": lambda: self.wait(0.1),
            "put": lambda: self.put(b"new"),
            "put later": lambda: self.put(delay_s=5),
            "put again": lambda: self.put(dedup_id="a"),
            "put to drop": lambda: self.put(b"12345"),
            "take": self.take,
            "take many": lambda: self.take(20),
            "ack": lambda: self.call("ack", receipt="1-1"),
            "ack_batch": lambda: self.call("ack_batch", receipts=["1-1", "2-1"]),
            "nack": lambda: self.call("nack", receipt="2-1"),
            "nack for later": lambda: self.call("nack", receipt="2-1", delay_s=5),
            "extend": lambda: self.call("extend", receipt="1-1", visibility_s=5),
            "extend for less": lambda: self.call("extend", receipt="1-1", visibility_s=1),
            "move from": lambda: self.call("move", to="other", count=5),
            "move to": lambda: self.call("move", "other", to="jobs", count=2),
            "purge": lambda: self.call("purge"),
            "delete": lambda: self.call("delete"),
            "expire": lambda: self.wait(3),
            "be over": lambda: self.wait(50),
        }
        for what, do in nexts.items():
            self.setUp()
            self.call("configure", max_deliveries=1, visibility_s=3, max_bytes=30)
            self.call("put_batch", messages=[{"body": b"x", "dedup_id": name} for name in "abcdefghijkl"])
            self.call("put_batch", "other", messages=[{"body": b"x"}] * 3)
            self.put(delay_s=50)
            self.put(queue="jobs.dead")
            self.take(2)
            if what in ("trim", "put to drop"):
                self.call("configure", max_bytes=12, overflow="drop_oldest")
            expected, items = self.state(), self.machine().snapshot()
            do()
            self.assertNotEqual(self.state(), expected, what)
            self.assertEqual(list(map(encode_canonical, items)), expected, what)

    def test_they_are_the_same_however_the_queue_came_about(self) -> None:
        self.fill(300)
        self.wait(10)  # those whose delay is over come late
        other = WorkQueue()
        other.restore(iter(plain(self.machine().snapshot())))
        lanes = [[lane.length - len(lane.order) for lane in one.queues.by_name["a"].occupied_lanes()] for one in (self.machine(), other)]
        self.assertNotEqual(*lanes)
        self.assertEqual(list(map(encode_canonical, other.snapshot())), self.state())

    def test_none_is_large_because_of_many_messages(self) -> None:
        machine, ctx = WorkQueue(), Context(time_ms=1_000)
        sizes = [10] * 250 + [ITEM_BYTES // 4] * 5 + [ITEM_BYTES * 3] * 2 + [0]
        for size in sizes:
            machine.put(ctx, "jobs", bytes(size))
        groups = [[len(one.body) for one in item.messages] for item in machine.snapshot() if hasattr(item, "messages")]
        self.assertEqual([size for group in groups for size in group], sizes)
        self.assertEqual([len(group) for group in groups], [ITEM_MESSAGES, ITEM_MESSAGES, 50 + 4, 2, 1, 1])

    def test_without_one_of_them_there_is_no_state(self) -> None:
        self.fill(300)
        items = plain(self.machine().snapshot())
        place = next(place for place, item in enumerate(items) if item[0] == "messages")
        self.assertRaises(ValueError, WorkQueue().restore, iter([*items[:place], *items[place + 1 :]]))
        self.assertRaises(ValueError, WorkQueue().restore, iter([*items[:place], items[place + 1], items[place], *items[place + 2 :]]))
        self.assertRaises(KeyError, WorkQueue().restore, iter([items[0], *items[2:]]))
        self.assertRaises(ValueError, WorkQueue().restore, iter(items[1:]))
        self.assertRaises(ValueError, WorkQueue().restore, iter([items[0]] * 2))
        for nonsense in (None, [], ["what"], ["messages", "a", "ready", 0, 5]):
            self.assertRaises(msgspec.ValidationError, WorkQueue().restore, iter([items[0], nonsense]))

    def test_a_snapshot_costs_the_same_whatever_there_is(self) -> None:
        machine, ctx = WorkQueue(), Context(time_ms=1_000)
        for number in range(100):
            machine.put_batch(ctx, f"queue-{number}", [NewMessage(b"x")] * 100)
        before = dict(machine.queues.by_name)
        for _ in range(2):
            machine.snapshot()
            self.assertEqual(machine.queues.by_name, before)
        machine.take(ctx, "queue-7")
        changed = [name for name, queue in before.items() if machine.queues.by_name[name] is not queue]
        self.assertEqual(changed, ["queue-7"])
        self.assertEqual(len(list(before["queue-7"].occupied_lanes()[0].all())), 100)
