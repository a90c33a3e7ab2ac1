"""`txraft status`: each endpoint's own word on itself, side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from txraft.cli.output import json_line, table
from txraft.cli.settings import EX_TEMPFAIL, Parser, Settings, add_common_options, with_options
from txraft.client.blocking_http import JsonApi, open_connection
from txraft.errors import Outcome

__all__ = ["ask_status", "run"]

COLUMNS = {
    "NAME": "name",
    "ROLE": "role",
    "TERM": "term",
    "LEADER": "leader",
    "COMMIT": "commit_index",
    "APPLIED": "applied_index",
    "LAST": "last_index",
    "READY": "ready",
}
"""Heading -> field of the status."""

ASKED_AT_ONCE_MAX = 32


def run(settings: Settings, arguments: list[str]) -> int:
    """Ask all endpoints at once. 75 when one of them did not answer."""
    parser = Parser(prog="txraft status", description="What the nodes at the endpoints know of themselves.", allow_abbrev=False)
    parser.add_argument("--digest", action="store_true", help="also a digest of the state, equal where the same entries are applied")
    add_common_options(parser)
    given = parser.parse_args(arguments)
    settings = with_options(settings, given)
    with ThreadPoolExecutor(min(len(settings.endpoints), ASKED_AT_ONCE_MAX)) as pool:
        found = list(pool.map(lambda endpoint: _ask(endpoint, settings.timeout_s, digest=given.digest), settings.endpoints))
    print(json_line(found) if settings.as_json else _table(found, digest=given.digest))
    return EX_TEMPFAIL if any("error" in status for status in found) else 0


def ask_status(endpoint: str, timeout_s: float, *, digest: bool = False) -> dict[str, Any]:
    """What the node at `endpoint` says of itself. Tried once. Raises `Outcome`."""
    api = JsonApi([endpoint], open_connection)
    try:
        status: dict[str, Any] = api.exchange("GET", "/v1/status?digest=true" if digest else "/v1/status", None, {}, timeout_s)
        return status
    finally:
        api.close()


def _ask(endpoint: str, timeout_s: float, *, digest: bool) -> dict[str, Any]:
    try:
        return {"endpoint": endpoint, **ask_status(endpoint, timeout_s, digest=digest)}
    except Outcome as problem:
        return {"endpoint": endpoint, "error": problem.message, "code": problem.code}


def _table(found: list[dict[str, Any]], *, digest: bool) -> str:
    columns = COLUMNS | ({"DIGEST": "digest"} if digest else {})
    rows = [["ENDPOINT", *columns, ""]]
    for status in found:
        if "error" in status:
            rows.append([status["endpoint"], *["-"] * len(columns), status["error"]])
        else:
            notes = [] if status.get("ready") else [str(status.get("reason", ""))]
            notes += [f"{name} degraded: {one['last_error']}" for name, one in status.get("machines", {}).items() if one.get("degraded")]
            note = "; ".join(notes)
            rows.append([status["endpoint"], *(_cell(status.get(field)) for field in columns.values()), note])
    return table(rows)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)[:16] if isinstance(value, str) and len(value) == 64 else str(value)
