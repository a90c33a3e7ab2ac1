"""The routes: what each path and method asks of the node, and what becomes of its answer. Knows nothing of sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import unquote_to_bytes

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred

from txraft import __version__
from txraft.errors import NotApplied
from txraft.http.asked import Asked
from txraft.http.event_stream import EventStream
from txraft.http.json_text import with_text_bytes
from txraft.http.openapi import OpenApi
from txraft.http.operations import Operations
from txraft.http.parameters import (
    arguments_of,
    flag_of,
    freshness_of,
    parse_query_string,
    refuse_freshness,
    refuse_others,
    session_key,
    text_bytes_of,
    timeout_of,
)
from txraft.http.replies import TEXT, Reply, method_not_allowed, reply_of_json, reply_of_problem
from txraft.http.snapshots import Snapshots, SnapshotStream
from txraft.http.watching import WATCH, Watches
from txraft.limits import INDEX_MAX, PROTOCOL_VERSION, WAIT_MS_MAX, Limits, Timing
from txraft.node.ports import ClientGate
from txraft.statemachine.results import OK, Answer
from txraft.wire.requests import Ask, CloseSessionRequest, InvokeRequest, KeepSessionRequest, OpenSessionRequest, Request

__all__ = ["Api", "Response"]

Response = Reply | Deferred[Reply] | Deferred[EventStream] | Deferred[SnapshotStream]

_SESSION_S_MAX = 1e9


class _SessionSettings(msgspec.Struct, forbid_unknown_fields=True):
    timeout_s: Annotated[float, msgspec.Meta(ge=0.001, le=_SESSION_S_MAX)] | None = None


class _Wait(msgspec.Struct):
    wait_s: float | None = None


_WAIT = msgspec.msgpack.Decoder(_Wait)
_SETTINGS = msgspec.json.Decoder(_SessionSettings)


@define
class Api:
    """The HTTP interface of one node. Reactor thread."""

    gate: ClientGate
    limits: Limits
    timing: Timing
    operations: Operations
    watches: Watches
    snapshots: Snapshots
    openapi: OpenApi = field(factory=OpenApi)
    _fixed: Mapping[bytes, tuple[str, Callable[[Asked], Response]]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._fixed = {
            b"/livez": ("GET", self._alive),
            b"/readyz": ("GET", self._ready),
            b"/version": ("GET", self._version),
            b"/v1/status": ("GET", self._status),
            b"/v1/machines": ("GET", self._machines),
            b"/v1/openapi.json": ("GET", self._openapi),
            b"/v1/sessions": ("POST", self._open_session),
        }

    def respond(self, asked: Asked) -> Response:
        """Do what is asked.

        Raises:
            Outcome: the request was refused before it came to the node.
        """
        fixed = self._fixed.get(asked.path)
        if fixed is not None:
            allowed, respond = fixed
            return respond(asked) if asked.method == allowed else method_not_allowed("GET, HEAD" if allowed == "GET" else allowed)
        match _segments(asked.path):
            case ["v1", "snapshot"]:
                return self.snapshots.respond(asked)
            case ["v1", "sessions", session]:
                return self._session(asked, session, "DELETE", CloseSessionRequest(0))
            case ["v1", "sessions", session, "keep"]:
                return self._session(asked, session, "POST", KeepSessionRequest(0))
            case ["v1", machine, name] if machine and name == WATCH:
                return self.watches.respond(asked, machine)
            case ["v1", machine, name] if machine and name:
                return self._operation(asked, machine, name)
        raise NotApplied("not_found", "no such path: commands and queries are at /v1/MACHINE/NAME, and GET /v1/machines lists them")

    def _operation(self, asked: Asked, machine: str, name: str) -> Response:
        operation = self.operations.find(machine, name)
        parameters = parse_query_string(asked.query)
        if asked.method == "POST":
            refuse_others(parameters)
            body = asked.body
        elif asked.method == "GET" and operation.is_query:
            body = arguments_of(parameters, operation.parameters)
        else:
            return method_not_allowed("GET, HEAD, POST" if operation.is_query else "POST")
        timeout_s = timeout_of(parameters)
        text = text_bytes_of(parameters)
        try:
            arguments = self.gate.arguments_of_json(machine, name, body or b"{}", text=text)
        except NotApplied as problem:
            raise (problem if text else _with_hint(problem)) from None
        reply = _reply_with_text if text else _reply_of_answer
        if operation.is_query:
            freshness = freshness_of(parameters)
            ask = Ask(0, machine, name, msgspec.Raw(arguments), freshness.consistency, freshness.at_least, freshness.max_staleness_ms)
            return self._call(ask, reply, timeout_s=timeout_s)
        refuse_freshness(parameters)
        if operation.wait_s is not None:
            timeout_s = (timeout_s or self.timing.request_s) + _wait_of(arguments, operation.wait_s)
        key = session_key(asked.header("Idempotency-Key"), asked.header("First-Outstanding"), self.limits.session_results_max)
        invoke = InvokeRequest(0, key.serial, machine, name, msgspec.Raw(arguments))
        return self._call(invoke, reply, session=key.session, first_outstanding=key.first_outstanding, timeout_s=timeout_s)

    def _open_session(self, asked: Asked) -> Response:
        try:
            settings = _SETTINGS.decode(asked.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise NotApplied("invalid_arguments", f"a session takes nothing but timeout_s: {error}") from None
        timeout_ms = int((settings.timeout_s or self.timing.session_s) * 1000)

        def reply(answer: Answer) -> Reply:
            session = answer.value()
            opened = {"session": session, "timeout_s": timeout_ms / 1000, "index": answer.index, "term": answer.term}
            return reply_of_json(opened, 201, {b"Location": b"/v1/sessions/%d" % session})

        return self._call(OpenSessionRequest(0, timeout_ms), reply, timeout_s=timeout_of(parse_query_string(asked.query)))

    def _session(self, asked: Asked, text: str, method: str, request: Request) -> Response:
        if asked.method != method:
            return method_not_allowed(method)
        session = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
        if not 0 < session <= INDEX_MAX:
            raise NotApplied("not_found", "a session is a positive number")

        def reply(answer: Answer) -> Reply:
            answer.value()
            return reply_of_json({"session": session, "index": answer.index, "term": answer.term})

        return self._call(request, reply, session=session, timeout_s=timeout_of(parse_query_string(asked.query)))

    def _call(
        self,
        request: Request,
        reply: Callable[[Answer], Reply],
        *,
        session: int = 0,
        first_outstanding: int = 0,
        timeout_s: float | None = None,
    ) -> Deferred[Reply]:
        """Ask the node and turn its answer into a reply; fails with the `Outcome` when the answer is none."""
        answered = self.gate.call(request, session=session, first_outstanding=first_outstanding, timeout_s=timeout_s)
        return answered.addCallback(reply)

    def _machines(self, asked: Asked) -> Reply:
        return reply_of_json(self.gate.describe_machines())

    def _openapi(self, asked: Asked) -> Reply:
        return self.openapi.reply(self.gate.declarations())

    def _status(self, asked: Asked) -> Reply | Deferred[Reply]:
        if flag_of(parse_query_string(asked.query), "digest"):
            return self.gate.digested_status().addCallback(reply_of_json)
        return reply_of_json(self.gate.status())

    def _version(self, asked: Asked) -> Reply:
        return reply_of_json({"version": __version__, "protocol": PROTOCOL_VERSION})

    def _alive(self, asked: Asked) -> Reply:
        return _probe(asked, {"alive": self.gate.alive()})

    def _ready(self, asked: Asked) -> Reply:
        return _probe(asked, {"alive": self.gate.alive(), "ready": self.gate.ready()})


def _segments(path: bytes) -> list[str]:
    try:
        return [unquote_to_bytes(segment).decode() for segment in path.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise NotApplied("not_found", "the path is not percent-encoded UTF-8") from None


def _wait_of(arguments: bytes, default_s: float) -> float:
    """How long a command waits by its `wait_s`, at most; what is no number of seconds is refused by the node, so it does not wait."""
    try:
        wait_s = _WAIT.decode(arguments).wait_s
    except msgspec.MsgspecError:
        return 0.0
    return min(max(default_s if wait_s is None else wait_s, 0.0), WAIT_MS_MAX / 1000)


def _with_hint(problem: NotApplied) -> NotApplied:
    """Whoever meets base64 for the first time learns that there is another way."""
    hint = ". With bytes=text in the query string, bytes are written as text" if "base64" in problem.message else ""
    return NotApplied(problem.code, problem.message + hint, **problem.details)


def _reply_with_text(answer: Answer) -> Reply:
    if answer.outcome != OK:
        return reply_of_problem(answer.problem(), text=True)
    return reply_of_json({"result": with_text_bytes(answer.value()), "index": answer.index, "term": answer.term})


def _reply_of_answer(answer: Answer) -> Reply:
    if answer.outcome != OK:
        return reply_of_problem(answer.problem())
    return reply_of_json({"result": answer.value(), "index": answer.index, "term": answer.term})


def _probe(asked: Asked, checks: Mapping[str, tuple[bool, str]]) -> Reply:
    """200 or 503, with words for people; `?verbose` shows each check."""
    good = all(passed for passed, _ in checks.values())
    if flag_of(parse_query_string(asked.query), "verbose"):
        lines = [f"[+] {name}" if passed else f"[-] {name}: {why}" for name, (passed, why) in checks.items()]
    else:
        lines = ["ok"] if good else [why for passed, why in checks.values() if not passed]
    return Reply(200 if good else 503, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"), TEXT)
