"""From the call to its answer: what waits, what is under way, until when; every try of it and what is told in the end."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as OverdueError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txraft.client.calls import ANYWHERE, Call, Kind
from txraft.client.connection import Link
from txraft.client.leader_search import LeaderSearch
from txraft.client.outgoing import Outgoing
from txraft.client.retrying import Fate, judge, overdue, told
from txraft.client.sessions import SessionKeeper
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.limits import Limits
from txraft.statemachine.results import OK, decode_answer
from txraft.statemachine.values import decode_value
from txraft.wire.requests import Reply

__all__ = ["Courier"]

CALLS_MAX = 10_000
"""Calls made and not answered; beyond it a call fails as `overloaded`."""

CALL_BYTES_MAX = 67_108_864
"""Their size."""

SILENCE_S = 3.0
"""A server that owes answers and sends nothing for so long is given up for another."""

CLOSE_SESSION_S = 1.0
"""Time for the servers to confirm that the session is closed; unconfirmed, it expires."""

_CALL_OVERHEAD_BYTES = 96
"""More than everything in a frame that belongs to one call beside names and arguments."""

_SESSION_GONE = "the session that could have told whether it was applied is gone"


class Courier:
    """Takes calls to the cluster and brings back their results. It hears from the search and the sessions; `Client` is its front.

    Args:
        reactor: for timers. All calls are on its thread.
        search: makes the courier the search's owner; it is called once.
        timeout_s: how long a call may take, with all its tries.
        session_timeout_s: the session expires when nothing was heard of this client for so long.
        limits: for the window of a session.
        monotonic: the clock for deadlines.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        search: Callable[[Courier], LeaderSearch],
        *,
        timeout_s: float,
        session_timeout_s: float,
        limits: Limits,
        monotonic: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._search = search(self)
        self._outgoing = Outgoing(limits, self._too_large)
        self._sessions = SessionKeeper(reactor, monotonic, session_timeout_s, self)
        self._pending: dict[int, Call] = {}
        self._pending_bytes = 0
        self._last_number = 0
        self._gathering = False
        self._given_up = False
        self._turn: IDelayedCall | None = None
        self._sweep_timer: IDelayedCall | None = None
        self._sweep_s = min(0.25, max(0.01, timeout_s / 40))
        self._closed = False

    def submit(self, kind: Kind, machine: str = "", operation: str = "", arguments: bytes = b"", option: int = 0) -> Deferred[Any]:
        """Make a call of the client's user. `arguments` are encoded; `option` is as in `Call`."""
        if self._closed:
            return fail(NotApplied("client_closed", "this client was closed"))
        size_bytes = len(arguments) + 4 * (len(machine) + len(operation)) + _CALL_OVERHEAD_BYTES
        if len(self._pending) >= CALLS_MAX or self._pending_bytes + size_bytes > CALL_BYTES_MAX:
            return fail(NotApplied("overloaded", f"{len(self._pending)} calls of this client are unanswered"))
        return self._begin(kind, machine, operation, arguments, option, size_bytes)

    def ask_about_session(self, kind: Kind, option: int = 0) -> Deferred[Any]:
        """Open, keep or close the session: not counted among the user's calls, which may all be waiting for this one."""
        return self._begin(kind, "", "", b"", option, _CALL_OVERHEAD_BYTES)

    def _begin(self, kind: Kind, machine: str, operation: str, arguments: bytes, option: int, size_bytes: int) -> Deferred[Any]:
        self._last_number = number = self._last_number + 1
        call = Call(number, kind, machine, operation, arguments, size_bytes, self._monotonic() + self._timeout_s, option)
        call.deferred = deferred = Deferred[Any](functools.partial(self._cancelled, call))
        self._pending[number] = call
        self._pending_bytes += size_bytes
        self._outgoing.put(call)
        if self._turn is None and not self._gathering:
            self._schedule()
        return deferred

    # The end of a call

    def _finish(self, call: Call) -> Deferred[Any]:
        """Let go of a call; its Deferred, to be fired."""
        deferred = call.deferred
        assert deferred is not None
        call.deferred = None
        del self._pending[call.number]
        self._pending_bytes -= call.size_bytes
        if call.serial:
            session = self._sessions.current
            if session is not None and session.id == call.session:
                session.finished(call.serial)
        return deferred

    def _fail(self, call: Call, problem: Outcome) -> None:
        self._given_up = True
        if call.deferred is not None:
            self._finish(call).errback(problem)

    def _cancelled(self, call: Call, _: Deferred[Any]) -> None:
        self._given_up = True
        if call.deferred is not None:
            self._finish(call)

    def _too_large(self, call: Call) -> None:
        self._fail(call, told(NotApplied("too_large", "it does not fit the server's frames"), maybe_taken=call.maybe_taken))

    # Answers

    def link_replied(self, link: Link, replies: list[Reply]) -> None:
        """A frame of answers came."""
        self._gathering = True
        try:
            for reply in replies:
                call = link.in_flight.get(reply.id)
                if call is not None:  # Otherwise it is an answer given twice.
                    self._replied(link, reply, call)
        except (ValueError, TypeError, RecursionError) as error:  # msgspec's errors are ValueErrors
            link.drop(f"an answer does not decode: {error}")
        finally:
            self._gathering = False
        self._search.tidy(link)
        self.wake()

    def _replied(self, link: Link, reply: Reply, call: Call) -> None:
        answer = decode_answer(reply.answer)
        result: Any = None
        problem: Outcome | None = None
        if answer.outcome == OK:
            result = decode_value(bytes(answer.body))
        else:
            problem = answer.problem()
        link.answered(reply.id, call)
        if call.deferred is None:
            return
        if problem is not None:
            self._tried(call, problem, link)
            return
        if self._search.trouble is not None and call.kind not in ANYWHERE:
            self._search.answered()
        self._finish(call).callback(result)

    def link_lost(self, link: Link, why: str) -> None:
        """Nothing in flight on `link` will be answered."""
        for request_id, call in list(link.in_flight.items()):
            link.answered(request_id, call)
            if call.deferred is not None:
                self._tried(call, Unknown("connection_lost", f"the connection ended before the answer: {why}"), None)
        self.wake()

    def _tried(self, call: Call, problem: Outcome, link: Link | None) -> None:
        """One try of `call` came to `problem`, on `link` if the server said so: send it again, or tell."""
        fate = judge(problem, repeatable=call.repeatable, maybe_taken=call.maybe_taken)
        if problem.code == "session_expired" and call.kind is Kind.COMMAND:
            self._sessions.lost(call.session)
        elif fate is Fate.NEW_SESSION:
            fate = Fate.FINAL  # It concerned the session itself.
        if fate is Fate.FINAL:
            self._fail(call, told(problem, maybe_taken=call.maybe_taken))
            return
        if fate is Fate.RETRY:
            call.maybe_taken |= call.changes and isinstance(problem, Unknown)
            if link is not None:
                self._search.turned_away(link, problem)
        self._try_again(call)

    def _try_again(self, call: Call) -> None:
        session = self._sessions.current
        if call.session and (session is None or session.id != call.session):
            if call.maybe_taken:
                self._fail(call, Unknown("session_expired", _SESSION_GONE))
                return
            call.session = call.serial = 0
        self._outgoing.put_back(call)

    # Sessions

    def session_lost(self, session_id: int) -> None:
        """Commands that wait to be sent again in it cannot be; those in flight will be told the same by their own answers."""
        for call in self._outgoing.in_session():
            if call.session == session_id:
                if call.maybe_taken:
                    self._fail(call, Unknown("session_expired", _SESSION_GONE))
                call.session = call.serial = 0

    def no_session(self, problem: NotApplied) -> None:
        """The servers open none; whoever waits for one is told."""
        for call in self._outgoing.in_session():
            self._fail(call, told(problem, maybe_taken=call.maybe_taken))

    # Sending

    def wake(self) -> None:
        """Send what waits and can go now: all of it in one frame."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if not self._outgoing:
            return
        link = self._search.link
        if link is None:
            self._search.wanted()
            return
        session = self._sessions.current
        if session is None and self._outgoing.awaits_session:
            self._sessions.open()
        frames = self._outgoing.fill(link, session, leader=not self._search.pausing)
        for frame in frames:
            link.send(frame)
            if session is not None:
                session.used_s = self._monotonic()
        if frames and self._outgoing:
            self._schedule()

    def _schedule(self) -> None:
        """Send at the end of this turn, with whatever else it brings."""
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._turn_over)
        if self._sweep_timer is None:
            self._sweep_timer = self._reactor.callLater(self._sweep_s, self._sweep)

    def _turn_over(self) -> None:
        self._turn = None
        self.wake()

    def _sweep(self) -> None:
        """Tell those whose time is up. Calls are pending in the order of their deadlines."""
        self._sweep_timer = None
        now_s = self._monotonic()
        for call in list(takewhile(lambda call: call.deadline_s <= now_s, self._pending.values())):
            self._fail(call, overdue(self._timeout_s, self._search.trouble, maybe_taken=call.may_have_changed))
        if self._given_up:
            self._given_up = False
            self._outgoing.forget_finished()
        self._search.drop_silent(SILENCE_S)
        if (self._pending or self._search.restless) and self._sweep_timer is None and not self._closed:
            self._sweep_timer = self._reactor.callLater(self._sweep_s, self._sweep)

    # The end

    async def close(self) -> None:
        """Fail what is under way, close the session if that is possible, disconnect. To be called once."""
        self._closed = True
        for call in list(self._pending.values()):
            kind = Unknown if call.may_have_changed else NotApplied
            self._fail(call, kind("client_closed", "this client was closed before the answer"))
        if self._sessions.current is not None and self._search.link is not None:
            closed = self.ask_about_session(Kind.CLOSE_SESSION)
            self.wake()
            with contextlib.suppress(Outcome, OverdueError, CancelledError):  # Unconfirmed, it expires.
                await closed.addTimeout(CLOSE_SESSION_S, self._reactor)
        self._sessions.stop()
        for timer in (self._turn, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        self._turn = self._sweep_timer = None
        await self._search.close()
