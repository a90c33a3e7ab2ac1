"""The encoded arguments of one operation: brought into one form, and checked for what types do not say.

In the log stands a msgpack map by parameter name. A caller may also send `[[positional...], {named...}]`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from txraft.statemachine.parameter_types import choices
from txraft.statemachine.values import NESTING_MAX, decode_value, encode_value

__all__ = ["check_nested_values", "count_of_map", "joined", "names_are_unique", "refuse_repeated_keys", "sentence_of"]

TEXT_MAX = 300
"""Longest part of an error sentence that may stem from the caller, in characters."""

_PAIR = 0x92
_BOTH = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], msgspec.Raw])
_BY_NAME = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.msgpack.Decoder(list[msgspec.Raw])
_PLACE = re.compile(r"(?P<problem>.*) - at (?P<key>`key` in )?`\$\.(?P<place>.*)`", re.DOTALL)
_SUBSCRIPT = re.compile(r"\[[^\]]*\]")
_MISSING = re.compile(r"Object missing required field (`.*`)")
_SURPLUS = re.compile(r"Object contains unknown field (`.*`)", re.DOTALL)


def _map_header(encoded: bytes) -> tuple[int, int]:
    """How many pairs a map has, and where they begin. Raises `ValueError` when it is no map."""
    first = encoded[0] if encoded else 0
    if 0x80 <= first <= 0x8F:
        return first & 0x0F, 1
    size = {0xDE: 2, 0xDF: 4}.get(first, 0)
    if not size:
        raise ValueError("expected a map by parameter name, or [[positional...], {named...}]")
    return int.from_bytes(encoded[1 : 1 + size], "big"), 1 + size


def count_of_map(encoded: bytes) -> int:
    """How many pairs a map says it has. Raises `ValueError` when it is no map."""
    return _map_header(encoded)[0]


def joined(encoded: bytes, names: Sequence[str]) -> bytes:
    """Arguments as one map: `[[positional...], {named...}]` is joined, a map passes as it is.

    Raises:
        ValueError: more positional arguments than there are parameters, or not of this shape.
    """
    if encoded[:1] != bytes([_PAIR]):
        return encoded
    positional, named = _BOTH.decode(encoded)
    if len(positional) > len(names):
        raise ValueError(f"{len(positional)} positional arguments are too many")
    by_name = bytes(named)
    count, start = _map_header(by_name)
    count += len(positional)
    header = bytes([0x80 | count]) if count < 16 else b"\xde" + count.to_bytes(2, "big")
    return header + b"".join(encode_value(name) + bytes(value) for name, value in zip(names, positional, strict=False)) + by_name[start:]


def names_are_unique(encoded: bytes, count: int) -> None:
    """Raise `ValueError` when the map gives a parameter twice (msgspec would take the last one)."""
    if len(_BY_NAME.decode(encoded)) == count:
        return
    _, start = _map_header(encoded)
    names = [decode_value(name) for name in _LIST.decode(b"\xdd" + (2 * count).to_bytes(4, "big") + encoded[start:])[::2]]
    raise ValueError(f"parameter `{_most_frequent(names)}` is given twice")


def check_nested_values(encoded: bytes) -> None:
    """Check what a type with maps, floats or `Any` in it lets through.

    Raises:
        ValueError: a number that is not finite, nesting deeper than `NESTING_MAX`, or a map with a repeated key.
    """
    value = decode_value(encoded)
    level = [value]
    for _ in range(NESTING_MAX + 1):
        if any(type(item) is float and not math.isfinite(item) for item in level):
            raise ValueError("a number is not finite")
        containers = [item for item in level if type(item) in (dict, list, tuple)]
        level = [inner for item in containers for inner in item]
        level += [inner for item in containers if type(item) is dict for inner in item.values()]
        if not level:
            break
    else:
        raise ValueError(f"nested deeper than {NESTING_MAX} levels")
    # Decoding drops all but the last of equal keys. Walking the bytes in search of them would be slow enough to be an attack.
    if encode_value(value) != encoded:
        raise ValueError("a map in it repeats a key, or it is not the shortest msgpack")


def refuse_repeated_keys(body: bytes) -> None:
    """Raise `ValueError` when an object in this JSON repeats a key; or `RecursionError`."""
    json.loads(body, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"`{_most_frequent(names)}` is given twice")


def _most_frequent(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def sentence_of(error: Exception, encoded: bytes, kind: type[msgspec.Struct]) -> str:
    """What is wrong with some arguments, naming the parameter where it can be told, and what it may be where the type lists that."""
    text = _in_our_words(str(error))
    if isinstance(error, RecursionError):
        text = f"nested deeper than {NESTING_MAX} levels"
    elif isinstance(error, UnicodeDecodeError):
        text = "a text is not UTF-8"
    elif not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    if not isinstance(error, msgspec.ValidationError):
        text = _culprit(encoded) + text
    text = text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
    return text + _right_ones(str(error), kind) if isinstance(error, msgspec.ValidationError) else text


def _right_ones(text: str, kind: type[msgspec.Struct]) -> str:
    """For the end of a sentence about a value that is none of those its type lists."""
    problem, _, place = text.rpartition(" - at `$.")
    if not problem.startswith(("Invalid enum value ", "Invalid value ")):
        return ""
    allowed = choices(kind, _SUBSCRIPT.sub("", place).rstrip("`").rpartition(".")[2])
    return f": it is one of {', '.join(map(repr, allowed))}" if allowed else ""


def _in_our_words(text: str) -> str:
    if (match := _PLACE.fullmatch(text)) is not None:
        problem = match["problem"]
        return f"parameter `{match['place']}`: {'a key: ' if match['key'] else ''}{problem[:1].lower()}{problem[1:]}"
    if (match := _MISSING.fullmatch(text)) is not None:
        return f"parameter {match[1]} is missing"
    if (match := _SURPLUS.fullmatch(text)) is not None:
        return f"there is no parameter {match[1]}"
    if text.startswith("Expected `object`"):
        return f"expected its arguments by name, {text.partition(', ')[2]}"
    return text


def _culprit(encoded: bytes) -> str:
    """The first parameter whose value alone shows what is wrong, for the beginning of a sentence."""
    try:
        by_name = _BY_NAME.decode(encoded)
    except (ValueError, RecursionError):
        return ""
    for name, value in by_name.items():
        try:
            check_nested_values(bytes(value))
        except (ValueError, RecursionError):
            return f"parameter `{name}`: "
    return ""
