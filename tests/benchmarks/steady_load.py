"""A closed loop of clients that goes on while something happens to the servers, and tells how it went lap by lap.

    python -m tests.benchmarks.steady_load --endpoints H:P,H:P,H:P --operation put --bytes 1024 --keys 50000 --clients 16 --connections 4

It says `ready` once it runs. For each line on standard input it prints one line of JSON, the figures since the line before; when standard
input ends, so does it. The clients are those of `machines_load.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from itertools import count
from typing import Any

from twisted.internet import stdio, task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from tests.benchmarks.machines_load import Closed, connected, prepared, shares, told
from tests.benchmarks.txraftload import Figures
from txraft.client import Client


class Laps(LineReceiver):
    """Ends a lap with each line, and the load when there are no more."""

    delimiter = b"\n"

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.ended: Deferred[None] = Deferred()
        self.begun = time.perf_counter()

    def lineReceived(self, line: bytes) -> None:
        figures, now = self.figures, time.perf_counter()
        print(json.dumps(told(figures, now - self.begun)), flush=True)
        del figures.latencies_s[:]
        figures.errors.clear()
        self.begun = now

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.figures.stop_at = 0.0
        self.ended.callback(None)


async def run(reactor: Any, given: argparse.Namespace) -> None:
    """Load the leader until standard input ends."""
    client = Client(reactor, given.endpoints.split(","))
    await client.command("counter", "add", "bench-0", 0)
    leader = (await client.status())["leader_client_address"]
    await client.close()
    figures, script_of = Figures(), prepared(given)
    scripts = (script_of(number) for number in count())
    connections = [Closed(figures, share) for share in shares(scripts, given.clients, given.connections)]
    await connected(reactor, [leader], connections)
    gc.collect()
    gc.freeze()
    figures.stop_at = float("inf")
    for connection in connections:
        connection.begin()
    laps = Laps(figures)
    print("ready", flush=True)
    stdio.StandardIO(laps)
    await laps.ended
    await gatherResults([connection.ended for connection in connections])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--operation", choices=("add", "put"), required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--first-key", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=1_024)
    given = parser.parse_args(sys.argv[1:])
    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor, given)))


if __name__ == "__main__":
    main()
