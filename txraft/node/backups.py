"""Snapshots on demand: taken now, and read by whoever keeps a copy elsewhere. Any node has one; they differ in how new they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from txraft.core.snapshot import Snapshot
from txraft.errors import NotApplied
from txraft.node.driver import Driver
from txraft.node.view import Stage, View
from txraft.node.worker import Worker
from txraft.storage import File, Storage

__all__ = ["Backups"]

Read = Callable[[int, int], "Deferred[bytes]"]
Close = Callable[[], None]


class Backups:
    """Reactor thread only.

    Args:
        worker: the one of transfers.
        driver, storage: what is open; None before it is.
    """

    def __init__(
        self, name: str, view: View, worker: Worker, driver: Callable[[], Driver | None], storage: Callable[[], Storage | None]
    ) -> None:
        self._name, self._view, self._worker, self._driver, self._storage = name, view, worker, driver, storage

    def take_snapshot(self) -> Deferred[dict[str, Any]]:
        """See `ClientGate.take_snapshot`."""
        driver = self._driver()
        if driver is None or self._view.stage is not Stage.RUNNING:
            return fail(self._not_ready("is not running"))
        taking: Deferred[Any] = driver.snapshots.taking.take()
        return taking.addCallback(_described)

    def open_snapshot(self) -> Deferred[tuple[Snapshot, Read, Close]]:
        """See `ClientGate.open_snapshot`."""
        driver, storage = self._driver(), self._storage()
        if driver is None or storage is None or self._view.stage is not Stage.RUNNING:
            return fail(self._not_ready("is not running"))
        snapshot = driver.snapshots.taking.newest
        if snapshot is None:
            return fail(self._not_ready("has no snapshot yet; take one first"))
        opening: Deferred[Any] = self._worker.perform(lambda: storage.snapshot_file(snapshot))
        return opening.addCallback(self._opened, snapshot)

    def _opened(self, file: File, snapshot: Snapshot) -> tuple[Snapshot, Read, Close]:
        def read(offset: int, length: int) -> Deferred[bytes]:
            return self._worker.perform(lambda: file.read(length, offset))

        def close() -> None:
            self._worker.perform(file.close).addErrback(lambda _: None)  # it was open for reading only

        return snapshot, read, close

    def _not_ready(self, why: str) -> NotApplied:
        return NotApplied("not_ready", f"node {self._name} {why}")


def _described(snapshot: Snapshot) -> dict[str, Any]:
    return {"index": snapshot.index, "term": snapshot.term, "bytes": snapshot.size, "sha256": snapshot.sha256.hex()}
