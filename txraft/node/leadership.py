"""What a leader's node does beside consensus: see that the configured machines exist, and let log time pass when nothing else happens."""

from __future__ import annotations

from twisted.logger import Logger

from txraft.core.ids import Index
from txraft.node.log_clock import LogClock
from txraft.node.proposals import Proposals
from txraft.node.view import View
from txraft.statemachine import Host
from txraft.statemachine.log_commands import Clock, HostMachine

__all__ = ["Leadership"]


class Leadership:
    """From the election to the moment this node serves clients, and while it does. Reactor thread only.

    Args:
        log_clock: for what is proposed here.
    """

    _log = Logger()

    def __init__(self, name: str, view: View, host: Host, proposals: Proposals, log_clock: LogClock) -> None:
        self._name, self._view, self._host, self._proposals, self._log_clock = name, view, host, proposals, log_clock
        self._ready_at: Index | None = None
        self._hosting: set[str] = set()
        self._clock_after: Index | None = None

    def began(self, first_index: Index) -> None:
        """Everything before this term is committed; once `first_index` is applied here, it is known here too."""
        self._ready_at = first_index

    def ended(self) -> None:
        """This node leads no more."""
        self._ready_at, self._clock_after = None, None
        self._hosting.clear()
        self._view.serving = False

    def applied(self, through: Index) -> None:
        """Once everything from before the term is applied, propose the machines the log does not know; then serve."""
        if self._ready_at is None or through < self._ready_at or self._view.serving:
            return
        self._log_clock.set(not_before_ms=self._host.log_time_ms)
        missing = self._host.unhosted()
        for name, plugin, version in missing:
            if name not in self._hosting:
                self._hosting.add(name)
                self._proposals.take(None, 0, HostMachine(self._log_clock.now_ms(), name, plugin, version))
        if not missing:
            self._view.serving = True
            self._log.info("{node} serves clients as leader of term {term}", node=self._name, term=self._view.term)

    def tick(self, applied: Index) -> None:
        """If a machine or session waits for a time that has come, put the time into the log. One such entry at a time."""
        if self._ready_at is not None and not self._view.serving and not self._proposals.count:
            self._hosting.clear()  # what was proposed found no room, or is applied: look again
            self.applied(applied)
        if not self._view.serving or (self._clock_after is not None and applied <= self._clock_after):
            return
        deadline, now = self._host.deadline_ms(), self._log_clock.now_ms()
        if deadline is not None and deadline <= now:
            self._clock_after = applied
            self._proposals.take(None, 0, Clock(now))
