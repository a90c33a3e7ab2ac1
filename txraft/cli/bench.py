"""`txraft bench`: a closed loop of clients over the native protocol, and how fast the cluster answers them."""

from __future__ import annotations

import gc
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import asdict, evolve

from txraft.cli.bench_load import Figures, Load, Wanted
from txraft.cli.output import json_line, table
from txraft.cli.settings import EX_TEMPFAIL, INTERRUPTED, Parser, Settings, add_common_options, positive, with_options
from txraft.cli.workloads import WORKLOADS, Workload
from txraft.errors import NotApplied, Outcome

__all__ = ["run"]

OBJECTS_PER_COLLECTION = 200_000
BYTES_MAX = 1_000_000


def run(settings: Settings, arguments: list[str]) -> int:
    """Load the cluster and tell what it took. 75 if nothing could be done."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not 0 < given.seconds <= 86_400:
        parser.error("--seconds must be more than 0 and at most 86400")
    if not 0.1 <= given.every <= 86_400:
        parser.error("--every must be 0.1 to 86400")
    if not 0 <= given.bytes <= BYTES_MAX:
        parser.error(f"--bytes must be 0 to {BYTES_MAX}")
    settings = with_options(settings, given)
    connections = min(given.connections or max(1, given.clients // 8), given.clients)
    wanted = Wanted(given.clients, connections, given.seconds, given.operation, given.keys, given.bytes, given.every)
    workload = WORKLOADS[wanted.operation](wanted)
    if workload.problem:
        parser.error(workload.problem)
    as_json = given.json or settings.as_json
    figures = _in_reactor(lambda reactor: _measure(reactor, settings, wanted, workload, shown=sys.stderr.isatty()))
    if figures is None:
        return INTERRUPTED
    print(json_line(asdict(figures)) if as_json else figures.text(workload.over))
    return 0 if figures.done else EX_TEMPFAIL


def _parser() -> Parser:
    operations = table([[name, workload.about] for name, workload in WORKLOADS.items()], indent="  ")
    parser = Parser(
        prog="txraft bench",
        description="How much a cluster can take, in a closed loop.",
        epilog=f"operations:\n{operations}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--clients", type=positive, default=64, metavar="N", help="64; each waits for its answer")
    parser.add_argument("--connections", type=positive, metavar="N", help="that they share; an eighth of the clients if not given")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="10")
    parser.add_argument("--operation", choices=tuple(WORKLOADS), default="add", metavar="NAME", help="add; see below")
    parser.add_argument("--keys", type=positive, default=1000, metavar="N", help="1000 counters, keys, leases or watched keys")
    parser.add_argument("--bytes", type=int, default=16, metavar="N", help="of a value or a message: 16")
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="between two keep-alives of a lease: 10")
    add_common_options(parser)
    parser.add_argument("--json", action="store_true", help="one line for programs")
    return parser


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


async def _measure(reactor: Any, settings: Settings, wanted: Wanted, workload: Workload, *, shown: bool) -> Figures:
    from twisted.internet.defer import gatherResults
    from twisted.internet.task import deferLater

    from txraft.client import Client

    connected = [Client(reactor, settings.endpoints, timeout_s=settings.timeout_s) for _ in range(wanted.connections)]
    load = Load(reactor.callLater, every_s=workload.every_s)
    try:
        # Connections, sessions and the search for the leader are not what is measured.
        await _answered(gatherResults([workload.greet(client) for client in connected], consumeErrors=True))
        await _answered(workload.prepare(connected))
        _leave_garbage_alone()
        calls = [workload.call(connected[number % len(connected)], number) for number in range(workload.clients)]
        begin = time.perf_counter()
        stop_at = begin + wanted.seconds
        load.start(calls, stop_at)
        while (left_s := stop_at - time.perf_counter()) > 0:
            await deferLater(reactor, min(left_s, 1.0))
            if shown:
                _show(load, time.perf_counter() - begin)
        seconds = time.perf_counter() - begin
        figures = Figures.of(evolve(wanted, clients=workload.clients), load, seconds)
        await _answered(workload.finish(reactor, connected))
        return evolve(figures, further=workload.further(seconds))
    finally:
        if shown:
            print(end="\r\x1b[K", file=sys.stderr, flush=True)
        await gatherResults([client.close() for client in connected], consumeErrors=True)


async def _answered(waited: Awaitable[Any]) -> None:
    """What is not measured; its first failure is that of the benchmark."""
    try:
        await waited
    except Exception as error:
        # gatherResults wraps the first failure.
        first = getattr(getattr(error, "subFailure", None), "value", error)
        raise first if isinstance(first, Outcome) else NotApplied("unreachable", str(first)) from None


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
