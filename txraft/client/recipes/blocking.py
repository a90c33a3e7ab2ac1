"""Recipes over a cluster for programs without Twisted: locks, elections, barriers and the like; each call blocks. Standard library only.

For Twisted programs the same are in `txraft.client.recipes`.
"""

from __future__ import annotations

from txraft.client.recipes.blocking_collections import Counter, Queue
from txraft.client.recipes.blocking_gatherings import Barrier, DoubleBarrier, Party
from txraft.client.recipes.blocking_locks import Election, Lock, ReadLock, Semaphore, WriteLock
from txraft.client.recipes.blocking_store import Session
from txraft.client.recipes.shared.trouble import AcquireCancelled, AlreadyHeld, LockLost, LockTimeout, NotHeld, RecipeTrouble, WrongSize

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
