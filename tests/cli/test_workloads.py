"""What the clients of the benchmark call, against the machines themselves: no cluster, no reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.cli.bench_load import Wanted
from txraft.cli.workloads import WATCHES_MAX, WORKLOADS, Workload
from txraft.client import watches
from txraft.client.events import Event
from txraft.errors import NotApplied

MACHINES = {
    "counter": "txraft.machines.counter.Counter",
    "queue": "txraft.machines.work_queue.WorkQueue",
    "config": "txraft.machines.config_store.ConfigStore",
}


class FakeWatch:
    """One that was told where to begin."""

    def __init__(self, topic: bytes) -> None:
        self.topic = topic
        self.stopped = False
        self.started: Deferred[Any] = Deferred()
        self.started.callback((1, 0))

    def on_event(self, callback: Any) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.stopped = True


class FakeClient:
    """Applies what it is asked to at once, as a server alone would; remembers the last answer."""

    def __init__(self) -> None:
        self.driver = Driver(limits=None, time_ms=1_000, **MACHINES)
        self.calls: list[str] = []
        self.answers: list[Any] = []
        self.watches: list[FakeWatch] = []
        self.fail_next: NotApplied | None = None

    def _run(self, call: Any, machine: str, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred[Any]:
        self.calls.append(f"{machine} {operation}")
        if self.fail_next is not None:
            problem, self.fail_next = self.fail_next, None
            return execute(_raise, problem)
        declaration = self.driver.host.hosted(machine).loaded.declaration
        declared = declaration.commands.get(operation) or declaration.queries[operation]
        named = dict(zip(declared.parameters, args, strict=False)) | kwargs
        self.answers.append(call(machine, operation, **named))
        return execute(lambda: self.answers[-1])

    def command(self, machine: str, command: str, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return self._run(self.driver.call, machine, command, args, kwargs)

    def query(self, machine: str, query: str, /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return self._run(self.driver.ask, machine, query, args, kwargs)

    def watch(self, machine: str, topic: bytes) -> FakeWatch:
        self.watches.append(FakeWatch(topic))
        return self.watches[-1]


def _raise(problem: Exception) -> None:
    raise problem


class WorkloadCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = FakeClient()

    def workload(self, operation: str, **wanted: Any) -> Workload:
        """Prepared, with one client."""
        given = {"clients": 2, "connections": 1, "seconds": 1.0, "keys": 3, **wanted}
        workload = WORKLOADS[operation](Wanted(operation=operation, **given))
        self.successResultOf(workload.greet(self.client))  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(workload.prepare([self.client])))  # type: ignore[list-item]
        self.client.calls.clear()
        return workload

    def called(self, workload: Workload, times: int) -> list[str]:
        """Have the first client call so often; what it called."""
        call = workload.call(self.client, 0)  # type: ignore[arg-type]
        for _ in range(times):
            self.successResultOf(call())
        return self.client.calls

    def finish(self, workload: Workload) -> None:
        self.successResultOf(Deferred.fromCoroutine(workload.finish(Clock(), [self.client])))  # type: ignore[list-item]

    def ask(self, machine: str, query: str, **arguments: Any) -> Any:
        return self.client.driver.ask(machine, query, **arguments)


class ClosedLoops(WorkloadCase):
    def test_add_goes_round_the_counters(self) -> None:
        self.assertEqual(self.called(self.workload("add"), 4), ["counter add"] * 4)
        page = self.ask("counter", "list", prefix="bench-")
        self.assertEqual([counter["value"] for counter in page["counters"]], [2, 1, 1])

    def test_clients_begin_at_different_counters(self) -> None:
        workload = self.workload("add", keys=1_000)
        for number in range(10):
            self.successResultOf(workload.call(self.client, number)())  # type: ignore[arg-type]
        self.assertEqual(len(self.ask("counter", "list", prefix="bench-")["counters"]), 10)

    def test_get_asks_for_counters(self) -> None:
        self.called(self.workload("add"), 1)
        self.client.calls.clear()
        self.assertEqual(self.called(self.workload("get"), 3), ["counter get"] * 3)
        self.assertEqual(self.client.answers[-3:], [1, None, None])

    def test_put_writes_values_of_the_wanted_size(self) -> None:
        self.assertEqual(self.called(self.workload("put", bytes=5), 4), ["config put"] * 4)
        kvs = self.ask("config", "range", key=b"bench/", prefix=True)["kvs"]
        self.assertEqual([(kv["version"], len(kv["value"])) for kv in kvs], [(2, 5), (1, 5), (1, 5)])

    def test_read_finds_every_key_written(self) -> None:
        self.assertEqual(self.called(self.workload("read", keys=300, bytes=10_000), 300), ["config get"] * 300)
        self.assertEqual([len(kv["value"]) for kv in self.client.answers[-300:]], [10_000] * 300)

    def test_range_finds_a_thousand_keys(self) -> None:
        self.called(self.workload("range", keys=1_200), 3)
        self.assertEqual([len(answer["kvs"]) for answer in self.client.answers[-3:]], [1_000] * 3)

    def test_range_of_fewer_keys_finds_them_all(self) -> None:
        self.called(self.workload("range", keys=7), 1)
        self.assertEqual(len(self.client.answers[-1]["kvs"]), 7)


class QueueCycles(WorkloadCase):
    def test_each_message_is_put_taken_and_acknowledged(self) -> None:
        workload = self.workload("queue")
        self.assertEqual(self.called(workload, 7), ["queue put", "queue take", "queue ack"] * 2 + ["queue put"])
        self.assertEqual(self.ask("queue", "stats", queue="bench")["ready"], 1)
        self.assertEqual(workload.further(0.5)["cycles_rate"], 4.0)
        self.finish(workload)
        self.assertEqual(self.ask("queue", "list")["queues"], [])

    def test_after_a_failure_it_begins_again(self) -> None:
        workload = self.workload("queue")
        call = workload.call(self.client, 0)  # type: ignore[arg-type]
        self.successResultOf(call())
        self.client.fail_next = NotApplied("overloaded")
        self.failureResultOf(call(), NotApplied)
        for _ in range(3):
            self.successResultOf(call())
        self.assertEqual(self.client.calls, ["queue put", "queue take", "queue put", "queue take", "queue ack"])

    def test_what_an_earlier_run_left_is_gone(self) -> None:
        self.called(self.workload("queue"), 1)
        self.workload("queue")
        self.assertEqual(self.ask("queue", "stats", queue="bench")["ready"], 0)


class Leases(WorkloadCase):
    def test_each_is_kept_alive_in_its_time(self) -> None:
        workload = self.workload("lease", keys=6, every_s=9.0)
        self.assertEqual((workload.clients, workload.every_s), (2, 3.0))
        self.assertEqual(self.called(workload, 4), ["config lease_keep_alive"] * 4)
        kept = [answer["id"] for answer in self.client.answers[-4:]]
        self.assertEqual((len(set(kept)), kept[0]), (3, kept[3]))
        self.assertEqual([answer["ttl_s"] for answer in self.client.answers[-4:]], [27] * 4)
        self.assertEqual(len(self.ask("config", "leases")["leases"]), 6)
        self.finish(workload)
        self.assertEqual(self.ask("config", "leases")["leases"], [])

    def test_no_client_is_without_a_lease(self) -> None:
        self.assertEqual(self.workload("lease", clients=8, keys=3, every_s=5.0).clients, 3)


class WatchedKeys(WorkloadCase):
    def test_each_key_has_a_watcher_and_every_event_is_timed(self) -> None:
        workload = self.workload("watch")
        self.assertEqual([watch.topic for watch in self.client.watches], [b"bench/%09d" % number for number in range(3)])
        self.called(workload, 2)
        for number in range(2):
            self.client.watches[number].callback(Event(number + 2, b"bench/%09d" % number, {}, (number + 3, 0)))
        self.finish(workload)
        self.assertEqual([watch.stopped for watch in self.client.watches], [True] * 3)
        further = workload.further(1.0)
        self.assertEqual(further["events"], 2)
        self.assertTrue(0 <= further["event_p50_ms"] <= further["event_p99_ms"])

    def test_more_watches_than_connections_allow(self) -> None:
        workload = WORKLOADS["watch"](Wanted(64, 2, 1.0, "watch", 2_049))
        self.assertIn("1,024 watches", workload.problem)
        self.assertEqual(WORKLOADS["watch"](Wanted(64, 2, 1.0, "watch", 2_048)).problem, "")

    def test_as_many_as_a_client_allows(self) -> None:
        self.assertEqual(WATCHES_MAX, watches.WATCHES_MAX)
