"""Recipes over a cluster, for Twisted programs: locks, elections, barriers and the like; each call returns a Deferred.

For programs without Twisted the same are in `txraft.client.recipes.blocking`. What both forms share, the recipes themselves, is in
`txraft.client.recipes.shared`.

Imported on demand: the blocking form needs nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txraft.client.recipes.deferred_collections import Counter, Queue
    from txraft.client.recipes.deferred_gatherings import Barrier, DoubleBarrier, Party
    from txraft.client.recipes.deferred_locks import Election, Lock, ReadLock, Semaphore, WriteLock
    from txraft.client.recipes.deferred_store import Session
    from txraft.client.recipes.shared.trouble import (
        AcquireCancelled,
        AlreadyHeld,
        LockLost,
        LockTimeout,
        NotHeld,
        RecipeTrouble,
        WrongSize,
    )

__all__ = [
    "AcquireCancelled",
    "AlreadyHeld",
    "Barrier",
    "Counter",
    "DoubleBarrier",
    "Election",
    "Lock",
    "LockLost",
    "LockTimeout",
    "NotHeld",
    "Party",
    "Queue",
    "ReadLock",
    "RecipeTrouble",
    "Semaphore",
    "Session",
    "WriteLock",
    "WrongSize",
]

_MODULES = {
    "deferred_collections": ("Counter", "Queue"),
    "deferred_gatherings": ("Barrier", "DoubleBarrier", "Party"),
    "deferred_locks": ("Election", "Lock", "ReadLock", "Semaphore", "WriteLock"),
    "deferred_store": ("Session",),
    "shared.trouble": ("AcquireCancelled", "AlreadyHeld", "LockLost", "LockTimeout", "NotHeld", "RecipeTrouble", "WrongSize"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
