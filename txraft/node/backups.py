"""Snapshots on demand: taken now, and read by whoever keeps a copy elsewhere. Any node has one; they differ in how new they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txraft.core.snapshot import Snapshot
from txraft.errors import NotApplied, StorageError
from txraft.node.driver import Driver
from txraft.node.ports import OpenedSnapshot
from txraft.node.view import Stage, View
from txraft.node.worker import Worker
from txraft.storage import File

__all__ = ["Backups"]

T = TypeVar("T")


class Backups:
    """Reactor thread only.

    Args:
        worker: the one of transfers.
        driver: None before the directory is open.
    """

    def __init__(self, name: str, view: View, worker: Worker, driver: Callable[[], Driver | None]) -> None:
        self._name, self._view, self._worker, self._driver = name, view, worker, driver

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        """See `ClientGate.take_snapshot`."""
        driver = self._driver()
        if driver is None or self._view.stage is not Stage.RUNNING:
            return fail(self._not_ready("is not running"))
        taking: Deferred[Any] = driver.snapshots.taking.take()
        return taking.addCallback(_described)

    def open_snapshot(self) -> Deferred[OpenedSnapshot]:
        """See `ClientGate.open_snapshot`."""
        driver = self._driver()
        if driver is None or self._view.stage is not Stage.RUNNING:
            return fail(self._not_ready("is not running"))
        snapshot = driver.snapshots.taking.newest
        if snapshot is None:
            return fail(NotApplied("no_snapshot", f"node {self._name} has no snapshot yet; take one first"))
        opened: Deferred[OpenedSnapshot] = Deferred(lambda _: None)
        opening = self._worker.perform(lambda: _or_storage_error(lambda: driver.snapshots.files.open(snapshot)))
        opening.addCallback(self._opened, snapshot, opened).addErrback(_pass_on, opened)
        return opened

    def _opened(self, file: File, snapshot: Snapshot, opened: Deferred[OpenedSnapshot]) -> None:
        def read(offset: int, length: int) -> Deferred[bytes]:
            return self._worker.perform(lambda: _or_storage_error(lambda: _exactly(file, offset, length)))

        def close() -> None:
            self._worker.perform(file.close).addErrback(lambda _: None)  # it was open for reading only

        if opened.called:  # cancelled meanwhile
            close()
        else:
            opened.callback(OpenedSnapshot(snapshot, read, close))

    def _not_ready(self, why: str) -> NotApplied:
        return NotApplied("not_ready", f"node {self._name} {why}")


def _or_storage_error(job: Callable[[], T]) -> T:
    try:
        return job()
    except OSError as error:
        raise StorageError(f"{error.filename or 'the snapshot'}: {error.strerror or error}; it cannot be read") from error


def _exactly(file: File, offset: int, length: int) -> bytes:
    content = file.read(length, offset)
    if len(content) < length:
        raise StorageError(f"the snapshot ends at byte {offset + len(content)}, before byte {offset + length}")
    return content


def _pass_on(failure: Failure, opened: Deferred[OpenedSnapshot]) -> None:
    if not opened.called:
        opened.errback(failure)


def _described(snapshot: Snapshot) -> dict[str, Any]:
    return {"index": snapshot.index, "term": snapshot.term, "bytes": snapshot.size, "sha256": snapshot.sha256.hex()}
