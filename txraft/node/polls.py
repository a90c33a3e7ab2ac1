"""Watches: polls for the events of a machine, answered as soon as there is one. What they cost is the events that match, not how many wait.

Any server answers them from what it has applied: all have the same events at the same places.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from txraft.errors import NotApplied
from txraft.limits import Timing
from txraft.node.ports import Caller
from txraft.node.waiting_room import WaitingRoom
from txraft.statemachine import Host
from txraft.statemachine.results import answer_of_problem
from txraft.wire.requests import PollRequest

__all__ = ["GATHER_S", "Polls"]

GATHER_S = 0.005
"""How long events gather before those who watch are told. Whoever writes is answered at once; to wake the watchers of each write by itself
would cost the writers a third of their time.
"""


@define(eq=False)
class Poll:
    """A poll that is not answered yet, as a `waiting_room.Waiter`: about to be looked at, or waiting for an event.

    Attributes:
        first, skip: the place before which nothing matches.
        is_over: its wait is; it is answered at the next look.
        is_waiting: it is not to be looked at before something happens.
        is_dismissed: it is not to be looked at any more.
    """

    polls: Polls
    caller: Caller
    request_id: int
    request: PollRequest
    first: int
    skip: int
    is_over: bool
    is_waiting: bool = False
    is_dismissed: bool = False

    @property
    def size_bytes(self) -> int:
        """See `Waiter`."""
        return len(self.request.topic)

    def overdue(self) -> None:
        """See `Waiter`."""
        self.is_over = True
        self.polls.wake(self)

    def dismissed(self, problem: NotApplied | None) -> None:
        """See `Waiter`."""
        self.polls.dismiss(self, problem)


@define
class Waiting:
    """The polls that wait for one machine, by topic.

    Attributes:
        seen: index of the machine's newest event when it was last looked; what waits has seen all up to it.
        lengths: how many topics in `prefixed` are so long.
        in_order: these lengths, shortest first: prefixes longer than a topic cost an event of that topic nothing.
    """

    seen: int = 0
    exact: dict[bytes, dict[Poll, None]] = field(factory=dict)
    prefixed: dict[bytes, dict[Poll, None]] = field(factory=dict)
    lengths: Counter[int] = field(factory=Counter)
    in_order: list[int] = field(factory=list)

    def add(self, poll: Poll) -> None:
        """It waits from now on."""
        topic = poll.request.topic
        group = self.prefixed if poll.request.prefix else self.exact
        if poll.request.prefix and topic not in group:
            if len(topic) not in self.lengths:
                insort(self.in_order, len(topic))
            self.lengths[len(topic)] += 1
        group.setdefault(topic, {})[poll] = None

    def remove(self, poll: Poll) -> None:
        """It waits no more."""
        topic = poll.request.topic
        group = self.prefixed if poll.request.prefix else self.exact
        del group[topic][poll]
        if group[topic]:
            return
        del group[topic]
        if poll.request.prefix:
            self.lengths[len(topic)] -= 1
            if not self.lengths[len(topic)]:
                del self.lengths[len(topic)]
                del self.in_order[bisect_left(self.in_order, len(topic))]

    def matching(self, topic: bytes) -> list[Poll]:
        """Those that wait for an event of `topic`."""
        found = list(self.exact.get(topic, ()))
        for length in self.lengths_up_to(len(topic)):
            found += self.prefixed.get(topic[:length], ())
        return found

    def lengths_up_to(self, longest: int) -> list[int]:
        """Of the prefixes that a topic of this length may begin with."""
        return self.in_order[: bisect_right(self.in_order, longest)]


class Polls:
    """All polls of a node. Reactor thread only.

    Args:
        room: where they wait.
        term: the current one, for answers.
        require_ready: raises `NotApplied` while this node is still catching up with what happened before.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timing: Timing,
        host: Host,
        room: WaitingRoom,
        term: Callable[[], int],
        require_ready: Callable[[], None],
    ) -> None:
        self._clock, self._timing, self._host, self._room = clock, timing, host, room
        self._term, self._require_ready = term, require_ready
        self._waiting: dict[str, Waiting] = {}
        self._woken: deque[Poll] = deque()
        self._look_follows = False

    def take(self, caller: Caller, request_id: int, request: PollRequest) -> None:
        """Take a poll; it is looked at soon.

        Raises:
            NotApplied: `unknown_machine`, `not_ready`, `too_many_waits`.
        """
        hosted = self._host.hosted(request.machine)
        first = request.first
        if first == 0:
            self._require_ready()
            first = hosted.read_events(b"", True, 0, 0).next
        poll = Poll(self, caller, request_id, request, first, request.skip, not request.wait_ms)
        self._room.enter(poll, self._clock.seconds() + request.wait_ms / 1000)
        self._woken.append(poll)
        self._look_in(0)

    def signalled(self, machine: str, topic: bytes) -> None:
        """Something happens just now: note whom it concerns."""
        waiting = self._waiting.get(machine)
        if waiting is None:
            return
        for poll in waiting.matching(topic):
            self.wake(poll)

    def wake(self, poll: Poll) -> None:
        """Look at a poll soon."""
        if not poll.is_waiting:
            return
        waiting = self._waiting[poll.request.machine]
        if poll.first <= waiting.seen:
            # Nothing up to there was for it, or it would not have waited; and what was there may no longer be kept.
            poll.first, poll.skip = waiting.seen + 1, 0
        waiting.remove(poll)
        poll.is_waiting = False
        self._woken.append(poll)

    def dismiss(self, poll: Poll, problem: NotApplied | None) -> None:
        """Answer a poll that has left the room with `problem`, or not at all."""
        if poll.is_waiting:
            self._waiting[poll.request.machine].remove(poll)
        poll.is_dismissed = True
        if problem is not None:
            poll.caller.answer(poll.request_id, answer_of_problem(problem))
            poll.caller.flush()

    def applied(self) -> None:
        """The entries of a slice are applied, or time has passed: answer whom that concerns."""
        if self._woken:
            self._look_in(GATHER_S)
        for machine, waiting in self._waiting.items():
            waiting.seen = self._host.hosted(machine).newest_event()

    def restored(self) -> None:
        """The machines have made a leap, by a snapshot: whatever happened in between, nobody was told. So all look again."""
        for waiting in self._waiting.values():
            for poll in [poll for group in (waiting.exact, waiting.prefixed) for polls in group.values() for poll in polls]:
                self.wake(poll)
        self._look_in(0)

    def _look_in(self, delay_s: float) -> None:
        if not self._look_follows:
            self._look_follows = True
            self._clock.callLater(delay_s, self._look)

    def _look(self) -> None:
        self._look_follows = False
        until_s = self._clock.seconds() + self._timing.apply_slice_s
        touched: set[Caller] = set()
        while self._woken:
            poll = self._woken.popleft()
            answer = None if poll.is_dismissed else self._look_at(poll)
            if answer is not None:
                self._room.leave(poll)
                poll.caller.answer(poll.request_id, answer)
                touched.add(poll.caller)
            if self._woken and self._clock.seconds() > until_s:
                self._look_in(0)
                break
        for caller in touched:
            caller.flush()

    def _look_at(self, poll: Poll) -> bytes | None:
        """The answer to a poll; None if it goes on waiting."""
        request = poll.request
        try:
            hosted = self._host.hosted(request.machine)
            page = hosted.read_events(request.topic, request.prefix, poll.first, poll.skip)
            if page.events or poll.is_over or page.next <= hosted.newest_event():
                return hosted.answer_of_page(page, self._host.applied_index, self._term())
        except NotApplied as problem:
            return answer_of_problem(problem)
        poll.first, poll.skip, poll.is_waiting = page.next, page.skip, True
        self._waiting.setdefault(request.machine, Waiting()).add(poll)
        return None
