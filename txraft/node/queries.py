"""Questions on their way: queries gathered in a turn, confirmed by one round of heartbeats, answered once enough is applied.

Source: §6.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from math import inf

from twisted.internet.interfaces import IReactorTime

from txraft.errors import NotApplied, Outcome
from txraft.limits import Limits, Timing
from txraft.node.ports import Caller
from txraft.statemachine.results import answer_of_problem
from txraft.wire.requests import Ask, ReadIndexRequest

__all__ = ["BEHIND_S", "Confirmable", "Queries"]

BEHIND_S = 2.0
"""How long a query waits for an index that is not applied here yet. Whoever asks may have better luck elsewhere, and takes a server for
dead that says nothing for longer.
"""

Confirmable = Ask | ReadIndexRequest
Waiting = tuple[Caller, int, Confirmable]
Question = tuple[Caller, int, Callable[[], bytes]]


class Queries:
    """What is asked of this node and not yet answered: linearizable queries, which it confirms as leader, and whatever else it answers from
    what it has. Answers are made in slices, so that no number of questions makes heartbeats late. Reactor thread only.

    Args:
        read: `ConsensusModule.read`, its effects carried out.
        run: answers one query from the state as it is now.
    """

    def __init__(
        self, clock: IReactorTime, limits: Limits, timing: Timing, read: Callable[[int], None], run: Callable[[Confirmable], bytes]
    ) -> None:
        self._clock, self._limits, self._timing, self._read, self._run = clock, limits, timing, read, run
        self._gathered: list[Waiting] = []
        self._number = 0
        self._confirming: deque[tuple[int, float, list[Waiting]]] = deque()
        self._confirmed: deque[tuple[int, float, list[Waiting]]] = deque()
        self._questions: deque[Question] = deque()
        self._awaiting: list[tuple[int, int, float, Question]] = []
        self._slice_follows = False
        self.count = 0

    def take(self, caller: Caller, request_id: int, query: Confirmable) -> None:
        """Take a query, to be confirmed with all others of this turn.

        Raises:
            NotApplied: `overloaded`; too many wait already.
        """
        self._require_room()
        if not self._gathered:
            self._clock.callLater(0, self._read_gathered)
        self._gathered.append((caller, request_id, query))
        self.count += 1

    def take_question(self, caller: Caller, request_id: int, question: Callable[[], bytes]) -> None:
        """Take what needs no confirmation: `question` gives the answer when its turn comes.

        Raises:
            NotApplied: `overloaded`; too many wait already.
        """
        self._require_room()
        self._questions.append((caller, request_id, question))
        self.count += 1
        self._answer_soon()

    def take_after(self, index: int, caller: Caller, request_id: int, question: Callable[[], bytes]) -> None:
        """The same, but not before the state has applied `index`.

        Raises:
            NotApplied: `overloaded`; too many wait already.
        """
        self._require_room()
        self._number += 1
        heappush(self._awaiting, (index, self._number, self._clock.seconds(), (caller, request_id, question)))
        self.count += 1

    def _require_room(self) -> None:
        if self.count >= self._limits.requests_pending_max:
            raise NotApplied("overloaded", f"{self.count} queries are waiting on this node already; try again later")

    def _read_gathered(self) -> None:
        batch, self._gathered = self._gathered, []
        self._number += 1
        self._confirming.append((self._number, self._clock.seconds(), batch))
        self._read(self._number)

    def ready(self, through: int, index: int) -> None:
        """Batches up to number `through` may be answered from a state that has applied `index`."""
        while self._confirming and self._confirming[0][0] <= through:
            _, since, batch = self._confirming.popleft()
            self._confirmed.append((index, since, batch))

    def applied(self, through: int) -> None:
        """The state has applied `through`: answer what may be answered from it."""
        while self._confirmed and self._confirmed[0][0] <= through:
            _, _, batch = self._confirmed.popleft()
            self._questions.extend((caller, request_id, partial(self._run, query)) for caller, request_id, query in batch)
        while self._awaiting and self._awaiting[0][0] <= through:
            self._questions.append(heappop(self._awaiting)[3])
        if self._questions and not self._slice_follows:
            self._answer_slice()

    def _answer_soon(self) -> None:
        if not self._slice_follows:
            self._slice_follows = True
            self._clock.callLater(0, self._answer_slice)

    def _answer_slice(self) -> None:
        self._slice_follows = False
        until = self._clock.seconds() + self._timing.apply_slice_s
        touched: set[Caller] = set()
        while self._questions:
            caller, request_id, question = self._questions.popleft()
            self.count -= 1
            caller.answer(request_id, question())
            touched.add(caller)
            if self._clock.seconds() > until and self._questions:
                self._answer_soon()
                break
        for caller in touched:
            caller.flush()

    def lost(self, why: str) -> None:
        """Nothing that is not confirmed will be. A query has no effect: it may be asked again."""
        self._drop(self._confirming, float("inf"), NotApplied("leadership_lost", f"{why}; ask again"))

    def stop(self, why: str) -> None:
        """Nothing more will be answered."""
        self.lost(why)
        self._drop_awaiting(inf, NotApplied("shutting_down", f"{why}; ask another node"))

    def expire(self, now: float) -> None:
        """Answer what has waited longer than a request may. Called every now and then."""
        problem = NotApplied("timeout", f"no majority answered within {self._timing.request_s:g} s")
        self._drop(self._confirming, now - self._timing.request_s, problem)
        self._drop(self._confirmed, now - self._timing.request_s, problem)
        behind = NotApplied("stale", f"this node had not applied the index asked for within {BEHIND_S:g} s; another node may have")
        self._drop_awaiting(now - BEHIND_S, behind)

    def _drop_awaiting(self, asked_before: float, problem: Outcome) -> None:
        overdue = [waiting for waiting in self._awaiting if waiting[2] < asked_before]
        if not overdue:
            return
        self._awaiting = [waiting for waiting in self._awaiting if waiting[2] >= asked_before]
        heapify(self._awaiting)
        for _, _, _, (caller, request_id, _) in overdue:
            self.count -= 1
            caller.answer(request_id, answer_of_problem(problem))
            caller.flush()

    def _drop(self, batches: deque[tuple[int, float, list[Waiting]]], asked_before: float, problem: Outcome) -> None:
        answer = answer_of_problem(problem)
        while batches and batches[0][1] < asked_before:
            _, _, batch = batches.popleft()
            self.count -= len(batch)
            for caller, request_id, _ in batch:
                caller.answer(request_id, answer)
            for caller in {waiting[0] for waiting in batch}:
                caller.flush()
