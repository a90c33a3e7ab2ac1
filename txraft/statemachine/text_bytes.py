"""Bytes written as text in JSON: where a type wants bytes, a text stands for its UTF-8, and `{"base64": "…"}` for what is none.

Which texts are meant is decided by the declared types alone: elsewhere a text stays a text.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import inspect as kinds

from txraft.statemachine.parameter_types import parts

__all__ = ["BASE64", "bytes_of_text", "takes_bytes"]

BASE64 = "base64"
"""The one member of the object that stands for bytes which are not UTF-8."""

_BYTES = (kinds.BytesType, kinds.ByteArrayType, kinds.MemoryViewType)
_BY_NAME = (kinds.StructType, kinds.DataclassType, kinds.TypedDictType)
_LISTS = (kinds.ListType, kinds.VarTupleType)


def takes_bytes(kind: kinds.Type) -> bool:
    """Whether there are bytes anywhere in a type."""
    return any(isinstance(part, _BYTES) for part in parts(kind))


def bytes_of_text(value: Any, kind: kinds.Type, place: str = "$") -> Any:
    """Decoded JSON with bytes where `kind` has them. What does not fit `kind` stays as it is, for `msgspec.convert` to judge.

    Args:
        value: plain data, of `msgspec.json.decode`.
        kind: its type, of `msgspec.inspect.type_info`.
        place: of the value, for the error.

    Raises:
        msgspec.ValidationError: base64 that is none; the sentence names the place as those of msgspec do.
    """
    if isinstance(kind, kinds.Metadata):
        return bytes_of_text(value, kind.type, place)
    if isinstance(kind, kinds.UnionType):
        return _of_union(value, kind, place)
    if isinstance(kind, _BYTES):
        if isinstance(value, str):
            return value.encode()
        return _of_base64(value, place) if _is_base64(value) else value
    if isinstance(value, dict):
        if isinstance(kind, kinds.DictType):
            return {bytes_of_text(key, kind.key_type): bytes_of_text(item, kind.value_type, f"{place}[...]") for key, item in value.items()}
        if isinstance(kind, _BY_NAME):
            types = {field.encode_name: field.type for field in kind.fields}
            return {name: bytes_of_text(item, types[name], f"{place}.{name}") if name in types else item for name, item in value.items()}
    elif isinstance(value, list):
        return [
            bytes_of_text(item, inner, f"{place}[{at}]")
            for at, (item, inner) in enumerate(zip(value, _item_types(kind, len(value)), strict=True))
        ]
    return value


def _of_union(value: Any, union: kinds.UnionType, place: str) -> Any:
    if isinstance(value, str) or _is_base64(value):
        # A type union has at most one type that is a text in JSON.
        chosen = next((kind for kind in union.types if isinstance(_bare(kind), _BYTES)), None)
        if chosen is not None:
            return bytes_of_text(value, chosen, place)
    if isinstance(value, (dict, list)):
        for kind in map(_bare, union.types):
            if _fits(value, kind):
                return bytes_of_text(value, kind, place)
    return value


def _fits(value: Any, kind: kinds.Type) -> bool:
    """Whether this type of a union is the one that an object or a list belongs to."""
    if isinstance(kind, kinds.StructType):
        if kind.array_like != isinstance(value, list):
            return False
        if kind.tag_field is None:
            return True
        return bool(value) and (value[0] if isinstance(value, list) else value.get(kind.tag_field)) == kind.tag
    if isinstance(value, list):
        return isinstance(kind, (*_LISTS, kinds.TupleType, kinds.NamedTupleType))
    return isinstance(kind, (kinds.DictType, *_BY_NAME))


def _item_types(kind: kinds.Type, count: int) -> list[kinds.Type]:
    """The type of each of `count` items of a list: `Any` for what the type says nothing of."""
    if isinstance(kind, _LISTS):
        return [kind.item_type] * count
    types: list[kinds.Type] = []
    if isinstance(kind, kinds.TupleType):
        types = list(kind.item_types)
    elif isinstance(kind, kinds.NamedTupleType) or (isinstance(kind, kinds.StructType) and kind.array_like):
        types = [field.type for field in kind.fields]
        if isinstance(kind, kinds.StructType) and kind.tag_field is not None:
            types.insert(0, kinds.AnyType())
    return types[:count] + [kinds.AnyType()] * (count - len(types))


def _bare(kind: kinds.Type) -> kinds.Type:
    return _bare(kind.type) if isinstance(kind, kinds.Metadata) else kind


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64), str)


def _of_base64(value: dict[str, str], place: str) -> bytes:
    try:
        return base64.b64decode(value[BASE64].encode(), validate=True)
    except (binascii.Error, ValueError):
        raise msgspec.ValidationError(f"Invalid base64 encoded string - at `{place}.{BASE64}`") from None
