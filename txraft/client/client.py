"""The client for Twisted programs: calls go in, Deferreds come out. Leader changes and lost connections are hidden behind it."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail

from txraft.client.calls import Kind
from txraft.client.courier import Courier
from txraft.client.leader_search import LeaderSearch
from txraft.client.machine_proxy import MachineProxy, Operations
from txraft.errors import NotApplied
from txraft.limits import NAME_LENGTH_MAX, Limits, Timing
from txraft.statemachine.values import encode_value

__all__ = ["Client"]

_CONSISTENCIES = {"linearizable": Kind.QUERY, "local": Kind.LOCAL_QUERY}


class Client:
    """Calls commands and queries on a cluster over the native protocol.

    It finds the leader, keeps one connection to it, and sends all calls of one turn of the reactor in one frame. Commands are
    exactly-once: they have a session (opened before the first one) and serial numbers, and are sent again, as the same, until they
    are answered or their time is up.

    Every call returns a Deferred, to be awaited or given callbacks, and cancelled if need be (a cancelled command may still be
    applied). It fires with the result, or fails with `txraft.errors.Refused`, `NotApplied` or `Unknown`. All calls are made on the
    reactor's thread.

    Args:
        reactor: Twisted's.
        endpoints: client ports, as ``HOST:PORT`` or Twisted client endpoint strings; one is enough, more are tried in turn.
        timeout_s: how long a call may take, in seconds, with all its tries.
        session_timeout_s: the session expires when this client was not heard of for so long.
        limits: must not be larger than the servers'.
        monotonic: the clock for deadlines.
        rng: for pauses between tries.

    Raises:
        ConfigurationError: an endpoint is no address, or there is none.
    """

    def __init__(
        self,
        reactor: Any,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 10.0,
        session_timeout_s: float = Timing.session_s,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._arguments_bytes_max = limits.command_bytes_max
        search = functools.partial(LeaderSearch, reactor, endpoints, monotonic=monotonic, rng=rng or random.Random())
        self._courier = Courier(
            reactor, search, timeout_s=timeout_s, session_timeout_s=session_timeout_s, limits=limits, monotonic=monotonic
        )
        self._operations = Operations(self.describe)
        self._proxies: dict[str, MachineProxy] = {}
        self._closing: list[Deferred[None]] | None = None

    # Calls

    def command(self, machine: str, command: str, /, *args: Any, exactly_once: bool = True, **kwargs: Any) -> Deferred[Any]:
        """Call a command.

        Args:
            machine: name of the machine, e.g. ``counter``.
            command: name of the command.
            *args: arguments by position; plain values.
            **kwargs: arguments by name.
            exactly_once: False sends it without a session: when its outcome cannot be known that is reported, never tried again.

        Returns:
            Fires with the result. Fails with `Refused` (by the machine; nothing was changed), `NotApplied` (certainly not applied)
            or `Unknown` (it may have been applied or may yet be).
        """
        return self._call(Kind.COMMAND if exactly_once else Kind.COMMAND_WITHOUT_SESSION, machine, command, args, kwargs)

    def query(self, machine: str, query: str, /, *args: Any, consistency: str = "linearizable", **kwargs: Any) -> Deferred[Any]:
        """Run a query.

        Args:
            machine: name of the machine.
            query: name of the query.
            *args: arguments by position; plain values.
            **kwargs: arguments by name.
            consistency: ``linearizable`` sees every command answered before; ``local`` is what the connected server has, however old.

        Returns:
            Fires with the result. Fails with `Refused` or `NotApplied`.
        """
        kind = _CONSISTENCIES.get(consistency)
        if kind is None:
            return fail(NotApplied("invalid_arguments", f"consistency is linearizable or local, not {consistency!r}"))
        return self._call(kind, machine, query, args, kwargs)

    def machine(self, name: str) -> MachineProxy:
        """The commands and queries of one machine as methods: ``client.machine("counter").add("a", 2)``.

        The first call asks the servers which there are, and may take twice the time of others.
        """
        return self._proxies.setdefault(name, MachineProxy(name, self._call_by_name))

    def status(self, *, digest: bool = False) -> Deferred[dict[str, Any]]:
        """The status of the connected server, as ``GET /v1/status`` gives it; `digest`: with the digest of its state."""
        return self._courier.submit(Kind.STATUS, option=int(digest))

    def describe(self) -> Deferred[dict[str, Any]]:
        """Machines by name, with their commands, queries, parameters and documentation."""
        return self._courier.submit(Kind.DESCRIBE)

    def close(self) -> Deferred[None]:
        """Close the session, as far as that is possible within a second, and all connections.

        Calls under way fail at once with code `client_closed`, as `NotApplied` if that is certain, as `Unknown` otherwise. No timer
        is left behind.
        """
        done: Deferred[None] = Deferred()
        if self._closing is None:
            self._closing = [done]
            Deferred.fromCoroutine(self._courier.close()).addBoth(self._closed_down)
        elif self._closing:
            self._closing.append(done)
        else:
            done.callback(None)
        return done

    def _call(self, kind: Kind, machine: str, operation: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Deferred[Any]:
        # What the servers could not even read would cost this client its connection, and all other calls their answers.
        if not (0 < len(machine) <= NAME_LENGTH_MAX and machine.isprintable()):
            return fail(NotApplied("unknown_machine", f"{machine[:NAME_LENGTH_MAX]!r} cannot be the name of a machine"))
        if not (0 < len(operation) <= NAME_LENGTH_MAX and operation.isprintable()):
            return fail(NotApplied("unknown_command", f"{operation[:NAME_LENGTH_MAX]!r} cannot be the name of a command or query"))
        try:
            arguments = encode_value((args, kwargs) if args else kwargs)  # a map spares the server work
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return fail(NotApplied("invalid_arguments", f"{machine} {operation}: {error}"))
        if len(arguments) > self._arguments_bytes_max:
            return fail(NotApplied("too_large", f"arguments of {len(arguments)} bytes; {self._arguments_bytes_max} are allowed"))
        return self._courier.submit(kind, machine, operation, arguments)

    def _call_by_name(self, machine: str, operation: str, *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self._operations.known:
            return self._operations.learn().addCallback(lambda _: self._call_by_name(machine, operation, *args, **kwargs))
        try:
            kind = self._operations.kind(machine, operation)
        except NotApplied as problem:
            return fail(problem)
        return (self.command if kind == "command" else self.query)(machine, operation, *args, **kwargs)

    def _closed_down(self, result: Any) -> Any:
        waiting, self._closing = self._closing or [], []
        for done in waiting:
            done.callback(None)
        return result
