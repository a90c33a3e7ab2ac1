"""A dict of which frozen views are cheap: what a machine with a large state keeps it in.

The keys are spread over small dicts, *shards*. `frozen()` remembers which shards there are, and no more; whoever then first writes to one
of them copies it, and the view goes on reading the old one. So taking a view costs next to nothing however much there is, a write costs
at most the copy of some dozens of keys, and growing means that one shard is split at a time: nothing here ever takes long.

Source: Litwin, Linear hashing (VLDB 1980), for the splitting in turn; Figure 5.2 and §5.1.3 of the dissertation, for copy on write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import chain
from typing import Any, Generic, TypeVar, overload

__all__ = ["FrozenView", "SnapshotDict"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

SHARD_KEYS = 64
"""Keys in a shard, on average, before one is split; a quarter of it before two are merged."""

_ABSENT: Any = object()


class FrozenView(Generic[K, V]):
    """Keys and values of a `SnapshotDict` as they were: pairs in no order, in any thread, once.

    What is read is let go of: it may be the last that is left of a state which has long changed, and to free all of that at the end would
    hold up everybody.
    """

    __slots__ = ("_length", "_reading")

    def __init__(self, shards: Iterable[dict[K, V]], length: int) -> None:
        left: list[Any] = [None, *shards]
        self._length = length
        self._reading: Iterator[tuple[K, V]] = chain.from_iterable(map(dict.items, iter(left.pop, None)))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._reading


class SnapshotDict(MutableMapping[K, V]):
    """A dict that can be looked at as it was, by another thread, while it changes.

    Iteration is by ascending key, which takes time: any other order would differ from server to server, and so what a command does. Where
    the order plays no part, `unordered()` is quicker.

    Args:
        items: pairs, or another mapping, to begin with.
        copy: gives a copy of a value that does not change with the value. With it values may be mutable: see `own`. Without it a value is
            never changed, only replaced.
    """

    __slots__ = ("_copy", "_generation", "_length", "_made", "_mask", "_owned", "_shards", "_width")

    def __init__(self, items: Iterable[tuple[K, V]] | Mapping[K, V] = (), *, copy: Callable[[V], V] | None = None) -> None:
        self._copy = copy
        self._generation = 0
        self.clear()
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self[key] = value

    def clear(self) -> None:
        """Remove everything; views keep what they have."""
        self._length = 0
        self._shards: list[dict[K, V]] = [{}]
        self._made = [self._generation]  # by shard: in which generation it was made; a view may see it unless that is the present one
        self._owned: list[set[K] | None] = [None]  # by shard, with `copy`: keys whose values no view may see; None: that is so of all
        # Shards that have been split go by all the bits of a hash that are in the mask, the others by one bit less.
        self._mask, self._width = 0, 1

    def frozen(self) -> FrozenView[K, V]:
        """All keys and values as they are now, whatever is done to this dict later."""
        self._generation += 1
        return FrozenView(self._shards, self._length)

    def own(self, key: K) -> V:
        """The value of a key to be changed in place: a copy of it takes its place first, if a view may still see it.

        Ask each time, for it may be another object each time. Raises `KeyError`, or `TypeError` for a dict without `copy`.
        """
        if self._copy is None:
            raise TypeError("own() needs a SnapshotDict(copy=...): without it, values are replaced, never changed")
        at = hash((key,)) & self._mask
        if at >= self._width:
            at &= self._mask >> 1
        shard = self._shards[at] if self._made[at] == self._generation else self._copied(at)
        owned = self._owned[at]
        if owned is None or key in owned:
            return shard[key]
        value = shard[key] = self._copy(shard[key])
        owned.add(key)
        if len(owned) == len(shard):
            self._owned[at] = None
        return value

    def _place(self, key: K) -> int:
        # The hash of a tuple mixes: numbers that are multiples of 1024, say, would otherwise all be in a few shards.
        at = hash((key,)) & self._mask
        return at if at < self._width else at & self._mask >> 1

    def __getitem__(self, key: K) -> V:
        at = hash((key,)) & self._mask
        return self._shards[at if at < self._width else at & self._mask >> 1][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...
    def get(self, key: K, /, default: V | T | None = None) -> V | T | None:
        """The value of a key, or `default`."""
        at = hash((key,)) & self._mask
        return self._shards[at if at < self._width else at & self._mask >> 1].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._shards[self._place(key)]  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._length

    def __setitem__(self, key: K, value: V) -> None:
        at = hash((key,)) & self._mask
        if at >= self._width:
            at &= self._mask >> 1
        shard = self._shards[at] if self._made[at] == self._generation else self._copied(at)
        if key in shard:
            shard[key] = value
            return
        shard[key] = value
        self._length += 1
        if self._length > SHARD_KEYS * self._width:
            self._split()

    def __delitem__(self, key: K) -> None:
        if self.pop(key, _ABSENT) is _ABSENT:
            raise KeyError(key)

    def pop(self, key: K, default: Any = _ABSENT) -> Any:
        """Remove a key; its value, or `default`. Raises `KeyError` if there is neither."""
        at = self._place(key)
        if key not in self._shards[at]:
            if default is _ABSENT:
                raise KeyError(key)
            return default
        shard = self._shards[at] if self._made[at] == self._generation else self._copied(at)
        value = shard.pop(key)
        owned = self._owned[at]
        if owned is not None:
            owned.discard(key)
        self._length -= 1
        if 4 * self._length < SHARD_KEYS * (self._width - 1):
            self._merge()
        return value

    def popitem(self) -> tuple[K, V]:
        """Remove the smallest key, which takes a look at all of them. Raises `KeyError` when there is none."""
        if not self._length:
            raise KeyError("the dict is empty")
        key: Any = min(self._unsorted())  # type: ignore[type-var]
        return key, self.pop(key)

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(self._unsorted()))  # type: ignore[type-var]

    def unordered(self) -> Iterator[tuple[K, V]]:
        """Keys and values in an order that differs from server to server: quick, for what the order plays no part in."""
        return chain.from_iterable(map(dict.items, self._shards))

    def _unsorted(self) -> Iterator[K]:
        return chain.from_iterable(self._shards)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and all(other.get(key, _ABSENT) == self[key] for key in self._unsorted())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SnapshotDict of {self._length}>"

    def _copied(self, at: int) -> dict[K, V]:
        """A shard that a view may see is to be written to: a copy takes its place."""
        shard = self._shards[at] = self._shards[at].copy()
        self._made[at] = self._generation
        if self._copy is not None:
            self._owned[at] = set()
        return shard

    def _owned_of(self, at: int) -> set[K]:
        """The keys of a shard whose values no view may see."""
        if self._copy is None or self._made[at] != self._generation:
            return set()
        owned = self._owned[at]
        return set(self._shards[at]) if owned is None else owned

    def _split(self) -> None:
        """One more shard, with what belongs there out of the one whose turn it is."""
        if self._width > self._mask:
            self._mask = 2 * self._mask + 1
        at = self._width & self._mask >> 1
        owned = self._owned_of(at)
        stay: dict[K, V] = {}
        leave: dict[K, V] = {}
        for key, value in self._shards[at].items():
            (leave if hash((key,)) & self._mask == self._width else stay)[key] = value
        self._shards.append(leave)
        self._made.append(0)
        self._owned.append(None)
        self._set(at, stay, owned & stay.keys())
        self._set(self._width, leave, owned & leave.keys())
        self._width += 1

    def _merge(self) -> None:
        """One shard less: what is in the last one goes back to where it was split from."""
        last = self._width - 1
        at = last & self._mask >> 1
        owned = self._owned_of(at) | self._owned_of(last)
        self._set(at, {**self._shards[at], **self._shards.pop()}, owned)
        self._made.pop()
        self._owned.pop()
        self._width = last
        if last == (self._mask >> 1) + 1:
            self._mask >>= 1

    def _set(self, at: int, shard: dict[K, V], owned: set[K]) -> None:
        self._shards[at] = shard
        self._made[at] = self._generation
        self._owned[at] = None if self._copy is None or len(owned) == len(shard) else owned
