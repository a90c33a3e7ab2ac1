"""A `Worker` without a thread: its jobs are done when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class PumpedWorker:
    """Does one job for each `pump`, in order.

    Attributes:
        held: whether it rests before its next job; asked by `flush`.
    """

    def __init__(self) -> None:
        self.jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self.held: Callable[[], bool] = lambda: False

    def perform(self, job: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.jobs.append((job, done))
        return done

    def stop(self) -> Deferred[None]:
        return self.perform(lambda: None)

    def pump(self) -> None:
        job, done = self.jobs.popleft()
        try:
            result = job()
        except BaseException:
            done.errback()
        else:
            done.callback(result)

    def flush(self) -> None:
        while self.jobs and not self.held():
            self.pump()
