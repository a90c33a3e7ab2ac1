"""The types of parameters: which of them can be checked, what they let through, and how they are shown to people."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["admit", "choices", "is_flat", "parts", "text_of"]

_REFUSED = {
    msgspec.inspect.CustomType: "msgspec cannot check it: use plain types or a msgspec.Struct",
    msgspec.inspect.ExtType: "msgspec cannot check it: use plain types or a msgspec.Struct",
    msgspec.inspect.RawType: "msgspec cannot check it: use plain types or a msgspec.Struct",
    msgspec.inspect.SetType: "a set is iterated in another order on every server: use a list",
    msgspec.inspect.FrozenSetType: "a set is iterated in another order on every server: use a list",
}
_LETS_THROUGH = (
    msgspec.inspect.AnyType,
    msgspec.inspect.FloatType,
    msgspec.inspect.DictType,
    msgspec.inspect.StructType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.TypedDictType,
)


def admit(kind: Any) -> bool:
    """Whether values of a parameter's type need `arguments.check_nested_values`: they may hold numbers that are none, or maps.

    Raises:
        TypeError: the type cannot be checked, or differs from server to server; the sentence says which part of it.
    """
    needs_check = False
    for part in parts(msgspec.inspect.type_info(kind)):
        if type(part) in _REFUSED:
            name = text_of(getattr(part, "cls", None) or kind)
            raise TypeError(f"its type {name} is not possible: {_REFUSED[type(part)]}")
        needs_check |= isinstance(part, _LETS_THROUGH)
    return needs_check


_FLAT = (
    msgspec.inspect.FloatType,
    msgspec.inspect.IntType,
    msgspec.inspect.BoolType,
    msgspec.inspect.NoneType,
    msgspec.inspect.StrType,
    msgspec.inspect.BytesType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.UnionType,
    msgspec.inspect.Metadata,
)


def is_flat(kind: Any) -> bool:
    """Whether values of a type hold no others: then all that a type can let through is a number that is none."""
    return all(isinstance(part, _FLAT) for part in parts(msgspec.inspect.type_info(kind)))


def parts(whole: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The type and all types within it, once each (a Struct may refer to itself)."""
    waiting, seen = [whole], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += [getattr(part, name) for name in ("type", "item_type", "key_type", "value_type") if hasattr(part, name)]
        waiting += [*getattr(part, "item_types", ()), *getattr(part, "types", ())]
        waiting += [field.type for field in getattr(part, "fields", ())]


def choices(kind: Any, name: str) -> list[Any]:
    """All that a field of this name may be, wherever it is within a type; empty if its type does not list it, or not always the same."""
    whole = list(parts(msgspec.inspect.type_info(kind)))
    tags = {one.tag for one in whole if isinstance(one, msgspec.inspect.StructType) and one.tag_field == name}
    listed = [sorted(tags, key=str)] if tags else []
    for field in (field for one in whole for field in getattr(one, "fields", ()) if field.encode_name == name):
        for part in parts(field.type):
            if isinstance(part, msgspec.inspect.LiteralType):
                listed.append(list(part.values))
            elif isinstance(part, msgspec.inspect.EnumType):
                listed.append([member.value for member in part.cls])
    return listed[0] if listed and all(one == listed[0] for one in listed) else []


def text_of(kind: Any) -> str:
    """A type as an author would write it, without its constraints: `int`, `list[str]`, `int | None`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return text_of(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(map(text_of, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments:
        return f"{text_of(origin)}[{', '.join(map(text_of, arguments))}]"
    if kind is None or kind is type(None):
        return "None"
    if kind is Ellipsis:
        return "..."
    return getattr(kind, "__name__", None) or str(kind).removeprefix("typing.")
