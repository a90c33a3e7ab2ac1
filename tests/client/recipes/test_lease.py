from __future__ import annotations

from tests.client.recipes.recipe_case import PATH, RecipeCase
from tests.support.recipe_world import Chances
from txraft.client.recipes.shared.trouble import LockLost

LINE = PATH.encode() + b"/line/"


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
