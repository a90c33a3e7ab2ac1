from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.node.worker import ThreadWorker


class ThreadWorkerTests(SynchronousTestCase):
    """The real thread, with the reactor's side played by the test: each delivery is waited for, never slept for."""

    def setUp(self) -> None:
        self.delivered: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        self.worker = ThreadWorker("test", lambda f, *args: self.delivered.put((f, args)))

    def deliver(self) -> None:
        call, args = self.delivered.get(timeout=10)
        call(*args)

    def note(self, done: list[tuple[int, int]], n: int) -> None:
        done.append((n, threading.get_ident()))

    def test_jobs_are_done_in_order_on_one_other_thread(self) -> None:
        done: list[tuple[int, int]] = []
        results = [self.worker.perform(partial(self.note, done, n)) for n in range(20)]
        for _ in results:
            self.deliver()
        self.assertEqual([n for n, _ in done], list(range(20)))
        self.assertEqual(len({thread for _, thread in done} - {threading.get_ident()}), 1)

    def test_a_result_comes_back_only_through_the_reactor(self) -> None:
        result = self.worker.perform(lambda: 7)
        delivery = self.delivered.get(timeout=10)
        self.assertNoResult(result)
        delivery[0](*delivery[1])
        self.assertEqual(self.successResultOf(result), 7)

    def test_an_exception_is_the_callers_and_the_next_job_is_done(self) -> None:
        failing = self.worker.perform(lambda: 1 // 0)
        next_one = self.worker.perform(lambda: "next")
        self.deliver()
        self.deliver()
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual(self.successResultOf(next_one), "next")

    def test_stopping_does_what_is_queued_first(self) -> None:
        first = self.worker.perform(lambda: "queued")
        stopped = self.worker.stop()
        self.deliver()
        self.assertEqual(self.successResultOf(first), "queued")
        self.assertNoResult(stopped)
        self.deliver()
        self.successResultOf(stopped)
