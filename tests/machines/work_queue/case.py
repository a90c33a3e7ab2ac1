"""A hosted work queue for tests: calls, queries, and what it told."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.errors import NotApplied, Refused
from txraft.statemachine.values import decode_value, encode_canonical, encode_value

WORK_QUEUE = "txraft.machines.work_queue.WorkQueue"


class QueueCase(SynchronousTestCase):
    """One machine `queue`; log time begins at 1 s."""

    def setUp(self) -> None:
        self.driver = Driver(queue=WORK_QUEUE)
        self.signals: list[str] = []
        self.driver.host.on_signal = self.note_signal

    def tearDown(self) -> None:
        """Whatever a test did: a restored host is the same, and so is one that follows the log; no bug was met."""
        self.assertEqual(self.driver.failures, [])
        digest = self.driver.host.digest()
        self.assertEqual(self.driver.restored().digest(), digest)
        self.assertEqual(self.driver.replayed().digest(), digest)

    def note_signal(self, machine: str, topic: bytes) -> None:
        if topic.startswith(b"ready:"):
            self.signals.append(topic.decode().removeprefix("ready:"))

    def restart(self) -> None:
        """Go on with a host restored from a snapshot."""
        self.driver.host = self.driver.restored()
        self.driver.host.on_signal = self.note_signal

    def call(self, command: str, queue: str = "jobs", **arguments: Any) -> Any:
        return self.driver.call("queue", command, queue=queue, **arguments)

    def ask(self, query: str, queue: str = "jobs", **arguments: Any) -> Any:
        return self.driver.ask("queue", query, queue=queue, **arguments)

    def wait(self, seconds: float) -> None:
        self.driver.clock(self.driver.time_ms + round(seconds * 1000))

    def put(self, body: bytes = b"x", **arguments: Any) -> int:
        stored: int = self.call("put", body=body, **arguments)["id"]
        return stored

    def take(self, count: int = 1, **arguments: Any) -> list[str]:
        """Receipts of what was taken."""
        return [message["receipt"] for message in self.call("take", count=count, **arguments)]

    def bodies(self, count: int = 100, **arguments: Any) -> list[bytes]:
        """Take messages; their bodies."""
        return [message["body"] for message in self.call("take", count=count, **arguments)]

    def counts(self, queue: str = "jobs") -> tuple[int, int, int]:
        """How many are ready, in flight and delayed."""
        stats = self.ask("stats", queue)
        return stats["ready"], stats["in_flight"], stats["delayed"]

    def totals(self, queue: str = "jobs") -> dict[str, int]:
        """What has happened, without what has not."""
        return {what: count for what, count in self.ask("stats", queue)["totals"].items() if count}

    def state(self) -> list[bytes]:
        """The machine's, item by item, encoded."""
        return [encode_canonical(item) for item in self.driver.host.hosted("queue").machine.snapshot()]

    def refused(self, command: str, *arguments: Any, **named: Any) -> Refused:
        """A command is refused, and has changed nothing."""
        before = self.state()
        refusal: Refused = self.assertRaises(Refused, self.call, command, *arguments, **named)
        self.assertEqual(self.state(), before)
        return refusal

    def invalid(self, command: str, **arguments: Any) -> str:
        """Arguments that do not even reach the log; the sentence that says so."""
        error = self.assertRaises(NotApplied, self.call, command, **arguments)
        self.assertEqual(error.code, "invalid_arguments")
        return str(error.message)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Topics and fields of everything emitted."""
        page = self.driver.host.hosted("queue").read_events(b"", True, 1, 0)
        return [(event["topic"], decode_value(encode_value(event["fields"]))) for event in page.events]
