"""Three nodes are offered ten times what they serve: they must say `overloaded`, keep their memory, and go on serving.

    python -m tests.benchmarks.overload --seconds 20 [--connections 64] [--json]

First an ordinary load, with few commands under way, to learn what the cluster serves on this computer, and on until every log holds as many
entries in memory as it may (`log_cache_bytes_max`): from then on it explains no growth. Then the overload: every connection always has as
many commands unanswered as the leader's welcome allows, and sends the next as soon as one is answered, with a value or not. In the end an
ordinary add, and a look at the counter: what was answered `overloaded` must not have been applied.

Exit 0 only if

* ten times more was offered than served, and `overloaded` was answered;
* memory stayed flat on every node: over the second half of the overload, resident memory grew by less than `GROWTH_MIB_S` on the least
  squares line; and it never rose by more above what it was before than the bounded queues explain (`PENDING_BYTES`, `UNANSWERED_BYTES`);
* the leader led all the time, no connection was lost, the counter has exactly the value that was acknowledged, and an ordinary add was
  answered within `ANSWER_MS`.

The nodes share one processor and the load has the others. The counter begins beyond 64 bits, where adding is some work for all three
nodes, while refusing costs what it always does: to a smaller one they add so fast that it is hard to offer, and refuse, ten times as much.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txraft.cli.local_cluster import LocalCluster, LocalNode
from txraft.cli.output import json_line, table
from txraft.client import BlockingClient
from txraft.core.entry import Entry, EntryKind, entry_bytes
from txraft.limits import PROTOCOL_VERSION, Limits
from txraft.statemachine.log_commands import Invoke, encode_log_command
from txraft.statemachine.results import OK, Answer
from txraft.statemachine.values import encode_value
from txraft.wire.codec import decode_as, encode_requests
from txraft.wire.frames import FrameSplitter, frame_header
from txraft.wire.hello import CLIENT_MAGIC, ClientHello, ClientWelcome, decode_client_hello_reply, encode_greeting
from txraft.wire.requests import InvokeRequest, Requests

COUNTER = "overload"
ARGUMENTS = msgspec.Raw(encode_value({"name": COUNTER, "amount": 1}))
COUNTER_BITS = 100
LIMITS = Limits()

RATIO = 10.0
GROWTH_MIB_S = 0.5
ANSWER_MS = 1_000.0

ORDINARY_S = 4.0
ORDINARY_UNANSWERED = 512
"""Commands under way while the load is an ordinary one, on all connections together."""

FILL_S = 40.0
FILL_UNANSWERED = 4_096
"""The same, and for how long at most, until the logs hold all they may."""

START_S = 30.0
CONNECT_S = 10.0
DRAIN_S = 15.0
"""How long answers are waited for when nothing more is sent: longer than a node lets a request wait."""

PENDING_BYTES = 2_048
"""What a command may cost the leader until it is answered, beyond its place in the log: the call, its places in queues, the answer."""

UNANSWERED_BYTES = 128
"""What room for one more unanswered request may cost a connection: its bytes in a frame, its id, the room for that in a table."""

MIB = 2**20


class CountedReply(msgspec.Struct, array_like=True, gc=False):
    """A `wire.requests.Reply`, its answer decoded at once."""

    id: int
    answer: Answer


class CountedReplies(msgspec.Struct, array_like=True, tag="replies"):
    """A `wire.requests.Replies` of these."""

    replies: list[CountedReply]


_REPLIES = msgspec.msgpack.Decoder(CountedReplies)
_CODE: msgspec.msgpack.Decoder[tuple[str, Any, Any]] = msgspec.msgpack.Decoder(tuple[str, Any, Any])
_OUTCOMES = ("value", "refused", "not_applied", "unknown")


@lru_cache(1_000)
def kind_of(outcome: int, body: bytes) -> str:
    """What an answer that is no value is counted as; most say exactly the same."""
    return f"{_OUTCOMES[outcome]}:{_CODE.decode(body)[0]}"


@define
class Load:
    """All connections, and what was offered and answered on them.

    Attributes:
        window: commands that may be unanswered on one connection, but never more than the server's welcome says; 0 to offer nothing.
        others: answers that are no values, by outcome and code.
    """

    window: int = 0
    offered: int = 0
    values: int = 0
    others: Counter[str] = field(factory=Counter)
    connections: list[Connection] = field(factory=list)

    @property
    def unanswered(self) -> int:
        """Commands that wait for their answers."""
        return sum(connection.unanswered for connection in self.connections)

    def offer(self, window: int) -> None:
        """From now on keep `window` commands under way on every connection."""
        self.window = window
        for connection in self.connections:
            connection.offer()


class Connection(Protocol):
    """One client. It offers as soon as there is room, however the commands before were answered.

    Attributes:
        welcomed: fires when the server has accepted it.
        lost: it has ended.
    """

    def __init__(self, load: Load) -> None:
        self.welcomed: Deferred[None] = Deferred()
        self.lost = False
        self._load = load
        self._frames = FrameSplitter(LIMITS.client_frame_bytes_max)
        self._requests: list[InvokeRequest] = []
        self._free: list[int] = []

    @property
    def unanswered(self) -> int:
        return len(self._requests) - len(self._free)

    def connectionMade(self) -> None:
        self._write(encode_greeting(ClientHello(PROTOCOL_VERSION, PROTOCOL_VERSION, "overload")), before=CLIENT_MAGIC)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if not self.welcomed.called:
            self.welcomed.errback(reason)

    def dataReceived(self, data: bytes) -> None:
        for frame in self._frames.split(data):
            if self._requests:
                self._count(decode_as(_REPLIES, frame).replies)
            else:
                self._welcome(frame)
        self.offer()

    def _welcome(self, frame: bytes) -> None:
        welcome = decode_client_hello_reply(frame)
        if not isinstance(welcome, ClientWelcome):
            raise SystemExit(f"refused: {welcome.sentence}")
        self._requests = [InvokeRequest(number, 0, "counter", "add", ARGUMENTS) for number in range(welcome.requests_max)]
        self._free = list(range(welcome.requests_max))
        self.welcomed.callback(None)

    def _count(self, replies: list[CountedReply]) -> None:
        load, free, values = self._load, self._free.append, 0
        for reply in replies:
            free(reply.id)
            answer = reply.answer
            if answer.outcome == OK:
                values += 1
            else:
                load.others[kind_of(answer.outcome, bytes(answer.body))] += 1
        load.values += values

    def offer(self) -> None:
        """Send what there is room for, in one frame."""
        room = min(self._load.window - self.unanswered, len(self._free))
        if room > 0 and not self.lost:
            taken, requests = self._free[-room:], self._requests
            del self._free[-room:]
            self._write(encode_requests(Requests(0, 0, [requests[number] for number in taken])))
            self._load.offered += room

    def _write(self, frame: bytes, before: bytes = b"") -> None:
        assert self.transport is not None
        self.transport.write(before + frame_header(len(frame)) + frame)


@frozen
class Sample:
    """What was seen at one moment. Memory in bytes, by node."""

    at: float
    offered: int
    served: int
    overloaded: int
    resident: tuple[int, ...]


@define
class Run:
    """The measurement.

    Attributes:
        idle: before any load.
        ordinary: one sample before and one after the ordinary load.
        overload: a sample each second.
        end: when everything is answered, or will not be.
        lost: connections that had ended by then.
    """

    nodes: list[LocalNode]
    target: LocalNode
    connections: int
    seconds: float
    load: Load = field(factory=Load)
    idle: Sample | None = None
    ordinary: list[Sample] = field(factory=list)
    overload: list[Sample] = field(factory=list)
    end: Sample | None = None
    lost: int = 0

    def sample(self) -> Sample:
        """Look now."""
        load = self.load
        resident = tuple(resident_bytes(node.pid) for node in self.nodes)
        return Sample(time.monotonic(), load.offered, load.values, overloaded(load.others), resident)

    async def measure(self, reactor: Any, *, shown: bool) -> None:
        """All of it, but for what is asked in the end."""
        self.idle = self.sample()
        await self._connect(reactor)
        self.ordinary.append(self.sample())
        self.load.offer(-(-ORDINARY_UNANSWERED // self.connections))
        await deferLater(reactor, ORDINARY_S)
        self.ordinary.append(self.sample())
        await self._fill_logs(reactor)
        self.overload.append(self.sample())
        self.load.offer(LIMITS.requests_per_connection_max)
        until = time.monotonic() + self.seconds
        while (left_s := until - time.monotonic()) > 0:
            await deferLater(reactor, min(left_s, 1.0))
            self.overload.append(self.sample())
            if shown:
                self._show()
        self.load.offer(0)
        give_up_at = time.monotonic() + DRAIN_S
        while self.load.unanswered and time.monotonic() < give_up_at:
            await deferLater(reactor, 0.05)
        self.end, self.lost = self.sample(), sum(connection.lost for connection in self.load.connections)

    async def _fill_logs(self, reactor: Any) -> None:
        wanted, give_up_at = entries_to_fill(), time.monotonic() + FILL_S
        self.load.offer(-(-FILL_UNANSWERED // self.connections))
        while self.load.values < wanted:
            if time.monotonic() > give_up_at:
                raise SystemExit(f"only {self.load.values:,} commands are served: too slow to fill the logs with {wanted:,}")
            await deferLater(reactor, 0.1)

    async def _connect(self, reactor: Any) -> None:
        host, _, port = self.target.endpoint.rpartition(":")
        endpoint = clientFromString(reactor, f"tcp:{host}:{port}:timeout={CONNECT_S:g}")
        for _ in range(self.connections):
            connection = Connection(self.load)
            self.load.connections.append(connection)
            await connectProtocol(endpoint, connection)
        welcomed = [connection.welcomed for connection in self.load.connections]
        await gatherResults(welcomed).addTimeout(CONNECT_S, reactor)

    def _show(self) -> None:
        before, now = self.overload[-2:]
        seconds = now.at - before.at
        memory = "  ".join(f"{node.name} {mib(size):.1f}" for node, size in zip(self.nodes, now.resident, strict=True))
        print(
            f"{now.at - self.overload[0].at:5.1f} s  offered {(now.offered - before.offered) / seconds:9,.0f}/s  "
            f"served {(now.served - before.served) / seconds:7,.0f}/s  MiB: {memory}",
            file=sys.stderr,
            flush=True,
        )


def overloaded(others: Counter[str]) -> int:
    """How many answers said that the command was not taken because too many wait."""
    return others["not_applied:overloaded"]


def mib(size: float) -> float:
    """Bytes as MiB."""
    return size / MIB


def resident_bytes(pid: int) -> int:
    """VmRSS of a process; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def entries_to_fill() -> int:
    """How many commands of the load fill the memory that a log has for entries."""
    payload = encode_log_command(Invoke(int(time.time() * 1000), 0, 0, 0, "counter", "add", ARGUMENTS))
    return LIMITS.log_cache_bytes_max // entry_bytes(Entry(1, EntryKind.COMMAND.value, payload)) + 1


