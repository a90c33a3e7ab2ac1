"""What must be on disk before it is spoken of: an idle disk begins at once, and all `Persist`s that gather while it is busy become its next
write, with one fsync. The slower the disk, the larger the batch.

Source: §3.8; §10.2.1, §10.2.2 (batching); the hung-disk hazard: a leader whose disk does not answer must not go on leading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.core.effects import Persist
from txraft.errors import DiskFull
from txraft.node.worker import Worker

__all__ = ["Durability"]

ANSWERS_MAX = 1_000
"""Answers that wait for a disk which does not come to an end with its write."""

RETRY_S = 1.0
"""How often a write is tried again that found no room on the disk."""


class Durability:
    """Group commit on one worker. Reactor thread only.

    Args:
        clock: monotonic.
        worker: the disk's.
        write: `Storage.write`; runs on the worker.
        on_durable: these are done, in order; called on the reactor.
        on_failure: a write failed, for good.
        on_full: a write found no room: nothing of it is lost, and it is tried again until there is some.

    Attributes:
        writes: writes done so far.
        write_s: how long the last one took, queueing on the reactor included.
        write_max_s: the longest so far.
    """

    def __init__(
        self,
        clock: IReactorTime,
        worker: Worker,
        write: Callable[[Sequence[Persist]], None],
        on_durable: Callable[[list[Persist]], None],
        on_failure: Callable[[Failure], None],
        on_full: Callable[[DiskFull], None],
    ) -> None:
        self._clock, self._worker, self._write = clock, worker, write
        self._on_durable, self._on_failure, self._on_full = on_durable, on_failure, on_full
        self._gathered: list[Persist] = []
        self._writing_since: float | None = None
        self._retry: IDelayedCall | None = None
        self._stopped = False
        self._done: deque[list[Persist]] = deque()
        self._telling = False
        self._answers = 0
        self.writes = 0
        self.write_s = 0.0
        self.write_max_s = 0.0

    def persist(self, persist: Persist) -> None:
        """Take one. An idle disk begins at once; what comes while it is busy is its next write.

        Of those that only wait for the ones before them, the oldest are dropped when there are very many, as if the network had lost what
        they were to say: a disk that is full for a day gets a heartbeat ten times a second.
        """
        self._gathered.append(persist)
        if not _asks_something(persist):
            self._answers += 1
            if self._answers > ANSWERS_MAX:
                self._drop_answers()
        if self._writing_since is None:
            self._flush()

    def _drop_answers(self) -> None:
        """Keep the newer half of the answers, and all else."""
        keep_from = self._answers - ANSWERS_MAX // 2
        kept: list[Persist] = []
        for persist in self._gathered:
            if not _asks_something(persist) and keep_from > 0:
                keep_from -= 1
            else:
                kept.append(persist)
        self._gathered, self._answers = kept, ANSWERS_MAX // 2

    def stop(self) -> None:
        """Try nothing again."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def oldest_age_s(self) -> float:
        """How long the disk has been busy with its oldest job; 0 when idle."""
        return 0.0 if self._writing_since is None else self._clock.seconds() - self._writing_since

    @property
    def idle(self) -> bool:
        """Whether everything taken is durable."""
        return self._writing_since is None and not self._gathered

    def _flush(self) -> None:
        batch, self._gathered, self._answers = self._gathered, [], 0
        content = [persist for persist in batch if _asks_something(persist)]
        if not content:
            self._done.append(batch)
            self._tell()
            return
        self._writing_since = self._clock.seconds()
        self._begin(batch, content)

    def _begin(self, batch: list[Persist], content: list[Persist]) -> None:
        self._retry = None
        writing = self._worker.perform(lambda: self._write(content))
        writing.addCallback(self._written, batch).addErrback(self._failed, batch, content)

    def _failed(self, failure: Failure, batch: list[Persist], content: list[Persist]) -> None:
        if isinstance(failure.value, DiskFull):
            self._on_full(failure.value)
            if not self._stopped:
                self._retry = self._clock.callLater(RETRY_S, self._begin, batch, content)
        else:
            self._on_failure(failure)

    def _written(self, _: None, batch: list[Persist]) -> None:
        assert self._writing_since is not None
        self.writes += 1
        self.write_s = self._clock.seconds() - self._writing_since
        self.write_max_s = max(self.write_max_s, self.write_s)
        self._writing_since = None
        self._done.append(batch)
        if self._gathered:
            self._flush()  # the next write begins before this one is told of
        self._tell()

    def _tell(self) -> None:
        """Tell what is durable, in order, even if more becomes so meanwhile."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._done:
                self._on_durable(self._done.popleft())
        finally:
            self._telling = False


def _asks_something(persist: Persist) -> bool:
    """Whether there is something to write, and not only something to wait for."""
    return bool(persist.metadata or persist.entries or persist.truncate_from is not None or persist.base is not None or persist.repaired)
