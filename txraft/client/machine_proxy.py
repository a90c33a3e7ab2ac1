"""Machines as objects: which of their names are commands and which are queries is asked of the servers once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txraft.errors import NotApplied

__all__ = ["MachineProxy", "Operations"]


class Operations:
    """What the servers said of their machines.

    Args:
        describe: asks them.
    """

    def __init__(self, describe: Callable[[], Deferred[dict[str, Any]]]) -> None:
        self._describe = describe
        self._kinds: dict[str, dict[str, str]] | None = None
        self._waiting_commands: dict[tuple[str, str], list[str]] = {}
        self._waiting: list[Deferred[None]] = []

    @property
    def known(self) -> bool:
        """Whether `kind` can be asked."""
        return self._kinds is not None

    def kind(self, machine: str, operation: str) -> str:
        """`command` or `query`.

        Raises:
            NotApplied: `unknown_machine` or `unknown_command`. The servers will be asked again next time: perhaps they have changed.
        """
        operations = (self._kinds or {}).get(machine)
        kind = (operations or {}).get(operation)
        if kind is not None:
            return kind
        self._kinds = None
        if operations is None:
            raise NotApplied("unknown_machine", f"there is no machine {machine!r}")
        raise NotApplied("unknown_command", f"{machine!r} has no command or query {operation!r}, but {', '.join(operations)}")

    def with_wait_by_name(
        self, machine: str, command: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a command, with `wait_s` by name, where the client sees it."""
        names = self._waiting_commands.get((machine, command))
        if names is None or not names.index("wait_s") < len(args) <= len(names):
            return args, kwargs
        at = names.index("wait_s")
        by_name = dict(zip(names[at:], args[at:], strict=False))
        if by_name.keys() & kwargs.keys():
            return args, kwargs  # Given twice: for the servers to tell.
        return args[:at], {**by_name, **kwargs}

    def learn(self) -> Deferred[None]:
        """Fires when they are known; fails as `describe` does. However many wait, one question is asked."""
        waiter = Deferred[None](self._forget)
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self._describe().addCallback(self._learnt).addErrback(self._not_learnt)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        # Its place stays taken, so that nobody asks a second time while the answer is on its way.
        self._waiting[self._waiting.index(waiter)] = Deferred()

    def _learnt(self, machines: dict[str, Any]) -> None:
        self._kinds = {
            machine: {**dict.fromkeys(described["commands"], "command"), **dict.fromkeys(described["queries"], "query")}
            for machine, described in machines.items()
        }
        self._waiting_commands = {
            (machine, command): [parameter["name"] for parameter in operation["parameters"]]
            for machine, described in machines.items()
            for command, operation in described["commands"].items()
            if any(parameter["name"] == "wait_s" for parameter in operation.get("parameters", ()))
        }
        for waiter in self._woken():
            waiter.callback(None)

    def _not_learnt(self, failure: Failure) -> None:
        problem = failure.value
        if isinstance(problem, LookupError | TypeError | AttributeError):
            problem = NotApplied("unexpected_answer", "the server describes its machines in a way this client does not know")
        for waiter in self._woken():
            waiter.errback(problem)

    def _woken(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting


class MachineProxy:
    """The commands and queries of one machine as methods; each call returns a Deferred.

    ``await client.machine("counter").add("a", 2)``. The options of `Client.command` and `Client.query` are taken, too.
    """

    def __init__(self, name: str, call: Callable[..., Deferred[Any]]) -> None:
        self._name = name
        self._call = call

    def __getattr__(self, operation: str) -> Callable[..., Deferred[Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        name, call = self._name, self._call

        def invoke(*args: Any, **kwargs: Any) -> Deferred[Any]:
            return call(name, operation, *args, **kwargs)

        invoke.__name__ = operation
        self.__dict__[operation] = invoke  # Found there next time, without coming here.
        return invoke
