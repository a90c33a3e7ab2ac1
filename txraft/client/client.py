"""The client for Twisted programs: calls go in, Deferreds come out. Leader changes and lost connections are hidden behind it."""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail

from txraft.client.calls import COMMAND, COMMAND_WITHOUT_SESSION, QUERY, WAITING_COMMAND, Kind
from txraft.client.courier import Courier
from txraft.client.events import Place
from txraft.client.leader_search import LeaderSearch
from txraft.client.machine_proxy import MachineProxy, Operations
from txraft.client.options import Freshness, freshness, wait_of
from txraft.client.watch import Watch
from txraft.client.watches import Watches, no_machine
from txraft.errors import NotApplied
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX, Limits, Timing
from txraft.statemachine.values import encode_value
from txraft.wire.requests import Ask

__all__ = ["Client"]


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

    Attributes:
        reactor, monotonic: as they were given; for what is built on this client.

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
        self.reactor = reactor
        self.monotonic = monotonic
        self._rng = rng or random.Random()
        search = functools.partial(LeaderSearch, reactor, endpoints, monotonic=monotonic, rng=self._rng)
        self._courier = Courier(
            reactor, search, timeout_s=timeout_s, session_timeout_s=session_timeout_s, limits=limits, monotonic=monotonic
        )
        self._operations = Operations(self.describe)
        self._proxies: dict[str, MachineProxy] = {}
        self._watches = Watches(reactor, monotonic, self._rng, self._courier.poll)
        self._closing: list[Deferred[None]] | None = None

    # Calls

    def command(self, machine: str, command: str, /, *args: Any, exactly_once: bool = True, **kwargs: Any) -> Deferred[Any]:
        """Call a command.

        Args:
            machine: name of the machine, e.g. ``counter``.
            command: name of the command.
            *args: arguments by position; plain values.
            **kwargs: arguments by name. With a `wait_s` among them the command may wait on the servers for so long, and its time is
                longer by that.
            exactly_once: False sends it without a session: when its outcome cannot be known that is reported, never tried again.

        Returns:
            Fires with the result. Fails with `Refused` (by the machine; nothing was changed), `NotApplied` (certainly not applied)
            or `Unknown` (it may have been applied or may yet be).
        """
        if "wait_s" in kwargs and (wait_s := wait_of(kwargs)):
            kind = WAITING_COMMAND if exactly_once else COMMAND_WITHOUT_SESSION
            return self._call(kind, machine, command, args, kwargs, wait_s)
        return self._call(COMMAND if exactly_once else COMMAND_WITHOUT_SESSION, machine, command, args, kwargs)

    def query(
        self,
        machine: str,
        query: str,
        /,
        *args: Any,
        consistency: str = "linearizable",
        at_least: int | None = None,
        max_staleness_s: float | None = None,
        **kwargs: Any,
    ) -> Deferred[Any]:
        """Run a query.

        Args:
            machine: name of the machine.
            query: name of the query.
            *args: arguments by position; plain values.
            **kwargs: arguments by name.
            consistency: ``linearizable`` sees every command answered before, to whomever; ``at_least`` sees all that this client has seen,
                its own commands among it; ``local`` is what the connected server has, however old.
            at_least: an index of the log, of another client's `index`, say: it is seen in any case. Not with ``linearizable``.
            max_staleness_s: the server must have heard of the leader within so many seconds. Not with ``linearizable``.

        Returns:
            Fires with the result. Fails with `Refused` or `NotApplied`; with code `stale` when no server was as fresh in time.
        """
        if consistency == "linearizable" and at_least is None and max_staleness_s is None:
            return self._call(QUERY, machine, query, args, kwargs)
        try:
            wanted = freshness(consistency, at_least, max_staleness_s, self.index)
        except NotApplied as problem:
            return fail(problem)
        return self._call(Kind.LOCAL_QUERY, machine, query, args, kwargs, fresh=wanted)

    @property
    def index(self) -> int:
        """The greatest index of the log in any answer so far: a query with `at_least` of it sees all that this client has seen."""
        return self._courier.index

    def watch(
        self, machine: str, topic: str | bytes | None = None, *, prefix: str | bytes | None = None, from_index: int | Place | None = None
    ) -> Watch:
        """Be told the events of a machine, in order, none left out and none twice, for as long as the watch is not stopped.

        Args:
            machine: name of the machine.
            topic: events of this topic only.
            prefix: events of all topics that begin so. Without either, all events.
            from_index: where to begin: an index of the log, or the `place` of the last event that was seen. None: with what happens
                from now on; `Watch.started` tells when that is.

        Returns:
            ``async for event in watch``, or `Watch.on_event`. What is wrong is told by both, and by `Watch.started`.
        """
        return self._watches.begin(machine, topic, prefix, from_index)

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
        """End all watches, close the sessions, as far as that is possible within a second, and all connections.

        Calls under way fail at once with code `client_closed`, as `NotApplied` if that is certain, as `Unknown` otherwise. No timer
        is left behind.
        """
        done: Deferred[None] = Deferred()
        if self._closing is None:
            self._closing = [done]
            self._watches.close(NotApplied("client_closed", "this client was closed"))
            Deferred.fromCoroutine(self._courier.close()).addBoth(self._closed_down)
        elif self._closing:
            self._closing.append(done)
        else:
            done.callback(None)
        return done

    def _call(
        self,
        kind: Kind,
        machine: str,
        operation: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        wait_s: float = 0.0,
        fresh: Freshness | None = None,
    ) -> Deferred[Any]:
        # What the servers could not even read would cost this client its connection, and all other calls their answers.
        if not (0 < len(machine) <= NAME_LENGTH_MAX and machine.isprintable()):
            return fail(no_machine(machine))
        if not (0 < len(operation) <= NAME_LENGTH_MAX and operation.isprintable()):
            return fail(NotApplied("unknown_command", f"{operation[:NAME_LENGTH_MAX]!r} cannot be the name of a command or query"))
        try:
            arguments = encode_value((args, kwargs) if args else kwargs)  # a map spares the server work
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return fail(NotApplied("invalid_arguments", f"{machine} {operation}: {error}"))
        if len(arguments) > self._arguments_bytes_max:
            return fail(NotApplied("too_large", f"arguments of {len(arguments)} bytes; {self._arguments_bytes_max} are allowed"))
        if fresh is not None:
            return self._courier.submit(kind, machine, operation, arguments, 0, _ask(machine, operation, arguments, fresh))
        if wait_s:

            def shorten(left_s: float) -> bytes:
                shorter = {**kwargs, "wait_s": left_s}
                return encode_value((args, shorter) if args else shorter)

            return self._courier.submit_waiting(kind, machine, operation, arguments, wait_s, shorten)
        return self._courier.submit(kind, machine, operation, arguments)

    def _call_by_name(self, machine: str, operation: str, *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self._operations.known:
            return self._operations.learn().addCallback(lambda _: self._call_by_name(machine, operation, *args, **kwargs))
        try:
            kind = self._operations.kind(machine, operation)
        except NotApplied as problem:
            return fail(problem)
        if kind != "command":
            return self.query(machine, operation, *args, **kwargs)
        args, kwargs = self._operations.with_wait_by_name(machine, operation, args, kwargs)
        return self.command(machine, operation, *args, **kwargs)

    def _closed_down(self, result: Any) -> Any:
        waiting, self._closing = self._closing or [], []
        for done in waiting:
            done.callback(None)
        return result


def _ask(machine: str, query: str, arguments: bytes, fresh: Freshness) -> Ask:
    at_least, max_staleness_s = fresh
    staleness_ms = min(INDEX_MAX, math.ceil(max_staleness_s * 1000))
    return Ask(0, machine, query, msgspec.Raw(arguments), "local", at_least, staleness_ms)
