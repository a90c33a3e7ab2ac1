"""Machines to be hosted by tests: good ones and bad ones. Hosted by the name of their class, see `driver.Driver`."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
from zope.interface import implementer

from tests.statemachine.values_given import PLAIN, UNPLAIN, Place, Spot
from txraft.statemachine import Context, Declaration, IStateMachine, Meta, Operation, Refused, StateMachine, command, query


class Article(msgspec.Struct):
    sku: str
    price: float = 0.0
    tags: list[str] = []


class Recorder(StateMachine):
    """Takes every kind of parameter, and remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, *values: Any) -> Any:
        self.seen.append(list(values))
        return list(values)

    @command
    def integer(self, ctx: Context, value: int) -> Any:
        return self.note(value)

    @command
    def text(self, ctx: Context, value: Annotated[str, Meta(min_length=1, max_length=8)], times: int = 1, *, loud: bool = False) -> Any:
        return self.note(value, times, loud)

    @command
    def binary(self, ctx: Context, value: bytes) -> Any:
        return self.note(value)

    @command
    def number(self, ctx: Context, value: float) -> Any:
        return self.note(value)

    @command
    def anything(self, ctx: Context, value: Any = None) -> Any:
        return self.note(value)

    @command
    def by_name(self, ctx: Context, value: dict[str, int]) -> Any:
        return self.note(value)

    @command
    def integers(self, ctx: Context, value: list[int]) -> Any:
        return self.note(value)

    @command
    def article(self, ctx: Context, value: Article) -> Any:
        return self.note(value.sku, value.price, value.tags)

    @command
    def context(self, ctx: Context) -> Any:
        return [ctx.index, ctx.term, ctx.time_ms, ctx.time, ctx.session, ctx.random.random(), ctx.random.randrange(1_000)]

    @command
    def none(self, ctx: Context) -> None:
        """Nothing in, nothing out."""

    @query
    def count(self) -> int:
        return len(self.seen)

    def snapshot(self) -> Any:
        return self.seen

    def restore(self, state: Any) -> None:
        self.seen = list(state)


class Buggy(StateMachine):
    """Does what authors should not."""

    def __init__(self) -> None:
        self.calls = 0
        self.shared: list[int] = [0]

    @command
    def raise_it(self, ctx: Context, name: str, after_change: bool = False) -> None:
        if after_change:
            self.calls += 1
        raise ERRORS[name]

    @command
    def give(self, ctx: Context, name: str) -> Any:
        self.calls += 1
        return RESULTS[name]

    @command
    def give_nested(self, ctx: Context, levels: int, in_key: bool = False) -> Any:
        nested: Any = 0
        for _ in range(levels - in_key):
            nested = (nested,)
        return {nested: 0} if in_key else nested

    @command
    def give_shared(self, ctx: Context) -> list[int]:
        self.shared[0] += 1
        return self.shared

    @command
    def spoil(self, ctx: Context, name: str = "object") -> None:
        self.shared.append(RESULTS[name])

    @command
    def tell(self, ctx: Context, name: str) -> None:
        ctx.emit("before")
        ctx.emit("it", it=RESULTS[name])

    @command
    def give_odd_record(self, ctx: Context, kind: str) -> Any:
        return Spot({1}) if kind == "seen" else Place({1})  # type: ignore[arg-type]

    @command
    def refuse(self, ctx: Context, name: str) -> None:
        raise Refused("no", it=RESULTS[name])

    @query
    def ask_raise(self, name: str) -> None:
        raise ERRORS[name]

    @query
    def ask_give(self, name: str) -> Any:
        return RESULTS[name]

    @query
    def count(self) -> int:
        return self.calls

    def snapshot(self) -> Any:
        return [self.calls, self.shared]

    def restore(self, state: Any) -> None:
        self.calls, self.shared = state


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


