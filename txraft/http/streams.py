"""Answers that are written piece by piece, no faster than the client reads, and the connection they are written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Outlet", "Stream"]


class Outlet(Protocol):
    """The connection that a stream is written to."""

    def write_part(self, part: bytes) -> None:
        """Some more; may pause the stream at once."""

    def end(self) -> None:
        """That was all."""

    def abort(self) -> None:
        """Close without sending what is left."""


class Stream(Protocol):
    """A push producer whose consumer is an `Outlet`."""

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Of the answer."""

    def begin(self, outlet: Outlet, *, full: bool) -> None:
        """Write to `outlet`; `full`: when it has taken what it already has to send."""

    def stop(self) -> None:
        """The client has gone, or wants no more; it may not even have begun."""

    def pauseProducing(self) -> None:
        """The connection is full."""

    def resumeProducing(self) -> None:
        """The connection has taken everything."""

    def stopProducing(self) -> None:
        """The connection has ended."""
