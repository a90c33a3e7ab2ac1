"""A call on its way: what was asked, who waits for it, and what is known of its tries."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import msgspec
from attrs import define
from twisted.internet.defer import Deferred

from txraft.wire.requests import (
    Ask,
    CloseSessionRequest,
    DescribeRequest,
    InvokeRequest,
    KeepSessionRequest,
    OpenSessionRequest,
    PollRequest,
    Request,
    StatusRequest,
)

__all__ = ["ALONE", "ANYWHERE", "COMMAND", "COMMAND_WITHOUT_SESSION", "POLL", "QUERY", "WAITING_COMMAND", "Call", "Kind"]


class Kind(Enum):
    """What a call asks for."""

    COMMAND = auto()
    COMMAND_WITHOUT_SESSION = auto()
    WAITING_COMMAND = auto()
    QUERY = auto()
    LOCAL_QUERY = auto()
    POLL = auto()
    STATUS = auto()
    DESCRIBE = auto()
    OPEN_SESSION = auto()
    KEEP_SESSION = auto()
    CLOSE_SESSION = auto()


# For where thousands of calls a second pass: looking up a member of an Enum class takes longer than most of what is done with it.
COMMAND = Kind.COMMAND
COMMAND_WITHOUT_SESSION = Kind.COMMAND_WITHOUT_SESSION
WAITING_COMMAND = Kind.WAITING_COMMAND
QUERY = Kind.QUERY
POLL = Kind.POLL

ANYWHERE = frozenset({Kind.LOCAL_QUERY, Kind.POLL, Kind.STATUS, Kind.DESCRIBE})
"""Any server answers these, leader or not."""

ALONE = frozenset({Kind.WAITING_COMMAND, Kind.CLOSE_SESSION})
"""These are sent in a frame of their own, with their own session."""


@define(eq=False)
class Call:
    """One call, from the moment it was made until its Deferred has fired.

    Attributes:
        number: counts the calls of a client.
        kind: what it asks for.
        machine, operation, arguments: of commands and queries; the arguments are encoded.
        size_bytes: upper bound of what it takes up in a frame.
        deadline_s: on the monotonic clock.
        option: the timeout of a session to open, in ms; 1 for a status with the digest of the state.
        wait_s: how long the server may let it wait on purpose; the deadline allows for it.
        template: of local queries and polls: the request, but for its id.
        shorten: of a command that waits: its arguments, but for a wait of so many seconds at most.
        deferred: fires with the result; None once it has, or nobody waits any more.
        session, serial: of a command, from its first try on; 0 before.
        maybe_taken: a try that is over may have been applied, or may yet be.
        in_flight: sent on a connection that has neither answered it nor been lost.
    """

    number: int
    kind: Kind
    machine: str
    operation: str
    arguments: bytes
    size_bytes: int
    deadline_s: float
    option: int = 0
    wait_s: float = 0.0
    template: Ask | PollRequest | None = None
    shorten: Callable[[float], bytes] | None = None
    deferred: Deferred[Any] | None = None
    session: int = 0
    serial: int = 0
    maybe_taken: bool = False
    in_flight: bool = False

    @property
    def changes(self) -> bool:
        """It is a command: lost sight of, its outcome is unknown."""
        kind = self.kind
        return kind is COMMAND or kind is COMMAND_WITHOUT_SESSION or kind is WAITING_COMMAND

    @property
    def may_have_changed(self) -> bool:
        """Whether it may have been applied or may yet be, as far as is known before it is answered."""
        return self.maybe_taken or (self.in_flight and self.changes)

    @property
    def repeatable(self) -> bool:
        """Sending it twice applies nothing twice. (A session opened twice expires by itself.)"""
        return self.kind is not Kind.COMMAND_WITHOUT_SESSION

    def request(self, request_id: int) -> Request:
        """This call as it stands in a frame."""
        kind = self.kind
        if kind is COMMAND or kind is COMMAND_WITHOUT_SESSION or kind is WAITING_COMMAND:
            return InvokeRequest(request_id, self.serial, self.machine, self.operation, msgspec.Raw(self.arguments))
        if kind is QUERY:
            return Ask(request_id, self.machine, self.operation, msgspec.Raw(self.arguments))
        if self.template is not None:
            return msgspec.structs.replace(self.template, id=request_id)
        if kind is Kind.STATUS:
            return StatusRequest(request_id, bool(self.option))
        if kind is Kind.OPEN_SESSION:
            return OpenSessionRequest(request_id, self.option)
        if kind is Kind.KEEP_SESSION:
            return KeepSessionRequest(request_id)
        return CloseSessionRequest(request_id) if kind is Kind.CLOSE_SESSION else DescribeRequest(request_id)
