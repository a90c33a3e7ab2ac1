"""The parts of the OpenAPI document that do not depend on machines: parameters, answers, problems, and the node's own paths."""

from __future__ import annotations

import inspect
from typing import Any

from txraft.http.parameters import TIMEOUT_S_MAX
from txraft.limits import INDEX_MAX, WAIT_MS_MAX

__all__ = [
    "FIXED_PATHS",
    "PARAMETERS",
    "PROBLEMS",
    "SCHEMAS",
    "answer_of",
    "described",
    "operation_parameters",
    "problems_of",
    "watch_path",
]

Plain = dict[str, Any]

_NUMBER = {"type": "integer", "minimum": 0, "maximum": INDEX_MAX}

_PROBLEM: Plain = {
    "type": "object",
    "description": "A problem document of RFC 9457. `outcome` says whether the command was applied; further members are details of `code`.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "outcome": {"enum": ["refused", "not_applied", "unknown"]},
    },
    "required": ["type", "title", "status", "detail", "code", "outcome"],
}

_EVENT: Plain = {
    "type": "object",
    "properties": {"index": _NUMBER, "topic": {"type": ["string", "object"]}, "fields": {"type": "object"}},
    "required": ["index", "topic", "fields"],
}

SCHEMAS: Plain = {"Problem": _PROBLEM, "Event": _EVENT}

_REASONS = {
    "400": "Body, arguments, query string or headers are wrong; not applied",
    "404": "There is no such machine, command, query or path; not applied",
    "409": "Refused by the machine: nothing was changed",
    "410": "The session, its result, or the events asked for are gone",
    "413": "The body or the arguments are too large; not applied",
    "500": "The machine's or the node's code failed",
    "503": "Not at the moment; not applied, and may be sent again",
    "504": "No answer in time: unknown for a command, not applied for a query",
}


def described(part: Plain, text: str) -> Plain:
    """`part` with a docstring: its first line as the summary where there is more than one."""
    text = inspect.cleandoc(text)
    summary, _, rest = text.partition("\n")
    if rest and "name" not in part:
        return {"summary": summary, "description": text, **part}
    return {**part, "description": text} if text else part


