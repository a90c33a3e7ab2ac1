"""A watch as a client makes it: polls one after the other, each at whichever node is there."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.node_cluster import NodeCluster
from txraft.errors import NotApplied
from txraft.statemachine.results import Answer
from txraft.wire.requests import PollRequest


class WatchChain:
    """Attributes:
    seen: index, number and topic of all events, in the order in which they came.
    hops: how often it went on at another node.
    """

    def __init__(self, cluster: NodeCluster, random: Random, topic: str = "", *, first: int = 1, wait_ms: int = 500) -> None:
        self.cluster, self.random, self.topic, self.wait_ms = cluster, random, topic, wait_ms
        self.place = (first, 0)
        self.seen: list[tuple[int, int, str]] = []
        self.hops = 0
        self._asked: tuple[str, Deferred[Answer]] | None = None
        self._last = ""

    def go_on(self) -> None:
        """Take what has been answered, and ask on. A node that is gone answers nothing: the watch asks another."""
        if self._asked is not None:
            name, answer = self._asked
            if name not in self.cluster.nodes:
                answer.addErrback(lambda _: None)
                self._asked = None
            elif answer.called:
                self._asked = None
                answer.addCallback(self._answered)
                answer.addErrback(self._problem)
        if self._asked is None and self.cluster.nodes:
            name = self.random.choice(sorted(self.cluster.nodes))
            self.hops += name != self._last
            self._last = name
            first, skip = self.place
            request = PollRequest(0, "bell", self.topic.encode(), True, first, skip, self.wait_ms)
            self._asked = name, self.cluster.nodes[name].gate.call(request)

    def _answered(self, answer: Answer) -> None:
        value: dict[str, Any] = answer.value()
        self.seen += [(event["index"], event["fields"]["number"], event["topic"]) for event in value["events"]]
        self.place = value["next"], value["skip"]

    def _problem(self, failure: Any) -> None:
        problem = failure.trap(NotApplied) and failure.value
        assert problem.retryable, problem
