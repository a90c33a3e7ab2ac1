"""Values that machines may give, and such as they may not though they can be encoded."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import msgspec


class Spot(msgspec.Struct, frozen=True):
    floor: int
    desk: int = 0


class Place(msgspec.Struct):
    """Only ever given with what it should not have."""

    number: int


@dataclasses.dataclass
class Desk:
    number: int = 1


class Colour(enum.Enum):
    RED = 1


class Shelf(msgspec.Struct):
    """A record that cannot be taken at its word."""

    articles: list[Any]
    inner: Shelf | None = None


PLAIN: dict[str, Any] = {
    "record": Spot(1, 2),
    "records": [Spot(1), Spot(2)],
    "record in a record": Shelf([1, (2, b"3")], Shelf([{"a": None}])),
    "tuples": ((1, 2.5), [True, "x"]),
    "a tuple as a key": {(1, ("a", b"b")): 1},
    "scalars as keys": {1: 1, "a": 2, b"b": 3, None: 4, 1.5: 5},
    "counts": collections.Counter("ab"),
    "large": [1 << 100, {"x": -(1 << 100)}],
}
"""What comes back as it was (records as dicts or lists, tuples as lists)."""

UNPLAIN: dict[str, tuple[Any, str]] = {
    "a record as a key": ({Spot(1): 1}, "a key of a dict is a Spot"),
    "such a key further in": ([{"a": {Spot(1): 1}}], "a key of a dict is a Spot"),
    "a tuple with a record as a key": ({(1, Spot(1)): 1}, "a key of a dict is a tuple with a Spot in it"),
    "extension": (msgspec.msgpack.Ext(5, b"x"), "it is a Ext"),
    "set": ({"tags": {1, 2}}, "a value in a dict is a set"),
    "empty set": ([set()], "an item of a list is a set"),
    "frozenset as a key": ({frozenset([1]): 1}, "a key of a dict is a frozenset"),
    "dataclass": ([Desk()], "an item of a list is a Desk"),
    "enum": (Colour.RED, "it is a Colour"),
    "uuid": ((uuid.UUID(int=1),), "an item of a tuple is a UUID"),
    "decimal": (Shelf([decimal.Decimal(1)]), "an item of a list is a Decimal"),
    "datetime": (Shelf([], datetime.datetime(2026, 1, 31)), "a field of a Shelf is a datetime"),  # type: ignore[arg-type]
    "bytearray": ([b"x", bytearray(b"x")], "an item of a list is a bytearray"),
}
"""What can be encoded, and comes back as something else, or cannot be decoded; and how it is named."""
