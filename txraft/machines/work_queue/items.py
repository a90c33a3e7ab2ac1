"""The state of the machine as a stream of items, each a small piece of plain data: what a snapshot consists of.

Which items there are follows from the state alone, not from how it came about: digests are compared over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from txraft.machines.work_queue.arrivals import given_away
from txraft.machines.work_queue.bounds import State
from txraft.machines.work_queue.dedup import Noted
from txraft.machines.work_queue.lanes import by_id
from txraft.machines.work_queue.named_queue import NamedQueue
from txraft.machines.work_queue.records import Mark, Message, Settings, Totals

__all__ = ["ITEM_BYTES", "ITEM_MESSAGES", "DedupItem", "Item", "MachineItem", "MessagesItem", "QueueItem", "items_of", "typed_items"]

ITEM_MESSAGES = 100
"""Messages in an item, or ids."""

ITEM_BYTES = 32_768
"""An item is full when the bodies in it have reached this."""


class MachineItem(msgspec.Struct, array_like=True, frozen=True, tag="machine"):
    """What concerns all queues; the first item."""

    last_id: int
    now_ms: int
    wake_ms: int
    trim_ms: int
    unfreed: int
    free_ms: int


class QueueItem(msgspec.Struct, array_like=True, frozen=True, tag="queue"):
    """A queue; its messages and ids follow it."""

    name: str
    created_ms: int
    settings: Settings
    totals: Totals
    marks: tuple[Mark, Mark]
    told_ms: int


class MessagesItem(msgspec.Struct, array_like=True, frozen=True, tag="messages"):
    """Some messages of a queue. Ready ones by priority and id; those in flight and those delayed in the order in which they became so.

    Attributes:
        first: the place of the first one in that order.
    """

    queue: str
    state: State
    first: int
    messages: list[Message]


class DedupItem(msgspec.Struct, array_like=True, frozen=True, tag="dedup"):
    """Some ids that a queue knows, in the order in which they came; `first` as in `MessagesItem`."""

    queue: str
    first: int
    noted: list[Noted]


Item = MachineItem | QueueItem | MessagesItem | DedupItem


def items_of(machine: MachineItem, queues: list[NamedQueue]) -> Iterator[Item]:
    """All items. It runs in another thread, so the queues must be frozen: whoever changes one forks it first. The list is emptied."""
    yield machine
    for queue in given_away(queues):
        yield QueueItem(queue.name, queue.created_ms, queue.settings, queue.totals, queue.marks, queue.told_ms)
        name = queue.name
        lanes = [lane.pieces() for lane in queue.occupied_lanes()]
        held: list[tuple[State, list[dict[int, Message]]]] = [
            ("in_flight", [*queue.in_flight.pieces.values()]),
            ("delayed", [*queue.delayed.pieces.values()]),
        ]
        noted = queue.dedup.all()
        del queue  # nobody else may have it any more, and millions of messages with it: they are to go piece by piece
        yield from _messages(name, "ready", chain.from_iterable(by_id(*pieces) for pieces in given_away(lanes)))
        for state, pieces in held:
            yield from _messages(name, state, chain.from_iterable(piece.values() for piece in given_away(pieces)))
        first = 0
        while some := list(islice(noted, ITEM_MESSAGES)):
            yield DedupItem(name, first, some)
            first += len(some)


def _messages(queue: str, state: State, messages: Iterable[Message]) -> Iterator[MessagesItem]:
    first = size = 0
    some: list[Message] = []
    for message in messages:
        some.append(message)
        size += len(message.body)
        if size >= ITEM_BYTES or len(some) == ITEM_MESSAGES:
            yield MessagesItem(queue, state, first, some)
            first, size, some = first + len(some), 0, []
    if some:
        yield MessagesItem(queue, state, first, some)


def typed_items(items: Iterable[Any]) -> Iterator[Item]:
    """Items as they come back. Raises `ValueError` (`msgspec.ValidationError` is one) if it is not one, or one is missing."""
    places: dict[tuple[str, str], int] = {}
    for plain in items:
        item: Item = msgspec.convert(plain, Item, builtin_types=(bytes,))
        if isinstance(item, MessagesItem | DedupItem):
            state, count = ("dedup", len(item.noted)) if isinstance(item, DedupItem) else (item.state, len(item.messages))
            place = places.get((item.queue, state), 0)
            if item.first != place:
                raise ValueError(
                    f"{state} of queue {item.queue!r} go on at {item.first}, not at {place}: items are missing, or out of order"
                )
            places[item.queue, state] = place + count
        yield item