def growth_per_s(samples: Sequence[Sample], node: int) -> float:
    """Slope of the least squares line through a node's resident memory. Bytes per second."""
    times = [sample.at for sample in samples]
    sizes = [sample.resident[node] for sample in samples]
    return statistics.linear_regression(times, sizes).slope if len(set(times)) > 1 else 0.0


@frozen
class Verdict:
    """What came of it, for people and programs; sizes in MiB, rates per second."""

    figures: dict[str, Any]
    failures: list[str]


def judge(run: Run, asked: dict[str, Any]) -> Verdict:
    """Put what was measured against the rules."""
    assert run.idle is not None and run.end is not None
    begin, last = run.overload[0], run.overload[-1]
    seconds = last.at - begin.at
    offered, served = last.offered - begin.offered, last.served - begin.served
    answered_overloaded = last.overloaded - begin.overloaded
    ordinary_s = run.ordinary[1].at - run.ordinary[0].at
    bounded = PENDING_BYTES * LIMITS.requests_pending_max + UNANSWERED_BYTES * LIMITS.requests_per_connection_max * run.connections
    second_half = [sample for sample in run.overload if sample.at >= begin.at + seconds / 2]
    memory = {}
    failures = []
    for number, node in enumerate(run.nodes):
        start = begin.resident[number]
        peak = max(sample.resident[number] for sample in [*run.overload, run.end])
        growth = growth_per_s(second_half, number)
        memory[node.name] = {
            "idle": round(mib(run.idle.resident[number]), 1),
            "start": round(mib(start), 1),
            "peak": round(mib(peak), 1),
            "end": round(mib(run.end.resident[number]), 1),
            "growth_per_s": round(mib(growth), 3),
        }
        if mib(growth) >= GROWTH_MIB_S:
            failures.append(f"the memory of {node.name} grows by {mib(growth):.2f} MiB/s, where {GROWTH_MIB_S:g} are called flat")
        if peak - start > bounded:
            failures.append(f"{node.name} took {mib(peak - start):.0f} MiB more, where {mib(bounded):.0f} are explained")
    ratio = offered / max(served, 1)
    figures = {
        "connections": run.connections,
        "seconds": round(seconds, 1),
        "ordinary_rate": round((run.ordinary[1].served - run.ordinary[0].served) / ordinary_s),
        "offered_rate": round(offered / seconds),
        "served_rate": round(served / seconds),
        "served_rate_min": round(min(rates(run.overload))),
        "ratio": round(ratio, 1),
        "overloaded_share": round(answered_overloaded / max(offered, 1), 4),
        "answers": {"value": run.load.values, **run.load.others},
        "unanswered": run.load.unanswered,
        "drain_s": round(run.end.at - last.at, 2),
        "memory": memory,
        **asked,
    }
    if ratio < RATIO:
        failures.append(f"only {ratio:.1f} times what was served was offered: more connections, or a faster load, are needed")
    if not answered_overloaded:
        failures.append("nothing was answered `overloaded`")
    return Verdict(figures, failures + problems_in_the_end(run, asked))


