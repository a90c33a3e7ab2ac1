"""A producer or consumer of `queue_rounds`: a process of its own that notes what it asks and is told, and may be killed at any time.

    python -m tests.end_to_end.queue_worker producer|consumer NAME FILE ENDPOINT,ENDPOINT,… SEED

A note is a line of JSON: what, when (seconds of the monotonic clock, which all processes of a computer share), and what it concerns.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define

from txraft.client import BlockingClient
from txraft.errors import NotApplied, Outcome, Refused

QUEUE = "rounds"
CALL_S = 20.0
VISIBILITY_S = 3.0
WAIT_S = 2.0


@define
class Notes:
    """Lines at the end of a file. Each is written in one call: a process that is killed leaves whole lines."""

    descriptor: int

    @classmethod
    def open(cls, path: Path) -> Notes:
        """Notes at the end of `path`."""
        return cls(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))

    def add(self, what: str, **fields: Any) -> None:
        """One line."""
        os.write(self.descriptor, json.dumps({"what": what, "at": time.monotonic(), **fields}).encode() + b"\n")


@define
class Worker:
    """What both kinds have."""

    name: str
    notes: Notes
    client: BlockingClient
    rng: random.Random
    stopping: bool = False

    def until_stopped(self, work: Callable[[], None]) -> None:
        """Work again and again; what was certainly not done is done anew."""
        while not self.stopping:
            try:
                work()
            except NotApplied as problem:
                if not problem.retryable:
                    raise
                time.sleep(0.05)
            except Outcome as problem:
                self.notes.add("trouble", problem=str(problem), outcome=problem.outcome)

    def produce(self) -> None:
        """Put one message, or a few."""
        bodies = [f"{self.name}/{os.getpid()}/{self.rng.getrandbits(60):x}" for _ in range(self.rng.choice((1, 1, 1, 10)))]
        priorities = [self.rng.choice((0, 5, 5, 9)) for _ in bodies]
        messages = [{"body": body.encode(), "priority": priority} for body, priority in zip(bodies, priorities, strict=True)]
        self.notes.add("putting", bodies=bodies)
        put = self.client.command("queue", "put_batch", queue=QUEUE, messages=messages)
        self.notes.add("put", bodies=bodies, ids=[one["id"] for one in put])
        time.sleep(self.rng.uniform(0, 0.01))

    def consume(self) -> None:
        """Take some messages, and do with each what consumers do."""
        asked_at = time.monotonic()
        count = self.rng.randint(1, 5)
        taken = self.client.command("queue", "take", queue=QUEUE, count=count, visibility_s=VISIBILITY_S, wait_s=WAIT_S)
        for message in taken:
            body = base64.b64decode(message["body"]).decode()
            self.notes.add(
                "taken", id=message["id"], deliveries=message["deliveries"], priority=message["priority"], body=body, asked_at=asked_at
            )
        for message in taken:
            self._finish(message)

    def _finish(self, message: dict[str, Any]) -> None:
        fate = self.rng.random()
        concerns = {"id": message["id"], "deliveries": message["deliveries"]}
        where = {"queue": QUEUE, "receipt": message["receipt"]}
        try:
            if fate < 0.05:
                return  # as if it had crashed
            if fate < 0.15:
                self.notes.add("nacking", **concerns)
                self.client.command("queue", "nack", **where, delay_s=self.rng.choice((0.0, 0.3)))
                return
            if fate < 0.25:
                asked_at = time.monotonic()
                self.client.command("queue", "extend", **where, visibility_s=VISIBILITY_S)
                self.notes.add("extended", **concerns, asked_at=asked_at)
            self.notes.add("acking", **concerns)
            self.client.command("queue", "ack", **where)
            self.notes.add("acked", **concerns)
        except Refused as problem:
            self.notes.add("refused", **concerns, code=problem.code)


def main(kind: str, name: str, file: str, endpoints: str, seed: str) -> None:
    """Work until SIGTERM."""
    client = BlockingClient(endpoints.split(","), CALL_S)
    worker = Worker(name, Notes.open(Path(file)), client, random.Random(seed))

    def stop(number: int, frame: Any) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    with client:
        worker.until_stopped(worker.produce if kind == "producer" else worker.consume)


if __name__ == "__main__":
    main(*sys.argv[1:])
