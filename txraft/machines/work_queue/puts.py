"""Putting messages: all checks first, for the whole batch, then all changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from txraft.errors import Refused
from txraft.machines.work_queue.bounds import DELAY_S_MAX
from txraft.machines.work_queue.named_queue import NamedQueue
from txraft.machines.work_queue.queues import Queues
from txraft.machines.work_queue.records import Message, NewMessage, Stored
from txraft.machines.work_queue.settings import milliseconds
from txraft.machines.work_queue.trims import DROPPED_AT_ONCE, drops_for
from txraft.statemachine import Context

__all__ = ["put_all"]

Planned = tuple[Message, int, str | None]
"""A message to be stored, when it becomes ready, and the id under which to know it again."""


def put_all(ctx: Context, queues: Queues, name: str, messages: Sequence[NewMessage]) -> list[Stored]:
    """Put messages, all or none.

    Raises:
        Refused: `too_many_queues`, `too_far_ahead`, `too_large`, `queue_full`.
    """
    now_ms = ctx.time_ms
    queue = queues.own(queues.find_or_make(name, now_ms))
    stored, planned = _plan(queue, messages, now_ms, queues.last_id)
    _check_room(queue, planned, now_ms)
    settings = queue.settings
    queues.add(ctx, queue)
    queues.now_ms = now_ms
    if now_ms >= queue.mark_ms:
        queue.mark(now_ms)
    for message, due_ms, dedup_id in planned:
        queues.put(ctx, queue, message, due_ms)
        if dedup_id is not None:
            since_ms = now_ms - settings.dedup_window_ms
            queue.dedup.note(dedup_id, now_ms, message.id, since_ms, settings.dedup_ids_max)
    queues.last_id += len(planned)
    queue.totals.duplicate += len(stored) - len(planned)
    if any(due_ms <= now_ms for _, due_ms, _ in planned):
        ctx.signal(queue.topic)
    return stored


def _plan(queue: NamedQueue, messages: Sequence[NewMessage], now_ms: int, last_id: int) -> tuple[list[Stored], list[Planned]]:
    settings = queue.settings
    deduplicates = settings.dedup_window_ms > 0 and settings.dedup_ids_max > 0
    since_ms = now_ms - settings.dedup_window_ms
    stored: list[Stored] = []
    planned: list[Planned] = []
    in_batch: dict[str, int] = {}
    for message in messages:
        due_ms = _due_ms(message, now_ms)
        dedup_id = message.dedup_id if deduplicates else None
        if dedup_id is not None:
            earlier = in_batch.get(dedup_id) or queue.dedup.find(dedup_id, since_ms)
            if earlier is not None:
                stored.append(Stored(earlier, duplicate=True))
                continue
            in_batch[dedup_id] = last_id + 1
        last_id += 1
        stored.append(Stored(last_id))
        held_ms = due_ms if due_ms > now_ms else 0
        planned.append((Message(last_id, message.body, message.priority, now_ms, 0, 0, held_ms), due_ms, dedup_id))
    return stored, planned


def _due_ms(message: NewMessage, now_ms: int) -> int:
    due_ms = now_ms + milliseconds(message.delay_s)
    if message.not_before is not None:
        due_ms = max(due_ms, math.ceil(message.not_before * 1000))
        if due_ms > now_ms + DELAY_S_MAX * 1000:
            raise Refused("too_far_ahead", f"not_before is {(due_ms - now_ms) / 1000:.0f} s ahead, more than the {DELAY_S_MAX} allowed")
    return due_ms


def _check_room(queue: NamedQueue, planned: Sequence[Planned], now_ms: int) -> None:
    settings = queue.settings
    for message, _, _ in planned:
        if len(message.body) > settings.max_bytes:
            raise Refused(
                "too_large", f"a body of {len(message.body)} bytes is more than the whole queue may hold: max_bytes is {settings.max_bytes}"
            )
    if settings.overflow == "reject":
        if not queue.has_room(len(planned), sum(len(message.body) for message, _, _ in planned)):
            raise _full(queue, "")
        return
    # Each may displace what is ready by then, those before it in the batch too; what is delayed stays.
    count = size = 0
    for message, due_ms, _ in planned:
        if not queue.can_make_room(count + 1, size + len(message.body)):
            raise _full(queue, ", and what is in flight or delayed is not dropped")
        if due_ms > now_ms:
            count, size = count + 1, size + len(message.body)
    sizes = [len(message.body) for message, _, _ in planned]
    if drops_for(queue, sizes, [due_ms <= now_ms for _, due_ms, _ in planned]) > DROPPED_AT_ONCE:
        raise _full(queue, f"; more than {DROPPED_AT_ONCE} messages would have to be dropped at once: {_remedy(queue)}")


def _remedy(queue: NamedQueue) -> str:
    if queue.is_overfull:
        return "the queue is being trimmed, because it holds more than it may, so put again later"
    return "put smaller messages, or lower max_bytes for a while, so that it is trimmed"


def _full(queue: NamedQueue, more: str) -> Refused:
    settings = queue.settings
    return Refused(
        "queue_full",
        f"{queue.name!r} has {queue.length} messages of {queue.bytes} bytes; "
        f"max_length is {settings.max_length} and max_bytes {settings.max_bytes}{more}",
    )
