"""What callers may ask for beside the arguments of a command or query: a wait, a consistency. Standard library only: for both clients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from txraft.errors import NotApplied
from txraft.limits import INDEX_MAX, WAIT_MS_MAX

__all__ = ["CONSISTENCIES", "Freshness", "freshness", "wait_of"]

CONSISTENCIES = ("linearizable", "local", "at_least")

_WAIT_S_MAX = WAIT_MS_MAX / 1000


def wait_of(arguments: Mapping[str, Any]) -> float:
    """For how many seconds the servers will let a command wait that has these arguments, as `wait_s` says; 0 without."""
    wait_s = arguments.get("wait_s", 0.0)
    if isinstance(wait_s, (int, float)) and wait_s > 0:
        return min(float(wait_s), _WAIT_S_MAX) if wait_s < INDEX_MAX else _WAIT_S_MAX
    return 0.0


Freshness = tuple[int, float]
"""Of a query that any server may answer: the index that it must have applied, and seconds since it last heard of the leader; 0 for any."""


def freshness(consistency: str, at_least: int | None, max_staleness_s: float | None, index: int) -> Freshness | None:
    """What a query asks for; None for a linearizable one.

    Args:
        consistency: as in `Client.query`.
        at_least: likewise.
        max_staleness_s: likewise.
        index: the greatest that the client has seen.

    Raises:
        NotApplied: `invalid_arguments` when they do not go together.
    """
    if consistency not in CONSISTENCIES:
        raise NotApplied("invalid_arguments", f"consistency is linearizable, local or at_least, not {consistency!r}")
    if consistency == "linearizable":
        if at_least is not None or max_staleness_s is not None:
            raise NotApplied("invalid_arguments", "at_least and max_staleness_s are for consistency 'local' or 'at_least'")
        return None
    if at_least is None:
        at_least = index if consistency == "at_least" else 0
    if not isinstance(at_least, int) or not 0 <= at_least <= INDEX_MAX:
        raise NotApplied("invalid_arguments", f"at_least is an index of the log, not {at_least!r}")
    if max_staleness_s is None:
        return at_least, 0.0
    if not isinstance(max_staleness_s, (int, float)) or not 0 < max_staleness_s < math.inf:
        raise NotApplied("invalid_arguments", f"max_staleness_s is a number of seconds above 0, not {max_staleness_s!r}")
    return at_least, float(max_staleness_s)
