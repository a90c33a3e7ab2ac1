"""The closed loop and its figures, without reactor and cluster."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any

from attrs import asdict, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.bench_load import PAUSE_AFTER_ERROR_S, Figures, Load, Wanted
from txraft.errors import NotApplied, Unknown

WANTED = Wanted(clients=2, connections=1, seconds=2.0, operation="add", keys=10)


class ClosedLoop(SynchronousTestCase):
    """Each client waits for its answer."""

    def setUp(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.load = Load(lambda delay, call: self.later.append((delay, call)))
        self.under_way: list[Deferred[Any]] = []

    def call(self) -> Deferred[Any]:
        self.under_way.append(Deferred())
        return self.under_way[-1]

    def test_every_client_has_one_call_under_way(self) -> None:
        self.load.start([self.call, self.call], math.inf)
        self.assertEqual(len(self.under_way), 2)
        self.under_way[0].callback(5)
        self.under_way[2].callback(6)
        self.assertEqual(len(self.under_way), 4)
        self.assertEqual(len(self.load.latencies_s), 2)
        self.assertTrue(all(latency >= 0 for latency in self.load.latencies_s))

    def test_when_the_time_is_up_nobody_calls_again(self) -> None:
        self.load.start([self.call], -math.inf)
        self.under_way[0].callback(5)
        self.assertEqual((len(self.under_way), len(self.load.latencies_s)), (1, 1))

    def test_errors_are_counted_by_kind_and_followed_by_a_pause(self) -> None:
        self.load.start([self.call] * 3, math.inf)
        self.under_way[0].errback(NotApplied("overloaded"))
        self.under_way[1].errback(NotApplied("overloaded"))
        self.under_way[2].errback(Unknown("timeout"))
        self.assertEqual(dict(self.load.errors), {"not_applied:overloaded": 2, "unknown:timeout": 1})
        self.assertEqual(([delay for delay, _ in self.later], len(self.under_way)), ([PAUSE_AFTER_ERROR_S] * 3, 3))
        self.later[0][1]()
        self.assertEqual(len(self.under_way), 4)
        self.assertEqual(len(self.load.latencies_s), 0)

    def test_a_pace_spreads_the_clients_and_is_kept(self) -> None:
        self.load.every_s = 4.0
        self.load.start([self.call, self.call], math.inf)
        self.assertEqual((len(self.under_way), [delay for delay, _ in self.later]), (1, [2.0]))
        self.later[0][1]()
        self.assertEqual(len(self.under_way), 2)
        self.under_way[0].callback(5)
        self.assertEqual((len(self.under_way), len(self.later)), (2, 2), "it does not call at once")
        self.assertTrue(3.0 < self.later[1][0] <= 4.0, self.later)
        self.under_way[1].errback(Unknown("timeout"))
        self.assertEqual(self.later[2][0], 4.0)

    def test_a_pace_ends_with_the_time(self) -> None:
        self.load.every_s = 4.0
        self.load.start([self.call], -math.inf)
        self.under_way[0].callback(5)
        self.assertEqual((len(self.under_way), self.later), (1, []))


class Result(SynchronousTestCase):
    """From latencies to figures."""

    def test_quantiles_and_rate(self) -> None:
        load = Load(lambda delay, call: None, array("d", [number / 1000 for number in range(101, 0, -1)]))
        figures = Figures.of(WANTED, load, 2.0)
        self.assertEqual((figures.done, figures.rate), (101, 50.5))
        self.assertEqual((figures.p50_ms, figures.p99_ms, figures.max_ms), (51.0, 100.0, 101.0))
        self.assertIn("errors: none", figures.text("10 counters"))

    def test_nothing_done(self) -> None:
        load = Load(lambda delay, call: None)
        load.errors["not_applied:no_leader"] = 3
        figures = Figures.of(WANTED, load, 2.0)
        self.assertEqual((figures.done, figures.rate, figures.p99_ms, figures.errors), (0, 0.0, 0.0, {"not_applied:no_leader": 3}))
        self.assertIn("errors: 3 not_applied:no_leader", figures.text("10 counters"))

    def test_further_figures_are_a_line_of_their_own(self) -> None:
        figures = evolve(Figures.of(WANTED, Load(lambda delay, call: None), 2.0), further={"cycles_rate": 1234.5})
        self.assertEqual(figures.text("one queue").splitlines()[2], "cycles_rate 1,234.5")
        self.assertEqual(asdict(figures)["further"], {"cycles_rate": 1234.5})
