"""What the author of a state machine imports, and the host that runs it. See docs/writing-a-state-machine.md."""

from __future__ import annotations

from msgspec import Meta

from txraft.errors import MachineUnavailable, NotApplied, Refused
from txraft.statemachine.context import Context
from txraft.statemachine.declared import StateMachine, command, patient_command, query
from txraft.statemachine.host import Host
from txraft.statemachine.interfaces import IStateMachine, IStateMachinePlugin, ISupplier, IWatched
from txraft.statemachine.operations import Declaration, Operation
from txraft.statemachine.plugin import PluginListing, StateMachinePlugin, available_plugins
from txraft.statemachine.snapshot_dict import SnapshotDict
from txraft.statemachine.values import INTEGER_BITS_MAX

__all__ = [
    "INTEGER_BITS_MAX",
    "Context",
    "Declaration",
    "Host",
    "IStateMachine",
    "IStateMachinePlugin",
    "ISupplier",
    "IWatched",
    "MachineUnavailable",
    "Meta",
    "NotApplied",
    "Operation",
    "PluginListing",
    "Refused",
    "SnapshotDict",
    "StateMachine",
    "StateMachinePlugin",
    "available_plugins",
    "command",
    "patient_command",
    "query",
]
