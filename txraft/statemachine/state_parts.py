"""The whole state of a host as a stream of parts, each some bytes, as it stands in a snapshot:

    state, sessions…, (machine, events…, plain… or items…)…, end

A part is one msgpack array that begins with its kind. Parts are small, so that neither writing nor reading a large state ever takes long at
a time. Byte by byte in docs/disk-format.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

from txraft.errors import CorruptState
from txraft.limits import EVENTS_KEPT_MAX, INDEX_MAX, NAME_LENGTH_MAX
from txraft.statemachine.events import Event
from txraft.statemachine.sessions import SessionState
from txraft.statemachine.snapshot_dict import FrozenView
from txraft.statemachine.values import decode_value, decode_value_as, encode_value, typed_decoder

__all__ = [
    "SNAPSHOT_IS_A_GENERATOR",
    "STATE_VERSION",
    "EndPart",
    "EventsPart",
    "ItemsPart",
    "MachinePart",
    "PartReader",
    "PlainPart",
    "SessionsPart",
    "StatePart",
    "grouped",
    "is_stream",
    "read_through",
    "require_readable",
]

STATE_VERSION = 1

ITEM_BYTES_MAX = 67_108_864
"""Longest item: what reads it must be able to hold it, and nothing else happens while it is encoded."""

THINGS_MAX = 256
"""Sessions, events or items in a part. Tiny ones take longer than their bytes tell."""

SNAPSHOT_IS_A_GENERATOR = (
    "snapshot() has a yield in it, so its first line would run later, in another thread, while the state changes. "
    "Take the frozen views in it, and return a generator that is given them"
)

FRAMES_LESS = 64
"""What is read back must be readable with less of the stack left than there is now."""

Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]


class _Part(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    pass


class StatePart(_Part, tag="state", array_like=True, forbid_unknown_fields=True):
    """The first part. Everything in the stream follows from the log up to `applied_index`."""

    version: Number
    log_time_ms: Number
    applied_index: Number


class SessionsPart(_Part, tag="sessions", array_like=True, forbid_unknown_fields=True):
    """Some client sessions; one with many results comes several times in a row, with some of them each time."""

    sessions: list[SessionState]


class MachinePart(_Part, tag="machine", array_like=True, forbid_unknown_fields=True):
    """A machine, whose events and state follow.

    Attributes:
        errors, not_before_ms: see `Hosted`.
        newest, oldest: of its events, see `History`.
        plain: its state follows in `PlainPart`s; if not, in `ItemsPart`s.
    """

    name: Name
    plugin: Name
    version: Number
    errors: Number
    not_before_ms: Number
    newest: Number
    oldest: Number
    plain: bool


class EventsPart(_Part, tag="events", array_like=True, forbid_unknown_fields=True):
    """Some events of the machine, in order: index, topic, encoded fields."""

    events: Annotated[list[Event], msgspec.Meta(max_length=EVENTS_KEPT_MAX)]


class PlainPart(_Part, tag="plain", array_like=True, forbid_unknown_fields=True):
    """A piece of the machine's state, which was plain data and encoded as a whole."""

    piece: bytes


class ItemsPart(_Part, tag="items", array_like=True, forbid_unknown_fields=True):
    """Some of the items that the machine's state consists of."""

    items: list[Any]


class EndPart(_Part, tag="end", array_like=True, forbid_unknown_fields=True):
    """The last part; `parts` is the number of those before it."""

    parts: Number


Part = StatePart | SessionsPart | MachinePart | EventsPart | PlainPart | ItemsPart | EndPart

_DECODER: msgspec.msgpack.Decoder[Part] = typed_decoder(Part)  # type: ignore[arg-type]
_ARRAY_32 = b"\xdd"


def is_stream(state: Any) -> bool:
    """Whether what a machine gave as its state is an iterator of items, and not plain data."""
    return isinstance(state, (Iterator, FrozenView))


