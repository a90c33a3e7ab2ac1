"""Sessions for commands that wait on the server: each has one to itself for as long as it is under way.

In the session of all other commands it would hold up the first outstanding serial number for as long as it waits, and with it, once the
window of the session is full, every other command of the client. With a session of its own it holds up nobody. And closing that session
rids the servers of a command that nobody waits for any more: it will take nothing then.

Source: §6.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.client.calls import Call, Kind
from txraft.errors import NotApplied, Outcome
from txraft.limits import WAIT_MS_MAX

__all__ = ["WaitSessionOwner", "WaitSessions"]


class WaitSessionOwner(Protocol):
    """Whose commands they are."""

    def ask_about_session(self, kind: Kind, option: int = 0, *, session: int = 0) -> Deferred[Any]:
        """Send a request that concerns a session; fires with the value of its answer."""

    def ready_to_send(self, call: Call) -> None:
        """`call` has its session and serial number."""

    def no_session_for(self, call: Call, problem: Outcome) -> None:
        """The servers will not open one for `call`."""


@frozen
class _Free:
    session: int
    next_serial: int
    used_s: float


class WaitSessions:
    """Lends sessions. Those that are free again are lent again; those that nobody needs expire.

    Args:
        monotonic: seconds.
        timeout_s: they expire on the servers when unused for so long, in log time; longer, if need be, for a wait to fit in.
        owner: sends the requests.
    """

    def __init__(self, monotonic: Callable[[], float], timeout_s: float, owner: WaitSessionOwner) -> None:
        self._monotonic = monotonic
        self._timeout_s = max(timeout_s, 5 * WAIT_MS_MAX / 1000)
        self._owner = owner
        self._free: list[_Free] = []

    def lend(self, call: Call) -> None:
        """Give `call` a session and a serial number: at once, if one is free; else one is opened."""
        if self._free:
            free = self._free.pop()
            if self._monotonic() - free.used_s < self._timeout_s / 3:
                call.session, call.serial = free.session, free.next_serial
                self._owner.ready_to_send(call)
                return
            self._free.clear()  # Those below have been unused for longer. They expire.
        opened = self._owner.ask_about_session(Kind.OPEN_SESSION, int(self._timeout_s * 1000))
        opened.addCallbacks(self._opened, self._not_opened, callbackArgs=(call,), errbackArgs=(call,))

    def give_back(self, call: Call) -> None:
        """`call` was answered: its session is free."""
        self._free.append(_Free(call.session, call.serial + 1, self._monotonic()))

    def rid(self, call: Call) -> None:
        """Nobody waits for `call` any more: with its session closed it can take nothing later. Unconfirmed, the session expires."""
        self._owner.ask_about_session(Kind.CLOSE_SESSION, session=call.session).addErrback(lambda _: None)

    def take_free(self) -> list[int]:
        """The sessions that nobody has, to be closed: they are not lent again."""
        free, self._free = self._free, []
        return [one.session for one in free]

    def _opened(self, session: Any, call: Call) -> None:
        if not isinstance(session, int) or session < 1:
            self._owner.no_session_for(call, NotApplied("unexpected_answer", f"the server calls the new session {session!r}"))
        elif call.deferred is None:
            self._free.append(_Free(session, 1, self._monotonic()))
        else:
            call.session, call.serial = session, 1
            self._owner.ready_to_send(call)

    def _not_opened(self, failure: Failure, call: Call) -> None:
        problem = failure.value
        if call.deferred is None:
            return
        if isinstance(problem, Outcome) and problem.code in NotApplied.RETRYABLE:
            self.lend(call)
        elif isinstance(problem, Outcome):
            self._owner.no_session_for(call, NotApplied(problem.code, f"no session could be opened: {problem.message}", **problem.details))
