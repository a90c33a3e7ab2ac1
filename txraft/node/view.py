"""What the parts of a node need to know about it as a whole: how far it has come, and who leads."""

from __future__ import annotations

from enum import Enum

from attrs import define

from txraft.core.ids import ServerId, Term

__all__ = ["Stage", "View"]


class Stage(Enum):
    """The life of a node, one way."""

    NEW = "new"
    OPENING = "opening"
    """The data directory is being claimed and read."""
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    HALTED = "halted"
    """It found something that must never happen, or its disk failed. It does nothing any more."""


@define
class View:
    """Changed by the node only.

    Attributes:
        serving: it leads, has applied everything from before its term, and the machines it is configured for exist.
        alarm: why it must not lead although it runs: its disk is full. "" if nothing is wrong.
    """

    stage: Stage = Stage.NEW
    role: str = "follower"
    term: Term = Term(0)
    leader: ServerId | None = None
    serving: bool = False
    halted_because: str = ""
    alarm: str = ""
