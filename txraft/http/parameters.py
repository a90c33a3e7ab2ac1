"""What stands in the query string and the headers of a request: arguments of queries, deadline, consistency, form of bytes, session."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from attrs import frozen

from txraft.errors import NotApplied
from txraft.http.json_text import encode_json
from txraft.limits import INDEX_MAX
from txraft.wire.requests import Consistency

__all__ = [
    "OWN",
    "TIMEOUT_S_MAX",
    "Freshness",
    "SessionKey",
    "arguments_of",
    "bad_request",
    "flag_of",
    "freshness_of",
    "parse_query_string",
    "refuse_freshness",
    "refuse_others",
    "seconds_of",
    "session_key",
    "single",
    "text_bytes_of",
    "timeout_of",
]

TIMEOUT_S_MAX = 60.0
_FIELDS_MAX = 256
_STALENESS_S_MAX = 1e9
_OF_QUERIES = ("consistency", "at_least", "max_staleness")
OWN = frozenset({*_OF_QUERIES, "bytes", "timeout"})
"""What these mean does not depend on the machine."""

_INDEX = re.compile("[0-9]{1,19}")
_KEY = re.compile(r'"?([0-9]{1,19})/([0-9]{1,19})"?')
_LISTS = re.compile(r"\b(list|set|frozenset|tuple|sequence|collection)\b", re.IGNORECASE)
_MAPPINGS = re.compile(r"\b(dict|mapping)\b", re.IGNORECASE)

Parameters = Mapping[str, list[str]]


@frozen
class SessionKey:
    """From `Idempotency-Key` and `First-Outstanding`; all 0 without a session."""

    session: int = 0
    serial: int = 0
    first_outstanding: int = 0


NO_SESSION = SessionKey()


@frozen
class Freshness:
    """What a query is to see, as in `wire.requests.Ask`."""

    consistency: Consistency = "linearizable"
    at_least: int = 0
    max_staleness_ms: int = 0


_FRESHEST = Freshness()


def parse_query_string(query: bytes) -> dict[str, list[str]]:
    """The parameters by name. Raises `NotApplied` `bad_request` when it is not UTF-8 or holds too many."""
    parameters: dict[str, list[str]] = {}
    if query:
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
        except ValueError:
            raise bad_request(f"the query string is not percent-encoded UTF-8 with at most {_FIELDS_MAX} parameters") from None
        for name, value in pairs:
            parameters.setdefault(name, []).append(value)
    return parameters


def bad_request(sentence: str) -> NotApplied:
    """An error of the request itself, not of a command's arguments."""
    return NotApplied("bad_request", sentence)


def timeout_of(parameters: Parameters) -> float | None:
    """Seconds of `timeout=`, None without. Raises `NotApplied`."""
    text = single(parameters, "timeout")
    if text is None:
        return None
    seconds = seconds_of(text)
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise bad_request(f"timeout must be a number of seconds above 0 and at most {TIMEOUT_S_MAX:g}")
    return seconds


