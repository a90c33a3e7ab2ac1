"""Crashes at every step, and random schedules: clients that come, wait, give up, hold, die; calls that are lost or late; leaders that go.

A seed is in the failure; the same seed and kind give the same run.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

from tests.client.recipes.recipe_case import PATH, RecipeCase, crashed
from tests.support.recipe_world import Chances, World, WorldStore
from txraft.client.recipes.shared.election import PlainElection
from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.locks import PlainLock, PlainReadLock, PlainSemaphore, PlainWriteLock
from txraft.client.recipes.shared.trouble import RecipeTrouble
from txraft.errors import Outcome

SEEDS = 3
TTL_S = 4
STORMY_S = 60.0
CALM_S = 60.0
STORM = Chances(not_applied=0.03, unknown=0.05, late=0.05, late_s=3.0, longest_s=0.2)

Make = Callable[[Session, int], PlainLock]

KINDS: dict[str, tuple[Make, int]] = {
    "lock": (lambda session, _: PlainLock(session, PATH), 1),
    "election": (lambda session, _: PlainElection(session, PATH), 1),
    "semaphore of one": (lambda session, _: PlainSemaphore(session, PATH, 1), 1),
    "semaphore": (lambda session, _: PlainSemaphore(session, PATH, 3), 3),
    "readers and writers": (lambda session, n: (PlainWriteLock if n % 2 else PlainReadLock)(session, PATH), 99),
}
"""How to make the lock of a client, and how many may hold it together."""


class Witness:
    """Looks at everything, after every entry and every turn.

    Attributes:
        acquired: tokens in the order of their acquisition.
        wrong: what must not be.
    """

    def __init__(self, world: World, room: int) -> None:
        self.world = world
        self.room = room
        self.locks: list[tuple[WorldStore, PlainLock]] = []
        self.acquired: list[int] = []
        self.wrong: list[str] = []
        world.after_each.append(self.look)

    def look(self) -> None:
        holders = [lock for store, lock in self.locks if store.alive and lock.held]
        tokens = [lock.token for lock in holders]
        if len(holders) > self.room:
            self.wrong.append(f"{len(holders)} hold it together: {tokens}")
        if len(holders) > 1 and any(isinstance(lock, PlainWriteLock) for lock in holders):
            self.wrong.append(f"a writer is not alone: {holders}")
        if holders:
            prefix = PATH.encode() + b"/line/"
            there = {kv["create_revision"] for kv in self.world.ask("range", key=prefix, prefix=True, keys_only=True)["kvs"]}
            if not there.issuperset(tokens):
                self.wrong.append(f"{tokens} are held, but in the store are {sorted(there)}")

    def note(self, token: int) -> None:
        if self.room == 1 and self.acquired and token <= self.acquired[-1]:
            self.wrong.append(f"token {token} comes after {self.acquired[-1]}")
        self.acquired.append(token)


class Life:
    """A client that does what one does with a lock, again and again, with its own luck."""

    def __init__(self, witness: Witness, make: Make, number: int) -> None:
        world = witness.world
        self.rng = random.Random(world.rng.random())
        self.witness = witness
        self.store = world.client(STORM, clock_rate=self.rng.uniform(0.97, 1.03))
        self.lock = make(Session(self.store, ttl_s=TTL_S), number)
        witness.locks.append((self.store, self.lock))
        self.last_acquired_s = 0.0
        self.done = Deferred.fromCoroutine(self.live()).addErrback(crashed)

    async def live(self) -> None:
        while True:
            await self.store.sleep(self.rng.uniform(0, 1))
            if await self.try_to_acquire():
                await self.store.sleep(self.rng.choice([0.05, 0.5, 2.0]) if self.rng.random() < 0.95 else 10.0)
                await self.lock.release()

    async def try_to_acquire(self) -> bool:
        timeout_s = self.rng.choice([None, None, 3.0])
        acquiring = Deferred.fromCoroutine(self.lock.acquire(self.rng.random() < 0.8, timeout_s))
        if self.rng.random() < 0.2:
            self.witness.world.time.call_later(self.rng.uniform(0, 2), acquiring.cancel)
        try:
            token = await acquiring
        except (CancelledError, RecipeTrouble, Outcome):
            return False
        if token is None:
            return False
        self.last_acquired_s = self.witness.world.time.now
        self.witness.note(token)
        return True


class RandomSchedules(RecipeCase):
    """Never two holders; tokens only grow; and when the storm is over, everybody gets it again."""

    def run_one(self, kind: str, seed: int) -> None:
        make, room = KINDS[kind]
        world = self.new_world(seed)
        witness = Witness(world, room)
        lives = [Life(witness, make, number) for number in range(6)]
        while world.time.now < STORMY_S:
            world.time.run(world.rng.uniform(0.5, 6))
            if world.rng.random() < 0.3:
                world.new_leader(world.rng.choice([0.5, 2.0, 6.0]))
            if world.rng.random() < 0.3:
                victim = world.rng.choice(lives)
                victim.store.crash()
                lives.append(Life(witness, make, len(lives)))
        world.leaderless = False
        alive = [life for life in lives if life.store.alive]
        for life in alive:
            life.store.chances = Chances()
        end_of_storm_s = world.time.now
        world.time.run(CALM_S)
        for life in alive:
            self.assertNoResult(life.done)
            self.assertGreater(life.last_acquired_s, end_of_storm_s, f"{kind}, seed {seed}: somebody does not get it any more")
        self.assertEqual(witness.wrong[:3], [], f"{kind}, seed {seed}")
        self.assertGreater(len(set(witness.acquired)), 20)
        self.assertEqual(len(set(witness.acquired)), len(witness.acquired))


def _add(kind: str) -> None:
    def test(self: RandomSchedules) -> None:
        for seed in range(SEEDS):
            self.run_one(kind, seed)

    setattr(RandomSchedules, f"test_{kind.replace(' ', '_')}", test)


for _kind in KINDS:
    _add(_kind)


class CrashesAtEachStep(RecipeCase):
    """One client dies when it makes its n-th call, which arrives or does not; whoever waits behind it goes on."""

    STEPS = 12

    def crash_at(self, step: int, arrives: bool) -> bool:
        """Whether there was such a step."""
        world = self.world = self.new_world(step)
        before, victim, behind = (PlainSemaphore(Session(world.client(), ttl_s=TTL_S), PATH, 1) for _ in range(3))
        store = victim.line.session.store
        assert isinstance(store, WorldStore)

        def look(name: str) -> None:
            if len(store.calls) == step:
                store.chances = store.chances if arrives else Chances(not_applied=1.0)
                store.crash()

        store.on_call = look
        self.result(before.acquire())
        self.start(self.acquire_and_release(victim, store))
        self.pass_time(0.5)
        waiting = self.start(behind.acquire())
        self.pass_time(3)
        self.assertNoResult(waiting)
        first = before.token
        self.result(before.release())
        token = self.result(waiting, within_s=20)
        assert token is not None
        self.assertGreater(token, first)
        self.assertTrue(behind.held)
        return not store.alive

    async def acquire_and_release(self, lock: PlainSemaphore, store: WorldStore) -> None:
        await lock.acquire()
        await store.sleep(3)
        await lock.release()

    def test_whoever_is_behind_goes_on(self) -> None:
        crashed = [self.crash_at(step, arrives) for step in range(1, self.STEPS + 1) for arrives in (False, True)]
        # The last steps are keep-alives while it holds; all before them are different ones.
        self.assertGreaterEqual(crashed.count(True), 14)
