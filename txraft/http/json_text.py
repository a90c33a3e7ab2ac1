"""Any plain value as JSON: bytes as base64 or text, floats that are not finite as null, keys as texts, integers of any size as digits."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from txraft.statemachine.text_bytes import BASE64

__all__ = ["encode_json", "with_text_bytes"]

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


def with_text_bytes(value: Any) -> Any:
    """A plain value with bytes as text; those that are not UTF-8 as `{"base64": "…"}`, and as a key in base64."""
    if isinstance(value, bytes):
        text = _text_of(value)
        return {BASE64: base64.b64encode(value).decode()} if text is None else text
    if isinstance(value, dict):
        return {(_text_of(key) or key) if isinstance(key, bytes) else key: with_text_bytes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_text_bytes(item) for item in value]
    return value


def _text_of(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


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
