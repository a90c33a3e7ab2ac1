"""Snapshots of this node's own machines: when one is due, it is captured on the reactor, quickly, and written by a thread, slowly.

While it is written commands go on: what was captured does not change any more. Once the file is whole, durable and read back, the log is
told (`Base`), and what stands before it in the log is no longer needed.

Source: §5.1 (when and how to take snapshots); §5.4.2 (without stopping).
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from random import Random

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft import __version__
from txraft.core.consensus import ConsensusModule
from txraft.core.ids import Index
from txraft.core.snapshot import Snapshot
from txraft.errors import DiskFailed, NotApplied, SnapshotSuperseded
from txraft.limits import Limits
from txraft.node.pace import Abandoned, Pace
from txraft.node.worker import Worker
from txraft.statemachine import Host
from txraft.statemachine.host_snapshot import Capture
from txraft.storage import Storage
from txraft.storage.snapshot_file import SnapshotHead
from txraft.storage.snapshot_files import SnapshotFiles

__all__ = ["SnapshotTaking"]

BUSY_SHARE, IDLE_SHARE = 0.1, 0.5
"""The part of the time in which the thread works: the commands of a busy node lose no more than about that to it. An idle one is done
sooner, but a command that comes along must not wait for long.
"""

CAPTURE_LONG_S = 0.05
"""A machine that takes longer to give its state keeps everybody waiting: its author is told."""

RETRY_S = 60.0
"""A snapshot that failed is tried again after this long."""

STAGGER = 0.5
"""Each threshold is up to this much larger, by lot, so that not all servers of a cluster are busy with a snapshot at once."""


@define
class UnderWay:
    """A snapshot in the making.

    Attributes:
        written: bytes of the file so far; set by the thread.
        durable: it is recorded in the log next.
    """

    index: Index
    pace: Pace
    began_s: float
    waiting: list[Deferred[Snapshot]]
    written: int = 0


class SnapshotTaking:
    """Takes one snapshot at a time. Reactor thread only, but for `_write`, which is the worker's.

    Args:
        clock: monotonic.
        worker: the one of snapshots.
        applied: index of the newest applied entry.
        taken: tells the consensus module of a new snapshot, and at which entry the log may begin.
        rest: see `Pace`.
        on_failure: the disk failed in a way after which it is not to be trusted.

    Attributes:
        newest: the newest recorded snapshot, of whatever origin.
        problem: why the last attempt failed; "" if it did not.
        capture_s: how long the reactor stood still for the last one.
        took_s: how long the last one took altogether.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        limits: Limits,
        *,
        cluster_id: str,
        worker: Worker,
        storage: Storage,
        files: SnapshotFiles,
        host: Host,
        core: ConsensusModule,
        applied: Callable[[], Index],
        taken: Callable[[Snapshot, Index], None],
        random: Random,
        rest: Callable[[float], object] | None,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._name, self._clock, self._limits, self._cluster_id = name, clock, limits, cluster_id
        self._worker, self._storage, self._files, self._host, self._core = worker, storage, files, host, core
        self._applied, self._taken, self._random, self._rest, self._on_failure = applied, taken, random, rest, on_failure
        self.newest: Snapshot | None = storage.recovered.snapshot
        self.problem = ""
        self.capture_s = self.took_s = 0.0
        self._under_way: UnderWay | None = None
        self._not_before = 0.0
        self._stopped = False
        self._threshold_bytes = self._draw_threshold()

    @property
    def is_busy(self) -> bool:
        """Whether one is in the making."""
        return self._under_way is not None

    @property
    def progress(self) -> dict[str, int] | None:
        """The one in the making: `index`, and `written` bytes; None if there is none."""
        one = self._under_way
        return None if one is None else {"index": one.index, "written": one.written}

    def look(self) -> None:
        """Begin one if the log has grown enough. Called every now and then."""
        if self._under_way is None and not self._stopped and self._clock.seconds() >= self._not_before:
            grown = self._storage.bytes_behind(Index(self.newest.index if self.newest is not None else 0))
            if grown > self._threshold_bytes:
                self.take().addErrback(lambda _: None)  # it is logged, and stands in the status

    def take(self) -> Deferred[Snapshot]:
        """Take one now; if one is in the making, wait for that. Fires with it when it is durable and recorded in the log.

        Fails with `NotApplied`: `not_ready` (nothing is applied yet, or the node stops), `machine_error`, `disk_full`.
        """
        index = self._applied()
        # While the log has made the leap of an installed snapshot and the machines have not, there is nothing to be had of either.
        if self._stopped or not index or index < self._core.server.log.base_index:
            return fail(NotApplied("not_ready", f"node {self._name} has nothing to take a snapshot of, or stops"))
        if self._under_way is None and self.newest is not None and self.newest.index == index:
            return succeed(self.newest)
        if self._under_way is None:
            try:
                self._begin(index)
            except NotApplied as problem:
                self._failed_with(problem)
                return fail(problem)
        assert self._under_way is not None
        done: Deferred[Snapshot] = Deferred()
        self._under_way.waiting.append(done)
        return done

    def _begin(self, index: Index) -> None:
        began_s = self._clock.seconds()
        capture = self._host.capture()
        self.capture_s = self._clock.seconds() - began_s
        if self.capture_s > CAPTURE_LONG_S:
            self._log.warn(
                "{node}: giving their state kept the machines busy for {ms} ms, in which nothing else went on. A machine with a large "
                "state should give it piece by piece: see writing-a-state-machine.md",
                node=self._name, ms=round(self.capture_s * 1000),
            )  # fmt: skip
        head = self._head(capture, index)
        one = self._under_way = UnderWay(index, Pace(BUSY_SHARE, IDLE_SHARE, self._clock.seconds, self._rest), began_s, [])
        self._log.info("{node} takes a snapshot of everything up to entry {index}", node=self._name, index=index)
        writing = self._worker.perform(lambda: self._write(head, capture, one))
        writing.addCallback(self._written).addErrback(self._failed)

    def _head(self, capture: Capture, index: Index) -> SnapshotHead:
        term = self._core.server.log.term_at(index)
        assert term is not None
        return SnapshotHead(
            f"txraft {__version__}",
            self._cluster_id,
            index,
            term,
            self._core.configurations_at(index),
            capture.log_time_ms,
            capture.machines,
        )

    def _write(self, head: SnapshotHead, capture: Capture, one: UnderWay) -> Snapshot:
        def written(size: int) -> None:
            one.written = size

        return self._files.write(head, capture.parts(), progress=written, pause=one.pace.step)

    def _written(self, snapshot: Snapshot) -> None:
        if not self._stopped:
            self._taken(snapshot, self.beginning_for(snapshot))

    def recorded(self, snapshot: Snapshot) -> None:
        """The log on disk knows of a snapshot: one of this node's own, or one that a leader has sent."""
        self.newest, self.problem = snapshot, ""
        self._threshold_bytes = self._draw_threshold()
        one = self._under_way
        if one is None or one.index != snapshot.index:
            return
        self._under_way = None
        self.took_s = self._clock.seconds() - one.began_s
        self._log.info(
            "{node} has a snapshot up to entry {index}: {size} bytes in {seconds} s; the log begins behind entry {base}",
            node=self._name, index=snapshot.index, size=snapshot.size, seconds=round(self.took_s, 3), base=self._core.server.log.base_index,
        )  # fmt: skip
        for done in one.waiting:
            done.callback(snapshot)

    def came_too_late(self, snapshot: Snapshot) -> None:
        """The log already knows of a newer one than this one, just written."""
        self._worker.perform(lambda: self._files.drop(snapshot)).addErrback(self._on_failure)
        self._give_up_for_a_newer()

    def _give_up_for_a_newer(self) -> None:
        self._give_up(NotApplied("not_ready", f"node {self._name} got a newer state while this snapshot was written; take another"))

    def superseded(self) -> None:
        """A leader has sent a newer state: what is in the making is of no use."""
        if self._under_way is not None:
            self._under_way.pace.abandon()

    def stop(self) -> None:
        """Take no more; what is in the making is abandoned."""
        self._stopped = True
        self.superseded()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, SnapshotSuperseded):
            self._give_up_for_a_newer()
        elif isinstance(error, Abandoned):
            self._give_up(NotApplied("not_ready", f"node {self._name} has abandoned the snapshot: it stops, or got a newer state"))
        elif isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            self._failed_with(NotApplied("disk_full", f"node {self._name} has no room on its disk for a snapshot: {error}"))
        elif isinstance(error, OSError):
            sentence = f"writing a snapshot failed: {error}. A disk that fails once is not trusted again: this server must stop"
            self._on_failure(Failure(DiskFailed(sentence)))
        elif isinstance(error, NotApplied):
            self._host.note_snapshot_failure(error)
            self._failed_with(error)
        else:
            self._on_failure(failure)

    def _failed_with(self, problem: NotApplied) -> None:
        self.problem = str(problem)
        self._not_before = self._clock.seconds() + RETRY_S
        self._log.error(
            "{node} cannot take a snapshot, so its log keeps growing; it tries again in {seconds:.0f} s: {problem}",
            node=self._name, seconds=RETRY_S, problem=self.problem,
        )  # fmt: skip
        self._give_up(problem)

    def _give_up(self, problem: NotApplied) -> None:
        one, self._under_way = self._under_way, None
        for done in one.waiting if one is not None else ():
            done.errback(problem)

    def _draw_threshold(self) -> int:
        limits, last = self._limits, self.newest.size if self.newest is not None else 0
        return int(max(limits.snapshot_log_bytes, limits.snapshot_log_factor * last) * (1 + STAGGER * self._random.random()))

    def beginning_for(self, snapshot: Snapshot) -> Index:
        """Behind which entry the log may begin: some entries before the snapshot are kept for followers that are a little behind, and all
        that those need which are being sent an older snapshot, unless that becomes too much.

        Source: §5.1.3, "trailing entries"; §5.3.
        """
        limits, bytes_behind = self._limits, self._storage.bytes_behind
        first = self._core.server.log.base_index
        beginning = max(int(first), snapshot.index - limits.trailing_entries)
        end = bytes_behind(Index(snapshot.index))
        while beginning < snapshot.index and bytes_behind(Index(beginning)) - end > limits.trailing_bytes:
            beginning += -(-(snapshot.index - beginning) // 2)
        pinned = self._core.pinned_index(self._clock.seconds())
        if pinned is not None and pinned < beginning and bytes_behind(pinned) <= limits.pinned_log_bytes_max:
            beginning = max(int(first), pinned)
        return Index(beginning)