class Unspeakable(Exception):
    """It cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError("no words")


ERRORS: dict[str, BaseException] = {
    "bug": ValueError("a bug"),
    "exit": SystemExit(0),
    "unspeakable": Unspeakable(),
    "memory": MemoryError(),
    "disk": OSError(28, "No space left on device"),
    "recursion": RecursionError("too deep"),
    "refused": Refused("no", "not today", limit=3),
    "refused_oddly": Refused(5),  # type: ignore[arg-type]
    "refused_unplain": Refused("no", "not today", what=object()),
    "unknown": NotImplementedError(),
}
RESULTS: dict[str, Any] = {
    "object": object(),
    "cycle": CYCLE,
    "surrogate": "\ud800",
    "large": b"x" * 1_600_000,
    "too_big": 1 << 20_000,
    "big": -(1 << 14_000),
    "tuple_keys": {(1, 2): "x", None: "y", 3: "z"},
    "wide": [{"a": [[]]}] * 1_000,
}
RESULTS |= {f"plain: {name}": value for name, value in PLAIN.items()}
RESULTS |= {f"unplain: {name}": value for name, (value, _) in UNPLAIN.items()}


class Leases(StateMachine):
    """Leases that run out: a machine with deadlines."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.ended: list[list[Any]] = []

    @command
    def take(self, ctx: Context, name: str, seconds: float) -> float:
        self.until[name] = ctx.time + seconds
        return self.until[name]

    @query
    def history(self) -> list[list[Any]]:
        return self.ended

    def deadline(self) -> float | None:
        return min(self.until.values(), default=math.inf)

    def expire(self, ctx: Context) -> None:
        for name in sorted(name for name, until in self.until.items() if until <= ctx.time):
            del self.until[name]
            self.ended.append([name, ctx.index, ctx.time, ctx.session])

    def snapshot(self) -> Any:
        return {"until": self.until, "ended": self.ended}

    def restore(self, state: Any) -> None:
        self.until, self.ended = state["until"], state["ended"]


class Restless(Leases):
    """A machine whose `expire` does not do its work, or breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0
        self.breaks = False
        self.broken_deadline = False

    @command
    def break_it(self, ctx: Context, expire: bool = False, deadline: bool = False) -> None:
        self.breaks, self.broken_deadline = expire, deadline

    @query
    def count(self) -> int:
        return self.rounds

    def deadline(self) -> float | None:
        if self.broken_deadline:
            raise KeyError("no deadline")
        return super().deadline()

    def expire(self, ctx: Context) -> None:
        self.rounds += 1
        if self.breaks:
            raise ZeroDivisionError


class AddArguments(msgspec.Struct, forbid_unknown_fields=True):
    amount: int = 1


class NoArguments(msgspec.Struct, forbid_unknown_fields=True):
    pass


@implementer(IStateMachine)
class Plain:
    """A machine without the declared style: it provides the interface itself."""

    version = 3

    def __init__(self) -> None:
        self.total = 0

    def declaration(self) -> Declaration:
        return Declaration(
            "A sum.", {"add": Operation("add", AddArguments, "Add.", int)}, {"total": Operation("total", NoArguments, "The sum.", int)}
        )

    def apply_command(self, ctx: Context, name: str, arguments: msgspec.Struct) -> Any:
        assert name == "add"
        assert isinstance(arguments, AddArguments)
        self.total += arguments.amount
        return self.total

    def run_query(self, name: str, arguments: msgspec.Struct) -> Any:
        return self.total

    def snapshot(self) -> Any:
        return self.total

    def restore(self, state: Any) -> None:
        self.total = state

    def deadline(self) -> float | None:
        return None

    def expire(self, ctx: Context) -> None:
        """Never called."""


class NewerPlain(Plain):
    """The same in a later version."""

    version = 4


class NoSnapshot(StateMachine):
    """Its author forgot half of it."""

    @query
    def ask(self) -> None: ...


class NeedsArguments(StateMachine):
    """Cannot be made without being told how."""

    def __init__(self, size: int) -> None:
        self.size = size

    @query
    def ask(self) -> None: ...


class Hidden(StateMachine):
    """An attribute hides a query."""

    def __init__(self) -> None:
        self.left = 0  # type: ignore[assignment,method-assign]

    @query
    def left(self) -> int:
        return 0


class Mute(StateMachine):
    """Declares nothing."""


class NoVersion(Plain):
    """Its version is no number."""

    version = "1"  # type: ignore[assignment]


class NotAMachine:
    """Only a class."""
