"""The forms for programs without Twisted: what is theirs, and not the recipes' own. What their threads do is tested end to end."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.recipe_clients import WorldBlockingClient
from tests.support.recipe_world import World
from txraft.client.recipes import blocking
from txraft.client.recipes.blocking import (
    AcquireCancelled,
    AlreadyHeld,
    Barrier,
    Counter,
    DoubleBarrier,
    Election,
    Lock,
    LockTimeout,
    NotHeld,
    Party,
    Queue,
    ReadLock,
    Semaphore,
    Session,
    WriteLock,
)
from txraft.client.recipes.blocking_store import finish
from txraft.errors import NotApplied, Unknown

PATH = "/tests/lock"


class BlockingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.client: Any = WorldBlockingClient(self.world)
        self.other: Any = WorldBlockingClient(self.world)


class LockTests(BlockingCase):
    def test_a_lock_in_a_with(self) -> None:
        lock = Lock(self.client, PATH, "me")
        with lock as token:
            self.assertEqual(lock.token, token)
            self.assertTrue(lock.held)
            self.assertEqual(lock.contenders(), ["me"])
            (kv,) = self.world.ask("range", key=PATH.encode(), prefix=True)["kvs"]
            self.assertEqual(kv["create_revision"], token)
        self.assertFalse(lock.held)
        self.assertEqual(self.world.keys(), [])

    def test_it_waits_for_the_holder(self) -> None:
        holder, lock = Lock(self.client, PATH), Lock(self.other, PATH)
        first = holder.acquire()
        self.other.before_watch = holder.release
        second = lock.acquire()
        assert first is not None and second is not None
        self.assertGreater(second, first)
        self.assertEqual([watch.stopped for watch in self.other.watches], [True])
        lock.release()

    def test_a_taken_lock(self) -> None:
        holder, lock = Lock(self.client, PATH), Lock(self.other, PATH)
        holder.acquire()
        self.assertIsNone(lock.acquire(blocking=False))
        with self.assertRaises(LockTimeout):
            lock.acquire(timeout_s=0.0)
        with self.assertRaises(AlreadyHeld):
            holder.acquire()
        self.assertFalse(holder.lost.is_set())
        self.assertTrue(holder.release())
        with self.assertRaises(NotHeld):
            holder.release()
        self.assertEqual(self.world.keys(), [])

    def test_it_can_be_cancelled_while_it_waits(self) -> None:
        holder, lock = Lock(self.client, PATH), Lock(self.other, PATH)
        holder.acquire()
        self.other.before_watch = lock.cancel
        with self.assertRaises(AcquireCancelled):
            lock.acquire()
        holder.release()

    def test_looking_again_is_what_follows_a_watch_that_cannot_be(self) -> None:
        for at_once in (False, True):
            holder, lock = Lock(self.client, PATH), Lock(self.other, PATH)
            holder.acquire()
            self.other.watch_trouble = NotApplied("compacted", "gone")
            self.other.watch_fails_at_once = at_once
            self.other.before_watch = lambda holder=holder: holder.release() if holder.held else None
            lock.acquire()
            lock.release()
            holder.acquire()
            self.other.watch_trouble = NotApplied("unknown_machine", "never")
            self.other.before_watch = lambda: None
            with self.assertRaises(NotApplied):
                lock.acquire()
            holder.release()

    def test_closing_the_session_lets_go(self) -> None:
        session = Session(self.client)
        lock = Lock(session, PATH)
        lock.acquire()
        session.close()
        self.assertTrue(lock.lost.is_set())
        self.assertEqual(self.world.keys(), [])

    def test_a_trouble_without_blocking_is_told(self) -> None:
        self.client.troubles = [Unknown("timeout", "by chance")]
        with self.assertRaises(Unknown):
            Lock(self.client, PATH).acquire(blocking=False)

    def test_the_other_kinds(self) -> None:
        with ReadLock(self.client, PATH), ReadLock(self.other, PATH):
            self.assertIsNone(WriteLock(self.other, PATH).acquire(blocking=False))
        with WriteLock(self.client, PATH):
            self.assertIsNone(ReadLock(self.other, PATH).acquire(blocking=False))
        with Semaphore(self.client, PATH + "2", 2), Semaphore(self.other, PATH + "2", 2):
            self.assertIsNone(Semaphore(self.client, PATH + "2", 2).acquire(blocking=False))

    def test_an_election(self) -> None:
        election = Election(self.client, PATH, "me")
        self.assertIsNone(election.leader())
        token, leader = election.run(lambda token, *rest: (token, election.leader(), *rest)[:2], 1)
        self.assertEqual(leader, "me")
        self.assertGreater(token, 0)


class OtherTests(BlockingCase):
    def test_barriers(self) -> None:
        barrier, other = Barrier(self.client, PATH), Barrier(self.other, PATH)
        self.assertTrue(barrier.create())
        self.assertFalse(other.wait(0.0))
        self.other.before_watch = lambda: self.assertTrue(barrier.remove())
        self.assertTrue(other.wait())
        double = DoubleBarrier(self.client, PATH, 1)
        double.enter()
        double.leave()

    def test_a_party(self) -> None:
        one, two = Party(self.client, PATH, "one"), Party(self.other, PATH, "two")
        self.assertTrue(one)
        one.join()
        two.join()
        self.assertEqual((list(one), len(two), one.participating), (["one", "two"], 2, True))
        one.leave()
        two.leave()
        self.assertEqual((list(one), one.participating), ([], False))

    def test_a_queue(self) -> None:
        queue = Queue(self.client, PATH)
        self.assertTrue(queue)
        queue.put(b"\xff\x00")
        self.assertEqual(len(queue), 1)
        self.assertEqual(queue.get(), b"\xff\x00")
        self.assertIsNone(queue.get())

    def test_a_counter(self) -> None:
        counter = Counter(self.client, "a")
        counter += 5
        counter -= 2
        self.assertEqual((counter.value, counter.pre_value, counter.post_value), (3, 5, 3))
        self.assertEqual(counter.add(4), 7)


class ModuleTests(SynchronousTestCase):
    def test_a_coroutine_that_waits_is_a_mistake(self) -> None:
        async def waits() -> None:
            await Deferred()

        with self.assertRaises(RuntimeError):
            finish(waits())

    def test_all_that_is_promised_is_there(self) -> None:
        for name in blocking.__all__:
            self.assertEqual(getattr(blocking, name).__name__, name)

    def test_it_imports_nothing_but_the_standard_library(self) -> None:
        program = (
            "import sys; before = set(sys.modules); from txraft.client.recipes.blocking import Lock;"
            "new = {name.split('.')[0] for name in set(sys.modules) - before};"
            "print(sorted(new - set(sys.stdlib_module_names)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "['txraft']")
