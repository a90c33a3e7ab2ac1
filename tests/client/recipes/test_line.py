from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.client.recipes.recipe_case import PATH, RecipeCase
from tests.support.recipe_world import Chances
from txraft.client.recipes.shared.locks import PlainLock

LINE = PATH.encode() + b"/line/"


class DoubtTests(RecipeCase):
    """Answers that get lost, and commands that arrive late."""

    def test_a_creation_whose_answer_was_lost_is_found(self) -> None:
        store, lock = self.lock()
        self.result(lock.line.session.lease())
        store.chances = Chances(unknown=1.0)
        store.on_call = lambda name: setattr(store, "chances", Chances()) if store.calls.count("txn") == 2 else None
        token = self.result(lock.acquire())
        (kv,) = self.world.ask("range", key=LINE, prefix=True)["kvs"]
        self.assertEqual((kv["create_revision"], kv["version"]), (token, 1))

    def test_a_creation_that_arrives_after_the_line_was_left_is_no_ghost(self) -> None:
        for seed in range(20):
            self.world.rng.seed(seed)
            (_, holder), (store, other) = self.lock(), self.lock()
            self.result(holder.acquire())
            self.result(other.line.session.lease())
            store.chances = Chances(late=1.0, late_s=3.0)
            waiting = self.start(other.acquire())
            self.pass_time(self.world.rng.uniform(0, 0.2))
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            store.chances = Chances()
            keeper = PlainLock(other.line.session, PATH + "2")  # keeps the lease
            self.result(keeper.acquire())
            self.pass_time(5)
            self.assertEqual(len(self.world.keys(LINE)), 1, f"seed {seed}")
            self.result(keeper.release())
            self.result(holder.release())
            self.pass_time(10)
            self.assertEqual(self.world.keys(), [], f"seed {seed}")

    def test_a_removal_that_fails_goes_on(self) -> None:
        (store, lock), (_, other) = self.lock(ttl_s=60), self.lock()
        self.result(lock.acquire())
        store.chances = Chances(not_applied=1.0)
        self.assertFalse(self.result(lock.release()))
        self.pass_time(3)
        self.assertEqual(len(self.world.keys(LINE)), 1)
        store.chances = Chances()
        self.result(other.acquire())

    def test_a_removal_that_keeps_failing_ends_with_the_lease(self) -> None:
        (store, lock), (_, other) = self.lock(ttl_s=5), self.lock()
        self.result(lock.acquire())
        store.chances = Chances(not_applied=1.0)
        self.assertFalse(self.result(lock.release()))
        self.result(other.acquire(), 7)
        self.pass_time(20)
        store.calls.clear()
        self.pass_time(20)
        self.assertEqual(store.calls, [])
