"""The work queue's commands and queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from txraft.errors import Refused
from txraft.machines.work_queue.bounds import (
    BATCH_MAX,
    BatchSize,
    BytesLimit,
    DeadLetter,
    DedupId,
    DedupIdsLimit,
    Delay,
    DeliveriesLimit,
    LengthLimit,
    MessageBody,
    Moment,
    MoveCount,
    Overflow,
    PageSize,
    Priority,
    QueueName,
    ReceiptText,
    State,
    Visibility,
    Wait,
    Window,
)
from txraft.machines.work_queue.items import Item
from txraft.machines.work_queue.named_queue import topic_of
from txraft.machines.work_queue.puts import put_all
from txraft.machines.work_queue.queues import Queues
from txraft.machines.work_queue.receipts import refusal_of
from txraft.machines.work_queue.records import (
    Acknowledged,
    Delivery,
    Extended,
    Message,
    Moved,
    NewMessage,
    Peeked,
    Removed,
    Returned,
    Stored,
)
from txraft.machines.work_queue.settings import changed_settings, milliseconds, shown_settings
from txraft.machines.work_queue.views import page_of, peeked, statistics
from txraft.statemachine import Context, StateMachine, command, query

__all__ = ["WorkQueue"]

Messages = Annotated[list[NewMessage], Meta(min_length=1, max_length=BATCH_MAX)]
Receipts = Annotated[list[ReceiptText], Meta(min_length=1, max_length=BATCH_MAX)]
Deliveries = list[Delivery]
ManyStored = list[Stored]
ManyPeeked = list[Peeked]


class WorkQueue(StateMachine):
    """Named work queues: a message that is taken comes back unless it is acknowledged in time."""

    version = 1

    def __init__(self) -> None:
        self.queues = Queues()

    @command
    def configure(
        self,
        ctx: Context,
        queue: QueueName,
        visibility_s: Visibility | None = None,
        max_deliveries: DeliveriesLimit | None = None,
        dead_letter: DeadLetter | None = None,
        max_length: LengthLimit | None = None,
        max_bytes: BytesLimit | None = None,
        overflow: Overflow | None = None,
        backoff_min_s: Delay | None = None,
        backoff_max_s: Delay | None = None,
        dedup_window_s: Window | None = None,
        dedup_ids_max: DedupIdsLimit | None = None,
    ) -> dict[str, Any]:
        """Change those settings of a queue that are given, and create it if need be; all its settings.

        `max_deliveries` 0: no limit. `dead_letter` "": the queue's own name with .dead behind it.
        """
        changes = {name: value for name, value in locals().items() if name not in ("self", "ctx", "queue")}
        found = self.queues.own(self.queues.find_or_make(queue, ctx.time_ms))
        settings = changed_settings(queue, found.settings, changes, self.queues.by_name)
        self.queues.add(ctx, found)
        self.queues.now_ms = ctx.time_ms
        shown = shown_settings(queue, settings)
        if settings != found.settings:
            found.settings = settings
            ctx.emit(queue, type="configured", settings=shown)
            self.queues.look_at_limits(found, ctx.time_ms)
        return shown

    @command
    def put(
        self,
        ctx: Context,
        queue: QueueName,
        body: MessageBody,
        priority: Priority = 5,
        delay_s: Delay = 0.0,
        not_before: Moment | None = None,
        dedup_id: DedupId | None = None,
    ) -> Stored:
        """Put a message into a queue, which is created if need be; its id.

        It becomes ready after `delay_s`, and not before `not_before` (seconds since 1970). Of several with the same `dedup_id` within the
        queue's window, only the first is stored: the others are answered its id.
        """
        queues = self.queues
        found = queues.by_name.get(queue)
        is_plain = dedup_id is None and not delay_s and not_before is None
        if found is None or not is_plain or found.length >= found.settings.max_length or found.bytes + len(body) > found.settings.max_bytes:
            return put_all(ctx, queues, queue, [NewMessage(body, priority, delay_s, not_before, dedup_id)])[0]
        if found.generation != queues.generation:
            found = queues.own(found)
        now_ms = queues.now_ms = ctx.time_ms  # the same as put_all does, for what most puts are
        if now_ms >= found.mark_ms:
            found.mark(now_ms)
        message_id = queues.last_id = queues.last_id + 1
        found.append(Message(message_id, body, priority, now_ms))
        ctx.signal(found.topic)
        return Stored(message_id)

    @command
    def put_batch(self, ctx: Context, queue: QueueName, messages: Messages) -> ManyStored:
        """Put up to 100 messages, all or none."""
        return put_all(ctx, self.queues, queue, messages)

    @command
    def take(
        self, ctx: Context, queue: QueueName, count: BatchSize = 1, visibility_s: Visibility | None = None, wait_s: Wait = 0.0
    ) -> Deliveries:
        """Take up to `count` messages: by priority, then in the order of their puts. With `wait_s`, wait for the first.

        Each is in flight for `visibility_s` (if not given, the queue's), and comes back unless it is acknowledged by then.
        """
        queues = self.queues
        now_ms = queues.now_ms = ctx.time_ms
        found = queues.by_name.get(queue)
        if found is None or not found.occupied:
            return []
        if found.generation != queues.generation:
            found = queues.own(found)
        if now_ms >= found.mark_ms:
            found.mark(now_ms)
        due_ms = now_ms + (found.settings.visibility_ms if visibility_s is None else milliseconds(visibility_s))
        taken = found.take(count, due_ms)
        queues.timers.add_all(due_ms, taken, queue)
        return taken

    @command
    def ack(self, ctx: Context, queue: QueueName, receipt: ReceiptText) -> bool:
        """The message of this receipt is done with: it is removed."""
        queues = self.queues
        found = queues.by_name.get(queue)
        if found is None or found.generation != queues.generation:
            found = queues.own_named(queue)
        now_ms = ctx.time_ms
        message_id = found.acknowledge(receipt, now_ms)
        if message_id is None:
            raise refusal_of(found, receipt)
        queues.now_ms = now_ms
        queues.timers.gone(message_id)
        return True

    @command
    def ack_batch(self, ctx: Context, queue: QueueName, receipts: Receipts) -> Acknowledged:
        """The same for up to 100; those that are stale are named, and do not hold up the others."""
        queues = self.queues
        found = queues.own_named(queue)
        stale: list[str] = []
        for receipt in receipts:
            message_id = found.acknowledge(receipt, ctx.time_ms)
            if message_id is None:
                stale.append(receipt)
            else:
                queues.now_ms = ctx.time_ms
                queues.timers.gone(message_id)
        return Acknowledged(len(receipts) - len(stale), stale)

    @command
    def nack(self, ctx: Context, queue: QueueName, receipt: ReceiptText, delay_s: Delay | None = None) -> Returned:
        """The message of this receipt could not be done: it is delivered again, or becomes a dead letter.

        If `delay_s` is not given, it is held back for the queue's back-off.
        """
        queues = self.queues
        found = queues.by_name.get(queue)
        if found is None or found.generation != queues.generation:
            found = queues.own_named(queue)
        message = found.in_flight_under(receipt)
        if message is None:
            raise refusal_of(found, receipt)
        now_ms = queues.now_ms = ctx.time_ms
        settings = found.settings
        if delay_s is None:
            delay_ms = min(settings.backoff_min_ms * message.deliveries, settings.backoff_max_ms)
        else:
            delay_ms = milliseconds(delay_s)
        found.totals.nacked += 1
        returned = queues.give_back(ctx, found, message, now_ms + delay_ms)
        if returned.state == "ready":
            ctx.signal(found.topic)
        return returned

    @command
    def extend(self, ctx: Context, queue: QueueName, receipt: ReceiptText, visibility_s: Visibility | None = None) -> Extended:
        """The message of this receipt is still being worked on: it stays in flight for `visibility_s` from now on.

        If that is not given, for the queue's visibility timeout.
        """
        queues = self.queues
        found = queues.by_name.get(queue)
        if found is None or found.generation != queues.generation:
            found = queues.own_named(queue)
        now_ms = ctx.time_ms
        due_ms = now_ms + (found.settings.visibility_ms if visibility_s is None else milliseconds(visibility_s))
        message = found.extend(receipt, due_ms)
        if message is None:
            raise refusal_of(found, receipt)
        queues.now_ms = now_ms
        if due_ms < message.due_ms:  # a later one is found when the timer goes off
            queues.timers.add(due_ms, message.id, queue)
        return Extended(due_ms)

    @command
    def move(self, ctx: Context, queue: QueueName, to: QueueName, count: MoveCount = 100) -> Moved:
        """Move ready messages to another queue, as many as it has room for: back from the dead letters, for one.

        Their deliveries are counted from 0 again. Nothing is dropped to make room for them.
        """
        source, now_ms = self.queues.own_named(queue), ctx.time_ms
        target = self.queues.own(self.queues.find_or_make(to, now_ms))
        if source is target:
            raise Refused("same_queue", f"messages of {queue!r} cannot be moved to {to!r}: it is the same queue")
        moved = 0
        while moved < count and source.occupied and target.has_room(1, len(source.head().body)):
            message = source.pop()
            source.leave(message)
            self.queues.receive(target, message, "")
            moved += 1
        if source.occupied and not moved:
            raise Refused("queue_full", f"{to!r} has no room for the first message of {queue!r}")
        self.queues.now_ms = now_ms
        source.totals.moved += moved
        if moved:
            self.queues.add(ctx, target)
            ctx.emit(queue, type="moved", to=to, count=moved)
            ctx.signal(target.topic)
        return Moved(moved, source.ready)

    @command
    def purge(self, ctx: Context, queue: QueueName) -> Removed:
        """Remove all messages of a queue, those in flight and delayed too; how many."""
        found = self.queues.own_named(queue)
        self.queues.now_ms = ctx.time_ms
        purged = self.queues.clear(found, ctx.time_ms)
        found.totals.purged += purged
        ctx.emit(queue, type="purged", count=purged)
        return Removed(purged)

    @command
    def delete(self, ctx: Context, queue: QueueName) -> Removed:
        """Remove a queue with its messages and settings; how many messages that were."""
        found = self.queues.own_named(queue)
        self.queues.now_ms = ctx.time_ms
        removed = self.queues.remove(found, ctx.time_ms)
        ctx.emit(queue, type="deleted", count=removed)
        return Removed(removed)

    @query
    def peek(self, queue: QueueName, count: BatchSize = 1, state: State = "ready") -> ManyPeeked:
        """The first messages of a queue, without taking them: ready ones as in a take, others as they were taken or delayed."""
        return peeked(self.queues.find(queue), count, state)

    @query
    def stats(self, queue: QueueName) -> dict[str, Any]:
        """How a queue is doing: what is in it, what has happened since it was created, rates, and its settings."""
        return statistics(self.queues, self.queues.find(queue))

    @query
    def list(self, prefix: str = "", after: str = "", limit: PageSize = 100) -> dict[str, Any]:
        """Queues by name: those that begin with `prefix`, from the first after `after` on. `next`: what to pass as `after` for more."""
        return page_of(self.queues, prefix, after, limit)

    def apply_command(self, ctx: Context, name: str, arguments: msgspec.Struct) -> Any:
        """See `StateMachine`. By position, which is quicker: the arguments stand in the order of the parameters."""
        return getattr(self, name)(ctx, *astuple(arguments))

    def waits_on(self, name: str, arguments: msgspec.Struct) -> bytes | None:
        """See `StateMachine`."""
        return topic_of(arguments.queue)  # type: ignore[attr-defined]

    def demand(self, name: str, arguments: msgspec.Struct) -> int:
        """See `StateMachine`."""
        return arguments.count  # type: ignore[attr-defined,no-any-return]

    def supply(self, topic: bytes) -> int:
        """See `StateMachine`."""
        found = self.queues.by_name.get(topic.partition(b":")[2].decode())
        return 0 if found is None else found.ready

    def deadline(self) -> float | None:
        """See `StateMachine`."""
        return self.queues.timers.wake

    def expire(self, ctx: Context) -> None:
        """See `StateMachine`."""
        self.queues.expire(ctx)

    def snapshot(self) -> Iterator[Item]:
        """See `StateMachine`."""
        return self.queues.capture()

    def restore(self, state: Any) -> None:
        """See `StateMachine`."""
        self.queues.restore(state)
