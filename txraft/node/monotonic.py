"""A reactor whose time cannot be set: everything of the reactor it wraps, but with delayed calls on the monotonic clock.

Twisted's `reactor.seconds()` is the wall clock: set it back by an hour and every timer of the process sleeps an hour longer. Here a thread
waits for the next delayed call with `poll`, whose timeout is relative, and wakes the reactor. Nothing of the
wrapped reactor is changed, so an
embedding program keeps its own timers as they are.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import directlyProvides, implementer, providedBy

__all__ = ["MonotonicReactor"]

CANCELLED_MAX = 64
"""Cancelled calls that may stay until they are due, beside one for each that is alive."""


@implementer(IReactorTime)
class MonotonicReactor:
    """Stands in for `reactor`. All calls on the reactor's thread, but for the waiting thread inside.

    Args:
        reactor: the real one, with `callFromThread`.
        seconds: the clock, for tests.
    """

    _log = Logger()

    def __init__(self, reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._order = itertools.count()
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._soon: list[DelayedCall] = []
        self._turn: Any = None
        self._live: set[DelayedCall] = set()
        self._thread: threading.Thread | None = None
        self._pipe: tuple[int, int] | None = None
        self._wake_at = float("inf")
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        """See `IReactorTime`: monotonic."""
        return self._seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> DelayedCall:
        """See `IReactorTime`. With delay 0 it is called in the reactor's next turn, without the waiting thread."""
        call = DelayedCall(self.seconds() + delay, callable, args, kw, self._cancelled, self._moved_forward, self.seconds)
        self._live.add(call)
        if delay > 0:
            self._schedule(call)
        else:
            if not self._soon:
                self._turn = self._reactor.callLater(0, self._run_soon)
            self._soon.append(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """See `IReactorTime`."""
        return list(self._live)

    def stop(self) -> None:
        """End the waiting thread; calls still pending are never made."""
        self._live.clear()
        self._calls.clear()
        self._soon.clear()
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        if self._pipe is not None:
            os.close(self._pipe[1])
            self._pipe = None
            self._thread = None

    def _cancelled(self, call: DelayedCall) -> None:
        self._live.discard(call)
        if len(self._calls) > 2 * len(self._live) + CANCELLED_MAX:
            # Timeouts are set for every request and hardly ever come due: without this they would pile up until they do.
            self._calls = [item for item in self._calls if item[2] in self._live]
            heapq.heapify(self._calls)

    def _moved_forward(self, call: DelayedCall) -> None:
        self._schedule(call)

    def _schedule(self, call: DelayedCall) -> None:
        due = call.getTime()
        heapq.heappush(self._calls, (due, next(self._order), call))
        if due < self._wake_at:
            self._wake_at = due
            self._wake_thread()

    def _wake_thread(self) -> None:
        if self._pipe is None:
            self._pipe = os.pipe()
            self._thread = threading.Thread(target=self._wait, args=(self._pipe[0],), name="txraft-clock", daemon=True)
            self._thread.start()
        os.write(self._pipe[1], b"!")

    def _wait(self, wakened: int) -> None:
        poll = select.poll()  # select() ends at 1,024 descriptors
        poll.register(wakened, select.POLLIN)
        while True:
            delay = self._wake_at - self.seconds()
            if poll.poll(min(max(delay, 0.0), 3600.0) * 1000):
                if not os.read(wakened, 4096):
                    os.close(wakened)
                    return
            elif self._wake_at <= self.seconds():
                self._wake_at = float("inf")
                self._reactor.callFromThread(self._run_due)

    def _run_soon(self) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            self._call(call)

    def _run_due(self) -> None:
        # If the wall clock was set back just now, the reactor's own zero delay has become a long one: any call due ends it.
        if self._soon:
            self._turn.cancel()
            self._run_soon()
        now = self.seconds()
        while self._calls and self._calls[0][0] <= now:
            due, _, call = heapq.heappop(self._calls)
            if call.active() and call.getTime() > due:
                heapq.heappush(self._calls, (call.getTime(), next(self._order), call))
            else:
                self._call(call)
        if self._calls and self._pipe is not None:
            self._wake_at = min(self._wake_at, self._calls[0][0])
            self._wake_thread()

    def _call(self, call: DelayedCall) -> None:
        if call in self._live and call.active():
            self._live.discard(call)
            call.called = 1
            try:
                call.func(*call.args, **call.kw)
            except BaseException:
                # As the reactor does; the other calls that are due must not suffer.
                self._log.failure("a delayed call failed: {call}", call=call)
