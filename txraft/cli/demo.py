"""`txraft demo`: three real node processes, work, kill -9 of the leader, recovery, and the proof that nothing was lost or doubled."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from attrs import define

from txraft.cli.increments import CALL_S, COUNTER, Increments
from txraft.cli.local_cluster import ClusterTrouble, LocalCluster, LocalNode
from txraft.cli.output import Progress, json_line, table
from txraft.cli.settings import Parser, Settings, UsageProblem, positive
from txraft.client import BlockingClient

__all__ = ["Verdict", "run"]

NOT_PROVED = 1
START_S = 30.0
LOOK_S = 0.01


@define
class Verdict:
    """What was found at the end.

    Attributes:
        counter: its value, read linearizably.
        applied: index up to which the log is applied, by node.
        digests: of the state, by node.
    """

    acknowledged: int
    unknown: int
    counter: int
    applied: dict[str, int]
    digests: dict[str, str]

    @property
    def proved(self) -> bool:
        """Every acknowledged increment is there, once; and all nodes have the same state."""
        counted = self.unknown == 0 and self.counter == self.acknowledged
        return counted and len(set(self.digests.values())) == 1 == len(set(self.applied.values()))


def run(settings: Settings, arguments: list[str]) -> int:
    """The whole demo. 0 only if it is proved; all processes are ended, unless they are to be kept."""
    parser = Parser(prog="txraft demo", description=__doc__.partition(": ")[2], allow_abbrev=False)
    parser.add_argument("--directory", type=Path, metavar="DIR", help="for the nodes' files, kept; else a temporary one")
    parser.add_argument("--increments", type=positive, default=1000, metavar="N", help="1000")
    parser.add_argument("--clients", type=positive, default=8, metavar="N", help="8, at once")
    parser.add_argument("--keep", action="store_true", help="leave the nodes running")
    parser.add_argument("--json", action="store_true", help="a last line for programs")
    given = parser.parse_args(arguments)
    directory = _directory(given.directory)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    cluster = LocalCluster(directory)
    left_running, wanted = False, given.directory is not None
    try:
        cluster = LocalCluster.make(directory)
        figures = _demonstrate(cluster, given.increments, given.clients)
        left_running = given.keep and figures["proved"]
        wanted |= not figures["proved"]
        if left_running:
            _tell_what_next(cluster)
        if given.json or settings.as_json:
            print(json_line(figures))
        return 0 if figures["proved"] else NOT_PROVED
    except ClusterTrouble:
        wanted = True
        raise
    finally:
        if not left_running:
            cluster.kill()
            if not wanted:
                shutil.rmtree(directory, ignore_errors=True)


def _directory(wished: Path | None) -> Path:
    if wished is None:
        return Path(tempfile.mkdtemp(prefix="txraft-demo-"))
    try:
        wished.mkdir(parents=True, exist_ok=True)
        if any(wished.iterdir()):
            raise UsageProblem(f"{wished} is not empty: name a new directory")
    except OSError as error:
        raise UsageProblem(f"{wished}: {error.strerror}") from None
    return wished.absolute()


def _interrupted(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _demonstrate(cluster: LocalCluster, wished: int, clients: int) -> dict[str, Any]:
    begin = time.monotonic()
    _say(f"Three nodes in {cluster.directory}")
    cluster.start()
    _say(table([[node.name, f"pid {node.pid}", node.endpoint] for node in cluster.nodes], indent="  "))
    leader = cluster.leader(START_S)
    first_leader_s = time.monotonic() - begin
    _say(f"{_leads(leader)}, {first_leader_s:.1f} s after the start")
    _say(f"{wished:,} increments of one counter by {clients} clients")
    increments = Increments(cluster.endpoints, wished)
    increments.start(clients)
    progress = Progress(wished)
    _follow(increments, progress, until=wished // 2)
    killed_at = time.monotonic()
    leader.kill()
    progress.pause()
    _say(f"kill -9 {leader.pid}: the leader {leader.name} is gone, after {increments.acknowledged:,} increments")
    successor = cluster.leader(START_S, other_than=leader.name)
    new_leader_s = time.monotonic() - killed_at
    _say(f"{_leads(successor)}, {new_leader_s:.1f} s after the kill")
    leader.start()
    _say(f"{leader.name} is started again: pid {leader.pid}")
    _follow(increments, progress, until=wished)
    progress.pause()
    if increments.trouble:
        _say(f"A client gave up: {increments.trouble}")
    verdict = _verdict(cluster, increments)
    seconds = time.monotonic() - begin
    _tell(verdict, seconds, cluster.directory)
    return {
        "proved": verdict.proved,
        "increments": wished,
        "acknowledged": verdict.acknowledged,
        "unknown": verdict.unknown,
        "counter": verdict.counter,
        "digests": verdict.digests,
        "applied": verdict.applied,
        "killed": leader.name,
        "new_leader": successor.name,
        "first_leader_s": round(first_leader_s, 3),
        "new_leader_s": round(new_leader_s, 3),
        "seconds": round(seconds, 3),
        "directory": str(cluster.directory),
        "endpoints": cluster.endpoints,
    }


def _follow(increments: Increments, progress: Progress, *, until: int) -> None:
    while increments.working and increments.acknowledged < until:
        progress.show(increments.acknowledged, f"{increments.acknowledged:,} acknowledged")
        time.sleep(LOOK_S)
    while until == increments.wished and increments.working:
        time.sleep(LOOK_S)
    progress.show(increments.acknowledged, f"{increments.acknowledged:,} acknowledged")


def _verdict(cluster: LocalCluster, increments: Increments) -> Verdict:
    with BlockingClient(cluster.endpoints, CALL_S) as client:
        counter = client.query("counter", "get", COUNTER)
    statuses = cluster.level(START_S)
    return Verdict(
        acknowledged=increments.acknowledged,
        unknown=increments.unknown,
        counter=counter or 0,
        applied={status["name"]: status["applied_index"] for status in statuses},
        digests={status["name"]: status["digest"] for status in statuses},
    )


def _leads(node: LocalNode) -> str:
    status = node.status()
    return f"{node.name} leads" + (f" in term {status['term']}" if status else "")


def _tell(verdict: Verdict, seconds: float, directory: Path) -> None:
    rows = [
        ["acknowledged increments", f"{verdict.acknowledged:,}"],
        ["counter", f"{verdict.counter:,}", "equal" if verdict.counter == verdict.acknowledged else "DIFFERENT"],
        *([["increments of unknown outcome", f"{verdict.unknown:,}", "NOTHING CAN BE PROVED"]] if verdict.unknown else []),
        *(
            [f"state of {name} at index {verdict.applied[name]}", digest[:16], "" if number == 0 else _equal(verdict, digest)]
            for number, (name, digest) in enumerate(verdict.digests.items())
        ),
    ]
    _say(table(rows, indent="  "))
    if verdict.proved:
        _say(f"PROVED in {seconds:.1f} s: nothing was lost, nothing was doubled, and the three nodes are equal.")
    else:
        _say(f"NOT PROVED after {seconds:.1f} s. Everything is left in {directory}")


def _equal(verdict: Verdict, digest: str) -> str:
    return "equal" if digest == next(iter(verdict.digests.values())) else "DIFFERENT"


def _tell_what_next(cluster: LocalCluster) -> None:
    node = cluster.nodes[0]
    endpoints = ",".join(cluster.endpoints)
    pids = " ".join(str(node.pid) for node in cluster.nodes)
    _say("The nodes keep running:")
    _say(table([[node.name, f"pid {node.pid}", node.endpoint, str(node.log)] for node in cluster.nodes], indent="  "))
    _say("Try next:")
    for command in (
        f"export TXRAFT_ENDPOINTS={endpoints}",
        "txraft status",
        f"txraft counter add {COUNTER} 5",
        f'curl -d \'{{"name": "{COUNTER}", "amount": 5}}\' http://{node.endpoint}/v1/counter/add',
        f"kill -9 {node.pid}; txraft status",
        f"twistd -n --pidfile= txraft --config {node.file}",
    ):
        _say(f"  {command}")
    _say(f"Stop them with: kill {pids}")


def _say(text: str) -> None:
    print(text, flush=True)