def problems_in_the_end(run: Run, asked: dict[str, Any]) -> list[str]:
    """What is wrong after the overload."""
    load, problems = run.load, []
    unknown = load.unanswered + sum(number for kind, number in load.others.items() if kind.startswith("unknown:"))
    if not load.values <= asked["counter"] <= load.values + unknown:
        problems.append(f"{load.values:,} adds are acknowledged and {unknown:,} unknown, but the counter has grown by {asked['counter']:,}")
    if run.lost:
        problems.append(f"{run.lost} connections were lost")
    if not asked["same_leader"]:
        problems.append("the leader did not stay leader: it was too busy refusing commands")
    if asked["add_ms"] > ANSWER_MS:
        problems.append(f"an ordinary add took {asked['add_ms']:.0f} ms, where {ANSWER_MS:g} are allowed")
    return problems


def rates(samples: Sequence[Sample]) -> list[float]:
    """Commands served in each second, but for the last, which may be a short one."""
    pairs = list(pairwise(samples))
    return [(now.served - before.served) / (now.at - before.at) for before, now in pairs[:-1] or pairs]


def ask_in_the_end(run: Run, before: dict[str, Any]) -> dict[str, Any]:
    """An ordinary add, from a client that comes anew; the counter; and what the node says of itself."""
    with BlockingClient([run.target.endpoint], DRAIN_S) as client:
        counter = client.query("counter", "get", COUNTER)
        begin = time.monotonic()
        client.command("counter", "add", COUNTER, 1)
        add_ms = 1000 * (time.monotonic() - begin)
    status = run.target.status() or {}
    return {
        "counter": (counter or 0) - 2**COUNTER_BITS,
        "add_ms": round(add_ms, 1),
        "same_leader": (status.get("leader"), status.get("term")) == (before.get("leader"), before.get("term")),
        "loop_lag_max_s": status.get("loop_lag_max_s"),
        "write_max_s": status.get("disk", {}).get("write_max_s"),
        "log_bytes": status.get("disk", {}).get("bytes"),
    }


