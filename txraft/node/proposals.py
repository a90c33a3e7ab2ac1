"""Commands on their way: gathered in a turn, proposed as one batch, answered when applied.

Nothing here costs an object per command but one tuple: at tens of thousands of commands a second that is what can be afforded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from txraft.core.effects import Proposed
from txraft.core.require import require
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.limits import Limits, Timing
from txraft.node.ports import Caller
from txraft.statemachine.log_commands import LogCommand, encode_log_command
from txraft.statemachine.results import answer_of_problem

__all__ = ["Proposals"]

PATIENCE_S = 0.02
"""How long a patient command waits for others to go into the log with it."""

Waiting = tuple[Caller | None, int, LogCommand]


class Proposals:
    """The commands taken by this node as leader and not yet answered. Reactor thread only.

    Args:
        propose: `ConsensusModule.propose`, its effects carried out.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, timing: Timing, propose: Callable[[list[bytes]], None]) -> None:
        self._clock, self._limits, self._timing, self._propose = clock, limits, timing, propose
        self._gathered: list[Waiting] = []
        self._payloads: list[bytes] = []
        self._gathered_bytes = 0
        self._gathering_since = 0.0
        self._is_due = False  # not all that has gathered is patient, or its patience is over
        self._proposing: list[Waiting] = []
        self._pending: deque[tuple[int, Waiting]] = deque()
        self._batches: deque[tuple[int, float]] = deque()

    @property
    def count(self) -> int:
        """Commands taken and not yet answered."""
        return len(self._gathered) + len(self._pending)

    @property
    def room(self) -> int:
        """How many more are taken before callers are told `overloaded`."""
        return self._limits.requests_pending_max - self.count

    def take(self, caller: Caller | None, request_id: int, command: LogCommand, *, patient: bool = False) -> None:
        """Take a command, to be proposed at the end of this turn, or when it is `patient`, with others or after `PATIENCE_S`. Without a
        caller nobody is answered, and nothing refused.

        Raises:
            NotApplied: `overloaded`; too many wait already.
        """
        payload = encode_log_command(command)
        if caller is not None:
            self._require_room(len(payload))
        if not self._gathered:
            self._gathering_since = self._clock.seconds()
            if patient:
                self._clock.callLater(PATIENCE_S, self._patience_is_over)
        if not patient and not self._is_due:
            self._is_due = True
            if len(self._batches) < self._limits.batches_in_flight_max:
                self._clock.callLater(0, self._propose_gathered)
        self._gathered.append((caller, request_id, command))
        self._payloads.append(payload)
        self._gathered_bytes += len(payload)

    def _require_room(self, size_bytes: int) -> None:
        if self.count >= self._limits.requests_pending_max:
            raise NotApplied("overloaded", f"{self.count} commands are waiting on this node already; try again later")
        if self._gathered and self._gathered_bytes + size_bytes > self._limits.uncommitted_bytes_max:
            raise NotApplied("overloaded", f"{self._gathered_bytes} bytes of commands are waiting on this node already; try again later")

    def _patience_is_over(self) -> None:
        if self._gathered:
            self._is_due = True
            self._propose_gathered()

    def frame_taken(self) -> None:
        """A client's frame is taken whole: if nothing else is under way, there is nothing to wait for."""
        if not self._batches:
            self._propose_gathered()

    def _propose_gathered(self) -> None:
        # Between a batch and its `Proposed` other effects may be carried out; the next batch must not mix with it.
        if not self._is_due or not self._gathered or self._proposing or len(self._batches) >= self._limits.batches_in_flight_max:
            return
        self._is_due = False
        require(len(self._payloads) == len(self._gathered), "as many payloads are proposed as callers wait")
        self._proposing, self._gathered = self._gathered, []
        payloads, self._payloads, self._gathered_bytes = self._payloads, [], 0
        self._propose(payloads)

    def proposed(self, effect: Proposed) -> None:
        """The core has taken the first `accepted` of the last batch."""
        batch, self._proposing = self._proposing, []
        if effect.accepted:
            self._pending.extend(enumerate(batch[: effect.accepted], effect.first_index))
            self._batches.append((effect.first_index + effect.accepted - 1, self._clock.seconds()))
        if effect.accepted < len(batch):
            problem = NotApplied("overloaded", "this node leads no more, or too much waits to be committed; try again")
            _answer_all(batch[effect.accepted :], problem)
        if self._gathered:
            self._clock.callLater(0, self._propose_gathered)

    def command_at(self, index: int) -> LogCommand | None:
        """The command that this node proposed at `index`, so that it need not be decoded again; asked in order of index."""
        pending = self._pending
        return pending[0][1][2] if pending and pending[0][0] == index else None

    def applied(self, index: int, answer: bytes, touched: set[Caller]) -> None:
        """The entry at `index` is applied: answer its caller, if it waits here. `touched` gathers whom to flush."""
        pending = self._pending
        if pending and pending[0][0] == index:
            caller, request_id, _ = pending.popleft()[1]
            if caller is not None:
                caller.answer(request_id, answer)
                touched.add(caller)

    def batch_applied(self, through: int) -> None:
        """Entries up to `through` are applied: whole batches among them make room for the next, which has gathered meanwhile."""
        while self._batches and self._batches[0][0] <= through:
            self._batches.popleft()
        self._propose_gathered()

    def lost(self, why: str) -> None:
        """This node leads no more: whether what was proposed will be applied cannot be known here; what was not, will not be."""
        waiting = [entry for _, entry in self._pending]
        self._pending.clear()
        self._batches.clear()
        _answer_all(waiting, Unknown("leadership_lost", f"{why}; the command may or may not be applied"))
        self._refuse_gathered(NotApplied("leadership_lost", f"{why}; the command was not proposed, send it again"))

    def _refuse_gathered(self, problem: NotApplied) -> None:
        gathered, self._gathered, self._payloads, self._gathered_bytes = self._gathered, [], [], 0
        self._is_due = False
        _answer_all(gathered, problem)

    def expire(self, now: float) -> None:
        """Answer what has waited longer than a request may. Called every now and then."""
        while self._batches and now - self._batches[0][1] > self._timing.request_s:
            last_index, _ = self._batches.popleft()
            overdue = []
            while self._pending and self._pending[0][0] <= last_index:
                overdue.append(self._pending.popleft()[1])
            problem = Unknown("timeout", f"not committed within {self._timing.request_s:g} s; the command may or may not be applied")
            _answer_all(overdue, problem)
        if self._gathered and now - self._gathering_since > self._timing.request_s:
            self._refuse_gathered(
                NotApplied("timeout", f"not proposed within {self._timing.request_s:g} s: earlier commands are not committed")
            )
        self._propose_gathered()


def _answer_all(waiting: list[Waiting], problem: Outcome) -> None:
    answer = answer_of_problem(problem)
    touched = set()
    for caller, request_id, _ in waiting:
        if caller is not None:
            caller.answer(request_id, answer)
            touched.add(caller)
    for caller in touched:
        caller.flush()
