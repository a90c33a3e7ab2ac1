"""The whole state of a host: caught in a moment on the reactor, written and read by other threads.

Source: Figure 5.2; §5.1.3 (writing concurrently with what changes the state).
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from txraft.errors import CorruptState, Halted, MachineUnavailable, RestoreFailed
from txraft.limits import EVENTS_KEPT_MAX
from txraft.statemachine.events import Event
from txraft.statemachine.hosted import Hosted
from txraft.statemachine.plain import require_plain_sample
from txraft.statemachine.scanning import scanned
from txraft.statemachine.sessions import Session, Sessions, session_states
from txraft.statemachine.snapshot_dict import FrozenView
from txraft.statemachine.state_parts import (
    STATE_VERSION,
    EndPart,
    EventsPart,
    ItemsPart,
    MachinePart,
    PartReader,
    PlainPart,
    SessionsPart,
    StatePart,
    grouped,
    require_readable,
)
from txraft.statemachine.values import decode_value, encode_canonical, encode_value

__all__ = ["Capture", "CapturedMachine", "Restored", "read_state"]

SAMPLED_FIRST, SAMPLED_EACH = 200, 1_000
"""Of the items of a machine, so many are looked at in the beginning, and then every so manieth."""

_DIGEST_RANGE = 1 << 256


@frozen
class CapturedMachine:
    """A machine as it was.

    Attributes:
        part: what is known of it beside its state.
        events: that it emitted.
        state: encoded plain data; or an iterator of items, which runs code of the machine.
        hosted: the machine as it is, to turn an error of the iterator into an answer.
    """

    part: MachinePart
    events: list[Event]
    state: bytes | Iterator[Any]
    hosted: Hosted

    @classmethod
    def of(cls, hosted: Hosted, encode: Callable[[Any], bytes]) -> CapturedMachine:
        """Catch a machine. Raises `NotApplied` `machine_error` when it cannot give its state."""
        state = hosted.capture(encode)
        loaded, kept = hosted.loaded, hosted.kept
        part = MachinePart(
            name=hosted.name,
            plugin=loaded.plugin,
            version=loaded.version,
            errors=hosted.errors,
            not_before_ms=hosted.not_before_ms,
            newest=kept.newest,
            oldest=kept.oldest,
            plain=isinstance(state, bytes),
        )
        return cls(part, kept.capture(), state, hosted)

    def parts(self, bytes_max: int) -> Iterator[bytes]:
        """Its parts of the stream. Raises like `of`."""
        yield encode_value(self.part)
        yield from grouped(EventsPart, self.events, bytes_max)
        if isinstance(self.state, bytes):
            with self.hosted.giving_its_state():
                yield from _plain_parts(self.state, bytes_max)
        else:
            with self.hosted.giving_its_state():
                yield from _items_parts(self.state, bytes_max)

    def digest(self) -> list[Any]:
        """What its state comes to. Raises like `of`."""
        part = self.part
        with self.hosted.giving_its_state():
            state = _sum([self.state] if isinstance(self.state, bytes) else map(encode_canonical, self.state))
        return [part.name, part.plugin, part.version, part.errors, part.not_before_ms, part.newest, part.oldest, self.events, state]


def _plain_parts(state: bytes, bytes_max: int) -> Iterator[bytes]:
    """The pieces of a plain state, each when it is known that it can be decoded again."""
    begin = 0
    for end in scanned(state):
        for at in range(begin, end, bytes_max):
            yield encode_value(PlainPart(state[at : min(at + bytes_max, end)]))
        begin = end


def _items_parts(items: Iterator[Any], bytes_max: int) -> Iterator[bytes]:
    """The items of a state. Each part is read back; of the items, a sample is looked at for what would come back as something else."""
    since: list[Any] = []  # since the last part

    def seen() -> Iterator[Any]:
        for number, item in enumerate(items):
            if number < SAMPLED_FIRST or number % SAMPLED_EACH == 0:
                require_plain_sample(item)
            since.append(item)
            yield item

    for part in grouped(ItemsPart, seen(), bytes_max):
        try:
            require_readable(part)
        except ValueError:
            for item in since:
                require_plain_sample(item)  # can name what is wrong
            raise
        del since[:-1]  # the last one may be in the next part
        yield part


@define(eq=False)
class Capture:
    """The state of a host as it was, while the host goes on. Its parts can be had once, in any thread.

    Attributes:
        log_time_ms, index: of the newest entry applied.
        machines: name, plug-in and version of each.
    """

    log_time_ms: int
    index: int
    _sessions: FrozenView[int, Session]
    _captured: list[CapturedMachine]
    _part_bytes: int
    _given: bool = field(default=False, init=False)

    @property
    def machines(self) -> list[tuple[str, str, int]]:
        """See above."""
        return [(one.part.name, one.part.plugin, one.part.version) for one in self._captured]

    def parts(self) -> Iterator[bytes]:
        """All of it, for `Host.restored`: parts of about `limits.snapshot_part_bytes`, more only where a single thing has more.

        The iterator raises `NotApplied` `machine_error` when a machine cannot give its state, see `Host.note_snapshot_failure`.
        """
        self._give()
        return self._parts()

    def digest(self) -> str:
        """SHA-256 of the state, in hexadecimal, if it was captured for that: see `Host.capture_digest`."""
        self._give()
        sessions = _sum(
            encode_canonical(thing)
            for number, one in self._sessions
            for thing in (
                (number, one.timeout_ms, one.deadline_ms, one.first_outstanding),
                *((number, serial, answer) for serial, answer in one.results.items()),
            )
        )
        state = [self.log_time_ms, self.index, sessions, [one.digest() for one in self._captured]]
        return hashlib.sha256(encode_canonical(state)).hexdigest()

    def _give(self) -> None:
        if self._given:
            raise Halted("the parts of a capture were to be had a second time, but machines give theirs once")
        self._given = True

    def _parts(self) -> Iterator[bytes]:
        count = 1
        yield encode_value(StatePart(STATE_VERSION, self.log_time_ms, self.index))
        for part in grouped(SessionsPart, session_states(self._sessions, self._part_bytes), self._part_bytes):
            count += 1
            yield part
        for one in self._captured:
            for part in one.parts(self._part_bytes):
                count += 1
                yield part
        yield encode_value(EndPart(count))


def _sum(things: Iterable[bytes]) -> bytes:
    """A digest of things in any order."""
    total = 0
    for thing in things:
        total += int.from_bytes(hashlib.sha256(thing).digest(), "big")
    return (total % _DIGEST_RANGE).to_bytes(32, "big")


@frozen
class Restored:
    """What a stream of parts came to: machines and sessions that nobody uses yet."""

    log_time_ms: int
    applied_index: int
    sessions: Sessions
    machines: list[Hosted]


def read_state(source: Iterable[bytes], sessions: Sessions, make: Callable[[str, str, int], Hosted]) -> Restored:
    """Build everything that `Capture.parts` gave.

    Args:
        source: the parts.
        sessions: where they go.
        make: gives an empty machine by name, plug-in and version.

    Raises:
        CorruptState: it is no such stream.
        RestoreFailed: it is, but a machine cannot take over its items.
        MachineUnavailable: out of `make`.
        Exception: what `source` raises.
    """
    parts = PartReader(source)
    try:
        state: StatePart = parts.one(StatePart)
        if state.version != STATE_VERSION:
            raise CorruptState(f"it is of version {state.version}; this program reads version {STATE_VERSION}")
        sessions.restore(one for part in parts.all(SessionsPart) for one in part.sessions)
        machines: dict[str, Hosted] = {}
        for part in parts.all(MachinePart):
            if part.name in machines:
                raise CorruptState(f"machine {part.name!r} comes twice")
            machines[part.name] = _machine(part, parts, make)
        parts.end()
    except (MachineUnavailable, RestoreFailed, CorruptState, MemoryError):
        raise
    except Exception as error:
        if error is parts.failure:
            raise
        raise CorruptState(_line(error)) from error
    return Restored(state.log_time_ms, state.applied_index, sessions, list(machines.values()))


def _machine(part: MachinePart, parts: PartReader, make: Callable[[str, str, int], Hosted]) -> Hosted:
    hosted = make(part.name, part.plugin, part.version)
    hosted.errors, hosted.not_before_ms = part.errors, part.not_before_ms
    events: list[Event] = []
    for group in parts.all(EventsPart):
        events += group.events
        if len(events) > EVENTS_KEPT_MAX:
            break  # the history will say so
    hosted.kept.restore(part.newest, part.oldest, events)
    items = (item for group in parts.all(ItemsPart) for item in group.items)
    state = _plain_state(part, parts) if part.plain else items
    try:
        hosted.machine.restore(state)
    except (MemoryError, CorruptState):
        raise
    except BaseException as error:
        if parts.failure is None:
            raise _not_restored(part, f"failed with {_line(error)}", "".join(traceback.format_exception(error))) from error
    if parts.failure is not None:  # whatever the machine has made of it
        raise parts.failure
    if not part.plain and next(items, parts) is not parts:
        raise _not_restored(part, "does not take over all of the items that `snapshot` gave")
    return hosted


def _plain_state(part: MachinePart, parts: PartReader) -> Any:
    encoded = b"".join(one.piece for one in parts.all(PlainPart))
    try:
        return decode_value(encoded)
    except (ValueError, RecursionError) as error:
        raise CorruptState(f"the state of machine {part.name!r} cannot be read: {_line(error)}") from error


def _not_restored(part: MachinePart, what: str, failure_text: str = "") -> RestoreFailed:
    problem = f"machine {part.name!r} (plug-in {part.plugin!r}, version {part.version}) cannot take over its own state: `restore` {what}"
    return RestoreFailed(problem, machine=part.name, failure_text=failure_text)


def _line(error: BaseException) -> str:
    """One line on an error; unlike its text, it can always be had."""
    return traceback.format_exception_only(error)[-1].strip()
