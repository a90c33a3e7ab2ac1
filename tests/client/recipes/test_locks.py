from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.client.recipes.recipe_case import PATH, RecipeCase
from tests.support.recipe_world import Chances
from txraft.client.recipes.shared.locks import PlainLock, PlainReadLock, PlainSemaphore, PlainWriteLock
from txraft.client.recipes.shared.trouble import AcquireCancelled, AlreadyHeld, LockTimeout, NotHeld, WrongSize
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
