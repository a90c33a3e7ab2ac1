"""Requests that came to a follower and belong to the leader: passed on once, over the peers' connection, and answered
or given up in time.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from txraft.core.ids import ServerId
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.node.ports import PeerNetwork
from txraft.statemachine.results import Answer, answer_of_problem, decode_answer
from txraft.wire.requests import Ask, Forward, ForwardReply, PollRequest, ReadIndexRequest, Request, Withdraw

__all__ = ["DeferredCaller", "ForwardedCaller", "Forwarding", "overdue"]


WITHOUT_EFFECT = (Ask, PollRequest, ReadIndexRequest)
"""They may be asked again whatever became of them."""


PASSED_ON_BITS = 40
INCARNATIONS_TOLD = 1 << 22


def overdue(request: Request, waited_s: float) -> Outcome:
    """What to say when a request was not answered in time: a query has no effect, anything else may have had one."""
    if isinstance(request, WITHOUT_EFFECT):
        return NotApplied("timeout", f"no answer within {waited_s:g} s")
    return Unknown("timeout", f"no answer within {waited_s:g} s; the command may or may not be applied")


class DeferredCaller:
    """A `Caller` for one request, whose answer fires a Deferred. `gone` is told when that is cancelled, or fires for want of an answer."""

    def __init__(self, clock: IReactorTime, request: Request, timeout_s: float, gone: Callable[[DeferredCaller], None]) -> None:
        self._gone = gone
        self.deferred: Deferred[Answer] = Deferred(self._cancelled)
        self._timeout: IDelayedCall | None = clock.callLater(timeout_s, self._overdue, request, timeout_s)

    def answer(self, request_id: int, answer: bytes) -> None:
        """See `Caller`; the first answer counts."""
        if self._cancel():
            self.deferred.callback(decode_answer(answer))

    def flush(self) -> None:
        """See `Caller`."""

    def _overdue(self, request: Request, timeout_s: float) -> None:
        self._timeout = None
        self._gone(self)
        self.deferred.callback(decode_answer(answer_of_problem(overdue(request, timeout_s))))

    def _cancelled(self, _: Deferred[Answer]) -> None:
        if self._cancel():
            self._gone(self)

    def _cancel(self) -> bool:
        waiting, self._timeout = self._timeout, None
        if waiting is not None:
            waiting.cancel()
        return waiting is not None


@frozen
class ForwardedCaller:
    """A `Caller` for a request that another server passed on to this one. Those of the same request are equal."""

    sender: ServerId
    id: int
    network: PeerNetwork = field(eq=False)
    own_id: ServerId = field(eq=False)
    term: Callable[[], int] = field(eq=False)

    def answer(self, request_id: int, answer: bytes) -> None:
        """See `Caller`."""
        self.network.send(self.sender, ForwardReply(self.term(), self.own_id, self.id, Raw(answer)))

    def flush(self) -> None:
        """See `Caller`."""


class Forwarding:
    """What was passed on and not yet answered. Reactor thread only.

    Args:
        incarnation: of this server. What is passed on is numbered anew in each: a leader may answer after a minute, and its answer to what
            was asked before a restart must not be taken for that to something asked since.
    """

    def __init__(self, network: PeerNetwork, own_id: ServerId, incarnation: Callable[[], int]) -> None:
        self._network, self._own_id, self._incarnation = network, own_id, incarnation
        self._passed_on = 0
        self._waiting: dict[int, tuple[ServerId, DeferredCaller, Request]] = {}
        self._number_of: dict[DeferredCaller, int] = {}

    @property
    def count(self) -> int:
        """Requests passed on and not yet answered."""
        return len(self._waiting)

    def forward(self, leader: ServerId, term: int, caller: DeferredCaller, request: Request, session: int, first_outstanding: int) -> None:
        """Pass a request on to the leader."""
        self._passed_on += 1
        number = (self._incarnation() % INCARNATIONS_TOLD << PASSED_ON_BITS) + self._passed_on
        self._waiting[number] = (leader, caller, request)
        self._number_of[caller] = number
        caller.deferred.addBoth(self._forget, number)
        self._network.send(leader, Forward(term, self._own_id, number, session, first_outstanding, request))

    def _forget(self, result: Answer, number: int) -> Answer:
        _, caller, _ = self._waiting.pop(number)
        del self._number_of[caller]
        return result

    def withdraw(self, caller: DeferredCaller, term: int) -> None:
        """Whoever asked has gone: what waits at the leader need not wait any more."""
        number = self._number_of.get(caller)
        if number is not None:
            self._network.send(self._waiting[number][0], Withdraw(term, self._own_id, number))

    def replied(self, sender: ServerId, reply: ForwardReply) -> None:
        """The leader answered. Late or invented answers are dropped."""
        waiting = self._waiting.get(reply.id)
        if waiting is not None and waiting[0] == sender:
            waiting[1].answer(0, bytes(reply.answer))

    def lost(self, peer: ServerId | None, why: str) -> None:
        """What was passed on to `peer` (to anybody, if None) may be lost or done."""
        for leader, caller, request in list(self._waiting.values()):
            if peer is None or leader == peer:
                problem: Outcome = NotApplied("leadership_lost", f"{why}; ask again")
                if not isinstance(request, WITHOUT_EFFECT):
                    problem = Unknown("leadership_lost", f"{why}; the command may or may not be applied")
                caller.answer(0, answer_of_problem(problem))
