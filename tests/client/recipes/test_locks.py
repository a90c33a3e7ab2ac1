from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.client.recipes.recipe_case import PATH, RecipeCase
from tests.support.recipe_world import Chances
from txraft.client.recipes.shared.locks import PlainLock, PlainReadLock, PlainSemaphore, PlainWriteLock
from txraft.client.recipes.shared.trouble import AcquireCancelled, AlreadyHeld, LockLost, LockTimeout, NotHeld, WrongSize
from txraft.errors import NotApplied

LINE = PATH.encode() + b"/line/"


class LockTests(RecipeCase):
    def test_a_free_lock_costs_a_lease_and_one_command(self) -> None:
        store, lock = self.lock()
        token = self.result(lock.acquire())
        self.assertEqual(store.calls, ["lease_grant", "txn"])
        (key,) = self.world.keys(LINE)
        self.assertEqual(self.world.ask("get", key=key)["create_revision"], token)
        self.assertTrue(lock.held)

    def test_released_it_leaves_nothing_behind(self) -> None:
        _, lock = self.lock()
        self.result(lock.acquire())
        self.assertTrue(self.result(lock.release()))
        self.assertEqual(self.world.keys(), [])
        self.assertFalse(lock.held)

    def test_the_next_one_in_line_gets_it_with_a_greater_token(self) -> None:
        locks = [self.lock()[1] for _ in range(4)]
        waiting = []
        for lock in locks:
            waiting.append(self.start(lock.acquire()))
            self.pass_time(0.5)
        tokens = []
        for lock, acquired in zip(locks, waiting, strict=True):
            tokens.append(self.result(acquired))
            self.assertEqual([one.held for one in locks].count(True), 1)
            self.result(lock.release())
        self.assertEqual(tokens, sorted(set(tokens)))

    def test_only_the_next_one_is_woken(self) -> None:
        clients = [self.lock() for _ in range(4)]
        for _, lock in clients:
            self.start(lock.acquire())
            self.pass_time(0.2)
        for store, _ in clients:
            store.calls.clear()
        self.result(clients[0][1].release())
        self.pass_time(0.5)
        asked = [[call for call in store.calls if call != "lease_keep_alive"] for store, _ in clients]
        self.assertEqual(asked, [["txn"], ["range", "get"], [], []])

    def test_whoever_waits_in_the_middle_and_gives_up_lets_nobody_pass(self) -> None:
        locks = [self.lock()[1] for _ in range(3)]
        waiting = []
        for lock in locks:
            waiting.append(self.start(lock.acquire()))
            self.pass_time(0.2)
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.pass_time(1)
        self.assertNoResult(waiting[2])
        self.assertEqual(len(self.world.keys(LINE)), 2)
        self.result(locks[0].release())
        self.result(waiting[2])

    def test_without_blocking_a_taken_lock_is_none_and_leaves_no_place(self) -> None:
        (_, holder), (_, other) = self.lock(), self.lock()
        self.result(holder.acquire())
        self.assertIsNone(self.result(other.acquire(blocking=False)))
        self.pass_time(0.5)
        self.assertEqual(len(self.world.keys(LINE)), 1)
        self.result(holder.release())
        self.assertIsNotNone(self.result(other.acquire(blocking=False)))

    def test_a_timeout_leaves_no_place(self) -> None:
        (_, holder), (_, other) = self.lock(), self.lock()
        self.result(holder.acquire())
        begin_s = self.world.time.now
        self.failure_of(other.acquire(timeout_s=1.0), LockTimeout)
        self.assertTrue(1.0 <= self.world.time.now - begin_s < 1.2)
        self.assertEqual(len(self.world.keys(LINE)), 1)
        self.failure_of(other.acquire(timeout_s=0.0), LockTimeout)

    def test_it_can_be_cancelled_from_elsewhere(self) -> None:
        (_, holder), (_, other) = self.lock(), self.lock()
        self.result(holder.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        other.cancel()
        self.failure_of(waiting, AcquireCancelled, within_s=20)
        self.pass_time(0.5)
        self.assertEqual(len(self.world.keys(LINE)), 1)

    def test_it_is_not_reentrant(self) -> None:
        (_, holder), (_, other) = self.lock(), self.lock()
        self.result(holder.acquire())
        self.failure_of(holder.acquire(), AlreadyHeld)
        self.start(other.acquire())
        self.failure_of(other.acquire(), AlreadyHeld)
        self.assertTrue(holder.held)

    def test_what_is_not_held_has_no_token_and_cannot_be_released(self) -> None:
        _, lock = self.lock()
        with self.assertRaises(NotHeld):
            _ = lock.token
        self.failure_of(lock.release(), NotHeld)

    def test_contenders_are_in_the_order_of_their_turns(self) -> None:
        for name in ("a", "b", "ü"):
            self.start(PlainLock(self.session()[1], PATH, name).acquire())
            self.pass_time(0.2)
        self.assertEqual(self.result(self.lock()[1].contenders()), ["a", "b", "ü"])

    def test_two_locks_of_one_session_share_the_lease_and_still_exclude_each_other(self) -> None:
        store, session = self.session()
        one, other = PlainLock(session, PATH), PlainLock(session, PATH)
        self.result(one.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        self.assertNoResult(waiting)
        self.result(one.release())
        self.result(waiting)
        self.assertEqual(store.calls.count("lease_grant"), 1)

    def test_a_path_that_begins_with_another_is_another_lock(self) -> None:
        self.result(self.lock()[1].acquire())
        self.result(PlainLock(self.session()[1], PATH + "2").acquire())
        with self.assertRaises(ValueError):
            PlainLock(self.session()[1], "/")

    def test_a_trouble_that_stays_is_told(self) -> None:
        _, lock = self.lock(chances=Chances(not_applied=1.0))
        self.assertEqual(self.failure_of(lock.acquire(blocking=False), NotApplied).code, "not_ready")
        self.failure_of(lock.acquire(timeout_s=3.0), LockTimeout, within_s=5)


class LossTests(RecipeCase):
    def test_when_its_client_is_gone_the_next_one_has_it_after_the_lease(self) -> None:
        (store, holder), (_, other) = self.lock(), self.lock()
        first = self.result(holder.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(3)
        store.crash()
        self.pass_time(3)
        self.assertNoResult(waiting)
        second = self.result(waiting, 3)
        assert first is not None and second is not None
        self.assertGreater(second, first)

    def test_when_a_waiting_client_is_gone_the_others_go_on(self) -> None:
        clients = [self.lock() for _ in range(3)]
        waiting = []
        for _, lock in clients:
            waiting.append(self.start(lock.acquire()))
            self.pass_time(0.2)
        clients[1][0].crash()
        self.result(clients[0][1].release())
        self.result(waiting[2], 8)

    def test_it_is_lost_before_the_servers_let_it_go(self) -> None:
        lost_s: list[float] = []
        gone_s: list[float] = []
        _, lock = self.lock(ttl_s=5)
        self.result(lock.acquire())
        lock.on_lost = lambda: lost_s.append(self.world.time.now)
        store = lock.line.session.store
        store.chances = Chances(not_applied=1.0)  # type: ignore[attr-defined]
        self.world.after_each.append(lambda: gone_s.append(self.world.time.now) if not (gone_s or self.world.keys(LINE)) else None)
        self.pass_time(10)
        self.assertEqual(len(lost_s), 1)
        self.assertLess(lost_s[0] + 0.5, gone_s[0])
        with self.assertRaises(LockLost):
            _ = lock.token
        self.assertFalse(lock.held)
        self.assertFalse(self.result(lock.release()))
        store.chances = Chances()  # type: ignore[attr-defined]
        self.result(lock.acquire())

    def test_a_lease_that_is_revoked_is_noticed(self) -> None:
        _, lock = self.lock(ttl_s=5)
        self.result(lock.acquire())
        for lease in self.world.ask("leases")["leases"]:
            self.world.call("lease_revoke", id=lease)
        self.pass_time(2)
        self.assertFalse(lock.held)

    def test_it_is_kept_for_as_long_as_it_is_held(self) -> None:
        _, lock = self.lock(ttl_s=5)
        token = self.result(lock.acquire())
        self.pass_time(1_000)
        self.assertEqual(lock.token, token)

    def test_a_change_of_leader_that_is_short_enough_loses_nothing(self) -> None:
        _, lock = self.lock(ttl_s=5)
        token = self.result(lock.acquire())
        for _ in range(5):
            self.world.new_leader(1.5)
            self.pass_time(4)
        self.assertEqual(lock.token, token)

    def test_a_change_of_leader_that_takes_too_long_loses_it_and_the_key_lives_its_time_again(self) -> None:
        (_, lock), (_, other) = self.lock(ttl_s=5), self.lock(ttl_s=5)
        first = self.result(lock.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        self.world.new_leader(20)
        self.pass_time(19.5)
        self.assertFalse(lock.held)
        second = self.result(waiting, 12)
        assert first is not None and second is not None
        self.assertGreater(second, first)

    def test_who_lost_the_lease_while_waiting_stands_in_the_line_again(self) -> None:
        (_, holder), (_, other) = self.lock(ttl_s=5), self.lock(ttl_s=2)
        self.result(holder.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        (lease,) = {kv["lease"] for kv in self.world.ask("range", key=LINE, prefix=True, sort="create")["kvs"][1:]}
        self.world.call("lease_revoke", id=lease)
        self.pass_time(5)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.world.keys(LINE)), 2)
        self.result(holder.release())
        self.result(waiting)

    def test_a_place_that_somebody_deleted_is_taken_again(self) -> None:
        (_, holder), (_, other) = self.lock(), self.lock()
        self.result(holder.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        self.world.call("delete", key=self.world.ask("range", key=LINE, prefix=True, sort="create")["kvs"][1]["key"])
        self.result(holder.release())
        token = self.result(waiting)
        self.assertEqual([kv["create_revision"] for kv in self.world.ask("range", key=LINE, prefix=True)["kvs"]], [token])
        self.result(other.release())
        self.pass_time(20)
        self.assertEqual(self.world.ask("leases")["leases"], [], "a lease is kept that nobody uses")

    def test_an_idle_session_calls_nobody(self) -> None:
        store, lock = self.lock()
        self.result(lock.acquire())
        self.result(lock.release())
        store.calls.clear()
        self.pass_time(60)
        self.assertEqual(store.calls, [])
        self.assertEqual(self.world.ask("leases")["leases"], [])
        self.result(lock.acquire())

    def test_closing_the_session_lets_go_at_once(self) -> None:
        (_, lock), (_, other) = self.lock(), self.lock()
        self.result(lock.acquire())
        waiting = self.start(other.acquire())
        self.pass_time(1)
        self.result(lock.line.session.close())
        self.assertFalse(lock.held)
        self.result(waiting)


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


class ReadWriteTests(RecipeCase):
    def make(self, *kinds: type[PlainLock]) -> list[PlainLock]:
        return [kind(self.session()[1], PATH) for kind in kinds]

    def test_readers_together_and_writers_alone_in_the_order_of_asking(self) -> None:
        locks = self.make(PlainReadLock, PlainReadLock, PlainWriteLock, PlainReadLock, PlainWriteLock)
        waiting = []
        for lock in locks:
            waiting.append(self.start(lock.acquire()))
            self.pass_time(0.5)

        def held() -> list[bool]:
            self.pass_time(0.5)
            return [lock.held for lock in locks]

        self.assertEqual(held(), [True, True, False, False, False])
        self.result(locks[1].release())
        self.assertEqual(held(), [True, False, False, False, False])
        self.result(locks[0].release())
        self.assertEqual(held(), [False, False, True, False, False])
        self.result(locks[2].release())
        self.assertEqual(held(), [False, False, False, True, False])
        self.result(locks[3].release())
        self.assertEqual(held(), [False, False, False, False, True])
        tokens = [self.successResultOf(acquired) for acquired in waiting]
        self.assertEqual(tokens, sorted(set(tokens)))

    def test_the_kinds_of_locks_say_what_they_are(self) -> None:
        self.assertEqual([str(lock) for lock in self.make(PlainReadLock, PlainWriteLock)], [f"ReadLock {PATH}", f"WriteLock {PATH}"])


class SemaphoreTests(RecipeCase):
    def semaphores(self, count: int, max_leases: int) -> list[PlainSemaphore]:
        return [PlainSemaphore(self.session()[1], PATH, max_leases) for _ in range(count)]

    def test_so_many_hold_it_and_the_others_follow_in_order(self) -> None:
        semaphores = self.semaphores(7, 3)
        for semaphore in semaphores:
            self.start(semaphore.acquire())
            self.pass_time(0.3)

        def held() -> list[int]:
            self.pass_time(1)
            return [number for number, semaphore in enumerate(semaphores) if semaphore.held]

        self.assertEqual(held(), [0, 1, 2])
        self.result(semaphores[1].release())
        self.assertEqual(held(), [0, 2, 3])
        self.result(semaphores[3].release())
        self.result(semaphores[0].release())
        self.assertEqual(held(), [2, 4, 5])
        self.result(semaphores[2].release())
        self.assertEqual(held(), [4, 5, 6])

    def test_all_who_give_up_at_once_are_followed(self) -> None:
        semaphores = self.semaphores(8, 2)
        waiting = []
        for semaphore in semaphores:
            waiting.append(self.start(semaphore.acquire()))
            self.pass_time(0.3)
        for number in (3, 4, 6):
            waiting[number].cancel()
            self.failureResultOf(waiting[number], CancelledError)
        for number in (0, 1):
            self.start(semaphores[number].release())
        self.pass_time(1)
        self.assertEqual([number for number, semaphore in enumerate(semaphores) if semaphore.held], [2, 5])

    def test_another_size_is_refused(self) -> None:
        (one,) = self.semaphores(1, 2)
        (other,) = self.semaphores(1, 3)
        self.result(one.acquire())
        self.assertIn("2 leases, this client with 3", str(self.failure_of(other.acquire(), WrongSize)))
        self.pass_time(1)
        self.assertEqual(len(self.world.keys(LINE)), 1)
        with self.assertRaises(ValueError):
            self.semaphores(1, 0)
