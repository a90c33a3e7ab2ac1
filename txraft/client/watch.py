"""A watch: the events of a machine, one by one, from a place on, without gap or duplicate, for as long as it is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txraft.client.events import Event, Pages, Place
from txraft.client.retrying import BackOff
from txraft.errors import NotApplied, Outcome

__all__ = ["POLL_WAIT_MS", "Watch"]

POLL_WAIT_MS = 30_000
"""A poll that finds no event is answered after so long, and sent again: places that are too old to be read on from are noticed by then."""

Poll = Callable[[int, int, int], Deferred[Any]]
"""Asks for a page: index, skip, milliseconds to wait."""


class Watch:
    """Made by `Client.watch`. An async iterator: ``async for event in watch``.

    It goes on through lost connections, changes of the leader and servers that are not ready, and ends only when it is stopped or cannot go
    on: `NotApplied` `compacted` (the servers have dropped events that were not told yet; `details["oldest"]` is where they begin),
    `unknown_machine`, `client_closed` and the like. It holds one page of events and asks for the next one when that is used up: whoever is
    slow reads on from the servers' history, as far as that reaches back.

    Args:
        reactor: for pauses. All calls are on its thread.
        poll: asks the servers; fails with an `Outcome`.
        pages: where it begins.
        back_off: the pauses while nobody answers.
        monotonic: seconds.
        ended: told when it has ended.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        poll: Poll,
        pages: Pages,
        *,
        back_off: BackOff,
        monotonic: Callable[[], float],
        ended: Callable[[Watch], None],
    ) -> None:
        self._reactor = reactor
        self._ask = poll
        self._pages = pages
        self._back_off = back_off
        self._monotonic = monotonic
        self._ended = ended
        self._standing = False
        self._place = pages.place
        self._events: deque[Event] = deque()
        self._waiting: deque[Deferred[Event]] = deque()
        self._starting: deque[Deferred[Place]] = deque()
        self._polling: Deferred[Any] | None = None
        self._polled_s = 0.0
        self._pause: IDelayedCall | None = None
        self._end: Exception | None = None

    @property
    def started(self) -> Deferred[Place]:
        """Fires with the place once it is known: whatever happens after is told. Fails when the watch ends before."""
        if self._standing:
            return succeed(self.place)
        if self._end is not None:
            return fail(_end_of(self._end, NotApplied("watch_stopped", "the watch was stopped before it stood")))
        return _waiter(self._starting)

    @property
    def place(self) -> Place:
        """The place behind the last event that was told, to begin another watch of the same topic at."""
        return self._place if self._events else self._pages.place

    def __aiter__(self) -> Watch:
        return self

    def __anext__(self) -> Deferred[Event]:
        """The next event; `StopAsyncIteration` once it was stopped. One that is cancelled takes no event away."""
        if self._events:
            return succeed(self._next())
        if self._end is not None:
            return fail(_end_of(self._end, StopAsyncIteration()))
        waiter = _waiter(self._waiting)
        self._go_on()
        return waiter

    def on_event(self, callback: Callable[[Event], Any], on_end: Callable[[Outcome | None], Any] | None = None) -> None:
        """Have each event told to `callback`. If it returns a Deferred or a coroutine, the next event waits for that.

        Args:
            callback: an exception of it stops the watch and is logged.
            on_end: told why the watch has ended; None when it was stopped. Without it, that is logged.
        """

        def crashed(failure: Failure) -> None:
            self._log.failure("what was to be told of an event, or of the end of a watch, failed", failure)
            self.stop()

        Deferred.fromCoroutine(self._tell(callback, on_end)).addErrback(crashed)

    async def _tell(self, callback: Callable[[Event], Any], on_end: Callable[[Outcome | None], Any] | None) -> None:
        problem: Outcome | None = None
        try:
            while True:
                event = await self.__anext__()
                returned = callback(event)
                if isinstance(returned, Awaitable):
                    await returned
        except StopAsyncIteration:
            pass
        except Outcome as outcome:
            problem = outcome
            if outcome is not self._end:
                raise  # It is the callback's own.
        if on_end is not None:
            on_end(problem)
        elif problem is not None:
            self._log.error("a watch has ended: {problem}", problem=problem)

    def stop(self) -> None:
        """End it. What waits for an event ends, too."""
        self.end(None)

    def end(self, problem: Outcome | None) -> None:
        """End it because of `problem`, or without one; only the first time counts."""
        if self._end is not None:
            return
        self._end = problem or StopAsyncIteration()
        self._events.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._polling is not None:
            self._polling.cancel()
        self._ended(self)
        while self._starting:
            self._starting.popleft().errback(_end_of(self._end, NotApplied("watch_stopped", "the watch was stopped before it stood")))
        while self._waiting:
            self._waiting.popleft().errback(_end_of(self._end, StopAsyncIteration()))

    def begin(self) -> None:
        """Learn the place, and whether there are events at it already."""
        self._go_on()

    def _go_on(self) -> None:
        if self._polling is None and self._pause is None and self._end is None:
            self._polled_s = self._monotonic()
            polling = self._polling = self._ask(self._pages.first, self._pages.skip, POLL_WAIT_MS if self._standing else 0)
            polling.addCallbacks(self._answered, self._not_answered)

    def _answered(self, answer: Any) -> None:
        self._polling = None
        before = self._pages.first, self._pages.skip
        self._place = self._pages.place
        try:
            self._events.extend(self._pages.read(answer))
        except NotApplied as problem:
            self.end(problem)
            return
        waited = self._monotonic() - self._polled_s >= POLL_WAIT_MS / 2000
        moved = (self._pages.first, self._pages.skip) != before
        if moved or waited:
            self._back_off.reset()
        self._stand()
        while self._events and self._waiting:
            self._waiting.popleft().callback(self._next())
        if self._waiting:
            if moved or waited:
                self._go_on()
            else:  # A server that finds nothing and does not wait must not be asked all the time.
                self._rest()

    def _next(self) -> Event:
        event = self._events.popleft()
        self._place = event.place
        return event

    def _stand(self) -> None:
        if not self._standing:
            self._standing = True
            while self._starting:
                self._starting.popleft().callback(self.place)

    def _not_answered(self, failure: Failure) -> None:
        self._polling = None
        problem = failure.value
        if self._end is not None:
            return
        if not isinstance(problem, Outcome):
            self.end(NotApplied("watch_failed", f"the watch failed: {failure.getErrorMessage()}"))
        elif isinstance(problem, NotApplied) and (problem.retryable or problem.code == "too_many_waits"):
            self._rest()
        else:
            self.end(problem)

    def _rest(self) -> None:
        self._pause = self._reactor.callLater(self._back_off.next_s(), self._rested)

    def _rested(self) -> None:
        self._pause = None
        if self._waiting or not self._standing:
            self._go_on()


def _waiter(waiters: deque[Any]) -> Deferred[Any]:
    """One more of those who wait; cancelled, it is none any more."""
    waiter: Deferred[Any] = Deferred(waiters.remove)
    waiters.append(waiter)
    return waiter


def _end_of(end: Exception, stopped: Exception) -> Exception:
    return stopped if isinstance(end, StopAsyncIteration) else end
