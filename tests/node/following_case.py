"""Three nodes, and questions to any of them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node_cluster import NodeCluster
from txraft.errors import NotApplied
from txraft.node.node import Node
from txraft.statemachine.results import Answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import Ask


class FollowingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = NodeCluster(self.mktemp(), 3)
        self.cluster.start()
        self.addCleanup(self.cluster.stop_all)
        self.leader = self.cluster.leader()
        self.add(1)
        self.cluster.advance(0.5)
        self.follower, self.other = self.cluster.followers()
        self.deliver = self.cluster.deliver

    def add(self, amount: int) -> Answer:
        answer = self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=amount)
        self.cluster.advance(0.3)
        return self.successResultOf(answer)

    def ask(self, node: Node, consistency: Any = "linearizable", **more: int) -> Deferred[Answer]:
        return node.gate.call(Ask(0, "counter", "get", Raw(encode_value({"name": "a"})), consistency, **more))

    def hold_messages_to(self, node: Node) -> list[tuple[str, str, bytes]]:
        """Messages to a node wait from now on: sender, receiver and frame of each."""
        held: list[tuple[str, str, bytes]] = []

        def deliver(sender: str, to: str, frame: bytes) -> None:
            if to == node.config.name:
                held.append((sender, to, frame))
            else:
                self.deliver(sender, to, frame)

        self.patch(self.cluster, "deliver", deliver)
        return held

    def let_pass(self) -> None:
        self.patch(self.cluster, "deliver", self.deliver)

    def code(self, answer: Deferred[Answer]) -> str:
        return self.code_of(self.successResultOf(answer))

    def code_of(self, answer: Answer) -> str:
        problem = answer.problem()
        self.assertTrue(isinstance(problem, NotApplied) and problem.retryable, problem)
        return problem.code

    def ask_within(self, node: Node, staleness_ms: int) -> Any:
        """What a node answers at once: a value or a code."""
        answer = self.ask(node, "local", max_staleness_ms=staleness_ms)
        self.cluster.advance(0.01)
        outcome = self.successResultOf(answer)
        return outcome.value() if outcome.outcome == 0 else self.code_of(outcome)