def _problem(reason: str, status: str) -> Plain:
    problem: Plain = {
        "description": reason,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == "503":
        problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return problem


PROBLEMS: Plain = {f"Problem{status}": _problem(reason, status) for status, reason in _REASONS.items()}


def _problems(*statuses: str) -> Plain:
    return {status: {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def problems_of(*, is_query: bool) -> Plain:
    """The answers of an operation that are none."""
    statuses = list(_REASONS)
    if is_query:
        statuses.remove("410")
    return _problems(*statuses)


def _in_query(name: str, schema: Plain, description: str) -> Plain:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, pattern: str, description: str) -> Plain:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", "pattern": pattern}}


_TIMEOUT = _in_query(
    "timeout", {"type": "number", "exclusiveMinimum": 0, "maximum": TIMEOUT_S_MAX}, "How many seconds to wait for the answer."
)
_BYTES = _in_query(
    "bytes",
    {"enum": ["base64", "text"], "default": "base64"},
    'How bytes stand in JSON. text: as UTF-8, or as {"base64": "…"} where they are none; the schemas show base64.',
)
_CONSISTENCY = [
    _in_query(
        "consistency",
        {"enum": ["linearizable", "local"]},
        "linearizable (the default) sees all that was acknowledged before; local is answered by the node asked, from what it has.",
    ),
    _in_query("at_least", _NUMBER, "Local, but not before this index is applied there."),
    _in_query(
        "max_staleness",
        {"type": "number", "exclusiveMinimum": 0},
        "Local, but refused (stale) by a node that is further behind, in seconds.",
    ),
]
_SESSION = [
    _header("Idempotency-Key", '^"?[1-9][0-9]{0,17}/[1-9][0-9]{0,17}"?$', "SESSION/SERIAL: makes the command exactly-once."),
    _header("First-Outstanding", "^[0-9]{1,18}$", "The results of all smaller serial numbers have been received."),
]


PARAMETERS: Plain = {parameter["name"]: parameter for parameter in (_TIMEOUT, _BYTES, *_CONSISTENCY, *_SESSION)}


def _shared(*parameters: Plain) -> list[Plain]:
    return [{"$ref": f"#/components/parameters/{parameter['name']}"} for parameter in parameters]


def operation_parameters(*, is_query: bool) -> list[Plain]:
    """What every command or query takes beside its arguments."""
    return _shared(_TIMEOUT, _BYTES, *(_CONSISTENCY if is_query else _SESSION))


def _json(schema: Plain, description: str) -> Plain:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(**properties: Plain) -> Plain:
    return {"type": "object", "properties": properties, "required": list(properties)}


def answer_of(result: Plain, *, is_query: bool) -> Plain:
    """The answer of an operation."""
    schema = _object(result=result, index=_NUMBER, term=_NUMBER)
    return _json(schema, "The result, and how far the log was applied." if is_query else "The result, and index and term of the entry.")


def watch_path(machine: str) -> Plain:
    """`GET /v1/MACHINE/watch`."""
    text: Plain = {"type": "string"}
    place = {"type": "string", "pattern": r"^[1-9][0-9]{0,17}(\.[0-9]{1,18})?$"}
    parameters = [
        _in_query("topic", text, "Events of this topic only."),
        _in_query("prefix", text, "Events of all topics that begin with this."),
        _in_query("topic64", text, "The topic in base64."),
        _in_query("prefix64", text, "The prefix in base64."),
        _in_query("index", place, "From where on: an index, or NEXT.SKIP of an answer. Without it: from the next event."),
        _in_query(
            "wait", {"type": "number", "minimum": 0, "maximum": WAIT_MS_MAX / 1000}, "How many seconds to wait if there is no event."
        ),
        _in_query("stream", {"type": "boolean"}, "As with Accept: text/event-stream."),
        *_shared(_TIMEOUT, _BYTES),
        {"name": "Last-Event-ID", "in": "header", "description": "Of a stream: instead of index.", "schema": place},
    ]
    page = _object(
        events={"type": "array", "items": {"$ref": "#/components/schemas/Event"}}, next=_NUMBER, skip=_NUMBER, index=_NUMBER, term=_NUMBER
    )
    answer = _json(page, "Events in order, and the place to go on from.")
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    responses = {"200": answer, **_problems("400", "404", "410", "500", "503", "504")}
    return {
        "get": {
            "operationId": f"{machine}.watch",
            "summary": "Events of the machine, as soon as there is one.",
            "tags": [machine],
            "parameters": parameters,
            "responses": responses,
        }
    }


def _own(summary: str, responses: Plain, **more: Any) -> Plain:
    return {"summary": summary, **more, "responses": responses}


def _probe(summary: str) -> Plain:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    responses = {"200": {"description": "Yes.", **text}, "503": {"description": "No, and why.", **text}}
    return {"get": _own(summary, responses, parameters=[_in_query("verbose", {"type": "boolean"}, "Show each check.")])}


_SETTINGS = {
    "type": "object",
    "properties": {"timeout_s": {"type": ["number", "null"], "minimum": 0.001, "maximum": 1e9}},
    "additionalProperties": False,
}
_OPENED = _object(session=_NUMBER, timeout_s={"type": "number"}, index=_NUMBER, term=_NUMBER)
_KEPT = _object(session=_NUMBER, index=_NUMBER, term=_NUMBER)
_SESSION_ID = {"name": "session", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": INDEX_MAX}}
_OF_SESSION = {"200": _json(_KEPT, "Done."), **_problems("400", "404", "409", "410", "413", "500", "503", "504")}

_SHA256: Plain = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SNAPSHOT: Plain = {
    "get": _own(
        "The newest snapshot of this node, as a file.",
        {
            "200": {
                "description": "The file: a backup of the whole state.",
                "headers": {
                    "Txraft-Snapshot-Index": {"schema": _NUMBER},
                    "Txraft-Snapshot-Term": {"schema": _NUMBER},
                    "Txraft-Snapshot-Sha256": {"schema": _SHA256},
                },
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
            **_problems("400", "404", "500", "503"),
        },
    ),
    "post": _own(
        "Take a snapshot of what this node has applied.",
        {"200": _json(_object(index=_NUMBER, term=_NUMBER, bytes=_NUMBER, sha256=_SHA256), "Durable."), **_problems("400", "500", "503")},
    ),
}

FIXED_PATHS: Plain = {
    "/livez": _probe("Whether the node is sound."),
    "/readyz": _probe("Whether the node can serve."),
    "/version": {
        "get": _own("Version of the node.", {"200": _json(_object(version={"type": "string"}, protocol={"type": "integer"}), "Both.")})
    },
    "/v1/status": {
        "get": _own(
            "What the node knows of itself and the cluster.",
            {"200": _json({"type": "object"}, "By name."), **_problems("400", "500")},
            parameters=[_in_query("digest", {"type": "boolean"}, "With the digest of its state.")],
        )
    },
    "/v1/machines": {"get": _own("The machines with their commands and queries.", {"200": _json({"type": "object"}, "By name.")})},
    "/v1/openapi.json": {"get": _own("This document.", {"200": _json({"type": "object"}, "OpenAPI 3.1.")})},
    "/v1/snapshot": _SNAPSHOT,
    "/v1/sessions": {
        "post": _own(
            "Open a session.",
            {"201": _json(_OPENED, "Open."), **_problems("400", "409", "413", "500", "503", "504")},
            parameters=_shared(_TIMEOUT),
            requestBody={"content": {"application/json": {"schema": _SETTINGS}}},
        )
    },
    "/v1/sessions/{session}": {"delete": _own("Close a session.", _OF_SESSION, parameters=[_SESSION_ID, *_shared(_TIMEOUT)])},
    "/v1/sessions/{session}/keep": {
        "post": _own("Keep a session from expiring.", _OF_SESSION, parameters=[_SESSION_ID, *_shared(_TIMEOUT)])
    },
}
