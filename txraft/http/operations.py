"""Which machines have which commands and queries, remembered: the node is not asked for every request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from txraft.errors import NotApplied
from txraft.node.ports import ClientGate
from txraft.statemachine.operations import WAIT_PARAMETER

__all__ = ["Operation", "Operations"]

_ASK_AGAIN_S = 1.0


@frozen
class Operation:
    """A command or query.

    Attributes:
        is_query: it changes nothing.
        parameters: type, as its author wrote it, by name.
        wait_s: how long it waits if its caller does not say; None if it never waits.
    """

    is_query: bool
    parameters: Mapping[str, str]
    wait_s: float | None = None


@define
class Operations:
    """All commands and queries by machine and name. Reactor thread.

    Attributes:
        gate: asked at first, and again for a name that is not known, at most once a second.
        seconds: a clock.
    """

    gate: ClientGate
    seconds: Callable[[], float]
    _known: dict[tuple[str, str], Operation] = field(factory=dict)
    _machines: dict[str, list[str]] = field(factory=dict)
    _asked_s: float | None = None

    def find(self, machine: str, name: str) -> Operation:
        """The command or query `name` of `machine`.

        Raises:
            NotApplied: `unknown_machine`, `unknown_command`; or `not_ready` when the node does not know yet.
        """
        operation = self._known.get((machine, name))
        if operation is None:
            self._ask()
            operation = self._known.get((machine, name))
        if operation is not None:
            return operation
        ready, why = self.gate.ready()
        if not self._machines and not ready:
            raise NotApplied("not_ready", why)
        if machine not in self._machines:
            raise NotApplied("unknown_machine", f"no such machine; there are: {', '.join(self._machines)}")
        raise NotApplied("unknown_command", f"no such command or query; {machine} has: {', '.join(self._machines[machine])}")

    def _ask(self) -> None:
        now = self.seconds()
        if self._asked_s is not None and 0 <= now - self._asked_s < _ASK_AGAIN_S and self._machines:
            return
        self._asked_s = now
        self._known, self._machines = {}, {}
        for machine, described in self.gate.describe_machines().items():
            for kind, is_query in (("commands", False), ("queries", True)):
                for name, operation in described[kind].items():
                    parameters = {parameter["name"]: str(parameter["type"]) for parameter in operation["parameters"]}
                    self._known[machine, name] = Operation(is_query, parameters, None if is_query else _wait_of(operation["parameters"]))
                    self._machines.setdefault(machine, []).append(name)


def _wait_of(parameters: list[dict[str, Any]]) -> float | None:
    for parameter in parameters:
        if parameter["name"] == WAIT_PARAMETER:
            default = parameter["default"]
            return float(default) if isinstance(default, (int, float)) else 0.0
    return None
