"""The client's session: opened before the first command, kept while idle, opened anew when it was lost.

Source: §6.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txraft.client.calls import Kind
from txraft.errors import NotApplied, Outcome, Unknown

__all__ = ["Session", "SessionKeeper", "SessionOwner"]


@define(eq=False)
class Session:
    """An open session and its serial numbers.

    Attributes:
        id: what the servers call it.
        used_s: when a command was last sent in it, on the monotonic clock.
        next_serial: of the next new command.
        first_outstanding: all smaller serial numbers are answered or given up; the servers may forget their results.
    """

    id: int
    used_s: float
    next_serial: int = 1
    first_outstanding: int = 1
    _unanswered: set[int] = field(factory=set)

    def take_serial(self) -> int:
        """The serial number of a new command."""
        serial = self.next_serial
        self.next_serial = serial + 1
        self._unanswered.add(serial)
        return serial

    def finished(self, serial: int) -> None:
        """The result of `serial` has arrived, or nobody waits for it any more."""
        unanswered = self._unanswered
        unanswered.discard(serial)
        first = self.first_outstanding
        if serial == first:
            first += 1
            while first < self.next_serial and first not in unanswered:
                first += 1
            self.first_outstanding = first


class SessionOwner(Protocol):
    """Whose session it is."""

    def ask_about_session(self, kind: Kind, option: int = 0) -> Deferred[Any]:
        """Send a request that concerns the session; fires with the value of its answer."""

    def session_lost(self, session_id: int) -> None:
        """The servers have forgotten it, and the results of its commands."""

    def no_session(self, problem: NotApplied) -> None:
        """The servers will not open one."""


class SessionKeeper:
    """Sees to it that there is a session when one is needed, and that it does not expire while the client lives.

    Args:
        reactor: for the timer that keeps it.
        monotonic: seconds.
        timeout_s: the session expires on the servers when unused for so long, in log time.
        owner: sends the requests.
    """

    def __init__(self, reactor: IReactorTime, monotonic: Callable[[], float], timeout_s: float, owner: SessionOwner) -> None:
        self.current: Session | None = None
        self._reactor = reactor
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._owner = owner
        self._opening = False
        self._timer: IDelayedCall | None = None

    def open(self) -> None:
        """Open a session, unless there is one or it is being opened."""
        if self.current is None and not self._opening:
            self._opening = True
            self._owner.ask_about_session(Kind.OPEN_SESSION, int(self._timeout_s * 1000)).addCallbacks(self._opened, self._not_opened)

    def lost(self, session_id: int) -> None:
        """The servers do not know this session any more."""
        if self.current is not None and self.current.id == session_id:
            self.current = None
            self.stop()
            self._owner.session_lost(session_id)

    def stop(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _opened(self, session_id: Any) -> None:
        self._opening = False
        if not isinstance(session_id, int) or session_id < 1:
            self._owner.no_session(NotApplied("unexpected_answer", f"the server calls the new session {session_id!r}"))
            return
        self.current = Session(session_id, self._monotonic())
        self._keep_in(self._timeout_s / 3)

    def _not_opened(self, failure: Failure) -> None:
        self._opening = False
        problem = failure.value
        if isinstance(problem, NotApplied | Unknown) and problem.code in NotApplied.RETRYABLE:
            return  # Commands that still wait have it opened again.
        if isinstance(problem, Outcome):
            self._owner.no_session(NotApplied(problem.code, f"no session could be opened: {problem.message}", **problem.details))

    def _keep_in(self, delay_s: float) -> None:
        self._timer = self._reactor.callLater(delay_s, self._keep)

    def _keep(self) -> None:
        self._timer = None
        session = self.current
        if session is None:
            return
        idle_s = self._monotonic() - session.used_s
        if idle_s < self._timeout_s / 3:
            self._keep_in(self._timeout_s / 3 - idle_s)
            return
        self._keep_in(self._timeout_s / 3)

        def kept(_: Any) -> None:
            session.used_s = self._monotonic()

        def not_kept(failure: Failure) -> None:
            if isinstance(failure.value, Unknown) and failure.value.code == "session_expired":
                self.lost(session.id)

        self._owner.ask_about_session(Kind.KEEP_SESSION).addCallbacks(kept, not_kept)
