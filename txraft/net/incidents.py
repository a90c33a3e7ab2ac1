"""What goes wrong on connections by the fault of the other side: counted by cause, and logged without flooding the log."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.logger import Logger

__all__ = ["LOG_INTERVAL_S", "Incidents", "remote_address"]

LOG_INTERVAL_S = 10.0
"""At most one line for each cause in this time."""

SENTENCE_LENGTH_MAX = 400


class Incidents:
    """The incidents of one port since the start.

    Attributes:
        counts: number by cause; the causes are words of ours, so there are few. For the status.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, port: str) -> None:
        """`port` names the port in the log: `peer` or `client`."""
        self.counts: dict[str, int] = {}
        self._clock = clock
        self._port = port
        self._logged: dict[str, tuple[float, int]] = {}

    def report(self, cause: str, remote: str, sentence: str) -> None:
        """Count an incident and log it, unless its cause was logged a moment ago. `sentence` may quote the other side."""
        count = self.counts[cause] = self.counts.get(cause, 0) + 1
        now = self._clock.seconds()
        logged_at, logged_count = self._logged.get(cause, (now - LOG_INTERVAL_S, 0))
        # The clock may be set back: then an elapsed time below zero also lets the line through.
        if not 0 <= now - logged_at < LOG_INTERVAL_S:
            self._logged[cause] = (now, count)
            self.log.warn(
                "{port} port, {remote}: {sentence} [{cause}; {unlogged} more since the last such line]",
                port=self._port,
                remote=_escaped(remote),
                sentence=_escaped(sentence),
                cause=cause,
                unlogged=count - logged_count - 1,
            )


def _escaped(text: str) -> str:
    """On one line, without control characters, and not long: what a stranger wrote cannot pass for a line of the log."""
    return ascii(text[:SENTENCE_LENGTH_MAX])[1:-1]


def remote_address(transport: ITransport | None) -> str:
    """Who is at the other end, for the log."""
    if transport is None:
        return "nobody"
    address = transport.getPeer()
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return f"{host}:{port}" if host is not None else str(address)
