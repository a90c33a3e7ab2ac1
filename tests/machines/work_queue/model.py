"""The work queue once more, as simply as can be: one list of messages for each queue, looked through from end to end for everything."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Model", "ModelQueue", "No"]

DEFAULTS: dict[str, Any] = {
    "visibility_s": 30,
    "max_deliveries": 0,
    "dead_letter": "",
    "max_length": 10_000_000,
    "max_bytes": 1 << 30,
    "overflow": "reject",
    "backoff_min_s": 0,
    "backoff_max_s": 3600,
    "dedup_window_s": 300,
    "dedup_ids_max": 10_000,
}


class No(Exception):
    """A refusal: its code and, for receipts, the reason."""


@dataclass
class ModelMessage:
    id: int
    body: bytes
    priority: int
    put_ms: int
    state: str = "ready"
    due_ms: int = 0
    deliveries: int = 0
    ever: int = 0
    origin: str = ""
    since: int = 0

    @property
    def receipt(self) -> str:
        return f"{self.id}-{self.ever}"


@dataclass
class ModelQueue:
    name: str
    drops_max: int
    settings: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    messages: list[ModelMessage] = field(default_factory=list)
    dedup: list[tuple[str, int, int]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        if number:
            self.totals[what] = self.totals.get(what, 0) + number

    def having(self, state: str) -> list[ModelMessage]:
        found = [message for message in self.messages if message.state == state]
        if state == "ready":
            return sorted(found, key=lambda message: (-message.priority, message.id))
        return sorted(found, key=lambda message: message.since)

    def fits(self, count: int, size: int) -> bool:
        held = sum(len(message.body) for message in self.messages)
        return bool(len(self.messages) + count <= self.settings["max_length"] and held + size <= self.settings["max_bytes"])

    def admit(self, size: int) -> bool:
        """Make room for one message; False, and nothing done, if there is none to be made."""
        if self.settings["overflow"] == "reject":
            return self.fits(1, size)
        before = list(self.messages)
        while not self.fits(1, size):
            droppable = sorted(self.having("ready"), key=lambda message: message.id)
            if not droppable:
                self.messages = before
                return False
            self.messages.remove(droppable[0])
        dropped = len(before) - len(self.messages)
        if dropped > self.drops_max:
            self.messages = before
            return False
        self.count("dropped", dropped)
        return True

    def is_overfull(self) -> bool:
        return bool(self.having("ready")) and self.settings["overflow"] == "drop_oldest" and not self.fits(0, 0)

    def trim(self, most: int) -> int:
        """Drop what is too much, up to so many; how many are left of these."""
        while most and self.is_overfull():
            self.messages.remove(min(self.having("ready"), key=lambda message: message.id))
            self.count("dropped")
            most -= 1
        return most

    def by_receipt(self, receipt: str) -> ModelMessage:
        for message in self.messages:
            if message.state == "in_flight" and message.receipt == receipt:
                return message
        named, _, _ = receipt.partition("-")
        for message in self.messages:
            if str(message.id) == named and message.ever:
                raise No("stale_receipt", message.state)
        raise No("stale_receipt", "gone")


class Model:
    def __init__(self, drops_max: int) -> None:
        self.drops_max = drops_max
        self.trim_ms: int | None = None
        self.queues: dict[str, ModelQueue] = {}
        self.now_ms = 0
        self.last_id = 0
        self.steps = 0

    def advance(self, now_ms: int) -> None:
        """Log time has come that far: what is due happens."""
        self.now_ms = now_ms
        due = [(one.due_ms, one.id, queue, one) for queue in self.queues.values() for one in queue.messages if one.state != "ready"]
        for _, _, queue, message in sorted((one for one in due if one[0] <= now_ms), key=lambda one: one[:2]):
            if message.state == "in_flight":
                queue.count("expired")
                self.give_back(queue, message, 0)
            else:
                message.state = "ready"
                self.look_at_limits(queue)
        if self.trim_ms is not None and self.trim_ms <= now_ms:
            most = self.drops_max
            for _, queue in sorted(self.queues.items()):
                most = queue.trim(most)
            self.trim_ms = None
            for queue in self.queues.values():
                self.look_at_limits(queue)

    def make(self, name: str) -> ModelQueue:
        return self.queues.get(name) or ModelQueue(name, self.drops_max)

    def look_at_limits(self, queue: ModelQueue) -> None:
        if self.trim_ms is None and queue.is_overfull():
            self.trim_ms = self.now_ms + 20

    def give_back(self, queue: ModelQueue, message: ModelMessage, delay_ms: int) -> dict[str, Any]:
        most = queue.settings["max_deliveries"]
        if most and message.deliveries >= most:
            name = queue.settings["dead_letter"] or queue.name + ".dead"
            target = self.make(name)
            if target.admit(len(message.body)):
                self.queues[name] = target
                queue.messages.remove(message)
                queue.count("dead")
                self.arrive(target, message, queue.name)
                return {"state": "dead", "queue": name}
            queue.count("dead_refused")
        if delay_ms:
            self.set_state(message, "delayed", self.now_ms + delay_ms)
            return {"state": "delayed", "due_ms": message.due_ms}
        message.state = "ready"
        self.look_at_limits(queue)
        return {"state": "ready"}

    def set_state(self, message: ModelMessage, state: str, due_ms: int) -> None:
        self.steps += 1
        message.state, message.due_ms, message.since = state, due_ms, self.steps

    def arrive(self, queue: ModelQueue, message: ModelMessage, origin: str) -> None:
        message.state, message.deliveries, message.origin = "ready", 0, origin
        queue.messages.append(message)
        queue.count("received")

    def find(self, name: str) -> ModelQueue:
        if name not in self.queues:
            raise No("queue_not_found")
        return self.queues[name]

    # The commands.

    def configure(self, queue: str, **changes: Any) -> dict[str, Any]:
        found = self.make(queue)
        settings = {**found.settings, **changes}
        if settings["backoff_min_s"] > settings["backoff_max_s"]:
            raise No("bad_setting")
        name, passed, of = queue, [queue], settings
        while of["max_deliveries"]:
            name = of["dead_letter"] or name + ".dead"
            if name == queue:
                raise No("dead_letter_circle")
            passed.append(name)
            if len(passed) > 16:
                raise No("bad_setting")
            of = self.queues[name].settings if name in self.queues else DEFAULTS
        self.queues[queue] = found
        found.settings = settings
        self.look_at_limits(found)
        return {**settings, "dead_letter": settings["dead_letter"] or (queue + ".dead" if settings["max_deliveries"] else None)}

    def put_batch(self, queue: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = self.make(queue)
        settings = found.settings
        since = self.now_ms - settings["dedup_window_s"] * 1000
        window = {key: number for key, time_ms, number in found.dedup if time_ms > since}
        new: list[tuple[ModelMessage, str | None]] = []
        answers: list[dict[str, Any]] = []
        for one in messages:
            due_ms = max(self.now_ms + round(one.get("delay_s", 0) * 1000), math.ceil(one.get("not_before", 0) * 1000))
            if one.get("not_before") and due_ms > self.now_ms + 31_536_000_000:
                raise No("too_far_ahead")
            key = one.get("dedup_id") if settings["dedup_window_s"] and settings["dedup_ids_max"] else None
            if key in window:
                answers.append({"id": window[key], "duplicate": True})
                continue
            message = ModelMessage(self.last_id + len(new) + 1, one["body"], one.get("priority", 5), self.now_ms)
            if key is not None:
                window[key] = message.id
            if due_ms > self.now_ms:
                message.state, message.due_ms = "delayed", due_ms
            answers.append({"id": message.id, "duplicate": False})
            new.append((message, key))
        if any(len(message.body) > settings["max_bytes"] for message, _ in new):
            raise No("too_large")
        if settings["overflow"] == "reject" and not found.fits(len(new), sum(len(message.body) for message, _ in new)):
            raise No("queue_full")
        before = list(found.messages), dict(found.totals)
        for message, _ in new:
            has_room = found.admit(len(message.body))
            if not has_room or found.totals.get("dropped", 0) - before[1].get("dropped", 0) > self.drops_max:
                found.messages, found.totals = before
                raise No("queue_full")
            found.messages.append(message)
        self.queues[queue] = found
        for message, key in new:
            if message.state == "delayed":
                self.set_state(message, "delayed", message.due_ms)
            if key is not None:
                kept = [one for one in found.dedup if one[1] > since]
                found.dedup = [*kept, (key, self.now_ms, message.id)][-settings["dedup_ids_max"] :]
        self.last_id += len(new)
        found.count("put", len(new))
        found.count("duplicate", len(messages) - len(new))
        return answers

    def put(self, queue: str, **message: Any) -> dict[str, Any]:
        return self.put_batch(queue, [message])[0]

    def take(self, queue: str, count: int = 1, visibility_s: float | None = None) -> list[dict[str, Any]]:
        if queue not in self.queues:
            return []
        found = self.queues[queue]
        seconds = found.settings["visibility_s"] if visibility_s is None else visibility_s
        taken = found.having("ready")[:count]
        for message in taken:
            message.deliveries, message.ever = message.deliveries + 1, message.ever + 1
            self.set_state(message, "in_flight", self.now_ms + round(seconds * 1000))
        found.count("delivered", len(taken))
        return [{"receipt": message.receipt, **shown(message)} for message in taken]

    def ack(self, queue: str, receipt: str) -> bool:
        found = self.find(queue)
        found.messages.remove(found.by_receipt(receipt))
        found.count("acked")
        return True

    def ack_batch(self, queue: str, receipts: list[str]) -> dict[str, Any]:
        self.find(queue)
        stale = []
        for receipt in receipts:
            try:
                self.ack(queue, receipt)
            except No:
                stale.append(receipt)
        return {"acked": len(receipts) - len(stale), "stale": stale}

    def nack(self, queue: str, receipt: str, delay_s: float | None = None) -> dict[str, Any]:
        found = self.find(queue)
        message = found.by_receipt(receipt)
        found.count("nacked")
        if delay_s is None:
            delay_s = min(found.settings["backoff_min_s"] * message.deliveries, found.settings["backoff_max_s"])
        return self.give_back(found, message, round(delay_s * 1000))

    def extend(self, queue: str, receipt: str, visibility_s: float | None = None) -> dict[str, Any]:
        found = self.find(queue)
        message = found.by_receipt(receipt)
        seconds = found.settings["visibility_s"] if visibility_s is None else visibility_s
        message.due_ms = self.now_ms + round(seconds * 1000)
        return {"until_ms": message.due_ms}

    def move(self, queue: str, to: str, count: int) -> dict[str, int]:
        source = self.find(queue)
        if queue == to:
            raise No("same_queue")
        target = self.make(to)
        ready = source.having("ready")[:count]
        moved = 0
        for message in ready:
            if not target.fits(1, len(message.body)):
                break
            source.messages.remove(message)
            self.arrive(target, message, "")
            self.queues[to] = target
            moved += 1
        if ready and not moved:
            raise No("queue_full")
        source.count("moved", moved)
        return {"moved": moved, "left": len(source.having("ready"))}

    def purge(self, queue: str) -> dict[str, int]:
        found = self.find(queue)
        purged = len(found.messages)
        found.messages = []
        found.count("purged", purged)
        return {"messages": purged}

    def delete(self, queue: str) -> dict[str, int]:
        found = self.find(queue)
        del self.queues[queue]
        return {"messages": len(found.messages)}

    # What can be seen.

    def peek(self, queue: str, state: str, count: int) -> list[dict[str, Any]]:
        messages = self.find(queue).having(state)[:count]
        return [{**shown(message), **({} if state == "ready" else {"due_ms": message.due_ms})} for message in messages]


def shown(message: ModelMessage) -> dict[str, Any]:
    seen = {
        "id": message.id,
        "body": message.body,
        "priority": message.priority,
        "deliveries": message.deliveries,
        "put_ms": message.put_ms,
    }
    return {**seen, "origin": message.origin} if message.origin else seen
