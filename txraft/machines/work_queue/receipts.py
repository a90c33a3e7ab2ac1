"""Receipts: which delivery of which message a consumer speaks of, and why it may be too late to speak of it."""

from __future__ import annotations

import re

from txraft.errors import Refused
from txraft.machines.work_queue.named_queue import NamedQueue

__all__ = ["refusal_of"]

_RECEIPT = re.compile(r"([1-9][0-9]{0,18})-([1-9][0-9]{0,18})")


def refusal_of(queue: NamedQueue, receipt: str) -> Refused:
    """Why a receipt is not, or no longer, of a delivery that is in flight."""
    match = _RECEIPT.fullmatch(receipt)
    if match is None:
        return Refused("bad_receipt", f"{receipt!r} is no receipt: those of take() look like 17-1")
    message_id = int(match[1])
    reason, what = _fate_of(queue, message_id)
    return Refused("stale_receipt", f"{receipt} is not the receipt of a delivery in flight from {queue.name!r}: {what}", reason=reason)


def _fate_of(queue: NamedQueue, message_id: int) -> tuple[str, str]:
    # Only what was delivered before: the rest is found or not found depending on how its lane came about.
    message = queue.in_flight.get(message_id)
    if message is not None:
        return "in_flight", f"message {message_id} has been delivered again, as {message_id}-{message.taken}"
    message = queue.delayed.get(message_id)
    if message is not None and message.taken:
        return "delayed", f"message {message_id} was given back, and waits to be delivered again"
    backs = (lane.find_back(message_id) for lane in queue.lanes if lane is not None)
    if any(message is not None and message.taken for message in backs):
        return (
            "ready",
            f"message {message_id} is ready to be delivered again, because it was given back or its visibility timeout has passed",
        )
    return "gone", f"message {message_id} was acknowledged, or has left the queue in another way, or was not delivered yet"
