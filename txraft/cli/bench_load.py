"""A closed loop of clients, and the figures of it: what `txraft bench` does, whatever is called."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from txraft.errors import Outcome

if TYPE_CHECKING:
    from twisted.python.failure import Failure

__all__ = ["Figures", "Load", "Wanted", "quantile_ms"]

PAUSE_AFTER_ERROR_S = 0.02
"""A client that was refused does not come back at once: else a cluster without leader would be asked a million times."""


@frozen
class Wanted:
    """What the command line asks for.

    Attributes:
        keys: how many counters, keys, leases or watchers.
        bytes: of a value or a message.
        every_s: between two keep-alives of a lease.
    """

    clients: int
    connections: int
    seconds: float
    operation: str
    keys: int
    bytes: int = 16
    every_s: float = 10.0


@define
class Load:
    """Clients that each wait for an answer before they call again; all share what is counted here.

    Attributes:
        call_later: the reactor's.
        every_s: a client does not call before so long has passed since its last call; 0: as soon as it was answered.
        latencies_s: of every call that was answered with a value, in the order of the answers.
        errors: by outcome and code.
    """

    call_later: Callable[..., Any]
    every_s: float = field(default=0.0, kw_only=True)
    latencies_s: array[float] = field(factory=lambda: array("d"))
    errors: Counter[str] = field(factory=Counter)
    _stop_at: float = 0.0

    def start(self, calls: list[Callable[[], Any]], stop_at: float) -> None:
        """Start one client for each call; `stop_at` on `time.perf_counter`."""
        self._stop_at = stop_at
        for number, call in enumerate(calls):
            self._client(call, self.every_s * number / len(calls))

    def _client(self, call: Callable[[], Any], first_s: float) -> None:
        # Closures and a callback pair per call: what is measured is the cluster, not this loop.
        clock, latencies, stop_at, every_s = time.perf_counter, self.latencies_s.append, self._stop_at, self.every_s
        begun = 0.0

        def begin() -> None:
            nonlocal begun
            begun = clock()
            call().addCallbacks(done, failed)

        def done(_: Any) -> None:
            now = clock()
            latencies(now - begun)
            if every_s and begun + every_s < stop_at:
                self.call_later(max(0.0, begun + every_s - now), begin)
            elif now < stop_at and not every_s:
                begin()

        def failed(failure: Failure) -> None:
            error = failure.value
            self.errors[f"{error.outcome}:{error.code}" if isinstance(error, Outcome) else type(error).__name__] += 1
            pause_s = max(every_s, PAUSE_AFTER_ERROR_S)
            if clock() + pause_s < stop_at:
                self.call_later(pause_s, begin)

        if first_s:
            self.call_later(first_s, begin)
        else:
            begin()


def quantile_ms(ordered_s: Sequence[float], part: float) -> float:
    """Of seconds in order, in milliseconds."""
    return round(1000 * ordered_s[int(part * (len(ordered_s) - 1))], 3) if ordered_s else 0.0


@frozen
class Figures:
    """What came of it. Times in milliseconds.

    Attributes:
        further: what only this operation has, by name.
    """

    operation: str
    clients: int
    connections: int
    keys: int
    seconds: float
    done: int
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    further: Mapping[str, float] = field(factory=dict)

    @classmethod
    def of(cls, wanted: Wanted, load: Load, seconds: float) -> Figures:
        """The figures of a load that took `seconds`."""
        ordered = sorted(load.latencies_s)
        return cls(
            wanted.operation,
            wanted.clients,
            wanted.connections,
            wanted.keys,
            round(seconds, 3),
            len(ordered),
            round(len(ordered) / seconds, 1) if seconds > 0 else 0.0,
            quantile_ms(ordered, 0.5),
            quantile_ms(ordered, 0.99),
            quantile_ms(ordered, 1.0),
            dict(load.errors.most_common()),
        )

    def text(self, over: str) -> str:
        """For people, in two lines, or three; `over` what: ``1,000 counters``."""
        errors = ", ".join(f"{count} {kind}" for kind, count in self.errors.items()) or "none"
        load = f"{self.clients:,} clients on {self.connections:,} connections"
        lines = [
            f"{self.operation} over {over}, {load}, {self.seconds:g} s",
            f"{self.rate:,.0f}/s  p50 {self.p50_ms:g} ms  p99 {self.p99_ms:g} ms  max {self.max_ms:g} ms  errors: {errors}",
        ]
        if self.further:
            lines.append("  ".join(f"{name} {value:,g}" for name, value in self.further.items()))
        return "\n".join(lines)
