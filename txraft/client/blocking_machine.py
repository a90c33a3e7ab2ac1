"""A machine as an object, for `BlockingClient`, and what the servers say of their machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from txraft.errors import NotApplied

if TYPE_CHECKING:
    from txraft.client.blocking import BlockingClient

__all__ = ["BlockingMachine", "BlockingOperations"]


class BlockingMachine:
    """The commands and queries of one machine as methods; the server is asked once which there are."""

    def __init__(self, client: BlockingClient, name: str) -> None:
        self._client = client
        self._name = name

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            kind = self._client._kind_of(self._name, operation)
            return getattr(self._client, "query" if kind == "queries" else "command")(self._name, operation, *args, **kwargs)

        call.__name__ = operation
        return call


class BlockingOperations:
    """What the servers said of their machines. They are asked once, and again after a name that they did not name.

    Args:
        describe: asks them, until a deadline on the monotonic clock.
    """

    def __init__(self, describe: Callable[[float], Any]) -> None:
        self._describe = describe
        self._machines: dict[str, Any] | None = None

    def by_name(
        self, machine: str, kind: str, operation: str, args: Sequence[Any], named: Mapping[str, Any], deadline_s: float
    ) -> dict[str, Any]:
        """All arguments by name: positional ones get the names that the machine declares, in order. Raises `NotApplied`."""
        if not args:
            return dict(named)
        described = self._operation(machine, kind, operation, deadline_s)
        names = [parameter["name"] for parameter in described["parameters"]]
        if len(args) > len(names):
            raise NotApplied("invalid_arguments", f"{machine} {operation} takes {len(names)} arguments, not {len(args)}")
        for name in names[: len(args)]:
            if name in named:
                raise NotApplied("invalid_arguments", f"{machine} {operation}: {name!r} is given twice")
        return {**dict(zip(names, args, strict=False)), **named}

    def kind_of(self, machine: str, operation: str, deadline_s: float) -> str:
        """`commands` or `queries`."""
        described = self._described(deadline_s).get(machine, {})
        return "queries" if operation in described.get("queries", ()) else "commands"

    def _operation(self, machine: str, kind: str, operation: str, deadline_s: float) -> Any:
        described = self._described(deadline_s).get(machine)
        if described is None:
            self._machines = None
            raise NotApplied("unknown_machine", f"there is no machine {machine!r}")
        if operation not in described[kind]:
            self._machines = None
            raise NotApplied("unknown_command", f"{machine!r} has no {operation!r} among its {kind}: {', '.join(described[kind])}")
        return described[kind][operation]

    def _described(self, deadline_s: float) -> dict[str, Any]:
        if self._machines is None:
            machines = self._describe(deadline_s)
            if not isinstance(machines, dict):
                raise NotApplied("unexpected_answer", "the answer to GET /v1/machines is no JSON object")
            self._machines = machines
        return self._machines
