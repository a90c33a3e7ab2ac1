"""Any commands, against a model that is as simple as can be: results, leases in time, changes page by page, snapshots at any moment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.machines.config_store.case import CONFIG_STORE, TermDriver
from tests.machines.config_store.model import ConfigModel
from tests.support.config_operations import KEYS, Operations
from txraft.errors import Outcome
from txraft.machines.config_store import changes, leases, settled, state, store, versions

COMMANDS = ("put", "delete", "txn", "compact", "lease_grant", "lease_keep_alive", "lease_revoke")


sources = st.integers(0, 2**32).map(random.Random)
"""Seeds: what an operation draws is far more than hypothesis would vary in reasonable time."""


class ConfigStoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driver = TermDriver(config=CONFIG_STORE)
        self.model = ConfigModel()
        self.model.now_ms = self.driver.time_ms
        self.views: list[tuple[Iterator[Any], list[Any]]] = []

    def operations(self, source: random.Random) -> Operations:
        operations = Operations(source, ttl_s=4)
        operations.newest, operations.compacted = self.model.revision, self.model.compacted
        return operations

    def run_both(self, name: str, asked: dict[str, Any]) -> None:
        # An operation of the log that brings another term gives all leases their time, before it does anything.
        if name in COMMANDS and self.driver.term != self.term_seen and not self.is_refused_unseen(name, asked):
            self.model.full_time_again()
            self.term_seen = self.driver.term
        try:
            ours = (self.driver.call if name in COMMANDS else self.driver.ask)("config", name, **asked)
        except Outcome as problem:
            ours = problem.code
        assert ours == self.model.run(name, asked), (name, asked)

    term_seen = 1

    def is_refused_unseen(self, name: str, asked: dict[str, Any]) -> bool:
        """Whether the command does not reach the log."""
        return name == "lease_grant" and asked["ttl_s"] > 9_000_000_000

    @rule(source=sources, count=st.integers(5, 20))
    def operate(self, source: random.Random, count: int) -> None:
        for _ in range(count):
            name, asked = self.operations(source).draw()
            if name != "leases":
                self.run_both(name, asked)

    @rule(source=sources)
    def compact(self, source: random.Random) -> None:
        self.run_both("compact", self.operations(source).compact())

    @rule(lease=st.integers(1, 5), key=st.sampled_from(KEYS), again=st.booleans())
    def hold(self, lease: int, key: bytes, again: bool) -> None:
        if again:
            self.run_both("lease_keep_alive", {"id": lease})
        else:
            self.run_both("lease_grant", {"id": lease, "ttl_s": 3 + lease})
        self.run_both("put", {"key": key, "lease": lease})

    @rule(milliseconds=st.sampled_from([5_000, 3_000, 1_000, 500, 1]))
    def time_passes(self, milliseconds: int) -> None:
        self.model.now_ms = self.driver.time_ms = self.driver.time_ms + milliseconds
        deadline_ms = self.driver.host.deadline_ms()
        if self.driver.term != self.term_seen and deadline_ms is not None and deadline_ms <= self.driver.time_ms:
            self.model.full_time_again()
            self.term_seen = self.driver.term
        self.driver.clock(self.driver.time_ms)
        while (deadline_ms := self.driver.host.deadline_ms()) is not None and deadline_ms <= self.driver.time_ms + leases.EXPIRE_PAUSE_MS:
            if milliseconds > 1_000:
                self.driver.swap_in_restored()
            self.driver.clock(deadline_ms)  # the next portion
        self.model.now_ms = self.driver.time_ms
        # A machine learns of time from what it runs: the least that can be asked of it.
        self.run_both("lease_revoke", {"id": 999})
        self.model.expire()

    @rule()
    def another_leader(self) -> None:
        self.driver.term += 1

    @rule()
    def restart(self) -> None:
        self.driver.swap_in_restored()

    @rule()
    def take_a_view(self) -> None:
        """It is read later, and shows what is there now."""
        machine = self.driver.host.hosted("config").machine
        self.views.append((machine.snapshot(), list(machine.snapshot())))

    @precondition(lambda self: self.views)
    @rule(source=sources, count=st.integers(1, 5))
    def read_a_view(self, source: random.Random, count: int) -> None:
        items, expected = source.choice(self.views)
        found = list(islice(items, count))
        assert found == expected[: len(found)]
        del expected[: len(found)]

    def teardown(self) -> None:
        for items, expected in self.views:
            assert list(items) == expected

    @rule(source=sources, topic=st.sampled_from([b"", *KEYS]), prefix=st.booleans(), skip=st.integers(0, 3))
    def watch(self, source: random.Random, topic: bytes, prefix: bool, skip: int) -> None:
        history: Any = self.driver.host.hosted("config").history
        assert (history.oldest, history.newest) == (max(1, self.model.compacted), self.model.revision)
        first = source.randint(history.oldest, history.newest + 2)
        expected, passed = [], skip
        for revision, key, kv in self.model.events():
            if revision == first and passed:
                passed -= 1
            elif revision >= first and (key.startswith(topic) if prefix else key == topic):
                fields = {"type": "put" if kv["version"] else "delete", "kv": kv}
                expected.append({"index": revision, "topic": key, "fields": fields})
        found, place = [], (first, skip)
        for _ in range(10 * len(self.model.changes) + 10):
            page = history.read(topic, prefix, *place)
            found += page.events
            if (page.next, page.skip) == place or page.next > history.newest:
                break
            assert (page.next, page.skip) > place
            place = (page.next, page.skip)
        assert found == expected
        assert (page.next, page.skip) == ((first, skip) if first > history.newest else (history.newest + 1, 0))

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        everything: dict[str, Any] = {"prefix": True}
        assert self.driver.ask("config", "range", **everything) == self.model.range(**everything)
        assert self.driver.ask("config", "leases")["leases"] == sorted(self.model.leases)
        assert not self.driver.failures
        for key in KEYS:
            kept = [kv for at, one, kv in self.model.changes if one == key and at >= self.model.compacted]
            base = self.model.state(self.model.compacted).get(key) if self.model.compacted else None
            kept = [base, *kept] if base is not None and base["mod_revision"] < self.model.compacted else kept
            assert self.driver.ask("config", "history", key=key)["versions"] == kept


class AnyCommands(SynchronousTestCase):
    """A failure shows the commands that led to it."""

    def setUp(self) -> None:
        # Small, so that pages and portions end and compactions are under way at any moment.
        self.patch(changes, "EVENTS_BYTES_MAX", 1_000)
        self.patch(changes, "OTHERS_MAX", 3)
        self.patch(leases, "EXPIRE_STEPS_MAX", 2)
        self.patch(store, "SWEPT_BY_COMPACTION", 2)
        self.patch(store, "SWEPT_BY_OTHERS", 1)
        self.patch(store, "PIECE", 5)
        self.patch(versions, "PIECE", 5)
        self.patch(settled, "PIECE", 3)
        self.patch(settled, "PIECE_MIN", 2)
        self.patch(state, "ITEM_BYTES", 100)
        self.patch(state, "LEASES_PER_ITEM", 2)

    def test_the_config_store_is_its_model(self) -> None:
        run_state_machine_as_test(ConfigStoreMachine, settings=settings(deadline=None, max_examples=100, stateful_step_count=60))
