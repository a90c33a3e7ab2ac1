"""What the tests of `Client` have in common."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_server import FakeCluster, FakeReactor, FakeServer
from txraft.client import Client
from txraft.errors import Outcome

E = TypeVar("E", bound=Outcome)

ADDRESSES = ("10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3")


class ClientTestCase(SynchronousTestCase):
    """Three servers and a client of them. At the end of each test the client is closed: no timer may be left."""

    timeout_s = 10.0

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.cluster = FakeCluster()
        self.servers = self.reactor.serve(self.cluster, *ADDRESSES)
        self.addCleanup(self.check_nothing_is_left)
        self.client = self.make_client()

    def make_client(self, *endpoints: str, **options: Any) -> Client:
        options = {"timeout_s": self.timeout_s, "monotonic": self.reactor.seconds, "rng": random.Random(1), **options}
        client = Client(self.reactor, endpoints or ADDRESSES, **options)
        self.addCleanup(self.check_closes, client)
        return client

    def check_closes(self, client: Client) -> None:
        closed = client.close()
        self.reactor.settle()
        self.reactor.pump([0.5] * 5)
        self.successResultOf(closed)

    def check_nothing_is_left(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        for server in self.servers:
            self.assertEqual(server.connections, [])

    def add(self, amount: int = 1, **options: Any) -> Deferred[Any]:
        """An addition; what it comes to is the test's to ask."""
        call = self.client.command("counter", "add", amount, **options)
        self.addCleanup(call.addErrback, lambda _: None)
        return call

    def result(self, call: Deferred[Any]) -> Any:
        """What the call comes to without time passing."""
        self.reactor.settle()
        return self.successResultOf(call)

    def problem(self, call: Deferred[Any], kind: type[E]) -> E:
        """What the call fails with."""
        self.reactor.settle()
        problem = self.failureResultOf(call, kind).value
        assert isinstance(problem, kind)
        return problem

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps."""
        self.reactor.pump([0.01] * round(seconds * 100))
        self.reactor.settle()

    def open_session(self, server: FakeServer | None = None) -> int:
        """Have the client open its session; the session's id."""
        self.result(self.add(0))
        return max(self.cluster.sessions)