def seconds_of(text: str) -> float:
    """A number of seconds; not a number (NaN) if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def freshness_of(parameters: Parameters) -> Freshness:
    """Of `consistency=`, `at_least=` and `max_staleness=`; the latter two make a query local. Raises `NotApplied`."""
    if not parameters:
        return _FRESHEST
    consistency, at_least, max_staleness = [single(parameters, name) for name in _OF_QUERIES]
    if consistency == "lease":
        raise bad_request("this version does not offer consistency=lease: use linearizable (the default) or local")
    if consistency not in (None, "linearizable", "local"):
        raise bad_request("consistency must be linearizable (the default) or local")
    if at_least is None and max_staleness is None:
        return Freshness("local") if consistency == "local" else _FRESHEST
    if consistency == "linearizable":
        raise bad_request("at_least and max_staleness are for consistency=local: a linearizable query sees everything anyway")
    index = 0 if at_least is None else int(at_least) if _INDEX.fullmatch(at_least) else -1
    if not 0 <= index <= INDEX_MAX:
        raise bad_request("at_least must be an index, as an answer gave it")
    staleness_s = 0.0 if max_staleness is None else seconds_of(max_staleness)
    if max_staleness is not None and not 0 < staleness_s <= _STALENESS_S_MAX:
        raise bad_request("max_staleness must be a number of seconds above 0; for no staleness at all, there is consistency=linearizable")
    return Freshness("local", index, math.ceil(staleness_s * 1000))


def refuse_freshness(parameters: Parameters) -> None:
    """Raises `NotApplied` for what only means something with queries."""
    if not parameters:
        return
    for name in _OF_QUERIES:
        if name in parameters:
            raise bad_request(f"{name} is for queries; this is a command")


def text_bytes_of(parameters: Parameters) -> bool:
    """Whether `bytes=text` was given. Raises `NotApplied`."""
    if "bytes" not in parameters:
        return False
    text = single(parameters, "bytes")
    if text not in ("base64", "text"):
        raise bad_request("bytes must be base64 (the default) or text")
    return text == "text"


def flag_of(parameters: Parameters, name: str) -> bool:
    """Whether `?name`, `?name=true` or `?name=1` was given."""
    return parameters.get(name, ["0"])[-1].lower() in ("", "1", "true", "yes")


def refuse_others(parameters: Parameters) -> None:
    """With a body, arguments stand in the body. Raises `NotApplied` for any in the query string."""
    if not parameters.keys() <= OWN:
        own = ", ".join(sorted(OWN))
        raise bad_request(f"with POST, the arguments belong into the body, as a JSON object; the query string takes {own}")


def session_key(keys: list[str], first_outstanding: list[str], results_max: int) -> SessionKey:
    """The session, serial number and first outstanding serial number out of the values of both headers.

    Without `First-Outstanding` the newest `results_max` results of the session are kept.

    Raises:
        NotApplied: `bad_request` when a header is malformed or given twice.
    """
    if not keys:
        if first_outstanding:
            raise bad_request("First-Outstanding means nothing without Idempotency-Key")
        return NO_SESSION
    match = _KEY.fullmatch(keys[0]) if len(keys) == 1 else None
    session, serial = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (0 < session <= INDEX_MAX and 0 < serial <= INDEX_MAX):
        raise bad_request(
            "Idempotency-Key must be SESSION/SERIAL, once: the number of an open session and the command's number in it, from 1"
        )
    if not first_outstanding:
        return SessionKey(session, serial, max(0, serial - results_max + 1))
    text = first_outstanding[0] if len(first_outstanding) == 1 else ""
    first = int(text) if re.fullmatch("[0-9]{1,19}", text) else -1
    if not 0 <= first <= serial:
        raise bad_request("First-Outstanding must be a serial number, once, not above the one in Idempotency-Key")
    return SessionKey(session, serial, first)


def arguments_of(parameters: Parameters, declared: Mapping[str, str]) -> bytes:
    """The arguments of a query out of the query string, as a JSON object.

    A parameter declared `str` or `bytes` is taken as it is; another is read as JSON if it is JSON. Lists are repeated parameters or JSON.

    Raises:
        NotApplied: `invalid_arguments` for a parameter given twice that is no list.
    """
    arguments: dict[str, Any] = {}
    for name, texts in parameters.items():
        if name in OWN:
            continue
        kind = declared.get(name, "")
        if _LISTS.match(kind):
            arguments[name] = _value(texts[0]) if len(texts) == 1 and texts[0].startswith("[") else [_item(text, kind) for text in texts]
        elif len(texts) > 1:
            raise NotApplied("invalid_arguments", f"the parameter {name[:100]!r} is given {len(texts)} times")
        else:
            arguments[name] = _item(texts[0], kind)
    return encode_json(arguments)


def _item(text: str, kind: str) -> Any:
    if re.search(r"\b(str|bytes)\b", kind) and not _MAPPINGS.match(kind):
        return text
    if re.search(r"\bbool\b", kind) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return _value(text)


def _value(text: str) -> Any:
    """`text` itself where it is JSON; else as a JSON string, for the machine's declaration to judge."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


def single(parameters: Parameters, name: str) -> str | None:
    """The value of a parameter, None without. Raises `NotApplied` `bad_request` when there are several."""
    values = parameters.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise bad_request(f"{name} is given {len(values)} times")
    return values[0]
