"""Any commands at any times, against the model; servers that restored a snapshot on the way stay the same as those that did not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.machines.work_queue.case import WORK_QUEUE
from tests.machines.work_queue.model import Model, No
from tests.statemachine.driver import Driver
from txraft.errors import Refused
from txraft.machines.work_queue import arrivals, discards, items, lanes, named_queue, trims
from txraft.machines.work_queue import puts as putting
from txraft.machines.work_queue import queues as together
from txraft.statemachine import Host
from txraft.statemachine.values import encode_canonical

queues = st.sampled_from(["a", "a", "a", "b", "a.dead"])
bodies = st.sampled_from([b"", b"x", b"four", b"eighteen"])
delays = st.sampled_from([0, 0.5, 3, 7.5])
visibilities = st.none() | st.sampled_from([0.1, 1, 4, 20])
counts = st.integers(1, 4)
messages = st.fixed_dictionaries(
    {"body": bodies},
    optional={
        "priority": st.sampled_from([0, 5, 9]),
        "delay_s": delays,
        "not_before": st.sampled_from([0.0, 3.2, 12.0005, 40.0, 40_000_000.0]),
        "dedup_id": st.sampled_from(["i", "j", "k"]),
    },
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "visibility_s": st.sampled_from([0.1, 2, 8.0]),
        "max_deliveries": st.integers(0, 2),
        "dead_letter": st.sampled_from(["", "a", "b", "c"]),
        "max_length": st.integers(1, 6),
        "max_bytes": st.integers(1, 24),
        "overflow": st.sampled_from(["reject", "drop_oldest"]),
        "backoff_min_s": st.sampled_from([0, 1.5, 5]),
        "backoff_max_s": st.sampled_from([2, 9]),
        "dedup_window_s": st.sampled_from([0, 4, 30]),
        "dedup_ids_max": st.integers(0, 3),
    },
)


def given_only(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


class Commands(RuleBasedStateMachine):
    """The same commands to both."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(queue=WORK_QUEUE, time_ms=1_000)
        self.model = Model(trims.DROPPED_AT_ONCE)
        self.receipts: list[str] = ["1-1"]
        self.others: list[Host] = []
        self.views: list[tuple[Iterator[Any], list[bytes]]] = []

    def agree(self, command: str, **arguments: Any) -> Any:
        self.model.advance(self.driver.time_ms)
        expected: Any
        try:
            expected = getattr(self.model, command)(**arguments)
        except No as refusal:
            expected = refusal.args
        actual: Any
        try:
            actual = self.driver.call("queue", command, **arguments)
        except Refused as refusal:
            actual = (refusal.code, *refusal.details.values())
        assert actual == expected, (command, arguments, actual, expected)
        return actual

    @rule(ms=st.sampled_from([1, 19, 20, 100, 499, 500, 1_000, 2_500, 8_000, 40_000]), by_itself=st.booleans())
    def time_passes(self, ms: int, by_itself: bool) -> None:
        self.driver.time_ms += ms
        if by_itself:
            self.driver.clock(self.driver.time_ms)
            self.model.advance(self.driver.time_ms)

    @rule(queue=queues, message=messages)
    def put(self, queue: str, message: dict[str, Any]) -> None:
        self.agree("put", queue=queue, **message)

    @rule(queue=queues, batch=st.lists(messages, min_size=1, max_size=5))
    def put_batch(self, queue: str, batch: list[dict[str, Any]]) -> None:
        self.agree("put_batch", queue=queue, messages=batch)

    @rule(queue=queues, count=counts, visibility_s=visibilities)
    def take(self, queue: str, count: int, visibility_s: float | None) -> None:
        taken = self.agree("take", queue=queue, count=count, **given_only(visibility_s=visibility_s))
        self.receipts += [message["receipt"] for message in taken]

    @rule(queue=queues, back=st.integers(1, 5))
    def ack(self, queue: str, back: int) -> None:
        self.agree("ack", queue=queue, receipt=self.receipts[-back:][0])

    @rule(queue=queues, back=st.integers(1, 5), twice=st.booleans())
    def ack_batch(self, queue: str, back: int, twice: bool) -> None:
        self.agree("ack_batch", queue=queue, receipts=self.receipts[-back:] * (1 + twice))

    @rule(queue=queues, back=st.integers(1, 5), delay_s=st.none() | delays)
    def nack(self, queue: str, back: int, delay_s: float | None) -> None:
        self.agree("nack", queue=queue, receipt=self.receipts[-back:][0], **given_only(delay_s=delay_s))

    @rule(queue=queues, back=st.integers(1, 5), visibility_s=visibilities)
    def extend(self, queue: str, back: int, visibility_s: float | None) -> None:
        self.agree("extend", queue=queue, receipt=self.receipts[-back:][0], **given_only(visibility_s=visibility_s))

    @rule(queue=queues, changed=changes)
    def configure(self, queue: str, changed: dict[str, Any]) -> None:
        self.agree("configure", queue=queue, **changed)

    @rule(queue=queues, to=queues, count=counts)
    def move(self, queue: str, to: str, count: int) -> None:
        self.agree("move", queue=queue, to=to, count=count)

    @rule(queue=queues, dice=st.integers(0, 3))
    def purge_or_delete(self, queue: str, dice: int) -> None:
        if dice < 2:
            self.agree("purge" if dice else "delete", queue=queue)

    @rule(goes_on=st.booleans())
    def restart(self, goes_on: bool) -> None:
        """A server goes on from a snapshot, or another one begins with it."""
        restored = self.driver.restored()
        if goes_on:
            self.driver.host = restored
        elif len(self.others) < 3:
            self.others.append(restored)

    @rule()
    def look(self) -> None:
        """A snapshot is begun."""
        machine = self.driver.host.hosted("queue").machine
        self.views.append((machine.snapshot(), list(map(encode_canonical, machine.snapshot()))))
        if len(self.views) > 4:
            self.read_all(*self.views.pop(0))

    @rule(items=st.integers(1, 3))
    def read_on(self, items: int) -> None:
        """A snapshot is read on."""
        if self.views:
            view, expected = self.views.pop(0)
            for item in islice(view, items):
                assert encode_canonical(item) == expected.pop(0)
            self.views.append((view, expected))

    def read_all(self, view: Iterator[Any], expected: list[bytes]) -> None:
        assert list(map(encode_canonical, view)) == expected

    @invariant()
    def everything_to_be_seen_is_as_in_the_model(self) -> None:
        page = self.driver.ask("queue", "list")
        assert [row["queue"] for row in page["queues"]] == sorted(self.model.queues)
        for name, queue in self.model.queues.items():
            stats = self.driver.ask("queue", "stats", queue=name)
            assert {what: count for what, count in stats["totals"].items() if count} == queue.totals
            assert stats["bytes"] == sum(len(message.body) for message in queue.messages)
            for state in ("ready", "in_flight", "delayed"):
                peeked = self.driver.ask("queue", "peek", queue=name, state=state, count=100)
                assert peeked == self.model.peek(name, state, 100), (state, peeked)
                assert stats[state] == len(peeked)

    def teardown(self) -> None:
        for view, expected in self.views:
            self.read_all(view, expected)
        digest = self.driver.host.digest()
        for host in [*self.others, self.driver.fresh_host(), self.driver.restored()]:
            assert self.driver.replayed(host).digest() == digest
        assert self.driver.replayed_answers() == self.driver.answers
        assert not self.driver.failures


class AnyCommands(SynchronousTestCase):
    def agree(self) -> None:
        run_state_machine_as_test(Commands, settings=settings(deadline=None, max_examples=60, stateful_step_count=40))

    def test_a_work_queue_is_a_list_of_messages(self) -> None:
        self.agree()

    def test_also_if_it_may_not_drop_more_than_two_at_once_nor_free_more_than_one(self) -> None:
        for module in (trims, putting, together):
            self.patch(module, "DROPPED_AT_ONCE", 2)
        self.patch(discards, "DISCARDED_AT_ONCE", 1)
        self.agree()

    def test_also_if_pieces_are_tiny(self) -> None:
        for module, name, number in (
            (arrivals, "PIECE", 3),
            (arrivals, "MERGED_MAX", 2),
            (named_queue, "HELD_PIECE", 3),
            (named_queue, "PIECE", 2),
            (lanes, "PIECE", 2),
            (lanes, "RANGE_BITS", 1),
            (items, "ITEM_MESSAGES", 2),
        ):
            self.patch(module, name, number)
        self.agree()
