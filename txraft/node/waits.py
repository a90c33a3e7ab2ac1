"""All that waits on this node for something to happen in a machine: polls for events, and commands that found nothing yet."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from txraft.errors import NotApplied
from txraft.limits import Limits, Timing
from txraft.node.polls import Polls
from txraft.node.ports import Caller
from txraft.node.waiting_commands import Command, WaitingCommands
from txraft.node.waiting_room import WaitingRoom
from txraft.statemachine import Host

__all__ = ["Waits"]


class Waits:
    """Told by the host when something happens, by the applier when a slice is done, by the clock when time has passed. Reactor thread only.

    Args:
        term, require_ready: see `Polls`.
        propose: see `WaitingCommands`.

    Attributes:
        polls, commands: to be given what comes in.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        timing: Timing,
        host: Host,
        *,
        term: Callable[[], int],
        require_ready: Callable[[], None],
        propose: Callable[[Command, Caller], None],
    ) -> None:
        self._room = WaitingRoom(limits)
        self.polls = Polls(clock, timing, host, self._room, term, require_ready)
        self.commands = WaitingCommands(clock, host, self._room, propose)
        host.on_signal = self._signalled
        self.forget, self.dismiss = self._room.forget, self._room.dismiss

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._room)

    def _signalled(self, machine: str, topic: bytes) -> None:
        self.polls.signalled(machine, topic)
        self.commands.signalled(machine, topic)

    def applied(self) -> None:
        """The entries of a slice are applied."""
        self.polls.applied()
        self.commands.applied()

    def restored(self) -> None:
        """The machines have made a leap, by a snapshot."""
        self.polls.restored()
        self.applied()

    def expire(self, now: float) -> None:
        """End the waits that are over. Called every now and then."""
        self._room.expire(now)
        self.applied()

    def stop(self, why: str) -> None:
        """Nobody waits here any more."""
        self._room.dismiss(NotApplied("shutting_down", f"{why}; ask another node"), lambda caller: True)
