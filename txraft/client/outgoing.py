"""Calls that wait to be sent, and the frames they leave in: everything that gathered in one turn of the reactor goes in one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter

from txraft.client.calls import ALONE, ANYWHERE, COMMAND, COMMAND_WITHOUT_SESSION, POLL, QUERY, Call
from txraft.client.connection import Link
from txraft.client.sessions import Session
from txraft.limits import Limits
from txraft.wire.requests import Request, Requests

__all__ = ["Outgoing"]

FRAME_REQUESTS_MAX = 1_024
"""Requests in one frame; the rest waits for the next turn."""

FRAME_BYTES_AIM = 1_048_576
"""A frame is not made longer than this, unless one call alone is."""

IN_FLIGHT_BYTES_MAX = 16_777_216
"""Sent and unanswered on one connection; the rest waits for answers."""

_NUMBER = attrgetter("number")


class Outgoing:
    """Queues by what a call must wait for: any server, the leader, the leader and a session; and polls, and what travels alone.

    Bounded by the client.

    Args:
        limits: for the window of a session.
        reject: called with a call that is too large for the server's frames; it has been taken out.
    """

    def __init__(self, limits: Limits, reject: Callable[[Call], None]) -> None:
        self._reject = reject
        self._anywhere: deque[Call] = deque()
        self._to_leader: deque[Call] = deque()
        self._in_session: deque[Call] = deque()
        self._polls: deque[Call] = deque()
        self._alone: deque[Call] = deque()
        self._again: list[Call] = []
        self._window = limits.session_results_max

    def __bool__(self) -> bool:
        return bool(self._in_session or self._to_leader or self._anywhere or self._polls or self._alone or self._again)

    def put(self, call: Call) -> None:
        """Send it when its turn comes."""
        self._queue_of(call).append(call)

    def put_back(self, call: Call) -> None:
        """Send it again, before those that have not been sent yet."""
        self._again.append(call)

    @property
    def awaits_session(self) -> bool:
        """Whether there are commands that need a session."""
        return bool(self._in_session) or any(call.kind is COMMAND for call in self._again)

    def in_session(self) -> list[Call]:
        """All commands that wait here to be sent in a session."""
        return [call for call in [*self._again, *self._in_session] if call.deferred is not None and call.kind is COMMAND]

    def forget_finished(self) -> None:
        """Let go of calls that were given up while they waited."""
        self._again = [call for call in self._again if call.deferred is not None]
        for queue in (self._anywhere, self._to_leader, self._in_session, self._polls, self._alone):
            live = [call for call in queue if call.deferred is not None]
            queue.clear()
            queue.extend(live)

    def fill(self, link: Link, session: Session | None, *, leader: bool) -> list[Requests]:
        """Take as many calls as one frame and the connection hold, and enter them as in flight.

        Args:
            link: the connection they leave on.
            session: the open session, if there is one.
            leader: False takes only what any server answers, and has not been turned away before.

        Returns:
            Frames. Commands that want no session cannot stand in the frame of a session, nor those of one session in that of another.
        """
        if self._again and leader:
            self._put_first()
        room = min(FRAME_REQUESTS_MAX, link.requests_max - len(link.in_flight))
        bytes_room = min(FRAME_BYTES_AIM, link.frame_bytes_max) if link.in_flight_bytes < IN_FLIGHT_BYTES_MAX else 0
        within: list[Request] = []
        without: list[Request] = []
        for queue in (self._anywhere, self._to_leader, self._in_session) if leader else (self._anywhere,):
            while queue and room > 0 and bytes_room > 0:
                call = queue[0]
                if call.deferred is None:
                    queue.popleft()
                    continue
                if call.size_bytes > link.frame_bytes_max:
                    queue.popleft()
                    self._reject(call)
                    continue
                if call.size_bytes > bytes_room and (within or without):
                    bytes_room = 0
                    break
                if queue is self._in_session and not self._number(call, session):
                    break
                queue.popleft()
                room -= 1
                bytes_room -= call.size_bytes
                request = call.request(link.enter(call))
                (without if call.kind is COMMAND_WITHOUT_SESSION else within).append(request)
        frames = [Requests(0, 0, without)] if without else []
        if within:
            frames.append(Requests(session.id, session.first_outstanding, within) if session else Requests(0, 0, within))
        if self._polls or self._alone:
            self._fill_waits(link, frames, leader=leader)
        return frames

    def _fill_waits(self, link: Link, frames: list[Requests], *, leader: bool) -> None:
        """Add what may wait on the server for long. It takes up half of the room on a connection at most, so that it holds up nobody."""
        frame_bytes_max = min(FRAME_BYTES_AIM, link.frame_bytes_max)
        waits_max = max(1, link.requests_max // 2)
        polls: list[Request] = []
        polls_bytes = 0
        for queue in (self._polls, self._alone) if leader else (self._polls,):
            while queue and len(link.in_flight) < link.requests_max and link.in_flight_bytes < IN_FLIGHT_BYTES_MAX:
                call = queue[0]
                if call.wait_s and link.waits >= waits_max:
                    break
                queue.popleft()
                if call.deferred is None:
                    continue
                if call.size_bytes > link.frame_bytes_max:
                    self._reject(call)
                    continue
                request = call.request(link.enter(call))
                if queue is self._alone:
                    frames.append(Requests(call.session, call.serial, [request]))
                    continue
                if polls_bytes + call.size_bytes > frame_bytes_max and polls:
                    frames.append(Requests(0, 0, polls))
                    polls, polls_bytes = [], 0
                polls.append(request)
                polls_bytes += call.size_bytes
        if polls:
            frames.append(Requests(0, 0, polls))

    def _number(self, call: Call, session: Session | None) -> bool:
        """Give a command its place in the session, if there is one; it keeps it through all its tries."""
        if session is None:
            return False
        if call.session != session.id:
            if session.next_serial - session.first_outstanding >= self._window:
                return False
            call.session, call.serial = session.id, session.take_serial()
        return True

    def _put_first(self) -> None:
        for call in sorted(self._again, key=_NUMBER, reverse=True):
            self._queue_of(call).appendleft(call)
        self._again = []

    def _queue_of(self, call: Call) -> deque[Call]:
        kind = call.kind
        if kind is COMMAND:
            return self._in_session
        if kind is QUERY or kind is COMMAND_WITHOUT_SESSION:
            return self._to_leader
        if kind is POLL:
            return self._polls
        if kind in ALONE:
            return self._alone
        return self._anywhere if kind in ANYWHERE else self._to_leader
