from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from tests.client.recipes.recipe_case import RecipeCase
from tests.support.recipe_world import Chances, WorldStore
from txraft.client.recipes.shared.barriers import PlainBarrier, PlainDoubleBarrier
from txraft.client.recipes.shared.trouble import AlreadyHeld, LockLost, LockTimeout, NotHeld

PATH = "/tests/barrier"
LINE = PATH.encode() + b"/line/"


class BarrierTests(RecipeCase):
    def barrier(self) -> PlainBarrier:
        return PlainBarrier(self.session()[1], PATH)

    def test_all_wait_until_it_is_opened(self) -> None:
        barrier = self.barrier()
        self.assertTrue(self.result(barrier.create()))
        self.assertFalse(self.result(self.barrier().create()))
        waiting = [self.start(self.barrier().wait()) for _ in range(3)]
        self.pass_time(60)
        for one in waiting:
            self.assertNoResult(one)
        self.assertTrue(self.result(barrier.remove()))
        self.assertEqual([self.result(one) for one in waiting], [True] * 3)
        self.assertFalse(self.result(barrier.remove()))

    def test_an_open_one_holds_nobody_up(self) -> None:
        self.assertTrue(self.result(self.barrier().wait()))

    def test_a_wait_that_is_too_long_is_false(self) -> None:
        self.result(self.barrier().create())
        self.assertFalse(self.result(self.barrier().wait(1.0)))

    def test_one_that_is_shut_again_at_once_lets_those_pass_who_look_in_time_and_keeps_the_others(self) -> None:
        barrier = self.barrier()
        self.result(barrier.create())
        waiting = self.start(self.barrier().wait())
        self.pass_time(1)
        self.world.call("delete", key=PATH.encode())
        self.world.call("put", key=PATH.encode())
        self.pass_time(5)
        self.assertNoResult(waiting)
        self.result(barrier.remove())
        self.assertTrue(self.result(waiting))


class DoubleBarrierTests(RecipeCase):
    def make(self, count: int, num_clients: int) -> list[PlainDoubleBarrier]:
        return [PlainDoubleBarrier(self.session()[1], PATH, num_clients) for _ in range(count)]

    def store_of(self, barrier: PlainDoubleBarrier) -> WorldStore:
        store = barrier._session.store
        assert isinstance(store, WorldStore)
        return store

    def test_all_begin_and_end_together_round_after_round(self) -> None:
        barriers = self.make(3, 3)
        for _ in range(3):
            entering: list[Deferred[None]] = []
            for barrier in barriers:
                for one in entering:
                    self.assertNoResult(one)
                entering.append(self.start(barrier.enter()))
                self.pass_time(0.5)
            for one in entering:
                self.result(one)
            leaving: list[Deferred[None]] = []
            for barrier in barriers:
                for one in leaving:
                    self.assertNoResult(one)
                leaving.append(self.start(barrier.leave()))
                self.pass_time(0.5)
            for one in leaving:
                self.result(one)
            self.assertEqual(self.world.keys(), [])

    def test_fast_ones_come_back_before_slow_ones_have_noticed_the_end(self) -> None:
        barriers = self.make(2, 2)
        self.store_of(barriers[1]).chances = Chances(longest_s=0.6)
        rounds = [0, 0]

        async def go_round(number: int) -> None:
            for _ in range(20):
                await barriers[number].enter()
                rounds[number] += 1
                self.assertLessEqual(abs(rounds[0] - rounds[1]), 1)
                await barriers[number].leave()

        running = [self.start(go_round(number)) for number in range(2)]
        for one in running:
            self.result(one, 500)
        self.assertEqual(rounds, [20, 20])

    def test_one_that_comes_late_waits_for_the_next_round(self) -> None:
        *first, late = self.make(3, 2)
        entering = [self.start(barrier.enter()) for barrier in first]
        for one in entering:
            self.result(one)
        waiting = self.start(late.enter())
        self.pass_time(1)
        self.assertNoResult(waiting)
        leaving = [self.start(barrier.leave()) for barrier in first]
        for one in leaving:
            self.result(one)
        self.pass_time(1)
        self.assertNoResult(waiting)
        again = self.start(first[0].enter())
        self.result(again)
        self.result(waiting)

    def test_who_notices_the_end_only_when_the_next_round_has_begun_does_not_wait_for_that(self) -> None:
        (slow, other) = self.make(2, 2)
        for entering in [self.start(barrier.enter()) for barrier in (slow, other)]:
            self.result(entering)
        leaving = self.start(other.leave())
        self.pass_time(1)

        def begin_the_next(name: str) -> None:
            if name == "range":
                for key in (LINE + b"x", LINE + b"y", PATH.encode() + b"/ready"):
                    self.world.call("delete", key=key)
                    self.world.call("put", key=key)

        self.store_of(slow).on_call = begin_the_next
        self.result(slow.leave())
        self.result(leaving)

    def test_one_that_dies_inside_is_not_waited_for(self) -> None:
        barriers = self.make(3, 3)
        for one in [self.start(barrier.enter()) for barrier in barriers]:
            self.result(one)
        self.store_of(barriers[0]).crash()
        leaving = [self.start(barrier.leave()) for barrier in barriers[1:]]
        self.pass_time(1)
        for one in leaving:
            self.assertNoResult(one)
        for one in leaving:
            self.result(one, 8)

    def test_a_round_whose_clients_have_all_died_is_no_round_for_the_next_ones(self) -> None:
        old, new = self.make(2, 2), self.make(2, 2)
        for one in [self.start(barrier.enter()) for barrier in old]:
            self.result(one)
        for barrier in old:
            self.store_of(barrier).crash()
        waiting = self.start(new[0].enter())
        self.pass_time(10)
        self.assertNoResult(waiting)
        other = self.start(new[1].enter())
        self.result(waiting)
        self.result(other)

    def test_who_gives_up_is_not_counted(self) -> None:
        one, other, third = self.make(3, 2)
        self.failure_of(one.enter(timeout_s=1.0), LockTimeout)
        waiting = self.start(other.enter())
        self.pass_time(1)
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.pass_time(1)
        waiting = self.start(third.enter())
        self.pass_time(1)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.world.keys(LINE)), 1)

    def test_a_leave_that_takes_too_long_has_left_nevertheless(self) -> None:
        one, other = self.make(2, 2)
        for entering in [self.start(barrier.enter()) for barrier in (one, other)]:
            self.result(entering)
        self.failure_of(one.leave(timeout_s=1.0), LockTimeout)
        self.failure_of(one.leave(), NotHeld)
        self.result(other.leave())

    def test_a_lease_that_was_lost_inside_is_told(self) -> None:
        (barrier,) = self.make(1, 1)
        self.result(barrier.enter())
        self.failure_of(barrier.enter(), AlreadyHeld)
        for lease in self.world.ask("leases")["leases"]:
            self.world.call("lease_revoke", id=lease)
        self.pass_time(3)
        self.failure_of(barrier.leave(), LockLost)

    def test_a_number_that_cannot_be(self) -> None:
        with self.assertRaises(ValueError):
            self.make(1, 0)
