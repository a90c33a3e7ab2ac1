"""A client among servers that do their worst, by chance but repeatably: what it tells is always true."""

from __future__ import annotations

import functools
import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.support.client_case import ADDRESSES, ClientTestCase
from tests.support.fake_server import FakeConnection, FakeServer, not_leader, problem
from txraft.errors import NotApplied, Unknown
from txraft.wire.requests import Request, Requests

SEEDS = range(30)


class Mischief:
    """Answers as chance has it: at once, never, later, wrongly addressed, of two minds; and applies late what it had seemed to forget."""

    def __init__(self, rng: random.Random, servers: list[FakeServer]) -> None:
        self._rng = rng
        self._servers = servers
        self._leaderless = 0
        self._held: list[tuple[FakeServer, FakeConnection | None, Requests, Request]] = []
        for server in servers:
            server.behave = self._of(server)

    def _of(self, server: FakeServer) -> Any:
        def behave(frame: Requests, request: Request) -> bytes | None:
            if self._leaderless:
                return problem(NotApplied("no_leader"))(frame, request)
            dice = self._rng.random()
            if dice < 0.55:
                return server.lead(frame, request)
            if dice < 0.65:
                server.lead(frame, request)
                return problem(Unknown("leadership_lost"))(frame, request)
            if dice < 0.75:
                connection = server.connections[-1] if server.connections else None
                self._held.append((server, connection, frame, request))
                return problem(Unknown("timeout"))(frame, request) if dice < 0.68 else None
            if dice < 0.82:
                server.lead(frame, request)
                return None
            if dice < 0.91:
                return not_leader(self._rng.choice(ADDRESSES))(frame, request)
            return problem(NotApplied(self._rng.choice(["no_leader", "overloaded", "not_ready", "leadership_lost"])))(frame, request)

        return behave

    def act(self) -> None:
        """Something happens to the servers."""
        dice = self._rng.random()
        if dice < 0.15:
            self._rng.choice(self._servers).hang_up()
        elif dice < 0.17:
            self._servers[0].cluster.expire_sessions()
        elif dice < 0.6:
            self.let_go(1)
        self._leaderless = max(0, self._leaderless - 1) if self._leaderless or dice < 0.95 else 30

    def let_go(self, count: int) -> None:
        """Apply what was held back, and answer it if its connection is still there."""
        for _ in range(min(count, len(self._held))):
            server, connection, frame, request = self._held.pop(self._rng.randrange(len(self._held)))
            answer = server.lead(frame, request)
            if connection is not None and answer is not None:
                connection.reply(request, answer)

    @property
    def held(self) -> int:
        return len(self._held)


class ChanceTests(ClientTestCase):
    timeout_s = 4.0

    def test_what_is_told_of_a_command_is_true(self) -> None:
        outcomes: dict[str, int] = {}
        for seed in SEEDS:
            self.run_one(seed, outcomes)
        # All that can be told was told often enough for the test to mean something.
        self.assertGreater(outcomes["int"], 30 * len(SEEDS))
        for told in ("NotApplied", "Unknown", "CancelledError"):
            self.assertGreater(outcomes.get(told, 0), len(SEEDS), outcomes)

    def run_one(self, seed: int, outcomes: dict[str, int]) -> None:
        rng = random.Random(seed)
        client = self.make_client(rng=random.Random(seed))
        mischief = Mischief(rng, self.servers)
        calls: dict[int, Deferred[Any]] = {}
        results: dict[int, Any] = {}
        for _ in range(60):
            for _ in range(rng.randrange(4)):
                amount = (seed + 1) * 1_000_000 + len(calls)
                calls[amount] = client.command("counter", "add", amount, exactly_once=rng.random() < 0.8)
                calls[amount].addBoth(functools.partial(results.__setitem__, amount))
            if rng.random() < 0.1 and calls:
                calls[rng.choice(list(calls))].cancel()
            mischief.act()
            self.pass_time(rng.choice([0.0, 0.02, 0.3]))
        self.pass_time(self.timeout_s + 0.3)
        mischief.let_go(mischief.held)
        self.assertEqual(results.keys(), calls.keys(), f"seed {seed}")
        for amount, result in results.items():
            self.check(amount, result, f"seed {seed}, {amount}: {result}")
            told = result if isinstance(result, int) else result.value
            outcomes[type(told).__name__] = outcomes.get(type(told).__name__, 0) + 1

    def check(self, amount: int, result: Any, where: str) -> None:
        applied = self.cluster.added.count(amount)
        if isinstance(result, int):
            self.assertEqual(applied, 1, where)
        elif result.check(NotApplied):
            self.assertEqual(applied, 0, where)
        else:
            self.assertTrue(result.check(Unknown, CancelledError), where)
            self.assertLessEqual(applied, 1, where)
