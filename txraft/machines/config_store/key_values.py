"""A key's version, and the bounds of keys, results and work that all parts of the config store go by.

Source: etcd's `mvccpb.KeyValue`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from txraft.errors import Refused
from txraft.limits import INDEX_MAX, TOPIC_BYTES_MAX
from txraft.statemachine.values import RESULT_BYTES_MAX

__all__ = [
    "DELETED_AT_ONCE_MAX",
    "FROM_KEY",
    "KEY_VALUE_BYTES",
    "KEYS_AT_ONCE_MAX",
    "Budget",
    "Count",
    "Key",
    "KeyValue",
    "LeaseId",
    "RangeEnd",
    "Revision",
    "Value",
    "VALUE_BYTES_MAX",
    "bounds",
    "prefix_end",
]

KEYS_AT_ONCE_MAX = 131_072
"""Keys that one command or query looks at one by one: it bounds how long the reactor stands still."""

DELETED_AT_ONCE_MAX = 32_768
"""Keys that one command deletes, or that one lease has; deleting a key costs as much as looking at several."""

FROM_KEY = b"\0"
"""As `range_end`: all keys from `key` on."""

VALUE_BYTES_MAX = RESULT_BYTES_MAX - 2 * TOPIC_BYTES_MAX - 4_096
"""Longest value: one that has been written can be read, and be told of in an event, which names the key twice."""

RESULT_BYTES = RESULT_BYTES_MAX - 4_096
KEY_VALUE_BYTES = 104
"""What a version takes in a result besides its key and value, at most: the names of its fields, and numbers."""

Key = Annotated[bytes, msgspec.Meta(max_length=TOPIC_BYTES_MAX)]
Value = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]
RangeEnd = Annotated[bytes, msgspec.Meta(max_length=TOPIC_BYTES_MAX + 1)]
Revision = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
LeaseId = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key as one revision left it. A deleted one has version 0 and nothing else but its key and the revision that deleted it.

    Attributes:
        key: never empty.
        value: may be.
        create_revision: that made the key, after it had not been there.
        mod_revision: that wrote this version.
        version: counts the writes since then, from 1.
        lease: that the key is attached to, 0 for none.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


def bounds(key: bytes, range_end: bytes | None, *, prefix: bool = False, from_key: bool = False) -> tuple[bytes, bytes | None]:
    """The first key of a range and the end after its last one; b"" for no end, None for the one key.

    Raises:
        Refused: `empty_key` or `invalid_range`.
    """
    if prefix or from_key:
        if range_end or (prefix and from_key):
            raise Refused("invalid_range", "a range is given by range_end, by prefix or by from_key: by one of them")
        return key, prefix_end(key) if prefix else b""
    if not key:
        raise Refused("empty_key", "a key has at least one byte; for all keys, give prefix with an empty key")
    return key, (b"" if range_end == FROM_KEY else range_end) if range_end else None


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all those that begin with `prefix`; b"" when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""


class Budget:
    """What one command or query may still look at and answer, all its parts together."""

    __slots__ = ("bytes_left", "deletions_left", "keys_left")

    def __init__(self) -> None:
        self.keys_left, self.deletions_left, self.bytes_left = KEYS_AT_ONCE_MAX, DELETED_AT_ONCE_MAX, RESULT_BYTES

    def look_at(self, keys: int) -> None:
        """So many keys are going to be looked at one by one. Raises `Refused` `too_large`."""
        if keys > self.keys_left:
            raise Refused("too_large", f"more than {KEYS_AT_ONCE_MAX} keys would be looked at for this: divide the range")
        self.keys_left -= keys

    def delete(self, keys: int) -> None:
        """So many keys are going to be deleted. Raises `Refused` `too_large`."""
        if keys > self.deletions_left:
            raise Refused("too_large", f"more than {DELETED_AT_ONCE_MAX} keys would be deleted at once: divide the range")
        self.deletions_left -= keys

    def answer(self, size: int) -> None:
        """So many bytes are going to be in the result. Raises `Refused` `too_large`."""
        if size > self.bytes_left:
            raise Refused("too_large", f"the result would take more than the {RESULT_BYTES_MAX} bytes allowed: use limit, or ask for less")
        self.bytes_left -= size

    def answer_versions(self, versions: list[KeyValue]) -> list[KeyValue]:
        """These are going to be in the result; they are returned. Raises `Refused` `too_large`."""
        # Beyond that count there is no need to add up; before it, it takes microseconds.
        if len(versions) * KEY_VALUE_BYTES > self.bytes_left:
            self.answer(self.bytes_left + 1)
        self.answer(sum([len(one.key) + len(one.value) for one in versions]) + len(versions) * KEY_VALUE_BYTES)
        return versions
