"""The forms for Twisted programs: what is theirs, and not the recipes' own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.client.recipes.recipe_case import PATH, RecipeCase
from tests.support.recipe_clients import WorldClient
from tests.support.recipe_world import Chances
from txraft.client import recipes
from txraft.client.recipes import (
    Barrier,
    Counter,
    DoubleBarrier,
    Election,
    Lock,
    LockLost,
    LockTimeout,
    NotHeld,
    Party,
    Queue,
    ReadLock,
    Semaphore,
    Session,
    WriteLock,
)
from txraft.client.recipes.deferred_store import Background, ClientStore
from txraft.errors import NotApplied, Refused, Unknown

TTL_S = 4


class DeferredCase(RecipeCase):
    def setUp(self) -> None:
        super().setUp()
        self.clients: list[WorldClient] = []
        self.addCleanup(self.nothing_is_left)

    def client(self, chances: Chances | None = None) -> Any:
        client = WorldClient(self.world.client(*([chances] if chances else [])))
        self.clients.append(client)
        return client

    def shared(self, **options: Any) -> Session:
        return Session(self.client(**options), ttl_s=TTL_S)

    def nothing_is_left(self) -> None:
        """Once all that was held is lost, neither a timer nor a watch is there."""
        for client in self.clients:
            self.cut_off(client)
        self.pass_time(60)
        for client in self.clients:
            self.assertEqual(client.reactor.active(), [])
            self.assertEqual(client.watches, [])

    def cut_off(self, client: Any) -> None:
        client.store.chances = Chances(not_applied=1.0)


class LockFormTests(DeferredCase):
    def test_a_lock_in_an_async_with(self) -> None:
        lock = Lock(self.client(), PATH, "me")

        async def body() -> tuple[int | None, int, list[str]]:
            async with lock as token:
                return token, lock.token, await lock.contenders()

        token, same, names = self.result(body())
        self.assertEqual((token, names), (same, ["me"]))
        self.assertFalse(lock.held)
        self.assertEqual(self.world.keys(), [])

    def test_one_waits_for_the_other_by_a_watch(self) -> None:
        one, other = Lock(self.client(), PATH), Lock(self.client(), PATH)
        self.result(one.acquire())
        waiting = other.acquire()
        self.pass_time(1)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.clients[1].watches), 1)
        self.assertTrue(self.result(one.release()))
        token = self.result(waiting)
        self.assertEqual(other.token, token)
        self.assertIsNone(self.result(one.acquire(blocking=False)))
        self.failure_of(one.acquire(timeout_s=0.5), LockTimeout)
        self.result(other.release())

    def test_a_wait_is_cancelled_by_its_deferred_or_by_name(self) -> None:
        one, other = Lock(self.client(), PATH), Lock(self.client(), PATH)
        self.result(one.acquire())
        for cancel in (lambda waiting: waiting.cancel(), lambda _: other.cancel()):
            waiting = other.acquire()
            self.pass_time(1)
            cancel(waiting)
            self.failureResultOf(waiting, CancelledError)
            self.pass_time(0.5)
            self.assertEqual(len(self.world.keys()), 1)
        other.cancel()

    def test_a_change_while_the_history_is_gone_is_found_by_looking_again(self) -> None:
        one, other = Lock(self.client(), PATH), Lock(self.client(), PATH)
        self.result(one.acquire())
        self.clients[1].watch_trouble = NotApplied("compacted", "gone", oldest=9)
        waiting = other.acquire()
        self.pass_time(1)
        self.result(one.release())
        self.result(waiting)

    def test_a_watch_that_cannot_be_had_at_present_is_tried_again_later(self) -> None:
        one, other = Lock(self.client(), PATH), Lock(self.client(), PATH)
        self.result(one.acquire())
        waiting = other.acquire()
        for code in ("stale", "too_many_waits"):
            self.clients[1].watch_trouble = NotApplied(code, "at present")
            self.pass_time(20)
            self.assertNoResult(waiting)
            self.assertIsNone(self.clients[1].watch_trouble)
        self.clients[1].watch_trouble = NotApplied("unknown_machine", "never")
        other.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.failure_of(other.acquire(), NotApplied).code, "unknown_machine")

    def test_loss_is_told_to_all_who_asked(self) -> None:
        client = self.client()
        lock = Lock(Session(client, ttl_s=TTL_S), PATH)
        self.result(lock.acquire())
        one, other, given_up = lock.lost, lock.lost, lock.lost
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.pass_time(20)
        self.assertNoResult(one)
        self.cut_off(client)
        self.pass_time(TTL_S)
        self.successResultOf(one)
        self.successResultOf(other)
        self.successResultOf(lock.lost)
        with self.assertRaises(LockLost):
            _ = lock.token
        self.assertFalse(self.result(lock.release()))
        with self.assertRaises(NotHeld):
            _ = lock.token

    def test_keep_alives_need_no_session_of_the_client(self) -> None:
        client = self.client()
        lock = Lock(Session(client, ttl_s=TTL_S), PATH)
        self.result(lock.acquire())
        self.pass_time(TTL_S)
        self.assertEqual(set(client.commands_once), {"lease_keep_alive"})
        self.result(lock.release())
        self.assertEqual(client.reactor.active(), [])

    def test_a_body_that_ends_after_the_loss_is_told(self) -> None:
        client = self.client()
        lock = Lock(Session(client, ttl_s=TTL_S), PATH)

        async def body(error: Exception | None = None) -> None:
            async with lock:
                await client.store.sleep(TTL_S + 1)
                if error is not None:
                    raise error

        for error, told in ((None, LockLost), (KeyError("own"), KeyError)):
            client.store.chances = Chances()
            running = self.start(body(error))
            self.pass_time(0.5)
            self.cut_off(client)
            self.failure_of(running, told, within_s=TTL_S + 2)
            self.assertFalse(lock.held)

    def test_closing_a_session_ends_what_runs_within_it(self) -> None:
        session = self.shared()
        lock = Lock(session, PATH)
        self.result(lock.acquire())
        lost = lock.lost
        self.result(session.close())
        self.successResultOf(lost)
        self.assertEqual(self.world.keys(), [])


class RunTests(DeferredCase):
    def test_the_function_gets_token_and_arguments_and_its_result_is_ours(self) -> None:
        lock = Lock(self.client(), PATH)

        async def work(token: int, *args: Any, **kwargs: Any) -> Any:
            self.assertEqual(token, lock.token)
            return args, kwargs

        self.assertEqual(self.result(lock.run(work, 1, b=2)), ((1,), {"b": 2}))
        self.assertEqual(self.result(lock.run(lambda token: "at once")), "at once")
        self.assertEqual(self.world.keys(), [])

    def test_its_exception_is_ours_and_the_lock_is_free(self) -> None:
        lock = Lock(self.client(), PATH)

        async def work(token: int) -> None:
            raise KeyError("own")

        self.failure_of(lock.run(work), KeyError)
        self.assertEqual(self.world.keys(), [])

    def test_it_is_cancelled_when_the_lock_is_lost(self) -> None:
        client = self.client()
        election = Election(Session(client, ttl_s=TTL_S), PATH, "me")
        working: Deferred[None] = Deferred()
        leading = election.run(lambda token: working)
        self.pass_time(10)
        self.assertEqual(self.result(election.leader()), "me")
        self.assertNoResult(leading)
        self.cut_off(client)
        self.failure_of(leading, LockLost, within_s=TTL_S)
        self.assertTrue(working.called)

    def test_a_result_that_came_in_spite_of_the_loss_is_none(self) -> None:
        client = self.client()
        lock = Lock(Session(client, ttl_s=TTL_S), PATH)

        async def work(token: int) -> str:
            try:
                await client.store.sleep(60)
            except CancelledError:
                return "stubborn"
            return "in time"

        running = lock.run(work)
        self.pass_time(1)
        self.cut_off(client)
        self.failure_of(running, LockLost, within_s=TTL_S)

    def test_work_may_lose_the_lock_by_itself(self) -> None:
        session = self.shared()
        lock = Lock(session, PATH)

        async def work(token: int) -> None:
            await session.close()
            await self.clients[0].store.sleep(60)

        self.failure_of(lock.run(work), LockLost)

    def test_cancelled_it_cancels_the_work_and_releases(self) -> None:
        lock = Lock(self.client(), PATH)
        working: Deferred[None] = Deferred()
        running = lock.run(lambda token: working)
        self.pass_time(1)
        running.cancel()
        self.failure_of(running, CancelledError)
        self.assertTrue(working.called)
        self.assertEqual(self.world.keys(), [])

    def test_an_election_without_anybody_has_no_leader(self) -> None:
        self.assertIsNone(self.result(Election(self.client(), PATH).leader()))


class OtherFormsTests(DeferredCase):
    def test_readers_and_a_writer(self) -> None:
        readers = [ReadLock(self.client(), PATH), ReadLock(self.shared(), PATH)]
        writer = WriteLock(self.client(), PATH)
        for reader in readers:
            self.result(reader.acquire())
        self.assertIsNone(self.result(writer.acquire(blocking=False)))
        for reader in readers:
            self.result(reader.release())
        self.result(writer.acquire())
        self.result(writer.release())

    def test_a_semaphore(self) -> None:
        one, two, three = (Semaphore(self.client(), PATH, 2) for _ in range(3))
        self.result(one.acquire())
        self.result(two.acquire())
        waiting = three.acquire()
        self.pass_time(1)
        self.assertNoResult(waiting)
        self.result(one.release())
        self.result(waiting)

    def test_barriers(self) -> None:
        barrier = Barrier(self.client(), PATH)
        self.assertTrue(self.result(barrier.create()))
        self.assertFalse(self.result(barrier.wait(0.5)))
        self.assertTrue(self.result(barrier.remove()))
        one, other = DoubleBarrier(self.client(), PATH, 2), DoubleBarrier(self.client(), PATH, 2)
        self.failure_of(one.enter(timeout_s=0.5), LockTimeout)
        entering = one.enter()
        self.result(other.enter())
        self.result(entering)
        leaving = one.leave()
        self.result(other.leave())
        self.result(leaving)

    def test_a_party(self) -> None:
        one, other = Party(self.client(), PATH, "one"), Party(self.client(), PATH, "other")
        self.result(one.join())
        self.result(other.join())

        async def all_members() -> list[str]:
            return [identifier async for identifier in one]

        self.assertEqual(self.result(all_members()), ["one", "other"])
        self.assertEqual(self.result(one.members()), ["one", "other"])
        self.assertTrue(one.participating)
        self.result(one.leave())
        self.assertEqual(self.result(other.count()), 1)

    def test_a_queue_and_a_counter(self) -> None:
        queue, counter = Queue(self.client(), PATH), Counter(self.client(), "a", 5)
        self.result(queue.put(b"x"))
        self.assertEqual(self.result(queue.count()), 1)
        self.assertEqual(self.result(queue.get()), b"x")
        self.assertIsNone(self.result(queue.get(True, 0.5)))
        self.assertEqual(self.result(counter.add(-2)), 3)
        self.assertEqual(self.result(counter.value()), 3)


class StoreTests(DeferredCase):
    def test_a_call_that_is_made_once_is_given_up(self) -> None:
        store = ClientStore(self.client(Chances(longest_s=100)))
        problem = self.failure_of(store.command("config", "lease_keep_alive", {"id": 1}, once_s=0.5), Unknown, within_s=1)
        self.assertEqual(problem.code, "timeout")
        self.failure_of(ClientStore(self.client()).command("config", "lease_keep_alive", {"id": 1}, once_s=0.5), Refused)

    def test_work_in_the_background_that_fails_is_logged(self) -> None:
        async def fail() -> None:
            raise KeyError("own")

        Background(fail()).stop()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_all_that_is_promised_is_there(self) -> None:
        for name in recipes.__all__:
            self.assertEqual(getattr(recipes, name).__name__, name)
        with self.assertRaises(AttributeError):
            _ = recipes.nothing
