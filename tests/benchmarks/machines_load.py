"""Loads for the machines on the bare native protocol, as lean as `txraftload.py`, on which it rests.

    python -m tests.benchmarks.machines_load --endpoints H:P,H:P,H:P --operation put [--clients 256 --connections 32 --seconds 8]

Closed loops, whose clients each wait for an answer before they ask again:

* `add`: to counters; `put`, `get`, `range`: of the config store, over `--keys` keys, which `fill` writes (and does nothing else);
* `queue`: puts a message into a queue, takes one, acknowledges it; each of the three counts as an operation.

And two that are no closed loops:

* `lease`: `--keys` leases, each kept alive every `--every` seconds, evenly spread over that time;
* `watch`: a watcher for each of `--keys` keys, on all nodes alike, until standard input ends.

One line of JSON, with the figures of `txraft bench --json`. `lease` and `watch` first say `ready`, when all leases are granted and all
watches stand.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from itertools import count, cycle, islice, zip_longest
from typing import Any

from msgspec import Raw
from twisted.internet import stdio, task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tests.benchmarks.txraftload import Connection, Figures
from txraft.addresses import endpoint_string
from txraft.client import Client
from txraft.statemachine.results import OK, decode_answer
from txraft.statemachine.values import encode_value
from txraft.wire.codec import decode_replies, encode_requests
from txraft.wire.hello import ClientWelcome, decode_client_hello_reply
from txraft.wire.requests import Ask, InvokeRequest, PollRequest, Request, Requests

Call = tuple[type[InvokeRequest] | type[Ask], str, str, Raw]
Script = Generator[Call, Any, None]
"""What a client calls, one after the other: it is sent the values that it was answered."""

LEASE_TTL_S = 60
POLL_WAIT_MS = 60_000
FILL_PUTS = 128
TICK_S = 0.0005


def raw(**arguments: Any) -> Raw:
    return Raw(encode_value(arguments))


def key_of(number: int) -> bytes:
    return b"/bench/%010d" % number


def prepared(given: argparse.Namespace) -> Callable[[int], Script]:
    """The scripts of an operation, by the number of the client; arguments are encoded once for all of them."""
    body = bytes(given.bytes)
    if given.operation == "queue":
        put, take = raw(queue="bench", body=body), raw(queue="bench")
        return lambda number: queue_cycles("bench", put, take)
    keys = range(given.first_key, given.first_key + given.keys)
    calls: dict[str, Callable[[int], Call]] = {
        "add": lambda key: (InvokeRequest, "counter", "add", raw(name=f"bench-{key}")),
        "put": lambda key: (InvokeRequest, "config", "put", raw(key=key_of(key), value=body)),
        "get": lambda key: (Ask, "config", "get", raw(key=key_of(key))),
        "range": lambda key: (Ask, "config", "range", raw(key=key_of(key), from_key=True, limit=1_000)),
        "fill": lambda key: (InvokeRequest, "config", "put", raw(key=key_of(key), value=body)),
    }
    if given.operation == "range":
        keys = keys[: max(1, len(keys) - 1_000)]
    all_calls = [calls[given.operation](key) for key in keys]
    return lambda number: in_turn(all_calls, number * 7_919)


def in_turn(calls: list[Call], start: int) -> Script:
    for position in count(start):
        yield calls[position % len(calls)]


def queue_cycles(queue: str, put: Raw, take: Raw) -> Script:
    while True:
        yield InvokeRequest, "queue", "put", put
        taken = yield InvokeRequest, "queue", "take", take
        for message in taken or ():
            yield InvokeRequest, "queue", "ack", raw(queue=queue, receipt=message["receipt"])


class Closed(Connection):
    """Clients on one connection, each with its script; all that have their answers ask again in one frame."""

    def __init__(self, figures: Figures, scripts: list[Script]) -> None:
        super().__init__(figures, "", 1, len(scripts), 0)
        self.scripts = scripts
        self.script_of: dict[int, Script] = {}

    def begin(self) -> None:
        self.ask_for([(script, None) for script in self.scripts])

    def ask_for(self, turns: list[tuple[Script, Any]]) -> None:
        """The next call of each of these clients, which were answered a value."""
        now, requests = time.perf_counter(), list[Request]()
        for script, value in turns:
            kind, machine, operation, arguments = script.send(value)
            self.serial = serial = self.serial + 1
            if kind is InvokeRequest:
                requests.append(InvokeRequest(serial, serial, machine, operation, arguments))
            else:
                requests.append(Ask(serial, machine, operation, arguments))
            self.asked_at[serial] = now
            self.script_of[serial] = script
        self.send(encode_requests(Requests(self.session, min(self.asked_at), requests)))

    def answered(self, frame: bytes) -> None:
        now, figures = time.perf_counter(), self.figures
        turns: list[tuple[Script, Any]] = []
        for reply in decode_replies(frame).replies:
            asked_at, script = self.asked_at.pop(reply.id), self.script_of.pop(reply.id)
            answer = decode_answer(reply.answer)
            if answer.outcome == OK:
                figures.latencies_s.append(now - asked_at)
                turns.append((script, answer.value()))
            else:
                figures.errors[answer.problem().code] += 1
                turns.append((script, None))
        self.go_on(now, turns)

    def go_on(self, now: float, turns: list[tuple[Script, Any]]) -> None:
        if now < self.figures.stop_at:
            self.ask_for(turns)
        elif not self.asked_at:
            self.transport.loseConnection()  # type: ignore[union-attr]


class Paced(Closed):
    """Asks when it is told to, not when it was answered."""

    def begin(self) -> None:
        """Nothing yet."""

    def go_on(self, now: float, turns: list[tuple[Script, Any]]) -> None:
        if now >= self.figures.stop_at:
            self.end()

    def end(self) -> None:
        """No more is asked; close when all is answered."""
        if not self.asked_at:
            self.transport.loseConnection()  # type: ignore[union-attr]


class Watching(Connection):
    """Watches keys, each by a chain of polls."""

    def __init__(self, figures: Figures, keys: list[bytes]) -> None:
        super().__init__(figures, "", 1, 0, 0)
        self.keys = keys
        self.standing: Deferred[None] = Deferred()
        self.events = 0

    def dataReceived(self, data: bytes) -> None:
        # No session: only the leader opens one, and any node answers polls.
        for frame in self.splitter.split(data):
            if self.greeted:
                self.answered(frame)
            else:
                self.greeted = isinstance(decode_client_hello_reply(frame), ClientWelcome)
                self.ready.callback(None)

    def begin(self) -> None:
        self.poll(dict.fromkeys(range(len(self.keys)), (0, 0, 0)))

    def poll(self, places: dict[int, tuple[int, int, int]]) -> None:
        """By the number of the key: from where on, and how long to wait."""
        polls: list[Request] = [
            PollRequest(number, "config", self.keys[number], False, first, skip, wait) for number, (first, skip, wait) in places.items()
        ]
        self.send(encode_requests(Requests(self.session, 1, polls)))

    def answered(self, frame: bytes) -> None:
        places: dict[int, tuple[int, int, int]] = {}
        for reply in decode_replies(frame).replies:
            page = decode_answer(reply.answer).value()
            self.events += len(page["events"])
            places[reply.id] = page["next"], page["skip"], POLL_WAIT_MS
        self.poll(places)
        if not self.standing.called:
            self.standing.callback(None)


class UntilInputEnds(Protocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


def shares(items: Iterator[Any], total: int, parts: int) -> list[list[Any]]:
    """Some items, in so many lists of about the same length."""
    return [list(islice(items, total // parts + (number < total % parts))) for number in range(parts)]


async def connected(reactor: Any, addresses: list[str], connections: list[Any]) -> None:
    """Connect them to these addresses in turn; they have sessions then."""
    endpoints = cycle([clientFromString(reactor, endpoint_string(address)) for address in addresses])
    await gatherResults([connectProtocol(endpoint, one) for endpoint, one in zip(endpoints, connections, strict=False)])
    await gatherResults([one.ready for one in connections])


async def closed_loop(reactor: Any, given: argparse.Namespace, leader: str) -> dict[str, Any]:
    figures, script_of = Figures(), prepared(given)
    scripts = (script_of(number) for number in count())
    connections = [Closed(figures, share) for share in shares(scripts, given.clients, given.connections)]
    await connected(reactor, [leader], connections)
    gc.collect()
    gc.freeze()
    begun = time.perf_counter()
    figures.stop_at = begun + given.seconds
    for connection in connections:
        connection.begin()
    await gatherResults([connection.ended for connection in connections])
    return told(figures, time.perf_counter() - begun)


def told(figures: Figures, seconds: float) -> dict[str, Any]:
    """The figures of what took so long."""
    ordered = sorted(figures.latencies_s) or [0.0]
    parts = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    quantiles = {name: round(1000 * ordered[int(part * (len(ordered) - 1))], 3) for name, part in parts.items()}
    done = len(figures.latencies_s)
    return {"done": done, "rate": round(done / seconds, 1), **quantiles, "errors": dict(figures.errors), "seconds": round(seconds, 3)}


async def fill(client: Client, given: argparse.Namespace) -> dict[str, Any]:
    """Write the keys, many at once."""
    puts: Iterator[Any] = iter(
        [{"op": "put", "key": key_of(given.first_key + number), "value": bytes(given.bytes)} for number in range(given.keys)]
    )
    while portion := [portion for _ in range(64) if (portion := list(islice(puts, FILL_PUTS)))]:
        await gatherResults([client.command("config", "txn", success=operations) for operations in portion])
    return {"done": given.keys, "errors": {}}


async def keep_leases(reactor: Any, given: argparse.Namespace, client: Client, leader: str) -> dict[str, Any]:
    """Grant leases, say `ready`, keep them alive."""
    ids: list[int] = []
    while len(ids) < given.keys:
        wanted = min(512, given.keys - len(ids))
        granted = await gatherResults([client.command("config", "lease_grant", LEASE_TTL_S) for _ in range(wanted)])
        ids += [lease["id"] for lease in granted]
    figures = Figures()
    scripts = (in_turn([(InvokeRequest, "config", "lease_keep_alive", raw(id=lease))], 0) for lease in ids)
    connections = [Paced(figures, share) for share in shares(scripts, given.keys, given.connections)]
    await connected(reactor, [leader], connections)
    print("ready", flush=True)
    rounds = zip_longest(*(one.scripts for one in connections))
    turns = cycle([(one, script) for scripts in rounds for one, script in zip(connections, scripts, strict=True)])
    sent, begun = 0, time.perf_counter()
    figures.stop_at = begun + given.seconds

    def keep_alive() -> None:
        """Whatever is due by now; each in a frame of its own, as if all came from different clients."""
        nonlocal sent
        while sent < (time.perf_counter() - begun) * given.keys / given.every:
            connection, script = next(turns)
            if script is not None:
                connection.ask_for([(script, None)])
            sent += 1

    pacing = task.LoopingCall(keep_alive)
    pacing.start(TICK_S)
    await task.deferLater(reactor, given.seconds, pacing.stop)
    for connection in connections:
        connection.end()
    await gatherResults([connection.ended for connection in connections])
    return told(figures, time.perf_counter() - begun)


async def watch(reactor: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Watch, say `ready`, and count events until standard input ends."""
    waiting = UntilInputEnds()
    figures, keys = Figures(), (key_of(given.first_key + number) for number in range(given.keys))
    connections = [Watching(figures, share) for share in shares(keys, given.keys, given.connections)]
    await connected(reactor, given.endpoints.split(","), connections)
    for connection in connections:
        connection.begin()
    await gatherResults([connection.standing for connection in connections])
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    stdio.StandardIO(waiting)
    await waiting.ended
    return {"events": sum(connection.events for connection in connections)}


async def run(reactor: Any, given: argparse.Namespace) -> None:
    """Do it and print what came of it."""
    client = Client(reactor, given.endpoints.split(","))
    await client.command("counter", "add", "bench-0", 0)
    leader = (await client.status())["leader_client_address"]
    if given.operation == "fill":
        figures = await fill(client, given)
    elif given.operation == "lease":
        figures = await keep_leases(reactor, given, client, leader)
    elif given.operation == "watch":
        figures = await watch(reactor, given)
    else:
        figures = await closed_loop(reactor, given, leader)
    await client.close()
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--operation", choices=("add", "put", "get", "range", "queue", "fill", "lease", "watch"), required=True)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--first-key", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=16, help="of a value, or of a message's body")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between keep-alives of a lease")
    given = parser.parse_args(sys.argv[1:])
    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor, given)))


if __name__ == "__main__":
    main()
