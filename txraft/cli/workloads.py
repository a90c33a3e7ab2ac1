"""What the clients of `txraft bench` call, over and over: commands and queries of the machines that come along."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from txraft.cli.bench_load import Wanted, quantile_ms

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from txraft.client import Client
    from txraft.client.events import Event
    from txraft.client.watch import Watch

__all__ = ["WORKLOADS", "Workload"]

Call = Callable[[], "Deferred[Any]"]

QUEUE = "bench"
PREFIX = b"bench/"
STEP = 7919
"""Clients begin at different places."""

TXN_PUTS_MAX = 128
TXN_BYTES_MAX = 500_000
RANGE_KEYS = 1_000
TOGETHER = 256
"""Calls under way while things are prepared."""

EVENTS_WAIT_S = 2.0
WATCHES_MAX = 1_024
"""Of one client; that of `txraft.client` would import Twisted, which is not needed to print the help."""


class Workload:
    """Counters that are added to; the base of the others.

    Args:
        wanted: by the command line.

    Attributes:
        about: for a list of operations.
        things: what `--keys` counts.
        clients: how many; not more than make sense.
        every_s: see `Load`.
    """

    about = "add to counters"
    things = "counters"

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.clients = wanted.clients
        self.every_s = 0.0
        self.names = [f"bench-{number}" for number in range(wanted.keys)]

    @property
    def over(self) -> str:
        """For people."""
        return f"{self.wanted.keys:,} {self.things}"

    @property
    def problem(self) -> str:
        """Why it cannot be done as it is wanted; "" if it can."""
        return ""

    def greet(self, client: Client) -> Deferred[Any]:
        """A command that changes nothing: it finds the leader and opens a session."""
        return client.command("counter", "add", "bench-0", 0)

    async def prepare(self, clients: Sequence[Client]) -> None:
        """What is not measured."""

    def call(self, client: Client, number: int) -> Call:
        """The next call of one client."""
        names, steps, keys = self.names, count(number * STEP), self.wanted.keys
        return lambda: client.command("counter", "add", names[next(steps) % keys], 1)

    async def finish(self, reactor: Any, clients: Sequence[Client]) -> None:
        """Leave nothing behind that would go on working."""

    def further(self, seconds: float) -> dict[str, float]:
        """Figures besides those that all have."""
        return {}


class Gets(Workload):
    """Counters that are asked for."""

    about = "counters' values, linearizable"

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        names, steps, keys = self.names, count(number * STEP), self.wanted.keys
        return lambda: client.query("counter", "get", names[next(steps) % keys])


class Puts(Workload):
    """Keys of the config store that are written."""

    about = "write keys of the config store"
    things = "keys"

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.keys = [PREFIX + b"%09d" % number for number in range(wanted.keys)]
        self.value = bytes(wanted.bytes)

    def greet(self, client: Client) -> Deferred[Any]:
        """See `Workload`."""
        return client.command("config", "txn")

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        keys, value, steps = self.keys, self.value, count(number * STEP)
        return lambda: client.command("config", "put", key=keys[next(steps) % len(keys)], value=value)


class Reads(Puts):
    """Keys that are read one by one."""

    about = "read keys of the config store, linearizable"

    async def prepare(self, clients: Sequence[Client]) -> None:
        """Write the keys."""
        puts: Iterator[Any] = iter([{"op": "put", "key": key, "value": self.value} for key in self.keys])
        each = max(1, min(TXN_PUTS_MAX, TXN_BYTES_MAX // (len(self.value) + 100)))
        portions = iter(lambda: list(islice(puts, each)), [])
        await _all(clients, portions, lambda client, portion: client.command("config", "txn", success=portion))

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        keys, steps = self.keys, count(number * STEP)
        return lambda: client.query("config", "get", keys[next(steps) % len(keys)])


class Ranges(Reads):
    """Keys that are read a thousand at a time."""

    about = f"read {RANGE_KEYS:,} keys of the config store at once, linearizable"

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        firsts, steps = self.keys[: max(1, len(self.keys) - RANGE_KEYS)], count(number * STEP)

        def ask() -> Deferred[Any]:
            first = firsts[next(steps) % len(firsts)]
            return client.query("config", "range", key=first, range_end=PREFIX + b":", limit=RANGE_KEYS)

        return ask


class Cycles(Workload):
    """Messages: put, taken, acknowledged. Each of the three is an operation."""

    about = "put a message, take one, acknowledge it: each an operation"
    things = "queue"

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.body = bytes(wanted.bytes)
        self.cycles_s: array[float] = array("d")

    @property
    def over(self) -> str:
        """See `Workload`."""
        return "one queue"

    def greet(self, client: Client) -> Deferred[Any]:
        """See `Workload`."""
        return client.command("queue", "configure", QUEUE)

    async def prepare(self, clients: Sequence[Client]) -> None:
        """Begin with an empty queue."""
        await clients[0].command("queue", "purge", QUEUE)

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        body, clock, cycles = self.body, time.perf_counter, self.cycles_s.append
        step, receipt, begun = 0, "", 0.0

        def follow() -> Deferred[Any]:
            nonlocal step, begun
            now, step = step, 0  # whatever fails, the next call is a put
            if now == 0:
                begun = clock()
                return client.command("queue", "put", queue=QUEUE, body=body).addCallback(put)
            if now == 1:
                return client.command("queue", "take", queue=QUEUE).addCallback(taken)
            return client.command("queue", "ack", queue=QUEUE, receipt=receipt).addCallback(acknowledged)

        def put(_: Any) -> None:
            nonlocal step
            step = 1

        def taken(messages: list[dict[str, Any]]) -> None:
            nonlocal step, receipt
            if messages:
                step, receipt = 2, messages[0]["receipt"]

        def acknowledged(_: Any) -> None:
            cycles(clock() - begun)

        return follow

    async def finish(self, reactor: Any, clients: Sequence[Client]) -> None:
        """Remove the queue."""
        await clients[0].command("queue", "delete", QUEUE)

    def further(self, seconds: float) -> dict[str, float]:
        """Of cycles."""
        ordered = sorted(self.cycles_s)
        rate = round(len(ordered) / seconds, 1) if seconds > 0 else 0.0
        return {"cycles_rate": rate, "cycle_p50_ms": quantile_ms(ordered, 0.5), "cycle_p99_ms": quantile_ms(ordered, 0.99)}


class KeepAlives(Workload):
    """Leases of the config store that are kept alive."""

    about = "keep leases alive, each of them every so many seconds"
    things = "leases"

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.clients = min(wanted.clients, wanted.keys)
        self.every_s = wanted.every_s * self.clients / wanted.keys
        self.ids: list[int] = []

    def greet(self, client: Client) -> Deferred[Any]:
        """See `Workload`."""
        return client.command("config", "txn")

    async def prepare(self, clients: Sequence[Client]) -> None:
        """Grant the leases."""
        ttl_s = max(5, round(3 * self.wanted.every_s))
        granted = await _all(clients, iter(range(self.wanted.keys)), lambda client, _: client.command("config", "lease_grant", ttl_s))
        self.ids = [lease["id"] for lease in granted]

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        own, steps = self.ids[number :: self.clients], count()
        return lambda: client.command("config", "lease_keep_alive", id=own[next(steps) % len(own)])

    async def finish(self, reactor: Any, clients: Sequence[Client]) -> None:
        """Revoke them."""
        await _all(clients, iter(self.ids), lambda client, lease: client.command("config", "lease_revoke", lease))


class Watches(Puts):
    """Keys that are written while each has a watcher."""

    about = "write keys of the config store while each of them is watched"
    things = "watched keys"

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.written_at: dict[bytes, float] = {}
        self.written = 0
        self.delays_s: array[float] = array("d")
        self.watches: list[Watch] = []

    @property
    def problem(self) -> str:
        """See `Workload`."""
        if self.wanted.keys <= WATCHES_MAX * self.wanted.connections:
            return ""
        return f"a connection has at most {WATCHES_MAX:,} watches: give more --connections (and --clients), or fewer --keys"

    async def prepare(self, clients: Sequence[Client]) -> None:
        """Watch them."""

        def watch(client: Client, key: bytes) -> Deferred[Any]:
            watch = client.watch("config", key)
            watch.on_event(self._seen)
            self.watches.append(watch)
            return watch.started

        await _all(clients, iter(self.keys), watch)

    def _seen(self, event: Event) -> None:
        self.delays_s.append(time.perf_counter() - self.written_at[event.topic])  # type: ignore[index]

    def call(self, client: Client, number: int) -> Call:
        """See `Workload`."""
        keys, value, steps, written_at = self.keys, self.value, count(number * STEP), self.written_at

        def put() -> Deferred[Any]:
            key = keys[next(steps) % len(keys)]
            written_at[key] = time.perf_counter()
            return client.command("config", "put", key=key, value=value).addCallback(written)

        def written(answer: Any) -> Any:
            self.written += 1
            return answer

        return put

    async def finish(self, reactor: Any, clients: Sequence[Client]) -> None:
        """Wait for the last events, and stop."""
        from twisted.internet.task import deferLater

        give_up_at = time.perf_counter() + EVENTS_WAIT_S
        while len(self.delays_s) < self.written and time.perf_counter() < give_up_at:
            await deferLater(reactor, 0.05)
        for watch in self.watches:
            watch.stop()

    def further(self, seconds: float) -> dict[str, float]:
        """Of events; the time is from the call of the last put of that key to the event."""
        ordered = sorted(self.delays_s)
        return {"events": len(ordered), "event_p50_ms": quantile_ms(ordered, 0.5), "event_p99_ms": quantile_ms(ordered, 0.99)}


async def _all(clients: Sequence[Client], items: Iterator[Any], call: Callable[[Client, Any], Deferred[Any]]) -> list[Any]:
    """Call for each item, some at once, on all connections alike."""
    from twisted.internet.defer import gatherResults

    results: list[Any] = []
    while portion := list(islice(items, TOGETHER)):
        results += await gatherResults(
            [call(clients[number % len(clients)], item) for number, item in enumerate(portion)], consumeErrors=True
        )
    return results


WORKLOADS: dict[str, type[Workload]] = {
    "add": Workload,
    "get": Gets,
    "put": Puts,
    "read": Reads,
    "range": Ranges,
    "queue": Cycles,
    "lease": KeepAlives,
    "watch": Watches,
}
"""By the name of the operation."""
