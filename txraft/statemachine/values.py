"""Plain values as bytes: msgpack, with integers of any size.

msgpack ends at 64 bits; a counter does not. Larger integers travel as extension type 1 (two's complement, big-endian). Everything takes the
quick way first and the long way only when such an integer is met.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

__all__ = ["INTEGER_BYTES_MAX", "decode_value", "decode_value_as", "encode_value"]

T = TypeVar("T")

INTEGER_BYTES_MAX = 4_096
"""Longest integer, in bytes: 32,768 bits. It bounds what one addition or one decimal conversion can cost."""

_BIG_INTEGER = 1
_ENCODE = msgspec.msgpack.Encoder().encode


def encode_value(value: Any) -> bytes:
    """Encode plain data: None, bool, int, float, str, bytes, lists, dicts, and msgspec or attrs records of these.

    Raises:
        TypeError: the value holds something that is not plain data.
        ValueError: an integer in it is longer than `INTEGER_BYTES_MAX`.
    """
    try:
        return _ENCODE(value)
    except OverflowError:
        return _ENCODE(_with_extensions(msgspec.to_builtins(value, builtin_types=(bytes,))))


def _with_extensions(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        size = value.bit_length() // 8 + 1
        if size > INTEGER_BYTES_MAX:
            raise ValueError(f"an integer of {size} bytes is longer than the {INTEGER_BYTES_MAX} allowed")
        return msgspec.msgpack.Ext(_BIG_INTEGER, value.to_bytes(size, "big", signed=True))
    if isinstance(value, dict):
        return {_with_extensions(key): _with_extensions(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_extensions(item) for item in value]
    return value


def _from_extension(code: int, content: memoryview) -> Any:
    if code != _BIG_INTEGER or len(content) > INTEGER_BYTES_MAX:
        raise ValueError(f"extension type {code} with {len(content)} bytes is not a value")
    return int.from_bytes(content, "big", signed=True)


_DECODER = msgspec.msgpack.Decoder(ext_hook=_from_extension)


def decode_value(encoded: bytes) -> Any:
    """Decode what `encode_value` gave. Raises `msgspec.MsgspecError` or `ValueError` on other bytes."""
    return _DECODER.decode(encoded)


def decode_value_as(encoded: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Decode and validate with `decoder`; large integers are accepted wherever an integer is.

    Raises:
        msgspec.ValidationError: the sentence names the place, e.g. ``Expected `int`, got `str` - at `$.amount` ``.
    """
    try:
        return decoder.decode(encoded)
    except msgspec.ValidationError:
        # A big integer is an extension to the typed decoder, hence an error; without one this raises the same sentence again.
        return msgspec.convert(decode_value(encoded), decoder.type)
