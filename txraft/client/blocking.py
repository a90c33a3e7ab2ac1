"""A client for programs without Twisted: blocking calls over the HTTP API, on the standard library alone."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from txraft.client.blocking_http import Connect, JsonApi, open_connection
from txraft.client.retrying import BackOff, Fate, judge, overdue, told
from txraft.errors import NotApplied, Outcome, Refused, Unknown

__all__ = ["BlockingClient", "BlockingMachine"]

_CLOSE_S = 1.0


class BlockingClient:
    """Calls commands and queries on any node of a cluster and waits for the result.

    Commands are exactly-once: a session is opened before the first, and each is tried, with the same serial number, until it is answered or
    its time is up. Every call returns the value or raises `txraft.errors.Refused`, `NotApplied` or `Unknown`.

    Thread-safe: threads take turns, one call at a time. For calls side by side give each thread its own client, or use `Client`.

    Args:
        endpoints: ``HOST:PORT`` of client ports, tried in turn; followers forward to the leader.
        timeout_s: how long one call may take, in seconds, with all its tries.
        monotonic, sleep, rng, connect: for tests.

    Raises:
        ConfigurationError: an endpoint is not ``HOST:PORT``, or there is none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout_s: float = 10.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        connect: Connect = open_connection,
    ) -> None:
        self._api = JsonApi(endpoints, connect)
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._back_off = BackOff(rng or random.Random())
        self._lock = threading.RLock()
        self._session: str | None = None
        self._serial = 0
        self._machines: dict[str, Any] | None = None
        self._closed = False

    def command(self, machine: str, command: str, /, *args: Any, exactly_once: bool = True, **kwargs: Any) -> Any:
        """Call a command and return its result.

        Args:
            machine: name of the machine, e.g. ``counter``.
            command: name of the command.
            *args: arguments by position; they get the names that the server declares.
            **kwargs: arguments by name.
            exactly_once: False sends it without a session: when the outcome cannot be known it is reported, never tried again.

        Raises:
            Refused: the machine refused it; nothing was changed.
            NotApplied: certainly not applied.
            Unknown: it may have been applied or may yet be.
        """
        with self._lock:
            deadline_s = self._monotonic() + self._timeout_s
            path = f"/v1/{quote(machine, safe='')}/{quote(command, safe='')}"
            body = self._body(machine, "commands", command, args, kwargs, deadline_s)
            while True:
                headers = self._next_key(deadline_s) if exactly_once else {}
                try:
                    answer = self._perform("POST", path, body, headers, deadline_s, changes=True, repeatable=exactly_once)
                    return _result(answer, Unknown)
                except _SessionGone:
                    self._session = None

    def query(self, machine: str, query: str, /, *args: Any, consistency: str = "linearizable", **kwargs: Any) -> Any:
        """Run a query and return its result; ``consistency="local"`` asks any node for what it has, however old.

        Raises:
            Refused: the machine refused it.
            NotApplied: it was not answered in time, or cannot be.
        """
        with self._lock:
            deadline_s = self._monotonic() + self._timeout_s
            path = f"/v1/{quote(machine, safe='')}/{quote(query, safe='')}?consistency={quote(consistency, safe='')}"
            body = self._body(machine, "queries", query, args, kwargs, deadline_s)
            return _result(self._perform("POST", path, body, {}, deadline_s), NotApplied)

    def machine(self, name: str) -> BlockingMachine:
        """The commands and queries of one machine as methods: ``client.machine("counter").add("a", 2)``."""
        return BlockingMachine(self, name)

    def status(self) -> dict[str, Any]:
        """The status of the node that this client is connected to."""
        return self._get("/v1/status")

    def describe(self) -> dict[str, Any]:
        """Machines by name, with their commands, queries, parameters and documentation."""
        return self._get("/v1/machines")

    def close(self) -> None:
        """Close the session, as far as that is possible within a second, and the connection. The client cannot be used after."""
        with self._lock:
            if self._session is not None and not self._closed:
                with contextlib.suppress(Outcome):  # Otherwise it expires by itself.
                    self._api.exchange("DELETE", f"/v1/sessions/{quote(self._session, safe='')}", None, {}, _CLOSE_S)
            self._session = None
            self._closed = True
            self._api.close()

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, path: str) -> dict[str, Any]:
        with self._lock:
            answer = self._perform("GET", path, None, {}, self._monotonic() + self._timeout_s)
        if not isinstance(answer, dict):
            raise NotApplied("unexpected_answer", f"the answer to GET {path} is no JSON object")
        return answer

    def _body(self, machine: str, kind: str, operation: str, args: Sequence[Any], named: dict[str, Any], deadline_s: float) -> bytes:
        arguments = {**self._names(machine, kind, operation, args, named, deadline_s), **named} if args else named
        try:
            return json.dumps(arguments, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise NotApplied("invalid_arguments", f"{machine} {operation}: {error}") from None

    def _names(
        self, machine: str, kind: str, operation: str, args: Sequence[Any], named: dict[str, Any], deadline_s: float
    ) -> dict[str, Any]:
        """Give positional arguments the names that the machine declares, in order."""
        described = self._operation(machine, kind, operation, deadline_s)
        names = [parameter["name"] for parameter in described["parameters"]]
        if len(args) > len(names):
            raise NotApplied("invalid_arguments", f"{machine} {operation} takes {len(names)} arguments, not {len(args)}")
        for name in names[: len(args)]:
            if name in named:
                raise NotApplied("invalid_arguments", f"{machine} {operation}: {name!r} is given twice")
        return dict(zip(names, args, strict=False))

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
            machines = self._perform("GET", "/v1/machines", None, {}, deadline_s)
            if not isinstance(machines, dict):
                raise NotApplied("unexpected_answer", "the answer to GET /v1/machines is no JSON object")
            self._machines = machines
        return self._machines

    def _kind_of(self, machine: str, operation: str) -> str:
        """`commands` or `queries`."""
        with self._lock:
            described = self._described(self._monotonic() + self._timeout_s).get(machine, {})
        return "queries" if operation in described.get("queries", ()) else "commands"

    def _next_key(self, deadline_s: float) -> dict[str, str]:
        """The headers that make the next command exactly-once; opens a session if there is none."""
        if self._session is None:
            try:
                answer = self._perform("POST", "/v1/sessions", b"{}", {}, deadline_s)
            except Refused as problem:
                raise NotApplied(problem.code, f"no session could be opened: {problem.message}", **problem.details) from None
            if not isinstance(answer, dict) or "session" not in answer:
                raise NotApplied("unexpected_answer", "the answer to POST /v1/sessions holds no session")
            self._session, self._serial = str(answer["session"]), 0
        self._serial += 1
        # One call at a time: whoever makes this one has the results of all before it.
        return {"Idempotency-Key": f"{self._session}/{self._serial}", "First-Outstanding": str(self._serial)}

    def _perform(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        deadline_s: float,
        *,
        changes: bool = False,
        repeatable: bool = True,
    ) -> Any:
        """Try until there is an answer or the deadline has passed.

        Args:
            method: of the request, which is the same at each try.
            path: with the query string.
            body: JSON, or None.
            headers: further ones.
            deadline_s: on the monotonic clock.
            changes: it is a command: lost sight of, its outcome is unknown.
            repeatable: sending it twice applies nothing twice.
        """
        if self._closed:
            raise NotApplied("client_closed", "this client was closed")
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        maybe_taken = False
        trouble: Outcome | None = None
        self._back_off.reset()
        while (left_s := deadline_s - self._monotonic()) > 0:
            # A server that keeps silent must not use up the time in which another would answer.
            try_s = min(left_s, max(1.0, self._timeout_s / 3)) if repeatable else left_s
            try:
                return self._api.exchange(method, path, body, headers, try_s)
            except Outcome as problem:
                trouble = problem
            fate = judge(trouble, repeatable=repeatable, maybe_taken=maybe_taken)
            if fate is Fate.FINAL:
                raise told(trouble, maybe_taken=maybe_taken)
            if fate is Fate.NEW_SESSION:
                raise _SessionGone
            maybe_taken |= changes and isinstance(trouble, Unknown)
            self._api.next_endpoint()
            self._sleep(min(self._back_off.next_s(), max(0.0, deadline_s - self._monotonic())))
        raise overdue(self._timeout_s, trouble, maybe_taken=maybe_taken)


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


class _SessionGone(Exception):
    """The command was certainly not applied, for its session is not there any more."""


def _result(answer: Any, otherwise: type[Outcome]) -> Any:
    if not isinstance(answer, dict) or "result" not in answer:
        raise otherwise("unexpected_answer", "the answer holds no result: is it a txraft node?")
    return answer["result"]
