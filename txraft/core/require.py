"""The one assertion of the core. It stays on in production: a server that finds the impossible stops, it never limps."""

from __future__ import annotations

from txraft.errors import Halted

__all__ = ["require"]


def require(condition: bool, why: str) -> None:
    """Halt this server unless `condition` holds.

    Raises:
        Halted: `why` says what was found; the node stops with a non-zero exit code.
    """
    if not condition:
        raise Halted(why)