def text_of(verdict: Verdict) -> str:
    """For people."""
    figures = verdict.figures
    answers = ", ".join(f"{number:,} {kind}" for kind, number in figures["answers"].items())
    memory = [["MiB", "idle", "start", "peak", "end", "growth/s"]]
    memory += [
        [name, *(f"{sizes[key]:.1f}" for key in ("idle", "start", "peak", "end")), f"{sizes['growth_per_s']:.3f}"]
        for name, sizes in figures["memory"].items()
    ]
    return "\n".join(
        [
            f"ordinary load: {figures['ordinary_rate']:,}/s served",
            f"overload for {figures['seconds']:g} s on {figures['connections']} connections: offered {figures['offered_rate']:,}/s, "
            f"served {figures['served_rate']:,}/s (worst second {figures['served_rate_min']:,}/s), ratio {figures['ratio']:g}, "
            f"{100 * figures['overloaded_share']:.1f}% overloaded",
            f"answers: {answers}; {figures['unanswered']:,} unanswered {figures['drain_s']:g} s after the last offer",
            table(memory),
            f"the leader {'stayed' if figures['same_leader'] else 'CHANGED'}; its loop was late by {figures['loop_lag_max_s']} s at worst, "
            f"its longest write took {figures['write_max_s']} s",
            f"an ordinary add then took {figures['add_ms']:g} ms; the counter has grown by {figures['counter']:,}",
            *[f"FAILED: {failure}" for failure in verdict.failures],
            *([] if verdict.failures else ["Memory is flat, and the cluster serves."]),
        ]
    )


