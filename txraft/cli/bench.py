"""`txraft bench`: a closed loop of clients over the native protocol, and how fast the cluster answers them."""

from __future__ import annotations

import gc
import sys
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, field, frozen

from txraft.cli.output import json_line
from txraft.cli.settings import EX_TEMPFAIL, INTERRUPTED, Parser, Settings, add_common_options, with_options
from txraft.errors import NotApplied, Outcome

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from txraft.client import Client

__all__ = ["Figures", "Load", "run"]

PAUSE_AFTER_ERROR_S = 0.02
"""A client that was refused does not come back at once: else a cluster without leader would be asked a million times."""

OBJECTS_PER_COLLECTION = 200_000


@frozen
class Wanted:
    """What the command line asks for."""

    clients: int
    connections: int
    seconds: float
    operation: str
    keys: int


@define
class Load:
    """Clients that each wait for an answer before they call again; all share what is counted here.

    Attributes:
        call_later: the reactor's.
        latencies_s: of every call that was answered with a value, in the order of the answers.
        errors: by outcome and code.
    """

    call_later: Callable[..., Any]
    latencies_s: array[float] = field(factory=lambda: array("d"))
    errors: Counter[str] = field(factory=Counter)
    _stop_at: float = 0.0

    def start(self, calls: list[Callable[[], Any]], stop_at: float) -> None:
        """Start one client for each call; `stop_at` on `time.perf_counter`."""
        self._stop_at = stop_at
        for call in calls:
            self._client(call)

    def _client(self, call: Callable[[], Any]) -> None:
        # Closures and a callback pair per call: what is measured is the cluster, not this loop.
        clock, latencies, stop_at = time.perf_counter, self.latencies_s.append, self._stop_at
        begun = 0.0

        def begin() -> None:
            nonlocal begun
            begun = clock()
            call().addCallbacks(done, failed)

        def done(_: Any) -> None:
            now = clock()
            latencies(now - begun)
            if now < stop_at:
                begin()

        def failed(failure: Failure) -> None:
            error = failure.value
            self.errors[f"{error.outcome}:{error.code}" if isinstance(error, Outcome) else type(error).__name__] += 1
            if clock() + PAUSE_AFTER_ERROR_S < stop_at:
                self.call_later(PAUSE_AFTER_ERROR_S, begin)

        begin()


@frozen
class Figures:
    """What came of it. Times in milliseconds."""

    operation: str
    clients: int
    connections: int
    keys: int
    seconds: float
    done: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]

    @classmethod
    def of(cls, wanted: Wanted, load: Load, seconds: float) -> Figures:
        """The figures of a load that took `seconds`."""
        ordered = sorted(load.latencies_s)

        def quantile_ms(part: float) -> float:
            return round(1000 * ordered[int(part * (len(ordered) - 1))], 3) if ordered else 0.0

        return cls(
            wanted.operation,
            wanted.clients,
            wanted.connections,
            wanted.keys,
            round(seconds, 3),
            len(ordered),
            round(len(ordered) / seconds, 1) if seconds > 0 else 0.0,
            quantile_ms(0.5),
            quantile_ms(0.99),
            quantile_ms(1.0),
            dict(load.errors.most_common()),
        )

    def text(self) -> str:
        """For people, in two lines."""
        errors = ", ".join(f"{count} {kind}" for kind, count in self.errors.items()) or "none"
        load = f"{self.clients:,} clients on {self.connections:,} connections"
        return (
            f"{self.operation} over {self.keys:,} counters, {load}, {self.seconds:g} s\n"
            f"{self.rate:,.0f}/s  p50 {self.p50_ms:g} ms  p99 {self.p99_ms:g} ms  max {self.max_ms:g} ms  errors: {errors}"
        )


