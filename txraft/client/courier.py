"""From the call to its answer: what waits, what is under way, until when; every try of it and what is told in the end."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail
from twisted.internet.defer import TimeoutError as OverdueError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txraft.client.calls import ANYWHERE, COMMAND, POLL, WAITING_COMMAND, Call, Kind
from txraft.client.connection import Link
from txraft.client.leader_search import LeaderSearch
from txraft.client.outgoing import Outgoing
from txraft.client.retrying import Fate, judge, overdue, told
from txraft.client.sessions import SessionKeeper
from txraft.client.under_way import UnderWay
from txraft.client.wait_sessions import WaitSessions
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.limits import Limits
from txraft.statemachine.results import OK, decode_answer
from txraft.statemachine.values import decode_value
from txraft.wire.requests import Ask, PollRequest, Reply

__all__ = ["Courier"]

SILENCE_S = 3.0
"""A server that owes answers and sends nothing for so long is given up for another."""

QUIET_S = 10.0
"""A server that owes answers only to what may wait is asked for a sign of life when nothing has come for so long."""

CLOSE_SESSION_S = 1.0
"""Time for the servers to confirm that the session is closed; unconfirmed, it expires."""

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

    Attributes:
        index: the greatest of all answers so far: whoever has applied it has seen what this client has seen.
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
        self.index = 0
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._search = search(self)
        self._outgoing = Outgoing(limits, self._too_large)
        self._sessions = SessionKeeper(reactor, monotonic, session_timeout_s, self)
        self._wait_sessions = WaitSessions(monotonic, session_timeout_s, self)
        self._under_way = UnderWay(timeout_s, monotonic)
        self._gathering = False
        self._given_up = False
        self._turn: IDelayedCall | None = None
        self._sweep_timer: IDelayedCall | None = None
        self._sweep_s = min(0.25, max(0.01, timeout_s / 40))
        self._closed = False

    def submit(
        self, kind: Kind, machine: str = "", operation: str = "", arguments: bytes = b"", option: int = 0, template: Ask | None = None
    ) -> Deferred[Any]:
        """Make a call of the client's user. `arguments` are encoded; `option` and `template` are as in `Call`."""
        try:
            return self._begin(self._under_way.new(kind, machine, operation, arguments, option, template))
        except NotApplied as problem:
            return fail(problem)

    def submit_waiting(
        self, kind: Kind, machine: str, command: str, arguments: bytes, wait_s: float, shorten: Callable[[float], bytes]
    ) -> Deferred[Any]:
        """Call a command that may wait on the server; all is as in `Call`."""
        try:
            call = self._under_way.new_waiting(kind, machine, command, arguments, wait_s)
        except NotApplied as problem:
            return fail(problem)
        call.shorten = shorten
        return self._begin(call, self._wait_sessions.lend if kind is WAITING_COMMAND else None)

    def poll(self, request: PollRequest) -> Deferred[Any]:
        """Ask for a page of events."""
        return self._begin(self._under_way.new_poll(request))

    def ask_about_session(self, kind: Kind, option: int = 0, *, session: int = 0) -> Deferred[Any]:
        """Open, keep or close a session."""
        return self._begin(self._under_way.new_for_session(kind, option, session))

    def _begin(self, call: Call, prepare: Callable[[Call], None] | None = None) -> Deferred[Any]:
        """Send it with the rest of this turn; with `prepare`, once that has made it ready."""
        call.deferred = deferred = Deferred[Any](functools.partial(self._cancelled, call))
        if self._closed and call.kind is not Kind.CLOSE_SESSION:
            self._finish(call)
            return fail(NotApplied("client_closed", "this client was closed"))
        (prepare or self._outgoing.put)(call)
        if self._turn is None and not self._gathering:
            self._schedule()
        return deferred

    # The end of a call

    def _finish(self, call: Call) -> Deferred[Any]:
        """Let go of a call; its Deferred, to be fired."""
        deferred = call.deferred
        assert deferred is not None
        call.deferred = None
        self._under_way.ended(call)
        if call.serial:
            if call.kind is WAITING_COMMAND:
                if not self._closed:
                    (self._wait_sessions.rid if call.may_have_changed else self._wait_sessions.give_back)(call)
            else:
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
        if answer.index > self.index:
            self.index = answer.index
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
        if problem.code == "session_expired" and call.kind is COMMAND:
            self._sessions.lost(call.session)
        elif problem.code == "session_expired" and call.kind is WAITING_COMMAND:
            call.session = call.serial = 0
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
        if call.shorten is not None:
            call.arguments = call.shorten(self._under_way.wait_left_s(call))
        if call.kind is WAITING_COMMAND:
            (self._outgoing.put_back if call.session else self._wait_sessions.lend)(call)
            return
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

    def ready_to_send(self, call: Call) -> None:
        """A command that waits has its session."""
        self._outgoing.put(call)

    def no_session_for(self, call: Call, problem: Outcome) -> None:
        """A command that waits gets none."""
        self._fail(call, told(problem, maybe_taken=call.maybe_taken))

    # Sending

    def link_retired(self, link: Link) -> None:
        """Nothing new is sent on `link`. Polls on it are asked elsewhere at once: they change nothing, and would keep it for long."""
        for request_id, call in list(link.in_flight.items()):
            if call.kind is POLL:
                link.answered(request_id, call)
                if call.deferred is not None:
                    self._outgoing.put_back(call)

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
            if session is not None and frame.session == session.id:
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
        """Tell those whose time is up, and see whether the servers are still there."""
        self._sweep_timer = None
        for call in self._under_way.overdue():
            trouble = overdue(self._timeout_s + call.wait_s, self._search.trouble, maybe_taken=call.may_have_changed)
            self._fail(call, trouble)
        if self._given_up:
            self._given_up = False
            self._outgoing.forget_finished()
        self._search.drop_silent(SILENCE_S)
        self._look_after_waits()
        if (self._under_way or self._search.restless) and self._sweep_timer is None and not self._closed:
            self._sweep_timer = self._reactor.callLater(self._sweep_s, self._sweep)

    def _look_after_waits(self) -> None:
        link = self._search.link
        if link is None or not link.waits:
            return
        if link.waits == len(link.in_flight) and self._monotonic() - link.heard_s > QUIET_S:
            # It is not late with its answers, but may be dead all the same. If so, this one will be late.
            self.ask_about_session(Kind.STATUS).addErrback(lambda _: None)
        elif link.waits > link.requests_max // 4 and link.given_up() > link.requests_max // 8:
            self._search.renew()
            self.wake()

    # The end

    async def close(self) -> None:
        """Fail what is under way, close the session if that is possible, disconnect. To be called once."""
        self._closed = True
        calls = self._under_way.all()
        sessions = [call.session for call in calls if call.kind is WAITING_COMMAND and call.session]
        for call in calls:
            kind = Unknown if call.may_have_changed else NotApplied
            self._fail(call, kind("client_closed", "this client was closed before the answer"))
        sessions += self._wait_sessions.take_free()
        if self._sessions.current is not None:
            sessions.append(self._sessions.current.id)
        if sessions and self._search.link is not None:
            closed = DeferredList([self.ask_about_session(Kind.CLOSE_SESSION, session=one) for one in sessions], consumeErrors=True)
            self.wake()
            with contextlib.suppress(OverdueError, CancelledError):  # Unconfirmed, they expire.
                await closed.addTimeout(CLOSE_SESSION_S, self._reactor)
        self._sessions.stop()
        for timer in (self._turn, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        self._turn = self._sweep_timer = None
        await self._search.close()
