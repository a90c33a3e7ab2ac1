"""All that a node does with snapshots: takes its own, sends them to followers that are far behind, receives those of a leader.

The consensus module says when a piece is to be read or stored and when a snapshot takes effect; here is the way from its effects to files
and machines, and back.

Source: §5.1, §5.3; Figure 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from txraft.config import NodeConfig
from txraft.core.consensus import ConsensusModule
from txraft.core.effects import Effect, Persist, ReadChunk
from txraft.core.ids import Index, ServerId
from txraft.core.snapshot import Snapshot
from txraft.node.snapshot_receiving import SnapshotReceiving
from txraft.node.snapshot_sending import SnapshotSending
from txraft.node.snapshot_taking import SnapshotTaking
from txraft.node.worker import Worker, Workers
from txraft.statemachine import Host
from txraft.storage import Storage
from txraft.storage.layout import Layout
from txraft.storage.snapshot_files import SnapshotFiles

__all__ = ["Snapshots"]

Guard = Callable[[Callable[..., None]], Callable[..., None]]


class Snapshots:
    """Reactor thread only.

    Args:
        workers: one writes this node's own; another reads and writes those under way between servers, which do not wait for the first.
        step: carries out what the consensus module says.
        applied: index of the newest applied entry.
        rest: see `Pace`.
        guard: wraps what is called from outside, so that an exception halts the node.

    Attributes:
        files: of all snapshots.
        taking, sending, receiving: the three of them.
    """

    def __init__(
        self,
        config: NodeConfig,
        clock: IReactorTime,
        *,
        core: ConsensusModule,
        storage: Storage,
        host: Host,
        workers: Workers,
        step: Callable[[Sequence[Effect]], None],
        applied: Callable[[], Index],
        random: Random,
        rest: Callable[[float], object] | None,
        guard: Guard,
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._clock, self._core, self._step, self._guard = clock, core, step, guard
        self.files = SnapshotFiles(storage, Layout(config.data_dir.absolute(), storage.files))
        self.taking = SnapshotTaking(
            config.name,
            clock,
            config.limits,
            cluster_id=storage.identity.cluster_id,
            worker=workers.snapshots,
            storage=storage,
            files=self.files,
            host=host,
            core=core,
            applied=applied,
            taken=guard(self._taken),
            random=random,
            rest=rest,
            on_failure=on_failure,
        )
        self.sending = SnapshotSending(
            config.name,
            clock,
            config.limits,
            worker=workers.transfers,
            files=self.files,
            was_read=guard(self._was_read),
            on_failure=on_failure,
        )
        self.receiving = self._make_receiving(config.name, storage.identity.cluster_id, host, workers.transfers, rest, on_failure)

    def _make_receiving(
        self,
        name: str,
        cluster_id: str,
        host: Host,
        worker: Worker,
        rest: Callable[[float], object] | None,
        on_failure: Callable[[Failure], None],
    ) -> SnapshotReceiving:
        return SnapshotReceiving(
            name,
            self._clock,
            cluster_id=cluster_id,
            worker=worker,
            files=self.files,
            host=host,
            stored=self._guard(self._stored),
            received=self._guard(self._received),
            refused=self._guard(self._refused),
            rest=rest,
            on_failure=on_failure,
        )

    @property
    def _now(self) -> float:
        return float(self._clock.seconds())

    def _taken(self, snapshot: Snapshot, beginning: Index) -> None:
        effects = self._core.snapshot_taken(self._now, snapshot, beginning)
        if not _recorded(effects):
            self.taking.came_too_late(snapshot)
        self._step(effects)

    def _was_read(self, effect: ReadChunk, content: bytes, crc: int) -> None:
        self._step(self._core.chunk_read(self._now, effect.to, effect.snapshot, effect.offset, content, crc))

    def _stored(self, leader: ServerId, sha256: bytes, offset: int) -> None:
        self._step(self._core.chunk_stored(self._now, leader, sha256, offset))

    def _received(self, snapshot: Snapshot) -> None:
        effects = self._core.snapshot_received(self._now, snapshot)
        if not _recorded(effects):
            self.receiving.superseded(snapshot)
        self._step(effects)

    def _refused(self, leader: ServerId, sha256: bytes) -> None:
        self._step(self._core.snapshot_refused(self._now, leader, sha256))

    def adopt(self, snapshot: Snapshot) -> None:
        """The snapshot of a leader takes effect."""
        self.taking.superseded()
        self.receiving.adopt(snapshot)

    def look(self, *, disk_is_full: bool) -> None:
        """Begin what is due, forget what has ended. Called every now and then. What room a full disk still has, is the log's."""
        if not disk_is_full:
            self.taking.look()
        self.sending.look(self._core.receivers_of_snapshots())
        self.receiving.look(self._core.server.commit_index)

    def stop(self) -> None:
        """Begin nothing more, and end what is under way soon."""
        self.taking.stop()
        self.sending.stop()
        self.receiving.stop()

    def status(self) -> dict[str, Any]:
        """What `GET /v1/status` shows of it; sizes in bytes, times in seconds."""
        taking, newest = self.taking, self.taking.newest
        return {
            "index": newest.index if newest is not None else 0,
            "term": newest.term if newest is not None else 0,
            "bytes": newest.size if newest is not None else 0,
            "capture_s": round(taking.capture_s, 6),
            "took_s": round(taking.took_s, 3),
            "taking": taking.progress,
            "sending": self.sending.progress,
            "receiving": self.receiving.progress,
            "problem": taking.problem or self.receiving.problem,
        }


def _recorded(effects: Sequence[Effect]) -> bool:
    """Whether the log is about to have a record of a snapshot."""
    return any(isinstance(effect, Persist) and effect.base is not None for effect in effects)
