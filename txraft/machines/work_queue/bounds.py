"""The bounds of the work queue, and the types of parameters that check most of them before the log.

They decide what commands in the log come to, so they are the same on all servers and no settings.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from txraft.limits import NAME_LENGTH_MAX

__all__ = [
    "BATCH_MAX",
    "BODIES_BYTES_MAX",
    "BODY_BYTES_MAX",
    "CHAIN_MAX",
    "DEDUP_IDS_MAX",
    "DELAY_S_MAX",
    "LENGTH_MAX",
    "MOVE_MAX",
    "NEVER_MS",
    "PRIORITIES",
    "QUEUES_MAX",
    "TAKEN_BYTES_MAX",
    "WAIT_S_MAX",
    "BatchSize",
    "BytesLimit",
    "DeadLetter",
    "DedupId",
    "DedupIdsLimit",
    "DeliveriesLimit",
    "Delay",
    "LengthLimit",
    "Moment",
    "MoveCount",
    "MessageBody",
    "Overflow",
    "PageSize",
    "Priority",
    "QueueName",
    "ReceiptText",
    "State",
    "Visibility",
    "Wait",
    "Window",
]

QUEUES_MAX = 10_000
"""Queues in one machine."""

BODY_BYTES_MAX = 1_048_576
"""One body: with what stands around it, it fits into a command and into an answer."""

TAKEN_BYTES_MAX = 1_048_576
"""Bodies in one answer, beyond the first."""

BATCH_MAX = 100
"""Messages or receipts in one command."""

MOVE_MAX = 1_000
"""Messages that one command moves."""

PRIORITIES = 10
"""They are 0 to 9."""

LENGTH_MAX = 100_000_000
"""The greatest `max_length`."""

BODIES_BYTES_MAX = 1 << 40
"""The greatest `max_bytes`."""

DEDUP_IDS_MAX = 1_000_000
"""The greatest `dedup_ids_max`."""

DELAY_S_MAX = 31_536_000
"""The longest delay, a year; `not_before` is no further ahead."""

VISIBILITY_S_MAX = 604_800
"""The longest visibility timeout, a week."""

WAIT_S_MAX = 60
"""The longest wait for a message."""

DELIVERIES_MAX = 1_000
"""The greatest `max_deliveries`."""

CHAIN_MAX = 16
"""Dead-letter queues behind each other."""

NEVER_MS = 1 << 62
"""No log time is as late as that."""

QueueName = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
DeadLetter = Annotated[str, Meta(max_length=NAME_LENGTH_MAX)]
MessageBody = Annotated[bytes, Meta(max_length=BODY_BYTES_MAX)]
Priority = Annotated[int, Meta(ge=0, lt=PRIORITIES)]
Delay = Annotated[float, Meta(ge=0, le=DELAY_S_MAX)]
Moment = Annotated[float, Meta(ge=0, le=253_402_300_799)]
DedupId = Annotated[str, Meta(min_length=1, max_length=256)]
BatchSize = Annotated[int, Meta(ge=1, le=BATCH_MAX)]
MoveCount = Annotated[int, Meta(ge=1, le=MOVE_MAX)]
PageSize = Annotated[int, Meta(ge=1, le=1_000)]
Visibility = Annotated[float, Meta(ge=0.1, le=VISIBILITY_S_MAX)]
Wait = Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]
ReceiptText = Annotated[str, Meta(min_length=3, max_length=40)]
DeliveriesLimit = Annotated[int, Meta(ge=0, le=DELIVERIES_MAX)]
LengthLimit = Annotated[int, Meta(ge=1, le=LENGTH_MAX)]
BytesLimit = Annotated[int, Meta(ge=1, le=BODIES_BYTES_MAX)]
Window = Annotated[float, Meta(ge=0, le=86_400)]
DedupIdsLimit = Annotated[int, Meta(ge=0, le=DEDUP_IDS_MAX)]
Overflow = Literal["reject", "drop_oldest"]
State = Literal["ready", "in_flight", "delayed"]
