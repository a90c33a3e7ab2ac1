"""What the work queue keeps, takes in and gives out."""

from __future__ import annotations

import msgspec

from txraft.machines.work_queue.bounds import DedupId, Delay, MessageBody, Moment, Overflow, Priority

__all__ = [
    "Acknowledged",
    "Delivery",
    "Extended",
    "Mark",
    "Message",
    "Moved",
    "NewMessage",
    "Peeked",
    "Removed",
    "Returned",
    "Settings",
    "Stored",
    "Totals",
]


class Message(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A message in a queue. There may be millions, so it is slotted, and the garbage collector does not look at it: it refers to none.

    It is never changed, only replaced, because frozen views have it, too.

    Attributes:
        id: its place in the log among all messages of the machine; it stays the same when the message goes to another queue.
        put_ms: log time of the put.
        taken: how many times it has been delivered, in any queue; the second half of its receipt, so that no receipt ever comes again.
        forgiven: how many of these do not count, because they were in another queue.
        due_ms: when it becomes ready, if it is in flight or delayed.
        origin: the queue in which it died, if it came here as a dead letter.
    """

    id: int
    body: bytes
    priority: int
    put_ms: int
    taken: int = 0
    forgiven: int = 0
    due_ms: int = 0
    origin: str = ""

    @property
    def deliveries(self) -> int:
        """How many times it has been delivered in this queue."""
        return self.taken - self.forgiven


class NewMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message of a `put_batch`."""

    body: MessageBody
    priority: Priority = 5
    delay_s: Delay = 0.0
    not_before: Moment | None = None
    dedup_id: DedupId | None = None


class Stored(msgspec.Struct, gc=False):
    """Answer to a put: the message's id; of the earlier one if this is its duplicate."""

    id: int
    duplicate: bool = False


class Delivery(msgspec.Struct, omit_defaults=True, gc=False):
    """A message as a consumer gets it; `origin` only if it is a dead letter."""

    receipt: str
    id: int
    body: bytes
    priority: int
    deliveries: int
    put_ms: int
    origin: str = ""


class Peeked(msgspec.Struct, omit_defaults=True, gc=False):
    """A message as it is shown without being delivered; `due_ms`: when it becomes ready, if it is in flight or delayed."""

    id: int
    body: bytes
    priority: int
    deliveries: int
    put_ms: int
    origin: str = ""
    due_ms: int = 0


class Returned(msgspec.Struct, omit_defaults=True):
    """Answer to a nack: `ready`, `delayed` until `due_ms`, or `dead` and now in `queue`."""

    state: str
    due_ms: int = 0
    queue: str = ""


class Extended(msgspec.Struct):
    """Answer to an extension: the log time until which the message is in flight."""

    until_ms: int


class Acknowledged(msgspec.Struct):
    """Answer to a batch of acknowledgements: how many counted, and the receipts that did not."""

    acked: int
    stale: list[str]


class Moved(msgspec.Struct):
    """Answer to a move: how many messages went, and how many ready ones are left."""

    moved: int
    left: int


class Removed(msgspec.Struct):
    """Answer to a purge or the deletion of a queue: how many messages went with it."""

    messages: int


class Settings(msgspec.Struct, array_like=True, frozen=True):
    """What can be configured of a queue; times in milliseconds. See `WorkQueue.configure`."""

    visibility_ms: int = 30_000
    max_deliveries: int = 0
    dead_letter: str = ""
    max_length: int = 10_000_000
    max_bytes: int = 1 << 30
    overflow: Overflow = "reject"
    backoff_min_ms: int = 0
    backoff_max_ms: int = 3_600_000
    dedup_window_ms: int = 300_000
    dedup_ids_max: int = 10_000


class Totals(msgspec.Struct, gc=False):
    """What has happened in a queue since it was created, in messages. Puts plus what was received is what is there plus what has gone."""

    put: int = 0
    duplicate: int = 0
    received: int = 0
    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    expired: int = 0
    dropped: int = 0
    dead: int = 0
    dead_refused: int = 0
    moved: int = 0
    purged: int = 0


class Mark(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Some totals at a moment of log time: rates are differences between two of them."""

    time_ms: int
    put: int = 0
    delivered: int = 0
    acked: int = 0
