"""A dict of which a frozen view costs nothing, and which costs nothing more than a dict while there is no view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Generic, TypeVar
from weakref import ref

__all__ = ["LayeredDict"]

V = TypeVar("V")

MERGED_AT_ONCE = 16
"""Values that go back to the lower layer along with one that is looked for there."""


class Reader:
    """Those who may still read a lower layer hold this. When it is gone, they are."""

    __slots__ = ("__weakref__",)


class LayeredDict(Generic[V]):
    """Values by name; None is no value.

    All of it is in `top` until a view is taken. The view takes this dict as it is: it does not change any more, and what is written goes to
    a new one on top of it. Names that are not found on top are looked for below. Once nobody reads the lower layer any more, the upper one
    goes back into it little by little, along with such look-ups.

    A view is given up by reading it to its end, or by forgetting it.

    Attributes:
        top: for hot paths. A name that is in it has the value that is there, None for none; one that is not may be `below`. It may be
            another dict after any call of a method here.
        below: the lower layer; None: there is none.
    """

    def __init__(self) -> None:
        self.top: dict[str, V | None] = {}
        self.below: dict[str, V | None] | None = None
        self._reader: Callable[[], Reader | None] = lambda: None

    def get(self, name: str) -> V | None:
        """The value of a name; None if there is none."""
        value = self.top.get(name)
        return self.find_below(name) if value is None and self.below is not None else value

    def find_below(self, name: str) -> V | None:
        """The value of a name that has none on top."""
        if self.below is None or name in self.top:
            return None
        value = self.below.get(name)
        if self._reader() is None:
            self._merge(self.below)
        return value

    def put(self, name: str, value: V) -> None:
        """Give a name a value."""
        self.top[name] = value

    def remove(self, name: str) -> None:
        """A name has no value any more."""
        if self.below is None:
            self.top.pop(name, None)
        else:
            self.top[name] = None

    def frozen(self) -> Iterator[tuple[str, V]]:
        """All names and values as they are now, in no order, once: for another thread."""
        if self.below is None:
            self.below, self.top = self.top, {}
        reader = self._reader() or Reader()
        self._reader = ref(reader)
        return _pairs(self.below, self.top.copy(), reader)

    def _merge(self, below: dict[str, V | None]) -> None:
        for _ in range(min(MERGED_AT_ONCE, len(self.top))):
            name, value = self.top.popitem()
            if value is None:
                below.pop(name, None)
            else:
                below[name] = value
        if not self.top:
            self.top, self.below = below, None


def _pairs(below: dict[str, V | None], top: dict[str, V | None], reader: Reader) -> Iterator[tuple[str, V]]:
    """What a view gives. It has the reader as long as it may look at `below`."""
    lower = ((name, value) for name, value in below.items() if name not in top) if top else below.items()
    for name, value in chain(lower, top.items()):
        if value is not None:
            yield name, value
    del reader  # there was nothing else to do with it
