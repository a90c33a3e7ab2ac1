"""What waits on a node, without the node: a real host, a clock, and a log into which the test lets what is proposed."""

from __future__ import annotations

from math import inf
from typing import Any

from msgspec import Raw
from twisted.internet.task import Clock

from tests.statemachine.driver import Driver
from tests.statemachine.watched_machines import MODULE
from tests.support.callers import RecordingCaller
from txraft.errors import NotApplied, Outcome
from txraft.limits import Limits, Timing
from txraft.node.polls import GATHER_S
from txraft.node.ports import Caller
from txraft.node.waiting_commands import Command
from txraft.node.waits import Waits
from txraft.statemachine.log_commands import Invoke
from txraft.statemachine.results import decode_answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import InvokeRequest, PollRequest


class WaitsWorld:
    """Attributes:
    driver: of the host.
    proposed: commands on their way into the log, with whom to answer.
    full: nothing more can be proposed.
    unready: polls for what is still to come are refused.
    """

    def __init__(self, limits: Limits | None = None, timing: Timing | None = None) -> None:
        self.clock = Clock()
        self.driver = Driver(bell=MODULE + "Bell", parcels=MODULE + "Parcels", chronicle=MODULE + "Chronicle")
        self.proposed: list[tuple[Command, Caller]] = []
        self.full = self.unready = False
        self.waits = Waits(
            self.clock,
            limits or Limits(),
            timing or Timing(),
            self.driver.host,
            term=lambda: 3,
            require_ready=self._require_ready,
            propose=self._propose,
        )

    def _require_ready(self) -> None:
        if self.unready:
            raise NotApplied("not_ready", "for the test")

    def _propose(self, command: Command, caller: Caller) -> None:
        if self.full:
            raise NotApplied("overloaded", "for the test")
        self.proposed.append((command, caller))

    def call(self, machine: str, command: str, **arguments: Any) -> Any:
        """A command of somebody else's is applied, in a slice of its own."""
        value = self.driver.call(machine, command, **arguments)
        self.waits.applied()
        return value

    def poll(self, caller: Caller, request_id: int = 1, machine: str = "bell", **fields: Any) -> None:
        self.waits.polls.take(caller, request_id, PollRequest(request_id, machine, **fields))

    def take(
        self,
        caller: Caller,
        request_id: int = 1,
        place: str = "here",
        wait_s: float = 10.0,
        *,
        session: int = 0,
        serial: int = 0,
        **more: Any,
    ) -> None:
        """A command that may wait."""
        arguments = self.driver.host.prepare("parcels", "take", encode_value({"place": place, "wait_s": wait_s, **more}))
        request = InvokeRequest(request_id, serial, "parcels", "take", arguments)
        self.waits.commands.take(Command(caller, request, session, serial))

    def settle(self) -> list[int]:
        """What is proposed is applied and answered, in one slice; the ids of the requests."""
        settled, self.proposed = self.proposed, []
        for command, caller in settled:
            request = command.request
            host = self.driver.host
            entry = Invoke(
                self.driver.time_ms, command.session, request.serial, command.first_outstanding, request.machine, request.command,
                Raw(bytes(request.arguments)),
            )  # fmt: skip
            caller.answer(request.id, host.apply(host.applied_index + 1, 1, entry))
            caller.flush()
        self.waits.applied()
        return [command.request.id for command, _ in settled]

    def pass_time(self, seconds: float) -> None:
        """Time passes; now and then it is looked whose wait is over."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.waits.expire(self.clock.seconds())

    def look(self) -> None:
        """The reactor turns until nothing is due, and what gathers for those who watch has been told them."""
        for _ in range(1_000):
            due_s = min((call.getTime() for call in self.clock.getDelayedCalls()), default=inf) - self.clock.seconds()
            if due_s > 1.5 * GATHER_S:
                return
            self.clock.advance(max(due_s, 0))
        raise AssertionError("it turns for ever")


def told(caller: RecordingCaller) -> dict[int, Any]:
    """What a caller was answered: values, and codes of what is none. Raises when something was answered twice."""
    found: dict[int, Any] = {}
    for request_id, answer in caller.flushed:
        assert request_id not in found, f"request {request_id} is answered twice"
        try:
            found[request_id] = decode_answer(answer).value()
        except Outcome as problem:
            found[request_id] = problem.code
    assert len(caller.answers) == len(caller.flushed)
    return found
