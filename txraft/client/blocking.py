"""A client for programs without Twisted: blocking calls over the HTTP API, on the standard library alone."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from txraft.client.blocking_http import Connect, JsonApi, encode_arguments, open_connection
from txraft.client.blocking_machine import BlockingMachine, BlockingOperations
from txraft.client.blocking_watch import BlockingWatch
from txraft.client.events import Pages, Place
from txraft.client.options import freshness, wait_of
from txraft.client.retrying import BackOff, Fate, judge, overdue, told
from txraft.errors import NotApplied, Outcome, Refused, Unknown

__all__ = ["BlockingClient", "BlockingMachine"]

_CLOSE_S = 1.0


class BlockingClient:
    """Calls commands and queries on any node of a cluster and waits for the result.

    Commands are exactly-once: a session is opened before the first, and each is tried, with the same serial number, until it is answered or
    its time is up. Every call returns the value or raises `txraft.errors.Refused`, `NotApplied` or `Unknown`.

    Thread-safe: threads take turns, one call at a time, also while one waits on the servers. For calls side by side give each thread its
    own client (`another`), or use `Client`.

    Args:
        endpoints: ``HOST:PORT`` of client ports, tried in turn; followers forward to the leader.
        timeout_s: how long one call may take, in seconds, with all its tries.
        text_bytes: bytes are text, in arguments, results and events, and ``{"base64": "…"}`` where they are not UTF-8, instead of base64.
        monotonic, sleep, rng, connect: for tests.

    Attributes:
        index: the greatest index of the log in any answer so far: a query with `at_least` of it sees all that this client has seen.

    Raises:
        ConfigurationError: an endpoint is not ``HOST:PORT``, or there is none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout_s: float = 10.0,
        *,
        text_bytes: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        connect: Connect = open_connection,
    ) -> None:
        self.index = 0
        self._endpoints = list(endpoints)
        self._connect = connect
        self._api = JsonApi(endpoints, connect)
        self._timeout_s = timeout_s
        self._text_bytes = text_bytes
        self._encode = functools.partial(encode_arguments, text_bytes=text_bytes)
        self._monotonic = monotonic
        self._sleep = sleep
        self._rng = rng or random.Random()
        options: dict[str, Any] = {"monotonic": monotonic, "sleep": sleep, "rng": self._rng, "connect": connect}
        self._another = functools.partial(BlockingClient, self._endpoints, text_bytes=text_bytes, **options)
        self._back_off = BackOff(self._rng)
        self._watches: weakref.WeakSet[BlockingWatch] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._index_lock = threading.Lock()
        self._session: str | None = None
        self._serial = 0
        self._operations = BlockingOperations(self._describe)
        self._closed = False

    def command(self, machine: str, command: str, /, *args: Any, exactly_once: bool = True, **kwargs: Any) -> Any:
        """Call a command and return its result.

        Args:
            machine: name of the machine, e.g. ``counter``.
            command: name of the command.
            *args: arguments by position; they get the names that the server declares.
            **kwargs: arguments by name. With a `wait_s` among all arguments the command may wait on the servers for so long, and its time
                is longer by that.
            exactly_once: False sends it without a session: when the outcome cannot be known it is reported, never tried again.

        Raises:
            Refused: the machine refused it; nothing was changed.
            NotApplied: certainly not applied.
            Unknown: it may have been applied or may yet be.
        """
        with self._lock:
            deadline_s = self._monotonic() + self._timeout_s
            path = f"/v1/{quote(machine, safe='')}/{quote(command, safe='')}{'?bytes=text' if self._text_bytes else ''}"
            arguments = self._operations.by_name(machine, "commands", command, args, kwargs, deadline_s)
            body = self._encode(machine, command, arguments)
            wait_s = wait_of(arguments)
            deadline_s += wait_s

            def shorter(left_s: float) -> bytes:
                return self._encode(machine, command, {**arguments, "wait_s": left_s}) if left_s < wait_s else body

            while True:
                headers = self._next_key(deadline_s - wait_s) if exactly_once else {}
                try:
                    answer = self._perform("POST", path, shorter, headers, deadline_s, wait_s=wait_s, changes=True, repeatable=exactly_once)
                    return self._result(answer, Unknown)
                except _SessionGone:
                    self._session = None

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
    ) -> Any:
        """Run a query and return its result.

        Args:
            machine: name of the machine.
            query: name of the query.
            *args: arguments by position; they get the names that the server declares.
            **kwargs: arguments by name.
            consistency: ``linearizable`` sees every command answered before, to whomever; ``at_least`` sees all that this client has seen,
                its own commands among it; ``local`` is what the node that is asked has, however old.
            at_least: an index of the log, of another client's `index`, say: it is seen in any case. Not with ``linearizable``.
            max_staleness_s: the node must have heard of the leader within so many seconds. Not with ``linearizable``.

        Raises:
            Refused: the machine refused it.
            NotApplied: it was not answered in time, or cannot be; with code `stale` when no node was as fresh in time.
        """
        with self._lock:
            deadline_s = self._monotonic() + self._timeout_s
            fresh = freshness(consistency, at_least, max_staleness_s, self.index)
            path = f"/v1/{quote(machine, safe='')}/{quote(query, safe='')}?consistency={'linearizable' if fresh is None else 'local'}"
            if fresh is not None:
                path += (f"&at_least={fresh[0]}" if fresh[0] else "") + (f"&max_staleness={fresh[1]!r}" if fresh[1] else "")
            path += "&bytes=text" if self._text_bytes else ""
            body = self._encode(machine, query, self._operations.by_name(machine, "queries", query, args, kwargs, deadline_s))
            return self._result(self._perform("POST", path, body, {}, deadline_s), NotApplied)

    def watch(
        self, machine: str, topic: str | bytes | None = None, *, prefix: str | bytes | None = None, from_index: int | Place | None = None
    ) -> BlockingWatch:
        """Iterate over the events of a machine, in order, none left out and none twice, for as long as the watch is not stopped.

        Args:
            machine: name of the machine.
            topic: events of this topic only.
            prefix: events of all topics that begin so. Without either, all events.
            from_index: where to begin: an index of the log, or the `place` of the last event that was seen. None: with what happens after
                this call.

        Raises:
            NotApplied: there is no such machine, the place is gone (`compacted`), or no server answers.
        """
        self._require_open()
        watch = BlockingWatch(
            JsonApi(self._endpoints, self._connect),
            machine,
            topic,
            prefix,
            Pages(from_index),
            text_bytes=self._text_bytes,
            timeout_s=self._timeout_s,
            monotonic=self._monotonic,
            sleep=self._sleep,
            back_off=BackOff(self._rng),
            saw=self._saw,
        )
        self._watches.add(watch)
        watch.begin()
        return watch

    def another(self, timeout_s: float | None = None) -> BlockingClient:
        """A client like this one, with a session and a connection of its own: for another thread.

        Args:
            timeout_s: how long one of its calls may take; None: as long as with this client.
        """
        return self._another(timeout_s=self._timeout_s if timeout_s is None else timeout_s)

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
        """Close the session, as far as that is possible within a second, all watches and connections. The client cannot be used after."""
        for watch in list(self._watches):
            watch.end(NotApplied("client_closed", "this client was closed"))
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

    def _describe(self, deadline_s: float) -> Any:
        return self._perform("GET", "/v1/machines", None, {}, deadline_s)

    def _kind_of(self, machine: str, operation: str) -> str:
        """`commands` or `queries`."""
        with self._lock:
            return self._operations.kind_of(machine, operation, self._monotonic() + self._timeout_s)

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

    def _require_open(self) -> None:
        if self._closed:
            raise NotApplied("client_closed", "this client was closed")

    def _result(self, answer: Any, otherwise: type[Outcome]) -> Any:
        if not isinstance(answer, dict) or "result" not in answer:
            raise otherwise("unexpected_answer", "the answer holds no result: is it a txraft node?")
        self._saw(answer.get("index"))
        return answer["result"]

    def _saw(self, index: Any) -> None:
        with self._index_lock:
            if isinstance(index, int) and index > self.index:
                self.index = index

    def _perform(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[float], bytes] | None,
        headers: dict[str, str],
        deadline_s: float,
        *,
        wait_s: float = 0.0,
        changes: bool = False,
        repeatable: bool = True,
    ) -> Any:
        """Try until there is an answer or the deadline has passed.

        Args:
            method: of the request.
            path: with the query string.
            body: JSON, or None; or what makes it from the time for which the servers may still let it wait.
            headers: further ones.
            deadline_s: on the monotonic clock.
            wait_s: for how long the servers may let it wait; the deadline allows for it.
            changes: it is a command: lost sight of, its outcome is unknown.
            repeatable: sending it twice applies nothing twice.
        """
        self._require_open()
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        maybe_taken = False
        trouble: Outcome | None = None
        self._back_off.reset()
        while (left_s := deadline_s - self._monotonic()) > 0:
            # While most of the time is left, a wait is sent as it was given: whether it is too long is for the machine to say.
            wait_left_s = wait_s if left_s > wait_s + self._timeout_s * 2 / 3 else max(0.0, min(wait_s, left_s - self._timeout_s))
            # A server that keeps silent must not use up the time in which another would answer.
            try_s = min(left_s, wait_left_s + max(1.0, self._timeout_s / 3)) if repeatable else left_s
            try:
                return self._api.exchange(method, path, body(wait_left_s) if callable(body) else body, headers, try_s)
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
        raise overdue(self._timeout_s + wait_s, trouble, maybe_taken=maybe_taken)


class _SessionGone(Exception):
    """The command was certainly not applied, for its session is not there any more."""
