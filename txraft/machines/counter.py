"""Named counters: whole numbers of any size, changed on the server, so that no client has to read, add and write back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, takewhile
from typing import Annotated, Any, Literal

import msgspec
from sortedcontainers import SortedList

from txraft.machines.in_order import sorted_list
from txraft.machines.layered_dict import LayeredDict
from txraft.statemachine import INTEGER_BITS_MAX, Context, Meta, Refused, StateMachine, command, query

__all__ = ["Counter"]

RESULT_BYTES_MAX = 1_048_576
"""Names and values in one result: with what stands around them, it fits into an answer."""

BATCH_MAX = 1_000
SHOWN_BITS_MAX = 128

Name = Annotated[str, Meta(min_length=1, max_length=512)]
Amounts = Annotated[dict[Name, int], Meta(min_length=1, max_length=BATCH_MAX)]
PageSize = Annotated[int, Meta(ge=1, le=1_000)]
Keep = Literal["keep"]


class Settings(msgspec.Struct, frozen=True, array_like=True):
    """What `configure` said of a counter."""

    minimum: int | None = None
    maximum: int | None = None
    watched: bool = False


USUAL = Settings()


class Counter(StateMachine):
    """Named counters. `null` stands for a counter that does not exist."""

    version = 1

    def __init__(self) -> None:
        self.values: LayeredDict[int] = LayeredDict()
        self.names: SortedList[str] = SortedList()  # of `values`
        self.configured: LayeredDict[Settings] = LayeredDict()  # what is not as usual, whether the counter exists or not

    @command
    def add(self, ctx: Context, name: Name, amount: int = 1) -> int:
        """Add to a counter, which begins at 0; the new value. A negative amount subtracts."""
        # The hot path: what few counters have costs the others one look.
        values, configured = self.values, self.configured
        before = values.top.get(name)
        if before is None:
            before = values.find_below(name)
        value = amount if before is None else before + amount
        if value.bit_length() > INTEGER_BITS_MAX:
            raise _too_large(name)
        if (configured.top or configured.below) and (settings := configured.get(name)) is not None:
            _check_bounds(name, before, value, settings)
            _tell(ctx, name, before, value, settings)
        if before is None:
            self.names.add(name)
        values.top[name] = value
        return value

    @command
    def add_batch(self, ctx: Context, amounts: Amounts) -> dict[str, int]:
        """Add to up to 1,000 counters, to all of them or, if one refuses, to none: amount by name; the new values by name."""
        values = {name: (self.values.get(name) or 0) + amount for name, amount in amounts.items()}
        room = RESULT_BYTES_MAX
        for name, value in values.items():
            self._check(name, value)
            room -= _size_of(name, value)
        if room < 0:
            raise Refused("too_large", f"these counters together take more than {RESULT_BYTES_MAX} bytes: add to fewer at once")
        for name, value in values.items():
            self._put(ctx, name, value)
        return values

    @command
    def set(self, ctx: Context, name: Name, value: int) -> int | None:
        """Give a counter a value; the one it had before."""
        before = self.values.get(name)
        self._check(name, value)
        self._put(ctx, name, value)
        return before

    @command
    def compare_and_set(self, ctx: Context, name: Name, expected: int | None, value: int) -> dict[str, Any]:
        """Give a counter a value if it has the expected one (null: if it does not exist); whether it was `swapped`, and its `value` now."""
        swapped = self.values.get(name) == expected
        if swapped:
            self._check(name, value)
            self._put(ctx, name, value)
        return {"swapped": swapped, "value": self.values.get(name)}

    @command
    def delete(self, ctx: Context, name: Name) -> int | None:
        """Remove a counter with its bounds; the value it had."""
        before = self.values.get(name)
        if before is not None:
            self.names.remove(name)
            self.values.remove(name)
        _tell(ctx, name, before, None, self.configured.get(name))
        self.configured.remove(name)
        return before

    @command
    def configure(
        self,
        ctx: Context,
        name: Name,
        minimum: int | Keep | None = "keep",
        maximum: int | Keep | None = "keep",
        watched: bool | None = None,
    ) -> dict[str, Any]:
        """Say what values a counter may have (null: no bound), and whether changes of it are events; all its settings, as they are now.

        What is not given stays as it is. The counter need not exist yet; deleting it deletes them.
        """
        now = self.configured.get(name) or USUAL
        new = Settings(
            now.minimum if minimum == "keep" else minimum,
            now.maximum if maximum == "keep" else maximum,
            now.watched if watched is None else watched,
        )
        self._check_settings(name, new)
        if new == USUAL:
            self.configured.remove(name)
        else:
            self.configured.put(name, new)
        return msgspec.structs.asdict(new)

    @query
    def get(self, name: Name) -> int | None:
        """The value of a counter."""
        value = self.values.top.get(name)
        return self.values.find_below(name) if value is None else value

    @query
    def settings(self, name: Name) -> dict[str, Any]:
        """What `configure` said of a counter: `minimum` and `maximum` (null: none), and whether it is `watched`."""
        return msgspec.structs.asdict(self.configured.get(name) or USUAL)

    @query
    def list(self, prefix: str = "", after: str = "", limit: PageSize = 100) -> dict[str, Any]:
        """Counters by name: those that begin with `prefix`, from the first after `after` on. `next`: what to pass as `after` for more."""
        start = max(self.names.bisect_left(prefix), self.names.bisect_right(after))
        page: list[dict[str, Any]] = []
        room = RESULT_BYTES_MAX
        for name in takewhile(lambda name: name.startswith(prefix), self.names.islice(start)):
            value = self.values.get(name)
            assert value is not None
            room -= _size_of(name, value)
            if len(page) == limit or (room < 0 and page):
                return {"counters": page, "next": page[-1]["name"]}
            page.append({"name": name, "value": value})
        return {"counters": page, "next": None}

    def _check(self, name: str, value: int) -> None:
        """Whether a counter may have a value. Raises `Refused`."""
        if value.bit_length() > INTEGER_BITS_MAX:
            raise _too_large(name)
        if (settings := self.configured.get(name)) is not None:
            _check_bounds(name, self.values.get(name), value, settings)

    def _check_settings(self, name: str, new: Settings) -> None:
        for bound in (new.minimum, new.maximum):
            if bound is not None and bound.bit_length() > INTEGER_BITS_MAX:
                raise _too_large(name)
        if new.minimum is not None and new.maximum is not None and new.minimum > new.maximum:
            lower, upper = _shown(new.minimum), _shown(new.maximum)
            raise Refused("bad_setting", f"{name!r}: minimum would be {lower}, which is more than maximum, {upper}")
        now = self.values.get(name)
        if now is not None and (broken := _beyond(now, new)) is not None:
            word, bound = broken
            raise Refused("bad_setting", f"{name!r} is {_shown(now)}, which a {word} of {_shown(bound)} would exclude", value=now)

    def _put(self, ctx: Context, name: str, value: int) -> None:
        """Give a counter a value that was checked."""
        before = self.values.get(name)
        _tell(ctx, name, before, value, self.configured.get(name))
        if before is None:
            self.names.add(name)
        self.values.put(name, value)

    def snapshot(self) -> Iterator[tuple[Any, ...]]:
        """See `StateMachine`: pairs of name and value, then names with all their settings."""
        settings = ((name, *msgspec.structs.astuple(one)) for name, one in self.configured.frozen())
        return chain(self.values.frozen(), settings)

    def restore(self, state: Iterator[Any]) -> None:
        """See `StateMachine`."""
        values = self.values.top
        for item in state:
            if len(item) == 2:
                name, value = item
                values[name] = value
            else:
                name, *settings = item
                self.configured.put(name, Settings(*settings))
        self.names = sorted_list(values)


def _check_bounds(name: str, now: int | None, value: int, settings: Settings) -> None:
    if (broken := _beyond(value, settings)) is not None:
        word, bound = broken
        state = "does not exist yet" if now is None else f"is {_shown(now)}"
        sentence = f"{name!r} {state} and cannot become {_shown(value)}: its {word} is {_shown(bound)}"
        raise Refused("out_of_bounds", sentence, value=now, **{word: bound})


def _tell(ctx: Context, name: str, before: int | None, value: int | None, settings: Settings | None) -> None:
    if settings is not None and settings.watched and value != before:
        ctx.emit(name, value=value, before=before)


def _beyond(value: int, settings: Settings) -> tuple[str, int] | None:
    """The bound that a value breaks: its name and where it is."""
    if settings.minimum is not None and value < settings.minimum:
        return "minimum", settings.minimum
    if settings.maximum is not None and value > settings.maximum:
        return "maximum", settings.maximum
    return None


def _shown(value: int) -> str:
    """A number in a sentence: one of thousands of digits would be the whole of it."""
    return str(value) if value.bit_length() <= SHOWN_BITS_MAX else f"a number of {value.bit_length()} bits"


def _size_of(name: str, value: int) -> int:
    return len(name.encode()) + value.bit_length() // 8 + 32


def _too_large(name: str) -> Refused:
    return Refused("too_large", f"{name!r}: a counter holds at most {INTEGER_BITS_MAX} bits")