def grouped(kind: type[SessionsPart] | type[EventsPart] | type[ItemsPart], things: Iterable[Any], bytes_max: int) -> Iterator[bytes]:
    """Parts of a kind that hold all of `things`, of about `bytes_max` each. Raises what `encode_value` raises, and
    `ValueError` for one that is too long.
    """
    begin = b"\x92" + encode_value(kind.__struct_config__.tag) + _ARRAY_32
    group: list[bytes] = []
    size = 0
    for thing in things:
        encoded = encode_value(thing)
        if len(encoded) > ITEM_BYTES_MAX:
            raise ValueError(f"an item of {len(encoded)} bytes is longer than the {ITEM_BYTES_MAX} allowed")
        if group and size + len(encoded) > bytes_max:
            yield _joined(begin, group)
            group, size = [], 0
        group.append(encoded)
        size += len(encoded)
        if len(group) == THINGS_MAX:
            yield _joined(begin, group)
            group, size = [], 0
    if group:
        yield _joined(begin, group)


def _joined(begin: bytes, group: list[bytes]) -> bytes:
    return b"".join((begin, len(group).to_bytes(4, "big"), *group))


class PartReader:
    """Reads parts in the order in which they must come; looks one part ahead.

    Attributes:
        failure: why no further part could be read. It may have been raised within a machine, which may have made anything of it.
    """

    def __init__(self, source: Iterable[bytes]) -> None:
        self.failure: BaseException | None = None
        self._source = iter(source)
        self._read = 0
        self._ahead = self._next()

    def one(self, kind: type[_Part]) -> Any:
        """The next part, which must be of a kind. Raises `CorruptState`."""
        for part in self.all(kind):
            return part
        raise CorruptState(f"where part {self._read} is, there must be another: a {kind.__name__}")

    def all(self, kind: type[_Part]) -> Iterator[Any]:
        """The next parts, as long as they are of a kind. Raises `CorruptState`."""
        while type(self._ahead) is kind:
            part, self._ahead = self._ahead, self._next()
            yield part

    def end(self) -> None:
        """Raise `CorruptState` unless there is the last part now, and nothing behind it."""
        before = self._read - 1
        end: EndPart = self.one(EndPart)
        if end.parts != before or self._ahead is not None:
            raise CorruptState(f"its last part says that there are {end.parts} parts before it; there are {before}, or more parts follow")

    def _next(self) -> Part | None:
        try:
            encoded = next(self._source, None)
            if encoded is None:
                return None
            self._read += 1
            return _decoded(encoded, self._read)
        except BaseException as error:
            self.failure = error
            raise


def _decoded(encoded: bytes, number: int) -> Part:
    try:
        return decode_value_as(encoded, _DECODER)
    except MemoryError:
        raise
    except Exception as error:
        raise CorruptState(f"part {number} cannot be read: {error}") from error


def read_through(source: Iterable[bytes]) -> None:
    """Read a whole stream as `Host.restored` does, but make nothing of it.

    Raises:
        CorruptState: it is no such stream, or something in it cannot be decoded.
        Exception: what `source` raises.
    """
    parts = PartReader(source)
    state: StatePart = parts.one(StatePart)
    if state.version != STATE_VERSION:
        raise CorruptState(f"it is of version {state.version}; this program reads version {STATE_VERSION}")
    for _ in parts.all(SessionsPart):
        pass
    for machine in parts.all(MachinePart):
        for _ in parts.all(EventsPart):
            pass
        plain = b"".join(one.piece for one in parts.all(PlainPart))
        if machine.plain:
            try:
                decode_value(plain)
            except (ValueError, RecursionError) as error:
                raise CorruptState(f"the state of machine {machine.name!r} cannot be read: {error}") from error
        for _ in parts.all(ItemsPart):
            pass
    parts.end()


def require_readable(part: bytes) -> None:
    """Decode a part that was just made. Raises `ValueError` or `RecursionError` if no reader could."""
    _with_less_stack(part, FRAMES_LESS)


def _with_less_stack(part: bytes, frames: int) -> None:
    if frames:
        _with_less_stack(part, frames - 1)
    else:
        decode_value(part)