def in_reactor(main: Coroutine[Any, Any, None]) -> None:
    """Run the reactor around `main`, and raise what it raises."""
    from twisted.internet import reactor

    loop: Any = reactor
    outcome: list[Any] = []
    Deferred.fromCoroutine(main).addBoth(outcome.append).addBoth(lambda _: loop.callWhenRunning(loop.stop))
    loop.run()
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()


def interrupted(number: int, frame: Any) -> NoReturn:
    """Ended from outside: the nodes must not stay."""
    raise KeyboardInterrupt


def overload(cluster: LocalCluster, connections: int, seconds: float) -> Verdict:
    """Start, measure, judge. The nodes are left running."""
    from twisted.internet import reactor

    # Nodes that had all processors would serve more than one process can offer ten times of. They inherit what we may use.
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:1])
    cluster.start()
    os.sched_setaffinity(0, allowed[1:] or allowed)
    leader = cluster.leader(START_S)
    cluster.level(START_S)
    before = leader.status() or {}
    with BlockingClient([leader.endpoint], DRAIN_S) as client:
        client.command("counter", "set", COUNTER, 2**COUNTER_BITS)
    run = Run(cluster.nodes, leader, connections, seconds)
    in_reactor(run.measure(reactor, shown=True))
    return judge(run, ask_in_the_end(run, before))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of overload")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="a last line for programs")
    parser.add_argument("--directory", type=Path, help="a new one for the nodes' files, kept; else a temporary one")
    given = parser.parse_args()
    if not (2 <= given.seconds <= 3600 and 1 <= given.connections <= 1_000):
        parser.error("--seconds must be 2 to 3600, --connections 1 to 1000")
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    directory = given.directory or Path(tempfile.mkdtemp(prefix="txraft-overload-"))
    cluster = LocalCluster(directory)
    try:
        cluster = LocalCluster.make(directory)
        verdict = overload(cluster, given.connections, given.seconds)
    finally:
        cluster.kill()
        if given.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    print(text_of(verdict))
    if given.json:
        print(json_line({**verdict.figures, "failures": verdict.failures}))
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
