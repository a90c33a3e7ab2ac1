"""Named work queues: every message is delivered until somebody acknowledges it. See docs/queue.md."""

from __future__ import annotations

from txraft.machines.work_queue.machine import WorkQueue

__all__ = ["WorkQueue"]
