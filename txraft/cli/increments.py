"""The work of the demo: clients that count together, each increment exactly once."""

from __future__ import annotations

import threading
import time

from attrs import define, field

from txraft.client import BlockingClient
from txraft.errors import NotApplied, Outcome

__all__ = ["CALL_S", "COUNTER", "Increments"]

COUNTER = "demo"
CALL_S = 15.0
"""How long a call may take: longer than two elections."""

WORK_S = 60.0


@define
class Increments:
    """Clients that add 1 to a counter, side by side, until as many as wished are acknowledged. Each has a session: none is done twice.

    Attributes:
        endpoints: of the nodes.
        wished: how many.
        acknowledged, unknown: how many ended so. After an unknown outcome nothing can be proved any more.
        trouble: why a client gave up.
    """

    endpoints: list[str]
    wished: int
    acknowledged: int = 0
    unknown: int = 0
    trouble: str = ""
    _begun: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)
    _threads: list[threading.Thread] = field(factory=list)

    def start(self, clients: int) -> None:
        """Start that many clients, each in a thread and with another first endpoint."""
        for number in range(clients):
            turned = number % len(self.endpoints)
            endpoints = self.endpoints[turned:] + self.endpoints[:turned]
            thread = threading.Thread(target=self._work, args=(endpoints,), daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def working(self) -> bool:
        """Whether a client still works."""
        return any(thread.is_alive() for thread in self._threads)

    def _take(self) -> bool:
        with self._lock:
            taken = self._begun < self.wished
            self._begun += taken
            return taken

    def _work(self, endpoints: list[str]) -> None:
        give_up_at = time.monotonic() + WORK_S
        with BlockingClient(endpoints, CALL_S) as client:
            while self._take():
                try:
                    while not self._added(client):
                        if time.monotonic() > give_up_at:
                            raise NotApplied("timeout", f"an increment could not be done within {WORK_S:g} s")
                except Outcome as problem:
                    with self._lock:
                        self.unknown += problem.outcome == "unknown"
                        self.trouble = str(problem)
                    return

    def _added(self, client: BlockingClient) -> bool:
        """False if it certainly was not: then it may be done anew."""
        try:
            client.command("counter", "add", COUNTER, 1)
        except NotApplied as problem:
            if not problem.retryable:
                raise
            return False
        with self._lock:
            self.acknowledged += 1
        return True
