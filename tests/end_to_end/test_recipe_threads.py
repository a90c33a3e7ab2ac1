"""What the threads of the blocking recipes do: they keep leases, notice when that fails, and remove what could not be removed at once."""

from __future__ import annotations

import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.recipe_clients import WorldBlockingClient
from tests.support.recipe_world import World
from txraft.client.recipes.blocking import Lock, LockLost, Session
from txraft.errors import NotApplied

PATH = "/tests/lock"
SOON_S = 10.0
THREAD = "txraft recipe"


class ThreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        client: Any = WorldBlockingClient(self.world)
        self.client = client
        self.lock = Lock(Session(client, ttl_s=1), PATH)

    def revoke_all(self) -> None:
        for lease in self.client.query("config", "leases")["leases"]:
            self.client.command("config", "lease_revoke", id=lease)

    def wait_for_no_threads(self) -> None:
        give_up_at = time.monotonic() + SOON_S
        while any(thread.name == THREAD for thread in threading.enumerate()):
            self.assertLess(time.monotonic(), give_up_at, "threads of recipes are left")
            time.sleep(0.01)

    def test_a_lease_that_the_servers_let_go_is_noticed(self) -> None:
        with self.assertRaises(LockLost), self.lock:
            self.revoke_all()
            self.assertTrue(self.lock.lost.wait(SOON_S))
            with self.assertRaises(LockLost):
                _ = self.lock.token
        self.assertFalse(self.lock.held)
        with self.lock:
            self.assertFalse(self.lock.lost.is_set())
        self.assertIn(0.5, self.client.timeouts)
        self.wait_for_no_threads()

    def test_a_lease_that_cannot_be_kept_is_lost_in_time(self) -> None:
        with self.lock as token:
            time.sleep(1.5)
            self.assertEqual(self.lock.token, token)
            self.client.other_troubles = NotApplied("no_leader", "for ever")
            begin_s = time.monotonic()
            self.assertTrue(self.lock.lost.wait(SOON_S))
            self.assertLess(time.monotonic() - begin_s, 1.0)
            self.client.other_troubles = None
            self.lock.release()
            self.lock.acquire()

    def test_what_the_block_raises_is_told_before_the_loss(self) -> None:
        with self.assertRaises(KeyError), self.lock:
            self.revoke_all()
            self.lock.lost.wait(SOON_S)
            raise KeyError("own")
        with self.assertRaises(KeyError), self.lock:
            self.lock.release()
            raise KeyError("own")

    def test_a_removal_that_fails_is_done_in_the_background(self) -> None:
        self.lock.acquire()
        self.client.troubles = [NotApplied("no_leader", "at present")]
        self.assertFalse(self.lock.release())
        self.wait_for_no_threads()
        self.assertEqual(self.world.keys(), [])
