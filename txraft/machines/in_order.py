"""Putting a great many keys in order without holding the interpreter for long: another thread has to answer meanwhile."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from itertools import chain, islice
from typing import Any

from sortedcontainers import SortedList

__all__ = ["sorted_list"]

RUN = 4_096
"""Keys sorted at one go, which takes a few milliseconds."""

SAMPLES = 8
"""Keys of each run that go into the sample; and of the sample, what lies between two cuts."""

STAGGER = 317
"""Has no divisor in common with what lies between two samples of a run."""


def sorted_list(keys: Collection[Any]) -> SortedList[Any]:
    """The same as `SortedList(keys)`, which sorts all of them in one call: half a second for a million, in which no other thread runs.

    That they are in order already it sees in some hundredths of a second; to add them in portions takes it a second.
    """
    return SortedList(keys if len(keys) <= RUN else chain.from_iterable(_portions(keys)))


def _portions(keys: Collection[Any]) -> Iterator[list[Any]]:
    """All keys in order, in portions of about a run: runs are sorted and cut where a sample says; what lies between two cuts is a portion.

    Source: Shi and Schaeffer, Parallel sorting by regular sampling (1992).
    """
    rest, runs = iter(keys), []
    while run := list(islice(rest, RUN)):
        run.sort()
        runs.append(run)
    apart = RUN // SAMPLES
    # Each run is sampled at other places: at the same ones, they would all have about the same keys there, and few cuts lay between.
    sample = sorted(key for number, run in enumerate(runs) for key in run[STAGGER * number % apart :: apart])
    begun = [0] * len(runs)
    for cut in [*sample[SAMPLES::SAMPLES], None]:
        portion = []
        for number, run in enumerate(runs):
            stop = len(run) if cut is None else bisect_left(run, cut, begun[number])
            portion += run[begun[number] : stop]
            begun[number] = stop
        portion.sort()
        yield portion
