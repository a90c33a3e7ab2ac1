"""The configuration of a node: defaults < file < environment < flags, checked whole, with the origin of every key."""

from txraft.config.node_config import NodeConfig

__all__ = ["NodeConfig"]
