"""Machines that tell of what happens, and such whose commands wait; good ones and bad ones."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from txraft.statemachine import Context, Refused, StateMachine, command, query
from txraft.statemachine.events import Page

MODULE = "tests.statemachine.watched_machines:"


class Bell(StateMachine):
    """Rings: emits events, at once or later, soundly or not."""

    def __init__(self) -> None:
        self.rung = 0
        self.until: list[list[Any]] = []

    @command
    def ring(self, ctx: Context, topic: str, times: int = 1, size: int = 0) -> int:
        for number in range(times):
            ctx.emit(topic, number=number, text="x" * size)
        self.rung += times
        return ctx.index

    @command
    def ring_all(self, ctx: Context, topics: list[str]) -> int:
        for number, topic in enumerate(topics):
            ctx.emit(topic, number=number)
        return ctx.index

    @command
    def ring_later(self, ctx: Context, topic: str, seconds: float) -> None:
        self.until.append([ctx.time + seconds, topic])

    @command
    def ring_and_refuse(self, ctx: Context, topic: str) -> None:
        ctx.emit(topic)
        raise Refused("no", "not today")

    @command
    def ring_and_break(self, ctx: Context, topic: str) -> None:
        ctx.emit(topic)
        raise ValueError("cracked")

    @command
    def ring_badly(self, ctx: Context, how: str) -> None:
        ctx.emit("before")
        tell: Any = ctx.emit
        tell(BAD_TOPICS.get(how, "bad"), it=BAD_FIELDS.get(how))

    @command
    def ring_changing(self, ctx: Context, topic: str) -> None:
        """The fields are changed after the event."""
        state = ["as it was"]
        ctx.emit(topic, state=state)
        state.append("as it became")

    @query
    def count(self) -> int:
        return self.rung

    def deadline(self) -> float | None:
        return min((until for until, _ in self.until), default=None)

    def expire(self, ctx: Context) -> None:
        for until, topic in [due for due in self.until if due[0] <= ctx.time]:
            self.until.remove([until, topic])
            ctx.emit(topic, late=ctx.time - until)

    def snapshot(self) -> Any:
        return [self.rung, self.until]

    def restore(self, state: Any) -> None:
        self.rung, self.until = state


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
BAD_FIELDS: dict[str, Any] = {"object": object(), "large": b"x" * 600_000, "cycle": CYCLE, "surrogate": "\ud800"}
BAD_TOPICS: dict[str, Any] = {"long": "t" * 70_000, "bytes": b"\xff", "number": 5, "unspeakable": "\ud800"}


class Parcels(StateMachine):
    """Parcels by place, first in, first out; `take` may wait for one."""

    def __init__(self) -> None:
        self.places: dict[str, deque[str]] = {}
        self.broken = ""

    @command
    def put(self, ctx: Context, place: str, parcel: str) -> int:
        self.places.setdefault(place, deque()).append(parcel)
        ctx.signal(place)
        return len(self.places[place])

    @command
    def take(self, ctx: Context, place: str, count: int = 1, wait_s: float = 0.0) -> list[str]:
        parcels = self.places.get(place, deque())
        return [parcels.popleft() for _ in range(min(count, len(parcels)))]

    @command
    def break_it(self, ctx: Context, how: str) -> None:
        self.broken = how

    @query
    def there(self, place: str) -> list[str]:
        return list(self.places.get(place, ()))

    def waits_on(self, name: str, arguments: msgspec.Struct) -> str | bytes | None:
        if self.broken == "waits_on":
            raise MemoryError("for the test")
        return str(arguments.place) if name == "take" else None  # type: ignore[attr-defined]

    def demand(self, name: str, arguments: msgspec.Struct) -> int:
        return int(arguments.count)  # type: ignore[attr-defined]

    def supply(self, topic: bytes) -> int:
        if self.broken == "supply":
            raise RecursionError("for the test")
        return len(self.places.get(topic.decode(), ())) if self.broken != "text" else "many"  # type: ignore[return-value]

    def snapshot(self) -> Any:
        return [{place: list(parcels) for place, parcels in self.places.items()}, self.broken]

    def restore(self, state: Any) -> None:
        self.places, self.broken = {place: deque(parcels) for place, parcels in state[0].items()}, state[1]


WRONG_EVENTS: dict[str, Any] = {
    "number": 5,
    "incomplete": {"index": 1},
    "topic": {"index": 1, "topic": None, "fields": {}},
    "fields": {"index": 1, "topic": b"k", "fields": 5},
}
"""What a history gave as an event."""


class Chronicle(StateMachine):
    """A machine with versions of its own: each write is one, at a revision of its own counting."""

    def __init__(self) -> None:
        self.versions: list[tuple[bytes, Any]] = []
        self.oldest = 1
        self.broken = ""
        self.due_at: float | None = None

    @command
    def write(self, ctx: Context, key: bytes, value: str = "") -> int:
        self.versions.append((key, value))
        ctx.signal(key)
        return len(self.versions)

    @command
    def write_later(self, ctx: Context, seconds: float) -> None:
        self.due_at = ctx.time + seconds

    @command
    def forget_before(self, ctx: Context, revision: int) -> None:
        self.oldest = revision

    @command
    def break_it(self, ctx: Context, how: str) -> None:
        self.broken = how
        ctx.signal(b"")

    @property
    def newest(self) -> int:
        if self.broken == "newest":
            raise OSError("for the test")
        return len(self.versions)

    def deadline(self) -> float | None:
        return self.due_at

    def expire(self, ctx: Context) -> None:
        self.due_at = None
        self.write(ctx, b"late")

    def events(self) -> Any:
        if self.broken == "events":
            raise MemoryError("for the test")
        return self

    def read(self, topic: bytes, prefix: bool, first: int, skip: int) -> Any:
        if self.broken == "read":
            raise ValueError("for the test")
        if self.broken == "page":
            return Page([], "soon")  # type: ignore[arg-type]
        if self.broken == "stuck":
            return Page([], first, skip)
        if self.broken in WRONG_EVENTS:
            return Page([WRONG_EVENTS[self.broken]], self.newest + 1)
        if first > self.newest:
            return Page([], first, skip)
        found = [
            {"index": index, "topic": key, "fields": {"value": object() if self.broken == "unplain" else value}}
            for index, (key, value) in enumerate(self.versions[first - 1 :], first)
            if (key.startswith(topic) if prefix else key == topic)
        ]
        return Page(found, self.newest + 1)

    def snapshot(self) -> Any:
        return [self.versions, self.oldest, self.broken, self.due_at]

    def restore(self, state: Any) -> None:
        self.versions, self.oldest, self.broken, self.due_at = state
