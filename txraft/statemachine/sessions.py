"""Exactly once: client sessions around any machine.

A client numbers its commands within a session. The answer to each is kept, as bytes, until the client says that it has it; a command that
comes again gets that answer and is not applied again. Everything here follows from the log alone, expiry by log time included, so it is the
same on every server and survives in snapshots.

Source: §6.3.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from attrs import define, field

from txraft.errors import Refused, Unknown
from txraft.limits import INDEX_MAX
from txraft.statemachine.log_commands import Invoke
from txraft.statemachine.snapshot_dict import FrozenView, SnapshotDict

__all__ = ["NEVER_MS", "SESSION_TIMEOUT_MS_MAX", "Session", "SessionState", "Sessions", "session_states"]

_RESULT_OVERHEAD_BYTES = 16
"""What a result takes in a snapshot beside its answer, about."""

NEVER_MS = INDEX_MAX
"""A log time that does not come."""

SESSION_TIMEOUT_MS_MAX = 86_400_000
"""A day: how long an abandoned session may keep its place and its results. No setting, because it must be the same on all servers."""


@define(eq=False)
class Session:
    """An open session. Changed only while `Sessions` owns it: a snapshot may still be reading what it was.

    Attributes:
        timeout_ms: it expires when unused for so long.
        deadline_ms: the log time of that.
        first_outstanding: the client has the results of all smaller serial numbers.
        results: encoded answers by serial number.
    """

    timeout_ms: int
    deadline_ms: int
    first_outstanding: int = 1
    results: dict[int, bytes] = field(factory=dict)

    def forget_before(self, serial: int) -> None:
        """The client has all results of smaller serial numbers."""
        results, first = self.results, self.first_outstanding
        if serial - first <= len(results):
            for gone in range(first, serial):
                results.pop(gone, None)
        else:
            self.results = {number: answer for number, answer in results.items() if number >= serial}
        self.first_outstanding = serial

    def copy(self) -> Session:
        """One that stays as it is when this one changes."""
        return Session(self.timeout_ms, self.deadline_ms, self.first_outstanding, self.results.copy())


_Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]


class SessionState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A session in a snapshot, or some of it: `results` are pairs of serial number and answer."""

    id: _Number
    timeout_ms: _Number
    deadline_ms: _Number
    first_outstanding: _Number
    results: list[tuple[_Number, bytes]]


def session_states(sessions: FrozenView[int, Session], bytes_max: int) -> Iterator[SessionState]:
    """All of some sessions. One with many results comes in several pieces, each with about `bytes_max` of results."""
    for number, one in sessions:
        piece: list[tuple[int, bytes]] = []
        room = bytes_max
        for result in one.results.items():
            piece.append(result)
            room -= len(result[1]) + _RESULT_OVERHEAD_BYTES
            if room <= 0:
                yield SessionState(number, one.timeout_ms, one.deadline_ms, one.first_outstanding, piece)
                piece, room = [], bytes_max
        if piece or not one.results:
            yield SessionState(number, one.timeout_ms, one.deadline_ms, one.first_outstanding, piece)


