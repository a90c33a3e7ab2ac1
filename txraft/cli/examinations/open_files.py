"""How many files the node may have open: each connection takes one."""

from __future__ import annotations

import resource

from txraft.cli.examinations.findings import Finding, advice, ok, problem
from txraft.net.descriptors import RESERVED

__all__ = ["examine_open_files"]

ABOUT = "open files"

LEAST = 256


def examine_open_files(connections_max: int, limit: tuple[int, int]) -> Finding:
    """Judge the soft and the hard limit. The node raises the soft one itself as far as it needs."""
    soft, hard = limit
    needed = connections_max + RESERVED
    possible = max(soft, hard) if resource.RLIM_INFINITY not in limit else needed
    told = (
        f"{_text(soft)} may be open, raised to {_text(min(possible, needed))} by the node"
        if possible > soft != resource.RLIM_INFINITY
        else _text(soft)
    )
    figures = {"soft": soft, "hard": hard, "needed": needed}
    if possible < LEAST:
        return problem(ABOUT, told, f"That is too few for a node to work: raise the hard limit (ulimit -Hn) to {needed}.", **figures)
    if possible < needed:
        fewer = possible - min(RESERVED, possible // 2)
        remedy = f"Only {fewer} clients can connect (limits.client_connections_max is {connections_max}): raise the hard limit to {needed}."
        return advice(ABOUT, told, remedy, **figures)
    return ok(ABOUT, f"{told}, enough for {connections_max} clients", **figures)


def _text(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else str(limit)
