"""Plain values as bytes: msgpack, with integers of (almost) any size.

msgpack ends at 64 bits; a counter does not. Larger integers travel as extension type 1 (two's complement, big-endian). Everything takes the
quick way first, in C, and the long way only for what C cannot do: such integers, and keys that are not text in a sorted map.

Two encodings: `encode_value` keeps maps in the order they have (a machine may rest on it after `restore`); `encode_canonical` sorts maps
and sets, so that equal values have equal bytes on every server. Answers and digests use the second.
"""

from __future__ import annotations

import datetime
from itertools import chain
from typing import Any, TypeVar

import msgspec

__all__ = [
    "BIG_INTEGER",
    "INTEGER_BITS_MAX",
    "INTEGER_BYTES_MAX",
    "NESTING_MAX",
    "RESULT_BYTES_MAX",
    "RESULT_NESTING_MAX",
    "decode_value",
    "decode_value_as",
    "encode_canonical",
    "encode_value",
    "refuse_deep_nesting",
    "typed_decoder",
]

T = TypeVar("T")

INTEGER_BYTES_MAX = 1_784
"""Longest integer, in bytes. It bounds what an addition can cost, and is the most that Python converts to and from 4,300 decimal digits,
its own bound: what a machine can count to, JSON and the command line can say."""

INTEGER_BITS_MAX = 8 * INTEGER_BYTES_MAX - 1
"""The same bound for `int.bit_length()`; the remaining bit is the sign."""

RESULT_BYTES_MAX = 1_572_864
"""Longest encoded answer. Every server keeps answers in sessions, so this is no setting: it must be the same on all."""

NESTING_MAX = 64
"""Deepest nesting of arguments. Far below what Python's stack bears, so that what one server could read all can."""

RESULT_NESTING_MAX = 256
"""Deepest nesting of results and events. What Python's stack bears depends on how much of it is in use, which differs from server to
server; this much all bear."""

_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
"""What arrays and maps begin with, each with a byte of its own: so few of them cannot be nested deep."""

BIG_INTEGER = 1
"""The extension type of integers beyond 64 bits."""

_ENCODE = msgspec.msgpack.Encoder().encode
_ENCODE_SORTED = msgspec.msgpack.Encoder(order="deterministic").encode
_KEPT_AS_THEY_ARE = (bytes, bytearray, memoryview, datetime.datetime)


def encode_value(value: Any) -> bytes:
    """Encode plain data: None, bool, int, float, str, bytes, lists, dicts, and msgspec or attrs records of these.

    Raises:
        TypeError: the value holds something that is not plain data.
        ValueError: an integer in it is longer than `INTEGER_BYTES_MAX`, or a text is not Unicode.
        OverflowError: a map has a key beyond 64 bits.
        RecursionError: it is nested without end.
    """
    try:
        return _ENCODE(value)
    except OverflowError:
        return _ENCODE(_with_extensions(value, in_order=False))


def encode_canonical(value: Any) -> bytes:
    """Encode like `encode_value`, but with maps sorted by key and sets by item: the same bytes on every server."""
    try:
        return _ENCODE_SORTED(value)
    except (OverflowError, TypeError):
        return _ENCODE(_with_extensions(value, in_order=True))


def refuse_deep_nesting(encoded: bytes) -> None:
    """Raise `ValueError` when an encoded value is nested deeper than `RESULT_NESTING_MAX`: the same on every server."""
    if len(encoded) - len(encoded.translate(None, _CONTAINERS)) <= RESULT_NESTING_MAX:
        return
    try:
        level = [decode_value(encoded)]
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    for _ in range(RESULT_NESTING_MAX):
        # Keys of maps may be nested, too: an array is a tuple there.
        level = [
            inner for item in level for inner in (chain(item, item.values()) if type(item) is dict else item) if type(inner) in _NESTED
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


_NESTED = frozenset([dict, list, tuple])
_TOO_DEEP = f"nested deeper than {RESULT_NESTING_MAX} levels, or within itself"


def _with_extensions(value: Any, *, in_order: bool) -> Any:
    """The value as msgpack can have it; `in_order` sorts what has no order of its own."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        size = value.bit_length() // 8 + 1
        if size > INTEGER_BYTES_MAX:
            raise ValueError(f"an integer of {size} bytes is longer than the {INTEGER_BYTES_MAX} allowed")
        return msgspec.msgpack.Ext(BIG_INTEGER, value.to_bytes(size, "big", signed=True))
    if isinstance(value, dict):
        keys = sorted(value, key=_ENCODE) if in_order else value
        return {key: _with_extensions(value[key], in_order=in_order) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_with_extensions(item, in_order=in_order) for item in value]
    if isinstance(value, (set, frozenset)):
        items = [_with_extensions(item, in_order=in_order) for item in value]
        return sorted(items, key=_ENCODE) if in_order else items
    if value is None or isinstance(value, (str, int, float, *_KEPT_AS_THEY_ARE)):
        return value
    return _with_extensions(msgspec.to_builtins(value, builtin_types=_KEPT_AS_THEY_ARE), in_order=in_order)


def _from_extension(code: int, content: memoryview) -> int:
    if code != BIG_INTEGER or len(content) > INTEGER_BYTES_MAX:
        raise ValueError(f"extension type {code} with {len(content)} bytes is not a value")
    return int.from_bytes(content, "big", signed=True)


_DECODER = msgspec.msgpack.Decoder(ext_hook=_from_extension)


def decode_value(encoded: bytes | msgspec.Raw) -> Any:
    """Decode what `encode_value` gave. Raises `ValueError` (`msgspec.MsgspecError` is one) or `RecursionError` on other bytes."""
    return _DECODER.decode(encoded)


def typed_decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """A decoder for `decode_value_as`: strict, and with large integers where the type leaves it open."""
    return msgspec.msgpack.Decoder(kind, ext_hook=_from_extension)


def decode_value_as(encoded: bytes | msgspec.Raw, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Decode and validate with `decoder`, of `typed_decoder`; large integers are accepted wherever an integer is.

    Raises:
        msgspec.ValidationError: the sentence names the place, e.g. ``Expected `int`, got `str` - at `$.amount` ``.
        ValueError: the bytes are no value at all.
    """
    try:
        return decoder.decode(encoded)
    except msgspec.ValidationError:
        # A large integer is an extension to the typed decoder, hence an error; without one this raises the same sentence again.
        converted: T = msgspec.convert(decode_value(encoded), decoder.type, builtin_types=_KEPT_AS_THEY_ARE)
        return converted
