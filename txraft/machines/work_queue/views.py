"""What can be seen of a queue without changing it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from msgspec.structs import asdict

from txraft.machines.work_queue.bounds import TAKEN_BYTES_MAX
from txraft.machines.work_queue.named_queue import NamedQueue
from txraft.machines.work_queue.queues import Queues
from txraft.machines.work_queue.records import Message, Peeked
from txraft.machines.work_queue.settings import dead_letter_queue, shown_settings

__all__ = ["page_of", "peeked", "statistics"]


def peeked(queue: NamedQueue, count: int, state: str) -> list[Peeked]:
    """The first messages of a queue in this state, as many as fit into an answer."""
    shown: list[Peeked] = []
    room = TAKEN_BYTES_MAX
    for message in islice(_in_state(queue, count, state), count):
        room -= len(message.body)
        if room < 0 and shown:
            break
        due_ms = 0 if state == "ready" else message.due_ms
        shown.append(Peeked(message.id, message.body, message.priority, message.deliveries, message.put_ms, message.origin, due_ms))
    return shown


def _in_state(queue: NamedQueue, count: int, state: str) -> Iterator[Message]:
    if state == "ready":
        return chain.from_iterable(lane.first(count) for lane in queue.occupied_lanes())
    return (queue.in_flight if state == "in_flight" else queue.delayed).values()


def statistics(queues: Queues, queue: NamedQueue) -> dict[str, Any]:
    """How a queue is doing, as of the newest log time that the machine has seen."""
    dead = queues.by_name.get(dead_letter_queue(queue.name, queue.settings))
    oldest_ms = min((lane.head().put_ms for lane in queue.occupied_lanes()), default=None)
    return {
        "queue": queue.name,
        **_counts(queue),
        "dead": 0 if dead is None else dead.length,
        "bytes": queue.bytes,
        "ready_by_priority": [0 if lane is None else lane.length for lane in queue.lanes],
        "oldest_age_s": None if oldest_ms is None else (queues.now_ms - oldest_ms) / 1000,
        "totals": asdict(queue.totals),
        "rates": _rates(queue, queues.now_ms),
        "settings": shown_settings(queue.name, queue.settings),
        "created_ms": queue.created_ms,
        "time_ms": queues.now_ms,
    }


def _counts(queue: NamedQueue) -> dict[str, int]:
    return {"length": queue.length, "ready": queue.ready, "in_flight": len(queue.in_flight), "delayed": len(queue.delayed)}


def _rates(queue: NamedQueue, now_ms: int) -> dict[str, float]:
    """Messages per second of log time since the older mark."""
    before, totals = queue.marks[0], queue.totals
    span_s = (now_ms - before.time_ms) / 1000
    since = {"put": totals.put - before.put, "delivered": totals.delivered - before.delivered, "acked": totals.acked - before.acked}
    return {f"{what}_per_s": round(count / span_s, 3) if span_s > 0 else 0.0 for what, count in since.items()}


def page_of(queues: Queues, prefix: str, after: str, limit: int) -> dict[str, Any]:
    """Queues by name, with what is in them."""
    names = queues.names
    start = max(bisect_left(names, prefix), bisect_right(names, after))
    page = [name for name in names[start : start + limit + 1] if name.startswith(prefix)]
    shown: Iterable[NamedQueue] = (queues.by_name[name] for name in page[:limit])
    rows = [{"queue": queue.name, **_counts(queue), "bytes": queue.bytes} for queue in shown]
    return {"queues": rows, "next": page[limit - 1] if len(page) > limit else None}
