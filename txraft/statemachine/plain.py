"""Plain data: what machines may give as results, events and state, because it comes back as it was.

msgpack, as msgspec writes it, takes more than that: a set comes back as a list, a UUID as text, a dataclass as a dict, and a dict whose
keys are records cannot be read at all. Whoever gives such a thing is told at once, and not when it is needed again.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
from msgspec import inspect
from msgspec.structs import astuple

__all__ = ["LEAVES", "PLAIN", "SCALARS", "require_plain", "require_plain_sample"]

SCALARS = frozenset[Any]([type(None), bool, int, float, str, bytes, msgspec.UnsetType])
"""Types of what holds nothing. The last is that of a field left out of a record; it cannot be encoded elsewhere."""

PLAIN = "None, bool, int, float, str, bytes; lists, tuples and dicts of these, and msgspec.Structs"

LEAVES: set[Any] = set(SCALARS)
"""These, and the records met so far whose fields are all declared to be of these types, or such records: they are taken at their word, for
most results are such."""

SAMPLE_COUNT = 10_000
SAMPLE_WIDTH = 1_000

_STRUCT_KIND = type(msgspec.Struct)
_SCALAR_FIELDS = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.LiteralType,
)


def require_plain(value: Any) -> None:
    """Raise `TypeError`, which names the type at fault, unless everything in a value is plain.

    To be called with what could be encoded: that has an end. All of it is looked at, for what the order of a dict decides would differ
    from server to server.
    """
    kind: Any = type(value)
    leaves = LEAVES
    if kind in leaves:
        return
    if kind is list:  # these two ways are only quicker
        for one in value:
            if type(one) not in leaves:
                break
        else:
            return
    elif kind is dict:
        for key, one in value.items():
            if type(key) is not str or type(one) not in leaves:
                break
        else:
            return
    found = [value]
    for one in found:
        kind = type(one)
        if type(kind) is _STRUCT_KIND and _taken_at_its_word(kind):
            leaves.add(kind)
            continue
        for inner in _contents(one, found):
            if type(inner) not in leaves:
                found.append(inner)


@lru_cache(1_024)
def _taken_at_its_word(kind: Any, within: tuple[Any, ...] = ()) -> bool:
    """Whether all fields of a kind of record are declared to be scalars, or such records. This follows from the class alone: whether a
    result is refused must not depend on what this server has seen before.
    """
    try:
        fields = inspect.type_info(kind).fields  # type: ignore[attr-defined]
    except Exception:  # a hint that cannot be resolved
        return False
    return all(_is_leaf(field.type, (*within, kind)) for field in fields)


def _is_leaf(declared: inspect.Type, within: tuple[Any, ...]) -> bool:
    if isinstance(declared, inspect.UnionType):
        return all(_is_leaf(one, within) for one in declared.types)
    if isinstance(declared, inspect.Metadata):
        return _is_leaf(declared.type, within)
    if isinstance(declared, inspect.StructType):
        return declared.cls not in within and _taken_at_its_word(declared.cls, within)
    return isinstance(declared, _SCALAR_FIELDS)


def require_plain_sample(value: Any) -> None:
    """The same for what may be large. Some is looked at: `SAMPLE_COUNT` elements from the outside in, and of a container `SAMPLE_WIDTH`."""
    if type(value) in SCALARS:
        return
    found, looked_at = [value], 0
    for one in found:
        width = SAMPLE_WIDTH if looked_at < SAMPLE_COUNT else 0  # beyond it, only whether they are containers
        for inner in islice(_contents(one, found, width), width):
            looked_at += 1
            if type(inner) not in SCALARS:
                found.append(inner)


def _contents(one: Any, found: list[Any], width: int | None = None) -> Collection[Any]:
    """What a container holds. The keys of a dict, or so many of them, are seen to here."""
    kind = type(one)
    if kind is list or kind is tuple:
        return one  # type: ignore[no-any-return]
    if type(kind) is _STRUCT_KIND:
        return astuple(one)
    if isinstance(one, dict):
        for key in one if width is None else islice(one, width):
            if type(key) not in SCALARS:
                _require_key(key)
        return one.values()
    if isinstance(one, (list, tuple)):
        return one
    if isinstance(one, msgspec.Struct):
        return astuple(one)
    raise TypeError(f"{_place(one, found)} is a {kind.__name__}, which would come back as something else, or not at all. Plain are {PLAIN}")


def _require_key(key: Any) -> None:
    """Tuples come back as such in a key, and only there."""
    inner = [key]
    for one in inner:
        if isinstance(one, tuple):
            inner.extend(one)
        elif type(one) not in SCALARS:
            what = f"a {type(one).__name__}" if one is key else f"a tuple with a {type(one).__name__} in it"
            raise TypeError(f"a key of a dict is {what}; keys are text, numbers, bytes, None, or tuples of these")


def _place(one: Any, found: list[Any]) -> str:
    """Where a thing stands."""
    for holder in found:
        if isinstance(holder, dict) and any(inner is one for inner in holder.values()):
            return "a value in a dict"
        if isinstance(holder, (list, tuple)) and any(inner is one for inner in holder):
            return f"an item of a {type(holder).__name__}"
        if isinstance(holder, msgspec.Struct) and any(inner is one for inner in astuple(holder)):
            return f"a field of a {type(holder).__name__}"
    return "it"
