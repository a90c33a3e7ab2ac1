"""File descriptors. Each connection takes one; so does each file of the log, and a node that cannot open the next one must halt.

So clients get only what leaves some over: many of them must not stop the node.
"""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["connections_possible", "raise_descriptor_limit"]

RESERVED = 512
"""Not for clients: for the log, the other servers (those in their greeting too), and whatever else the process has open."""


def raise_descriptor_limit(connections_max: int) -> None:
    """Let this process have as many descriptors as that many connections need, if it may: mostly 1,024 are given, and many more allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + RESERVED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # then it goes on with fewer connections
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def connections_possible(connections_max: int) -> int:
    """How many client connections there may be: `connections_max`, or fewer where there are not enough descriptors for so many."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections_max
    return min(connections_max, soft - min(RESERVED, soft // 2))
