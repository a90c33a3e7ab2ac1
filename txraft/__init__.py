"""txraft: Raft consensus for Python, on Twisted.

`RaftNode` and `NodeConfig` embed a server of a cluster in a Twisted program; `txraft.client` talks to a cluster;
`txraft.statemachine` is for authors of state machines. Importing this package alone imports nothing else.
"""

from __future__ import annotations

from typing import Any

__all__ = ["NodeConfig", "RaftNode", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Plug-in authors and blocking clients import from below this package; they must not pay for a whole node.
    if name == "RaftNode":
        from txraft.embed import RaftNode

        return RaftNode
    if name == "NodeConfig":
        from txraft.config import NodeConfig

        return NodeConfig
    raise AttributeError(f"module 'txraft' has no attribute {name!r}")