class Sessions:
    """All open sessions.

    Args:
        sessions_max: how many may be open.
        results_max: how far serial numbers may run ahead of the first outstanding one.
    """

    def __init__(self, *, sessions_max: int, results_max: int) -> None:
        self._sessions_max, self._results_max = sessions_max, results_max
        self._open: SnapshotDict[int, Session] = SnapshotDict(copy=Session.copy)
        # Pairs of (deadline, id). A deadline here may be past its session's own, which has been used since; never later.
        self._deadlines: list[tuple[int, int]] = []
        # The one used last, as long as it is there and no view has been taken since: commands of a client come in rows.
        self._last: tuple[int, Session | None] = (0, None)

    def fresh(self) -> Sessions:
        """None, with the same bounds."""
        return Sessions(sessions_max=self._sessions_max, results_max=self._results_max)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def wake_ms(self) -> int:
        """No session expires before this log time."""
        return self._deadlines[0][0] if self._deadlines else NEVER_MS

    def next_expiry_ms(self) -> int:
        """The log time at which a session will expire unless it is used before."""
        self.expire(-1)
        return self.wake_ms

    def open(self, index: int, timeout_ms: int, now_ms: int) -> int:
        """Open a session; its id is the index of the entry. Raises `Refused`."""
        if not 0 < timeout_ms <= SESSION_TIMEOUT_MS_MAX:
            raise Refused("invalid_timeout", f"a session's timeout is 1 to {SESSION_TIMEOUT_MS_MAX} ms, not {timeout_ms}")
        if len(self._open) >= self._sessions_max:
            raise Refused("too_many_sessions", f"all {self._sessions_max} sessions are taken; close one, or wait until one expires")
        self._open[index] = Session(timeout_ms, now_ms + timeout_ms)
        heapq.heappush(self._deadlines, (now_ms + timeout_ms, index))
        return index

    def admit(self, command: Invoke, now_ms: int) -> Session | bytes:
        """The session to run a command in, and to keep its answer in; or the answer, if the command was run before.

        Raises:
            Unknown: `session_expired` or `serial_forgotten`: whether it was applied earlier cannot be told. It is not applied now.
            Refused: `serial_missing` or `serial_out_of_window`.
        """
        session = self._of(command.session, now_ms)
        serial = command.serial
        if serial == 0:
            raise Refused("serial_missing", "a command within a session needs a serial number, from 1")
        if command.first_outstanding > session.first_outstanding:
            session.forget_before(command.first_outstanding)
        answer = session.results.get(serial)
        if answer is not None:
            return answer
        if serial < session.first_outstanding:
            raise Unknown("serial_forgotten", f"the client has said that it has the result of serial number {serial}; it was forgotten")
        if serial > session.first_outstanding + self._results_max:
            raise Refused(
                "serial_out_of_window",
                f"serial number {serial} is more than {self._results_max} beyond the first outstanding one, {session.first_outstanding}",
            )
        return session

    def is_answered(self, session_id: int, serial: int) -> bool:
        """Whether `admit` would give an answer instead of a session."""
        session = self._open.get(session_id)
        return session is None or serial in session.results or serial < session.first_outstanding

    def keep(self, session_id: int, now_ms: int) -> None:
        """The session is still used. Raises `Unknown` `session_expired`."""
        self._of(session_id, now_ms)

    def _of(self, session_id: int, now_ms: int) -> Session:
        last_id, session = self._last
        if session is None or last_id != session_id:
            try:
                session = self._open.own(session_id)
            except KeyError:
                raise Unknown("session_expired", f"session {session_id} has expired or never was; open a new one") from None
            self._last = session_id, session
        session.deadline_ms = now_ms + session.timeout_ms
        return session

    def close(self, session_id: int) -> None:
        """Forget a session; one that is gone already is no mistake."""
        self._last = 0, None
        self._open.pop(session_id, None)
        if len(self._deadlines) > 2 * len(self._open) + 1_000:
            self._index_deadlines()

    def expire(self, now_ms: int) -> None:
        """Forget all sessions whose deadline has come."""
        deadlines = self._deadlines
        while deadlines:
            noted_ms, session_id = deadlines[0]
            session = self._open.get(session_id)
            if session is not None and session.deadline_ms > max(noted_ms, now_ms):
                heapq.heapreplace(deadlines, (session.deadline_ms, session_id))
            elif session is None or session.deadline_ms <= now_ms:
                heapq.heappop(deadlines)
                self._last = 0, None
                self._open.pop(session_id, None)
            else:
                break

    def _index_deadlines(self) -> None:
        self._deadlines = [(session.deadline_ms, session_id) for session_id, session in self._open.unordered()]
        heapq.heapify(self._deadlines)

    def capture(self) -> FrozenView[int, Session]:
        """For a snapshot: what is there now."""
        self._last = 0, None
        return self._open.frozen()

    def restore(self, states: Iterable[SessionState]) -> None:
        """Have these sessions and no others."""
        self._last = 0, None
        self._open.clear()
        for state in states:
            session = self._open.get(state.id)
            if session is None:
                self._open[state.id] = Session(state.timeout_ms, state.deadline_ms, state.first_outstanding, dict(state.results))
            else:
                session.results.update(state.results)
        self._index_deadlines()
