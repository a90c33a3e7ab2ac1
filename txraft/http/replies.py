"""What a request comes to: a reply with its status; errors as problem documents.

Source: RFC 9457 (problem details for HTTP APIs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from attrs import field, frozen

from txraft.errors import NotApplied, Outcome, Refused
from txraft.http.json_text import encode_json, with_text_bytes

__all__ = ["JSON", "PROBLEM", "TEXT", "Reply", "method_not_allowed", "reply_of_json", "reply_of_problem", "status_of"]

JSON = b"application/json"
PROBLEM = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"

_RETRY_AFTER = {b"Retry-After": b"1"}
_NO_HEADERS: Mapping[bytes, bytes] = {}

_STATUS = {
    "invalid_arguments": 400,
    "bad_request": 400,
    "unknown_command": 404,
    "unknown_machine": 404,
    "not_found": 404,
    "no_snapshot": 404,
    "method_not_allowed": 405,
    "compacted": 410,
    "serial_forgotten": 410,
    "session_expired": 410,
    "too_large": 413,
    "machine_error": 500,
    "internal_error": 500,
    "timeout": 504,
}
"""Status by code, for `not_applied` and `unknown`; a plug-in's own refusals are 409 whatever their code."""

_TITLES = {
    400: "The request cannot be understood",
    404: "There is no such thing",
    405: "Not by this method",
    409: "It was refused",
    410: "It is no longer there",
    413: "The request is too large",
    500: "Something went wrong inside",
    503: "Not at the moment",
    504: "No answer in time",
}

_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "outcome"})


@frozen
class Reply:
    """Status, body and what must stand in the headers about them."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Mapping[bytes, bytes] = field(default=_NO_HEADERS)


def reply_of_json(value: Any, status: int = 200, headers: Mapping[bytes, bytes] = _NO_HEADERS) -> Reply:
    """A plain value as JSON; the newline is for people at a terminal."""
    return Reply(status, encode_json(value) + b"\n", JSON, headers)


def status_of(problem: Outcome) -> int:
    """The HTTP status that tells what `problem` tells."""
    if isinstance(problem, Refused):
        return 409
    return _STATUS.get(problem.code, 503 if isinstance(problem, NotApplied) else 504)


def reply_of_problem(problem: Outcome, headers: Mapping[bytes, bytes] = _NO_HEADERS, *, text: bool = False) -> Reply:
    """The problem document. Details are members of their own; one whose name the document needs itself gets `detail_` before it.

    `text`: bytes in it as text.
    """
    status = status_of(problem)
    document: dict[str, Any] = {
        "type": f"urn:txraft:problem:{quote(problem.code, safe='')}",
        "title": _TITLES[status],
        "status": status,
        "detail": problem.message or problem.code,
        "code": problem.code,
        "outcome": problem.outcome,
    }
    document |= {f"detail_{name}" if name in _MEMBERS else name: value for name, value in problem.details.items()}
    if text:
        document = with_text_bytes(document)
    if status == 503:
        headers = {**_RETRY_AFTER, **headers}
    return Reply(status, encode_json(document) + b"\n", PROBLEM, headers)


def method_not_allowed(allowed: str) -> Reply:
    """405 with the methods that are."""
    problem = NotApplied("method_not_allowed", f"Allowed here: {allowed}")
    return reply_of_problem(problem, {b"Allow": allowed.encode()})