def run(settings: Settings, arguments: list[str]) -> int:
    """Load the cluster and tell what it took. 75 if nothing could be done."""
    parser = Parser(prog="txraft bench", description="How much a cluster can take, in a closed loop.", allow_abbrev=False)
    parser.add_argument("--clients", type=_positive, default=64, metavar="N", help="64; each waits for its answer")
    parser.add_argument("--connections", type=_positive, metavar="N", help="that they share; an eighth of the clients if not given")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="10")
    parser.add_argument("--operation", choices=("add", "get"), default="add", help="add (a command) or get (a linearizable query)")
    parser.add_argument("--keys", type=_positive, default=1000, metavar="N", help="1000 counters, bench-0 and so on")
    parser.add_argument("--json", action="store_true", help="one line for programs")
    add_common_options(parser)
    given = parser.parse_args(arguments)
    if not 0 < given.seconds <= 86_400:
        parser.error("--seconds must be more than 0 and at most 86400")
    settings = with_options(settings, given)
    connections = min(given.connections or max(1, given.clients // 8), given.clients)
    wanted = Wanted(given.clients, connections, given.seconds, given.operation, given.keys)
    as_json = given.json or settings.as_json
    figures = _in_reactor(lambda reactor: _measure(reactor, settings, wanted, shown=sys.stderr.isatty()))
    if figures is None:
        return INTERRUPTED
    print(json_line(asdict(figures)) if as_json else figures.text())
    return 0 if figures.done else EX_TEMPFAIL


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _in_reactor(main: Callable[[Any], Awaitable[Figures]]) -> Figures | None:
    """Run the reactor around `main`; None when a signal ended it first."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, maybeDeferred
    from twisted.python.failure import Failure

    loop: Any = reactor
    outcome: list[Any] = []

    def begin() -> None:
        finished: Deferred[Any] = maybeDeferred(main, loop)
        finished.addBoth(outcome.append).addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    if not outcome:
        return None
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    figures: Figures = outcome[0]
    return figures


async def _measure(reactor: Any, settings: Settings, wanted: Wanted, *, shown: bool) -> Figures:
    from twisted.internet.defer import gatherResults
    from twisted.internet.task import deferLater

    from txraft.client import Client

    connected = [Client(reactor, settings.endpoints, timeout_s=settings.timeout_s) for _ in range(wanted.connections)]
    load = Load(reactor.callLater)
    try:
        # Connections, sessions and the search for the leader are not what is measured.
        await _first_answers(gatherResults, connected)
        _leave_garbage_alone()
        calls = [_caller(connected[number % len(connected)], wanted, number) for number in range(wanted.clients)]
        begin = time.perf_counter()
        stop_at = begin + wanted.seconds
        load.start(calls, stop_at)
        while (left_s := stop_at - time.perf_counter()) > 0:
            await deferLater(reactor, min(left_s, 1.0))
            if shown:
                _show(load, time.perf_counter() - begin)
        seconds = time.perf_counter() - begin
        return Figures.of(wanted, load, seconds)
    finally:
        if shown:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)
        await gatherResults([client.close() for client in connected], consumeErrors=True)


async def _first_answers(gather: Callable[..., Any], connected: list[Client]) -> None:
    try:
        await gather([client.command("counter", "add", "bench-0", 0) for client in connected], consumeErrors=True)
    except Exception as error:
        # gatherResults wraps the first failure.
        first = getattr(getattr(error, "subFailure", None), "value", error)
        raise first if isinstance(first, Outcome) else NotApplied("unreachable", str(first)) from None


def _caller(client: Client, wanted: Wanted, number: int) -> Callable[[], Any]:
    """The next call of one client; neighbours begin at different counters."""
    names = [f"bench-{key}" for key in range(wanted.keys)]
    steps = count(number * 7919)
    keys, command, query = wanted.keys, client.command, client.query
    if wanted.operation == "add":
        return lambda: command("counter", "add", names[next(steps) % keys], 1)
    return lambda: query("counter", "get", names[next(steps) % keys])


def _leave_garbage_alone() -> None:
    """A collection that walks everything imported so far would be seen as a slow answer of the cluster."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)


def _show(load: Load, elapsed_s: float) -> None:
    recent = sorted(load.latencies_s[-10_000:])
    median_ms = 1000 * recent[len(recent) // 2] if recent else 0.0
    errors = f"  {sum(load.errors.values()):,} errors" if load.errors else ""
    line = f"  {elapsed_s:4.0f} s  {len(load.latencies_s) / elapsed_s:,.0f}/s  p50 {median_ms:.2f} ms{errors}"
    print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
