from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txraft.node.monotonic import MonotonicReactor


class ReactorDouble(MemoryReactorClock):
    """A reactor whose thread is the test: calls from threads wait until they are run."""

    def __init__(self) -> None:
        MemoryReactorClock.__init__(self)
        self.from_threads: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, f: Callable[..., Any], *args: Any) -> None:
        self.from_threads.put((f, args))

    def run_one(self, timeout: float) -> None:
        f, args = self.from_threads.get(timeout=timeout)
        f(*args)


class MonotonicReactorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ReactorDouble()
        self.clock = MonotonicReactor(self.reactor)
        self.addCleanup(self.clock.stop)
        self.called: list[str] = []

    def test_it_is_the_reactor_it_wraps_but_for_time(self) -> None:
        self.assertTrue(IReactorTCP.providedBy(self.clock))
        self.assertTrue(IReactorTime.providedBy(self.clock))
        self.assertEqual(self.clock.connectTCP, self.reactor.connectTCP)

    def test_delayed_calls_come_in_order_of_time_whatever_the_wall_clock_says(self) -> None:
        self.clock.callLater(0.2, self.called.append, "second")
        self.clock.callLater(0.01, self.called.append, "first")
        while len(self.called) < 2:
            self.reactor.run_one(timeout=10)
        self.assertEqual(self.called, ["first", "second"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_delay_means_the_next_turn_all_of_them_in_one(self) -> None:
        self.clock.callLater(0, self.called.append, "now")
        self.clock.callLater(0, self.called.append, "and now")
        self.assertEqual((self.called, len(self.reactor.getDelayedCalls())), ([], 1))
        self.reactor.advance(0)
        self.assertEqual((self.called, self.clock.getDelayedCalls()), (["now", "and now"], []))

    def test_what_is_called_without_delay_may_do_so_again(self) -> None:
        self.clock.callLater(0, lambda: self.clock.callLater(0, self.called.append, "later"))
        self.reactor.advance(0)
        self.assertEqual((self.called, self.clock.getDelayedCalls()), (["later"], []))

    def test_a_wall_clock_set_back_between_two_turns_holds_up_nothing_for_long(self) -> None:
        self.clock.callLater(0, self.called.append, "now")
        self.reactor.rightNow -= 3600
        self.reactor.advance(0)
        self.assertEqual(self.called, [])
        self.clock.callLater(0.001, self.called.append, "a timer")
        self.reactor.run_one(timeout=10)
        self.assertEqual(self.called, ["now", "a timer"])
        self.clock.callLater(0, self.called.append, "as ever")
        self.reactor.advance(0)
        self.assertEqual(self.called[2:], ["as ever"])

    def test_a_cancelled_call_is_not_made(self) -> None:
        call = self.clock.callLater(0, self.called.append, "never")
        call.cancel()
        self.reactor.advance(0)
        self.assertEqual((self.called, self.clock.getDelayedCalls()), ([], []))

    def test_calls_that_were_cancelled_do_not_pile_up(self) -> None:
        kept = self.clock.callLater(600, self.called.append, "kept")
        for _ in range(10_000):
            self.clock.callLater(600, self.called.append, "never").cancel()
        self.assertLess(len(self.clock._calls), 100)
        self.assertEqual(self.clock.getDelayedCalls(), [kept])

    def test_a_call_put_off_is_made_later_and_one_brought_forward_sooner(self) -> None:
        put_off = self.clock.callLater(0.005, self.called.append, "put off")
        forward = self.clock.callLater(30, self.called.append, "brought forward")
        put_off.reset(0.3)
        forward.reset(0.001)
        while len(self.called) < 2:
            self.reactor.run_one(timeout=10)
        self.assertEqual(self.called, ["brought forward", "put off"])

    def test_a_call_that_fails_is_logged_and_the_others_are_made(self) -> None:
        self.clock.callLater(0, lambda: 1 // 0)
        self.clock.callLater(0, self.called.append, "other")
        self.reactor.advance(0)
        self.assertEqual(self.called, ["other"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_after_stop_nothing_is_left_with_the_reactor(self) -> None:
        self.clock.callLater(0, self.called.append, "never")
        self.clock.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_after_stop_nothing_is_left_of_turns_that_a_timer_came_before(self) -> None:
        self.clock.callLater(0, self.called.append, "now")
        self.clock.callLater(0.001, self.called.append, "a timer")
        self.reactor.run_one(timeout=10)
        self.clock.callLater(0, self.called.append, "never")
        self.clock.stop()
        self.assertEqual((self.called, self.reactor.getDelayedCalls()), (["now", "a timer"], []))

    def test_after_stop_nothing_is_called_and_the_thread_ends(self) -> None:
        self.clock.callLater(0.001, self.called.append, "never")
        thread = next(thread for thread in threading.enumerate() if thread.name == "txraft-clock")
        self.clock.stop()
        thread.join(10)
        self.assertFalse(thread.is_alive())
        with contextlib.suppress(Empty):
            self.reactor.run_one(timeout=0)
        self.assertEqual(self.called, [])
