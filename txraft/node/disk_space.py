"""What a node does when its disk is full: it leads no more and takes no commands, but answers reads, keeps its votes and goes on as a
follower as long as the reserve lasts; when there is room again, it takes part as before.

A full disk is not a broken one: what found no room was not begun, and is written when there is some.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.errors import DiskFull
from txraft.node.view import View
from txraft.node.worker import Worker
from txraft.storage import Storage

__all__ = ["DiskSpace"]

LOOK_S = 1.0
"""How often it is looked whether there is room again."""

CALM_LOOK_S = 60.0
"""The same without an alarm: a node may have begun without room for a reserve."""


class DiskSpace:
    """The alarm of a full disk, in `View.alarm`. Reactor thread only.

    Args:
        worker: the disk's.
        step_down: makes this node lead no more.
        on_failure: the disk failed.

    Attributes:
        has_reserve: whether the reserve was there, or could be made, when it was last looked.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        worker: Worker,
        storage: Storage,
        view: View,
        step_down: Callable[[str], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._name, self._clock, self._worker, self._storage = name, clock, worker, storage
        self._view, self._step_down, self._on_failure = view, step_down, on_failure
        self._look_at = 0.0
        self._looking = False
        self.has_reserve = True

    def ran_out(self, error: DiskFull) -> None:
        """A write found no room."""
        if not self._view.alarm:
            self._view.alarm = str(error)
            self._log.critical("{node}: {problem}", node=self._name, problem=str(error))
            self._worker.perform(self._storage.release_reserve).addErrback(self._on_failure)
        self._step_down("its disk is full")
        self._look_at = self._clock.seconds() + LOOK_S

    def look(self) -> None:
        """See whether there is room for the reserve again, which ends the alarm; and now and then, whether there is one. Called often."""
        now = self._clock.seconds()
        if not self._looking and now >= self._look_at:
            self._looking = True
            self._look_at = now + (LOOK_S if self._view.alarm else CALM_LOOK_S)
            self._worker.perform(self._storage.restore_reserve).addCallback(self._looked).addErrback(self._on_failure)

    def _looked(self, is_restored: bool) -> None:
        self._looking = False
        if not is_restored and self.has_reserve:
            self._log.warn("{node} has no room on its disk for a reserve: it will soon be full", node=self._name)
        self.has_reserve = is_restored
        if is_restored and self._view.alarm:
            self._view.alarm = ""
            self._log.info("{node} has room on its disk again and takes part as before", node=self._name)
