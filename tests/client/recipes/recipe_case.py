"""What the tests of the recipes have in common: a world, clients with sessions, and coroutines run in it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.recipe_world import CERTAIN, Chances, Crashed, World, WorldStore
from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.line import LOOK_AGAIN_S
from txraft.client.recipes.shared.locks import PlainLock

__all__ = ["PATH", "RecipeCase", "crashed"]

T = TypeVar("T")


def crashed(failure: Failure) -> Any:
    """That a client has crashed is no news."""
    failure.trap(Crashed)


PATH = "/stock/lock"
SOON_S = 2.0
assert SOON_S < LOOK_AGAIN_S, "what comes soon must have been heard of, not found by looking again"


class RecipeCase(SynchronousTestCase):
    """A world of its own for each test."""

    def setUp(self) -> None:
        self.world = self.new_world()

    def new_world(self, seed: int = 0) -> World:
        """Another one."""
        world = World(seed)
        self.addCleanup(world.end)
        return world

    def session(self, chances: Chances = CERTAIN, *, ttl_s: int = 5, clock_rate: float = 1.0) -> tuple[WorldStore, Session]:
        """A client and its session."""
        store = self.world.client(chances, clock_rate=clock_rate)
        return store, Session(store, ttl_s=ttl_s)

    def lock(self, **options: Any) -> tuple[WorldStore, PlainLock]:
        """A client with a lock."""
        store, session = self.session(**options)
        return store, PlainLock(session, PATH)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Run it until it waits; how it ends is not asked if its client crashes."""
        return Deferred.fromCoroutine(coroutine).addErrback(crashed)

    def result(self, coroutine: Coroutine[Any, Any, T] | Deferred[T], within_s: float = SOON_S) -> T:
        """Run it to its end, which must come soon."""
        result: T = self.successResultOf(self._drive(coroutine, within_s))
        return result

    def failure_of(self, coroutine: Coroutine[Any, Any, Any] | Deferred[Any], kind: type[Any], within_s: float = SOON_S) -> Any:
        """The same, for one that must fail so."""
        return self.failureResultOf(self._drive(coroutine, within_s), kind).value

    def _drive(self, coroutine: Coroutine[Any, Any, Any] | Deferred[Any], within_s: float) -> Deferred[Any]:
        done = coroutine if isinstance(coroutine, Deferred) else Deferred.fromCoroutine(coroutine)
        over: list[bool] = []

        def note(result: Any) -> Any:
            over.append(True)
            return result

        done.addBoth(note)
        self.world.time.run_until(lambda: bool(over), within_s=within_s)
        return done

    def pass_time(self, seconds: float) -> None:
        self.world.time.run(seconds)
