"""Whether an encoded value can be decoded: found out without decoding it, bit by bit, so that a large one keeps nobody waiting.

`decode_value` does not return before it has made everything, some 100,000 objects for a MB; no other thread runs meanwhile. This takes
about as long, but can be left and resumed anywhere. It is for what `encode_value` gave: text is taken for Unicode.
"""

from __future__ import annotations

from collections.abc import Iterator

from txraft.statemachine.values import BIG_INTEGER, INTEGER_BYTES_MAX, RESULT_NESTING_MAX

__all__ = ["scanned"]

ELEMENTS_AT_ONCE = 1_000
BYTES_AT_ONCE = 65_536

_VALUES, _PAIRS, _IN_KEY = range(3)
_TIMESTAMP = 0xFF  # an extension of msgpack's own; decoded to a datetime

_FIXED = {
    **dict.fromkeys([*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3], 1),
    **{0xA0 + length: 1 + length for length in range(32)},
    **dict.fromkeys([0xCC, 0xD0], 2),
    **dict.fromkeys([0xCD, 0xD1], 3),
    **dict.fromkeys([0xCA, 0xCE, 0xD2], 5),
    **dict.fromkeys([0xCB, 0xCF, 0xD3], 9),
}
"""How many bytes a scalar has that begins with this one."""

_LONG = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes and text: how many bytes say how long they are."""

_MAPS = {**{0x80 + count: 0 for count in range(16)}, 0xDE: 2, 0xDF: 4}
_ARRAYS = {**{0x90 + count: 0 for count in range(16)}, 0xDC: 2, 0xDD: 4}
"""Containers: how many bytes say how many elements follow; with none, the first byte does."""

_EXTENSIONS = {**{0xD4 + power: (0, 1 << power) for power in range(5)}, 0xC7: (1, 0), 0xC8: (2, 0), 0xC9: (4, 0)}
"""Extensions: how many bytes say how long they are; with none, how long they are."""


def scanned(encoded: bytes) -> Iterator[int]:
    """Look at an encoded value; gives how far it has come, often, the end at last.

    Raises `ValueError` if `decode_value` would, or if it is nested deeper than `RESULT_NESTING_MAX`.
    """
    at = told = elements = 0
    left, kind = 1, _VALUES
    outside: list[tuple[int, int]] = []
    while left or outside:
        if not left:
            left, kind = outside.pop()
            continue
        left -= 1
        elements += 1
        first = _byte(encoded, at)
        size = _FIXED.get(first)
        if size is not None:
            at += size
        elif first in _MAPS or first in _ARRAYS:
            in_key = kind == _IN_KEY or (kind == _PAIRS and left & 1)
            outside.append((left, kind))
            left, kind, at = _opened(encoded, at, first, bool(in_key))
            if len(outside) > RESULT_NESTING_MAX:
                raise ValueError(f"nested deeper than {RESULT_NESTING_MAX} levels")
        else:
            at += _size(encoded, at, first)
        if elements >= ELEMENTS_AT_ONCE or at - told >= BYTES_AT_ONCE:
            yield min(at, len(encoded))
            elements, told = 0, at
    if at != len(encoded):
        raise ValueError(f"it has {len(encoded)} bytes, and ends at byte {at}")
    yield at


def _byte(encoded: bytes, at: int) -> int:
    if at >= len(encoded):
        raise ValueError(f"it ends at byte {at}, in the midst")
    return encoded[at]


def _opened(encoded: bytes, at: int, first: int, in_key: bool) -> tuple[int, int, int]:
    """A container: how many things follow, of what kind, and from where on."""
    is_map = first in _MAPS
    if is_map and in_key:
        raise ValueError(f"byte {at}: a key of a dict is a dict, or a record, which cannot be a key")
    length_bytes = (_MAPS if is_map else _ARRAYS)[first]
    begin = at + 1 + length_bytes
    count = int.from_bytes(encoded[at + 1 : begin], "big") if length_bytes else first & 0x0F
    if is_map:
        return 2 * count, _PAIRS, begin
    return count, _IN_KEY if in_key else _VALUES, begin


def _size(encoded: bytes, at: int, first: int) -> int:
    """Of something whose length is told in it."""
    if first in _LONG:
        length_bytes = _LONG[first]
        return 1 + length_bytes + int.from_bytes(encoded[at + 1 : at + 1 + length_bytes], "big")
    if first not in _EXTENSIONS:
        raise ValueError(f"byte {at}: nothing begins with {first:#x}")
    length_bytes, length = _EXTENSIONS[first]
    length = length or int.from_bytes(encoded[at + 1 : at + 1 + length_bytes], "big")
    code = _byte(encoded, at + 1 + length_bytes)
    if code != _TIMESTAMP and (code != BIG_INTEGER or length > INTEGER_BYTES_MAX):
        raise ValueError(f"byte {at}: extension type {code} with {length} bytes is not a value")
    return 2 + length_bytes + length
