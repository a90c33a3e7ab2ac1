"""A closed loop of clients on the bare native protocol, as lean as Python allows: what is measured is the servers.

    python -m tests.benchmarks.txraftload --endpoints H:P,H:P,H:P --clients 256 --connections 32 --seconds 8 [--operation get] [--keys 1000]

Each connection is to the leader and has a session of its own, each command a serial number, as with `txraft.client.Client`. It does not
follow a leader that changes: answers that are no values are counted as errors, and a lost connection ends its clients. One line of JSON,
with the figures of `txraft bench --json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from array import array
from collections import Counter
from typing import Any

from msgspec import Raw
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from txraft.addresses import endpoint_string
from txraft.client import Client
from txraft.limits import PROTOCOL_VERSION, Limits
from txraft.statemachine.results import OK, decode_answer
from txraft.statemachine.values import encode_value
from txraft.wire.codec import decode_replies, encode_requests
from txraft.wire.frames import FrameSplitter, frame_header
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, ClientWelcome, decode_client_hello_reply, encode_greeting
from txraft.wire.requests import Ask, InvokeRequest, OpenSessionRequest, Request, Requests


class Figures:
    """What all connections count together."""

    def __init__(self) -> None:
        self.latencies_s = array("d")
        self.errors: Counter[str] = Counter()
        self.stop_at = 0.0


class Connection(Protocol):
    """Some of the clients; all that have their answers ask again in one frame."""

    def __init__(self, figures: Figures, operation: str, keys: int, clients: int, number: int) -> None:
        self.figures, self.operation, self.clients = figures, operation, clients
        self.arguments = [Raw(encode_value({"name": f"bench-{key}"})) for key in range(keys)]
        self.next_key = number * 31
        self.serial = 0
        self.session = 0
        self.greeted = False
        self.asked_at: dict[int, float] = {}
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.splitter = FrameSplitter(Limits().client_frame_bytes_max)

    def connectionMade(self) -> None:
        self.transport.write(CLIENT_MAGIC)  # type: ignore[union-attr]
        self.send(encode_greeting(ClientHello(PROTOCOL_VERSION, PROTOCOL_VERSION, "txraftload")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.figures.errors.update({"connection_lost": len(self.asked_at)} if self.asked_at else {})
        for waiting in (self.ready, self.ended):
            if not waiting.called:
                waiting.callback(None)

    def send(self, frame: bytes) -> None:
        self.transport.writeSequence((frame_header(len(frame)), frame))  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        for frame in self.splitter.split(data):
            if self.session:
                self.answered(frame)
            elif self.greeted:
                self.session = decode_answer(decode_replies(frame).replies[0].answer).value()
                self.ready.callback(None)
            else:
                self.greeted = isinstance(decode_client_hello_reply(frame), ClientWelcome)
                self.send(encode_requests(Requests(0, 0, [OpenSessionRequest(0)])))

    def begin(self) -> None:
        self.ask(self.clients)

    def ask(self, count: int) -> None:
        now, requests = time.perf_counter(), list[Request]()
        for _ in range(count):
            self.serial += 1
            self.next_key += 1
            arguments = self.arguments[self.next_key % len(self.arguments)]
            if self.operation == "add":
                requests.append(InvokeRequest(self.serial, self.serial, "counter", "add", arguments))
            else:
                requests.append(Ask(self.serial, "counter", "get", arguments))
            self.asked_at[self.serial] = now
        self.send(encode_requests(Requests(self.session, min(self.asked_at), requests)))

    def answered(self, frame: bytes) -> None:
        now, figures = time.perf_counter(), self.figures
        replies = decode_replies(frame).replies
        for reply in replies:
            asked_at = self.asked_at.pop(reply.id)
            answer = decode_answer(reply.answer)
            if answer.outcome == OK:
                figures.latencies_s.append(now - asked_at)
            else:
                figures.errors[answer.problem().code] += 1
        if now < figures.stop_at:
            self.ask(len(replies))
        elif not self.asked_at:
            self.transport.loseConnection()  # type: ignore[union-attr]


async def measure(reactor: Any, given: argparse.Namespace) -> None:
    """Find the leader, load it, print what came of it."""
    client = Client(reactor, given.endpoints.split(","))
    await client.command("counter", "add", "bench-0", 0)
    leader = (await client.status())["leader_client_address"]
    figures = Figures()
    shares = [given.clients // given.connections + (number < given.clients % given.connections) for number in range(given.connections)]
    endpoint = clientFromString(reactor, endpoint_string(leader))
    connections: list[Connection] = await gatherResults(
        [connectProtocol(endpoint, Connection(figures, given.operation, given.keys, share, number)) for number, share in enumerate(shares)]
    )
    await gatherResults([connection.ready for connection in connections])
    gc.collect()
    gc.freeze()
    begun = time.perf_counter()
    figures.stop_at = begun + given.seconds
    for connection in connections:
        connection.begin()
    await gatherResults([connection.ended for connection in connections])
    seconds = time.perf_counter() - begun
    await client.close()
    ordered = sorted(figures.latencies_s)
    parts = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    quantiles = {name: round(1000 * ordered[int(part * (len(ordered) - 1))], 3) for name, part in parts.items()}
    told = {
        "done": len(ordered),
        "rate": round(len(ordered) / seconds, 1),
        **quantiles,
        "errors": dict(figures.errors),
        "seconds": round(seconds, 3),
    }
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description="A closed loop of clients on the bare native protocol.")
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--operation", choices=("add", "get"), default="add")
    parser.add_argument("--keys", type=int, default=1000)
    given = parser.parse_args(sys.argv[1:])
    task.react(lambda reactor: Deferred.fromCoroutine(measure(reactor, given)))


if __name__ == "__main__":
    main()
