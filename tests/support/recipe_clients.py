"""Clients, as far as recipes use them, of the world of `recipe_world`: one for each form."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from tests.support.recipe_world import World, WorldStore
from tests.support.virtual_time import Event as TimeEvent
from txraft.errors import NotApplied

__all__ = ["WorldBlockingClient", "WorldClient", "WorldReactor"]


@define(eq=False)
class Later:
    """A delayed call."""

    event: TimeEvent
    ended: bool = False

    def active(self) -> bool:
        return not self.ended

    def cancel(self) -> None:
        self.ended = True
        self.event.cancel()


@define(eq=False)
class WorldReactor:
    """The time of the world.

    Attributes:
        calls: delayed ones, ended or not.
    """

    world: World
    calls: list[Later] = field(factory=list)

    def callLater(self, delay: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Later:
        def act() -> None:
            later.ended = True
            function(*args, **kwargs)

        later = Later(self.world.time.call_later(delay, act))
        self.calls.append(later)
        return later

    def active(self) -> list[Later]:
        return [call for call in self.calls if call.active()]


@define(eq=False)
class WorldWatch:
    """Tells that something has happened, once."""

    waiting: Deferred[Any]
    watches: list[WorldWatch]

    def __anext__(self) -> Deferred[Any]:
        return self.waiting

    def stop(self) -> None:
        self.watches.remove(self)
        self.waiting.addErrback(lambda _: None)
        self.waiting.cancel()


@define(eq=False)
class WorldClient:
    """Like `Client`.

    Attributes:
        watches: that run.
        watch_trouble: what the next watch fails with.
        commands_once: sent without a session.
    """

    store: WorldStore
    reactor: WorldReactor = field(init=False)
    watches: list[WorldWatch] = field(factory=list)
    watch_trouble: NotApplied | None = None
    commands_once: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.reactor = WorldReactor(self.store.world)

    def monotonic(self) -> float:
        return self.store.monotonic()

    def command(self, machine: str, command: str, *, exactly_once: bool = True, **arguments: Any) -> Deferred[Any]:
        if not exactly_once:
            self.commands_once.append(command)
        return Deferred.fromCoroutine(self.store.command(machine, command, arguments))

    def query(self, machine: str, query: str, **arguments: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.store.query(machine, query, arguments))

    def watch(self, machine: str, topic: bytes | None = None, *, prefix: bytes | None = None, from_index: int = 0) -> WorldWatch:
        trouble, self.watch_trouble = self.watch_trouble, None
        key = topic if prefix is None else prefix
        assert key is not None
        waiting = self.store.world.wait(machine, key, prefix is not None, from_index - 1) if trouble is None else fail(trouble)
        watch = WorldWatch(waiting, self.watches)
        self.watches.append(watch)
        return watch


_ONE_AT_A_TIME = threading.RLock()


class WorldBlockingWatch:
    """Tells what has happened already."""

    def __init__(self, happened: bool, trouble: NotApplied | None) -> None:
        self._events = [object()] if happened else []
        self._trouble = trouble
        self.stopped = False

    def __next__(self) -> Any:
        if self._trouble is not None:
            raise self._trouble
        if not self._events:
            raise StopIteration
        return self._events.pop()

    def stop(self) -> None:
        self.stopped = True

    def __enter__(self) -> WorldBlockingWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@define(eq=False)
class WorldBlockingClient:
    """Like `BlockingClient`: values go through JSON, bytes as base64. What takes time is done at once.

    Attributes:
        before_watch: called when somebody begins to wait: the last chance for something to happen.
        watches: all of them.
        watch_trouble: what the next watch fails with; at once if `watch_fails_at_once`.
        troubles: what the next calls fail with.
        timeouts: of the clients that were made of this one.
        other_troubles: what all calls of those fail with.
    """

    world: World
    before_watch: Callable[[], None] = lambda: None
    watches: list[WorldBlockingWatch] = field(factory=list)
    watch_trouble: NotApplied | None = None
    watch_fails_at_once: bool = False
    troubles: list[Exception] = field(factory=list)
    timeouts: list[float | None] = field(factory=list)
    other_troubles: Exception | None = None
    parent: WorldBlockingClient | None = None
    closed: bool = False

    def command(self, machine: str, command: str, **arguments: Any) -> Any:
        with _ONE_AT_A_TIME:
            self._fail()
            result = self.world.perform(machine, command, arguments)
            self.world.settle()
            return _through_json(result)

    def query(self, machine: str, query: str, **arguments: Any) -> Any:
        with _ONE_AT_A_TIME:
            self._fail()
            return _through_json(self.world.driver.ask(machine, query, **arguments))

    def watch(self, machine: str, topic: bytes | None = None, *, prefix: bytes | None = None, from_index: int = 0) -> WorldBlockingWatch:
        self.before_watch()
        trouble, self.watch_trouble = self.watch_trouble, None
        if trouble is not None and self.watch_fails_at_once:
            raise trouble
        key = topic if prefix is None else prefix
        assert key is not None
        page = self.world.driver.host.hosted(machine).history.read(key, prefix is not None, from_index, 0)
        self.watches.append(WorldBlockingWatch(bool(page.events), trouble))
        return self.watches[-1]

    def another(self, timeout_s: float | None = None) -> WorldBlockingClient:
        self.timeouts.append(timeout_s)
        return WorldBlockingClient(self.world, parent=self)

    def close(self) -> None:
        self.closed = True

    def _fail(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        if self.parent is not None and self.parent.other_troubles is not None:
            raise self.parent.other_troubles


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda content: base64.b64encode(content).decode()))
