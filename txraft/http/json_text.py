"""Any plain value as JSON: bytes as base64, floats that are not finite as null, keys as texts, integers of any size as digits."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

__all__ = ["encode_json"]

_ENCODE = msgspec.json.Encoder().encode


def encode_json(value: Any) -> bytes:
    """Encode plain data.

    Raises:
        TypeError: it holds something that is not plain.
        ValueError: it holds an integer longer than `statemachine.values.INTEGER_BYTES_MAX`.
    """
    try:
        return _ENCODE(value)
    except TypeError:
        return _ENCODE(_with_text_keys(value))


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_keys(item) for item in value]
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return base64.b64encode(key).decode() if isinstance(key, bytes) else encode_json(key).decode()
