"""The whole state of a host as it stands in a snapshot: the machines with their events, the sessions around them, and log time."""

from __future__ import annotations

import msgspec

from txraft.statemachine.events import HistoryState
from txraft.statemachine.sessions import SessionState

__all__ = ["HostState", "MachineState"]


class MachineState(msgspec.Struct, array_like=True):
    """A machine in a snapshot; `state` is encoded, because what the machine gave may be its live state."""

    name: str
    plugin: str
    version: int
    errors: int
    not_before_ms: int
    state: bytes
    events: HistoryState


class HostState(msgspec.Struct, array_like=True):
    """Everything that following the log up to `applied_index` has led to."""

    log_time_ms: int
    applied_index: int
    sessions: list[SessionState]
    machines: list[MachineState]
