"""All queues together: which there are, how messages go from one to another, and what happens when their time has come."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from txraft.errors import Refused
from txraft.machines.work_queue.bounds import NEVER_MS, QUEUES_MAX
from txraft.machines.work_queue.discards import Discards, Part
from txraft.machines.work_queue.items import DedupItem, Item, MachineItem, MessagesItem, items_of, typed_items
from txraft.machines.work_queue.named_queue import MARK_MS, NamedQueue
from txraft.machines.work_queue.records import Message, Returned
from txraft.machines.work_queue.settings import dead_letter_queue
from txraft.machines.work_queue.timers import Timers
from txraft.machines.work_queue.trims import DROPPED_AT_ONCE, TRIM_PAUSE_MS, Trims, drops_for
from txraft.statemachine import Context

__all__ = ["EXPIRED_AT_ONCE", "EXPIRE_PAUSE_MS", "Queues"]

EXPIRED_AT_ONCE = 1_000
"""Messages that become ready by themselves in one go: a few milliseconds."""

EXPIRE_PAUSE_MS = 20
"""When more are due than that, the rest follows after this much log time. Until then they are what they were."""

DROPS_TOLD_MS = 1_000
"""Dropped messages are told of no more often than this."""


class Queues:
    """The state of the machine.

    Attributes:
        by_name: the queues. Those of an older generation than this may be seen by a view: only what `own` gives is to be changed.
        generation: how many views were taken.
        names: theirs, sorted.
        timers: of all messages that are in flight or delayed.
        trims: of queues that hold more than they may.
        discards: what was removed, but is not freed.
        last_id: of the newest message.
        now_ms: the newest log time that a command brought.
        dropped: messages that made room for dead letters in the present portion of what is due.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, NamedQueue] = {}
        self.generation = 0
        self.names: list[str] = []
        self.timers = Timers(self.by_name)
        self.trims = Trims(self.by_name)
        self.discards = Discards()
        self.last_id = 0
        self.now_ms = 0
        self.dropped = 0

    def find(self, name: str) -> NamedQueue:
        """A queue. Raises `Refused` `queue_not_found`."""
        found = self.by_name.get(name)
        if found is None:
            raise Refused("queue_not_found", f"there is no queue {name!r}")
        return found

    def find_or_make(self, name: str, now_ms: int) -> NamedQueue:
        """A queue, or a new one that `add` is still to be told of. Raises `Refused` `too_many_queues`."""
        found = self.by_name.get(name)
        if found is None:
            if len(self.by_name) >= QUEUES_MAX:
                raise Refused("too_many_queues", f"there are {QUEUES_MAX} queues, as many as may be; delete one, or use another")
            found = NamedQueue(name, now_ms, self.generation)
        return found

    def own(self, queue: NamedQueue) -> NamedQueue:
        """The same queue, to be changed: if a view may see it, another one takes its place."""
        if queue.generation != self.generation:
            queue = self.by_name[queue.name] = queue.fork(self.generation)
        return queue

    def own_named(self, name: str) -> NamedQueue:
        """A queue, to be changed. Raises `Refused` `queue_not_found`."""
        return self.own(self.find(name))

    def add(self, ctx: Context, queue: NamedQueue) -> None:
        """Have the queue from now on, if it is new."""
        if queue.name not in self.by_name:
            self.by_name[queue.name] = queue
            insort(self.names, queue.name)
            ctx.emit(queue.name, type="created")

    def remove(self, queue: NamedQueue, now_ms: int) -> int:
        """Have an own one no more, nor its messages; how many."""
        cleared = self.clear(queue, now_ms)
        known = len(queue.dedup)
        self._discard(queue.dedup.clear(), known, now_ms)
        del self.by_name[queue.name]
        del self.names[bisect_left(self.names, queue.name)]
        return cleared

    def clear(self, queue: NamedQueue, now_ms: int) -> int:
        """Remove all messages of an own queue; how many."""
        cleared = queue.length
        parts = queue.clear()
        self._discard([self.timers.sweep(), *parts], cleared, now_ms)
        return cleared

    def _discard(self, parts: list[Part], count: int, now_ms: int) -> None:
        self.discards.add(parts, count, now_ms)
        if self.discards.at_ms < self.timers.wake_ms:
            self.timers.wake_at(self.discards.at_ms)

    # Messages.

    def put(self, ctx: Context, queue: NamedQueue, message: Message, due_ms: int) -> None:
        """Put a new message into an own queue that has room, or can make it."""
        if not queue.has_room(1, len(message.body)):
            self.make_room(ctx, queue, 1, len(message.body), DROPPED_AT_ONCE)
        queue.enter(message)
        queue.totals.put += 1
        if due_ms > ctx.time_ms:
            self._delay(queue, message, due_ms)
        else:
            queue.make_ready(message)

    def make_room(self, ctx: Context, queue: NamedQueue, count: int, size: int, dropped_max: int) -> int:
        """Drop messages of an own queue if need be, and tell of it, but not of each; how many."""
        dropped = queue.make_room(count, size, dropped_max)
        if dropped and ctx.time_ms >= queue.told_ms + DROPS_TOLD_MS:
            queue.told_ms = ctx.time_ms
            ctx.emit(queue.name, type="dropped", total=queue.totals.dropped)
        return dropped

    def look_at_limits(self, queue: NamedQueue, now_ms: int) -> None:
        """Limits were lowered, or a message has become ready: if there is too much now, see to it that it goes."""
        if queue.is_overfull:
            self.trims.note(queue, now_ms)
            if self.trims.at_ms < self.timers.wake_ms:
                self.timers.wake_at(self.trims.at_ms)

    def give_back(self, ctx: Context, queue: NamedQueue, message: Message, due_ms: int) -> Returned:
        """A message in flight in an own queue was not acknowledged: it is delivered again, unless it was too often."""
        queue.in_flight.pop(message.id)
        queue.held_bytes -= len(message.body)
        most = queue.settings.max_deliveries
        if most and message.deliveries >= most:
            target = self._dead_letter(ctx, queue, message)
            if target is not None:
                self.timers.gone(message.id)
                return Returned("dead", queue=target)
            queue.totals.dead_refused += 1
        self.timers.gone(message.id)
        if due_ms > ctx.time_ms:
            self._delay(queue, message, due_ms)
            return Returned("delayed", due_ms)
        queue.make_ready(message)
        self.look_at_limits(queue, ctx.time_ms)
        return Returned("ready")

    def _delay(self, queue: NamedQueue, message: Message, due_ms: int) -> None:
        queue.hold(message, due_ms)
        self.timers.add(due_ms, message.id, queue.name)

    def _dead_letter(self, ctx: Context, queue: NamedQueue, message: Message) -> str | None:
        """Move a released message to the dead-letter queue; its name. None if there is no room: rather delivered too often than lost."""
        name, size = dead_letter_queue(queue.name, queue.settings), len(message.body)
        try:
            target = self.own(self.find_or_make(name, ctx.time_ms))
        except Refused:
            return None
        if not target.can_make_room(1, size) or drops_for(target, [size], [True]) > DROPPED_AT_ONCE:
            return None
        self.add(ctx, target)
        self.dropped += self.make_room(ctx, target, 1, size, DROPPED_AT_ONCE)
        ctx.emit(queue.name, type="dead_lettered", id=message.id, deliveries=message.deliveries, to=name)
        queue.leave(message)
        queue.totals.dead += 1
        self.receive(target, message, queue.name)
        ctx.signal(target.topic)
        return name

    def receive(self, queue: NamedQueue, message: Message, origin: str) -> None:
        """A message comes to an own queue from another, and begins anew."""
        message = replace(message, forgiven=message.taken, origin=origin)
        queue.enter(message)
        queue.make_ready(message)
        queue.totals.received += 1

    # Time.

    def expire(self, ctx: Context) -> None:
        """Make ready what is due, and drop what is too much; or a good part of it."""
        now_ms = self.now_ms = ctx.time_ms
        self._ripen(ctx, now_ms)
        if self.trims.at_ms <= now_ms:
            self._trim(ctx, now_ms)
        if self.discards.at_ms <= now_ms:
            self.discards.free(now_ms)
        next_ms = self.timers.next_ms()
        self.timers.wake_at(min(self.trims.at_ms, self.discards.at_ms, next_ms if next_ms > now_ms else now_ms + EXPIRE_PAUSE_MS))

    def _ripen(self, ctx: Context, now_ms: int) -> None:
        timers = self.timers
        stirred: dict[bytes, None] = {}
        timers.sweep()
        self.dropped = 0
        for _ in range(EXPIRED_AT_ONCE):
            found = timers.pop_due(now_ms) if self.dropped < EXPIRED_AT_ONCE else None
            if found is None:
                break
            queue, message = found
            if queue.generation != self.generation:
                queue = self.own(queue)
            if message.id in queue.in_flight.places:
                queue.totals.expired += 1
                self.give_back(ctx, queue, message, now_ms)
            else:
                queue.delayed.pop(message.id)
                queue.held_bytes -= len(message.body)
                queue.make_ready(message)
                self.look_at_limits(queue, now_ms)
            stirred[queue.topic] = None
        for topic in stirred:
            ctx.signal(topic)

    def _trim(self, ctx: Context, now_ms: int) -> None:
        left = DROPPED_AT_ONCE
        for queue in self.trims.overfull():
            left -= self.make_room(ctx, self.own(queue), 0, 0, left)
        self.trims.at_ms = now_ms + TRIM_PAUSE_MS if self.trims.overfull() else NEVER_MS

    # Snapshots.

    def capture(self) -> Iterator[Item]:
        """The state as it is now, for a snapshot; item by item, whatever happens meanwhile."""
        self.generation += 1
        machine = MachineItem(self.last_id, self.now_ms, self.timers.wake_ms, self.trims.at_ms, self.discards.left, self.discards.at_ms)
        return items_of(machine, list(self.by_name.values()))

    def restore(self, items: Iterable[Any]) -> None:
        """Have what a snapshot had. Raises `ValueError` or `KeyError` if it was none."""
        typed = typed_items(items)
        machine = next(typed, None)
        if not isinstance(machine, MachineItem):
            raise ValueError("the state of a work queue begins with what concerns all queues")
        for item in typed:
            if isinstance(item, MessagesItem):
                self.by_name[item.queue].fill(item.state, item.messages)
            elif isinstance(item, DedupItem):
                self.by_name[item.queue].dedup.restore(item.noted)
            elif isinstance(item, MachineItem) or item.name in self.by_name:
                raise ValueError(f"there is a second {item!r:.100}")
            else:
                queue = self.by_name[item.name] = NamedQueue(item.name, item.created_ms)
                queue.settings, queue.totals, queue.marks, queue.told_ms = item.settings, item.totals, item.marks, item.told_ms
                queue.mark_ms = queue.marks[1].time_ms + MARK_MS
        self.last_id, self.now_ms = machine.last_id, machine.now_ms
        self.names = sorted(self.by_name)
        self.timers.restore(machine.wake_ms)
        self.trims.restore(machine.trim_ms)
        self.discards.restore(machine.unfreed, machine.free_ms)
