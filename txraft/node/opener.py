"""The opening of a node's data directory, by the disk's thread, however long a full disk keeps it waiting."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.config import NodeConfig
from txraft.errors import DiskFull
from txraft.node.opening import OpenDirectory, OpenStorage, open_directory
from txraft.node.view import View
from txraft.node.worker import Worker
from txraft.statemachine import Host

__all__ = ["Opener"]

RETRY_S = 1.0
"""How often a directory is tried again that cannot be opened because there is no room."""


class Opener:
    """Reactor thread only, but for `_told`.

    Args:
        worker: the disk's.
        opened: is given the directory.
        on_failure: it cannot be opened.

    Attributes:
        progress: how far the opening has come, 0 to 1.
    """

    _log = Logger()

    def __init__(
        self,
        config: NodeConfig,
        clock: IReactorTime,
        worker: Worker,
        host: Host,
        view: View,
        open_storage: OpenStorage,
        opened: Callable[[OpenDirectory], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._config, self._clock, self._worker, self._host, self._view = config, clock, worker, host, view
        self._open_storage, self._opened, self._on_failure = open_storage, opened, on_failure
        self.progress = 0.0
        self._retry: IDelayedCall | None = None
        self._stopped = False

    def begin(self) -> None:
        """Open it; `opened` or `on_failure` is called in the end."""
        self._retry = None
        opening = self._worker.perform(lambda: open_directory(self._open_storage, self._config, self._host, self._told))
        opening.addCallback(self._done).addErrback(self._failed)

    def _told(self, progress: float) -> None:
        self.progress = progress  # on the worker's thread: one assignment, read by status

    def _done(self, opened: OpenDirectory) -> None:
        self.progress, self._view.alarm = 1.0, ""
        self._opened(opened)

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, DiskFull):
            self._on_failure(failure)
            return
        if not self._view.alarm:
            self._log.critical("{node}: {problem}", node=self._config.name, problem=str(failure.value))
        self._view.alarm = str(failure.value)
        if not self._stopped:
            self._retry = self._clock.callLater(RETRY_S, self.begin)

    def stop(self) -> None:
        """Try nothing again."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
