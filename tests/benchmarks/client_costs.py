"""What a call costs in the client: microseconds of Python from `command()` to the callback, without sockets.

    python -m tests.benchmarks.client_costs [--concurrent 8] [--calls 200000]

The server is a function in the same process, whose own cost is measured by itself and taken off. `--concurrent` is the number of
calls that one client has under way: they share the frames, so that more of them cost less each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tests.support.fake_server import FakeCluster, FakeConnection, FakeReactor, FakeServer
from txraft.client import Client
from txraft.statemachine.results import answer_of_value
from txraft.wire.codec import decode_requests, encode_replies
from txraft.wire.frames import frame_header
from txraft.wire.requests import Reply

_ANSWER = msgspec.Raw(answer_of_value(12_345, 1_000_000, 3))


class Echo:
    """Stands between the client and nothing: answers each frame of requests, one turn at a time."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self._written: list[bytes] = []
        self.frames = 0
        self.spent_s = 0.0
        connection.write = self._written.append  # type: ignore[assignment, method-assign]

    def turn(self) -> None:
        begin = time.perf_counter()
        written = b"".join(self._written)
        self._written.clear()
        (length,) = (int.from_bytes(written[:4], "big"),)
        assert length + 4 == len(written), "the requests of one turn leave in one frame"
        requests = decode_requests(written[4:]).requests
        content = encode_replies([Reply(request.id, _ANSWER) for request in requests])
        answer = frame_header(len(content)) + content
        self.frames += 1
        self.spent_s += time.perf_counter() - begin
        self._connection.protocol.dataReceived(answer)


def measure(concurrent: int, calls: int, issue: Callable[[Client], Any]) -> tuple[float, float]:
    """Microseconds per call in the client, and calls per frame."""
    reactor = FakeReactor()
    (server,) = reactor.serve(FakeCluster(), "10.0.0.1:1")
    client = Client(reactor, ["10.0.0.1:1"])
    client.command("counter", "add", 0)
    reactor.settle()
    echo = Echo(connection_of(server))
    finished = 0

    def again(_: Any) -> None:
        nonlocal finished
        finished += 1
        issue(client).addCallback(again)

    for _ in range(concurrent):
        issue(client).addCallback(again)
    reactor.settle()
    for warm in (True, False):
        echo.frames, echo.spent_s, finished = 0, 0.0, 0
        begin = time.perf_counter()
        while finished < (calls // 10 if warm else calls):
            echo.turn()
        spent_s = time.perf_counter() - begin - echo.spent_s
    return spent_s / finished * 1e6, finished / echo.frames


def connection_of(server: FakeServer) -> FakeConnection:
    return server.connections[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--concurrent", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200_000)
    options = parser.parse_args()
    cases: dict[str, Callable[[Client], Any]] = {
        "command": lambda client: client.command("counter", "add", "name-123", 2),
        "command without a session": lambda client: client.command("counter", "add", "name-123", 2, exactly_once=False),
        "query": lambda client: client.query("counter", "get", "name-123"),
    }
    for name, issue in cases.items():
        spent_us, per_frame = measure(options.concurrent, options.calls, issue)
        print(f"{name:28} {spent_us:6.2f} us a call  ({per_frame:.0f} calls a frame)")


if __name__ == "__main__":
    main()
