"""Threads that do blocking jobs, each one after the other: the disk's, the one that writes snapshots, the one that moves them.

First in, first out is the point: votes and entries reach the disk in the order in which the core asked for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["ThreadWorker", "Worker", "Workers"]

T = TypeVar("T")
Job = tuple[Callable[[], Any], "Deferred[Any]"]


class Worker(Protocol):
    """Does jobs in order, elsewhere; tests pump one by hand."""

    def perform(self, job: Callable[[], T]) -> Deferred[T]:
        """Do `job` after all earlier ones; fires on the reactor thread with what it returns or raises."""

    def stop(self) -> Deferred[None]:
        """Do what is still queued, then end; fires on the reactor thread when the thread is done with it."""


@frozen
class Workers:
    """Those of one node.

    Attributes:
        disk: for the log, term and vote, all through one door.
        snapshots: writes this node's own, slowly.
        transfers: reads and writes those under way between servers, and restores those received.
    """

    disk: Worker
    snapshots: Worker
    transfers: Worker

    @classmethod
    def of(cls, make: Callable[[str], Worker]) -> Workers:
        """One of each, made by `make` for its purpose."""
        return cls(make("disk"), make("snapshot"), make("transfer"))


class ThreadWorker:
    """A `Worker` on a thread of its own, which begins with the first job.

    Args:
        name: of the thread, for debuggers.
        call_from_thread: `IReactorFromThreads.callFromThread`.
    """

    def __init__(self, name: str, call_from_thread: Callable[..., Any]) -> None:
        self._name = name
        self._call_from_thread = call_from_thread
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def perform(self, job: Callable[[], T]) -> Deferred[T]:
        """See `Worker`. Reactor thread only."""
        if self._thread is None:
            # A daemon: a disk that hangs for ever must not keep a process from ending that has already given up on it.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[T] = Deferred()
        self._jobs.put((job, done))
        return done

    def stop(self) -> Deferred[None]:
        """See `Worker`. Reactor thread only."""
        ended: Deferred[None] = self.perform(lambda: None)
        self._jobs.put(None)
        return ended

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, done = entry
            try:
                result = job()
            except BaseException:
                self._call_from_thread(done.errback, Failure())
            else:
                self._call_from_thread(done.callback, result)
