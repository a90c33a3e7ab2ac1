"""Leases: granted, kept alive, revoked, over; and full again when the leader changes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.machines.config_store.case import ConfigStoreCase
from txraft.machines.config_store import leases as leases_module
from txraft.machines.config_store.leases import Leases
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import Clock


class LeaseCommands(ConfigStoreCase):
    def attached(self, lease: int) -> list[bytes]:
        keys: list[bytes] = self.ask("lease_time_to_live", id=lease, keys=True)["keys"]
        return keys

    def pass_s(self, seconds: float) -> None:
        self.driver.clock(self.driver.time_ms + round(seconds * 1_000))

    def is_there(self, lease: int) -> bool:
        return lease in self.ask("leases")["leases"]

    def test_granted(self) -> None:
        self.assertEqual(self.call("lease_grant", ttl_s=60, id=7), {"id": 7, "ttl_s": 60, "revision": 1})
        chosen = self.call("lease_grant", ttl_s=1)["id"]
        self.assertEqual(chosen, self.driver.host.applied_index)
        self.call("lease_grant", ttl_s=1, id=chosen + 2)
        self.assertEqual(self.call("lease_grant", ttl_s=1)["id"], chosen + 3)
        self.assertEqual(self.ask("leases"), {"leases": sorted([7, chosen, chosen + 2, chosen + 3])})

    def test_not_granted(self) -> None:
        self.call("lease_grant", ttl_s=60, id=7)
        self.assertEqual(self.refused("lease_grant", ttl_s=60, id=7), "lease_exists")
        for ttl_s in (0, -1, 9_000_000_001):
            self.assertEqual(self.refused("lease_grant", ttl_s=ttl_s, id=8), "invalid_arguments")
        self.patch(leases_module, "LEASES_MAX", 1)
        self.assertEqual(self.refused("lease_grant", ttl_s=60, id=8), "too_many_leases")

    def test_unknown(self) -> None:
        for command in ("lease_keep_alive", "lease_revoke"):
            self.assertEqual(self.refused(command, id=5), "lease_not_found")
        self.assertEqual(self.unanswered("lease_time_to_live", id=5), "lease_not_found")

    def test_keys_are_attached_by_their_newest_version(self) -> None:
        for lease in (1, 2):
            self.call("lease_grant", ttl_s=60, id=lease)
        self.put(b"b", b"a", b"c", lease=1)
        self.assertEqual(self.attached(1), [b"a", b"b", b"c"])
        self.put(b"a", lease=2)
        self.put(b"b")
        self.call("delete", b"c")
        self.assertEqual((self.attached(1), self.attached(2)), ([], [b"a"]))
        self.assertIsNone(self.ask("lease_time_to_live", id=1)["keys"])

    def test_revoking_deletes_its_keys_at_one_revision(self) -> None:
        self.call("lease_grant", ttl_s=60, id=1)
        self.put(b"b", b"a", b"c", lease=1)
        self.put(b"other")
        self.assertEqual(self.call("lease_revoke", id=1), {"revision": 6})
        page = self.driver.host.hosted("config").history.read(b"", True, 6, 0)
        self.assertEqual([(event["index"], event["topic"]) for event in page.events], [(6, b"a"), (6, b"b"), (6, b"c")])
        self.assertEqual(self.keys(prefix=True), [b"other"])
        self.call("lease_grant", ttl_s=60, id=1)
        self.assertEqual(self.call("lease_revoke", id=1), {"revision": 6})

    def test_it_is_over_when_its_time_has_come(self) -> None:
        self.call("lease_grant", ttl_s=2, id=1)
        self.put(b"a", lease=1)
        self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + 2_000)
        self.pass_s(1.999)
        self.assertTrue(self.is_there(1))
        self.pass_s(0.001)
        self.assertEqual((self.is_there(1), self.keys(prefix=True)), (False, []))
        self.assertEqual(self.ask("range", prefix=True)["revision"], 3)
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_each_that_is_over_has_a_revision_of_its_own(self) -> None:
        for lease in (1, 2, 3):
            self.call("lease_grant", ttl_s=2, id=lease)
        self.put(b"a", lease=1)
        self.put(b"b", lease=3)
        self.pass_s(5)
        self.assertEqual([self.ask("history", key)["versions"][-1]["mod_revision"] for key in (b"a", b"b")], [4, 5])
        self.assertEqual(self.ask("range", prefix=True)["revision"], 5)

    def test_those_that_are_over_at_once_end_in_the_order_of_their_deadlines(self) -> None:
        for lease, ttl_s in ((1, 2), (2, 3)):
            self.call("lease_grant", ttl_s=ttl_s, id=lease)
            self.put(b"%d" % lease, lease=lease)
        self.pass_s(1.5)
        self.call("lease_keep_alive", id=1)
        self.pass_s(9)
        self.assertEqual([self.ask("history", key)["versions"][-1]["mod_revision"] for key in (b"2", b"1")], [4, 5])

    def test_kept_alive(self) -> None:
        self.call("lease_grant", ttl_s=2, id=1)
        for _ in range(5):
            self.pass_s(1.5)
            self.assertEqual(self.call("lease_keep_alive", id=1), {"id": 1, "ttl_s": 2})
        self.assertEqual(self.ask("lease_time_to_live", id=1), {"id": 1, "ttl_s": 2, "granted_ttl_s": 2, "keys": None})
        self.driver.swap_in_restored()
        self.pass_s(1.9)
        self.put(b"x")
        self.assertEqual(self.ask("lease_time_to_live", id=1)["ttl_s"], 0)
        self.assertTrue(self.is_there(1))
        self.pass_s(0.1)
        self.assertFalse(self.is_there(1))

    def test_granted_again_it_has_its_own_time(self) -> None:
        self.call("lease_grant", ttl_s=2, id=1)
        self.call("lease_revoke", id=1)
        self.call("lease_grant", ttl_s=10, id=1)
        self.pass_s(9.9)
        self.assertTrue(self.is_there(1))
        self.pass_s(0.1)
        self.assertFalse(self.is_there(1))

    def test_revoked_and_granted_again_at_the_same_time_it_ends_once_and_holds_up_no_other(self) -> None:
        self.call("lease_grant", ttl_s=10, id=1)
        self.call("lease_revoke", id=1)
        self.call("lease_grant", ttl_s=10, id=1)
        self.call("lease_grant", ttl_s=10, id=2)
        self.put(b"a", lease=1)
        self.put(b"b", lease=2)
        self.pass_s(10)
        self.assertEqual((self.keys(prefix=True), self.ask("leases")["leases"], self.driver.failures), ([], [], []))
        self.driver.swap_in_restored()

    def test_another_leader_gives_all_of_them_their_full_time(self) -> None:
        self.call("lease_grant", ttl_s=2, id=1)
        self.call("lease_grant", ttl_s=3, id=2)
        self.pass_s(1.9)
        self.driver.term = 2
        self.put(b"a")
        self.pass_s(1.9)
        self.assertEqual(self.ask("leases"), {"leases": [1, 2]})
        self.driver.swap_in_restored()
        self.pass_s(0.1)
        self.assertEqual(self.ask("leases"), {"leases": [2]})

    def test_even_when_it_is_first_seen_as_their_time_comes(self) -> None:
        self.call("lease_grant", ttl_s=2, id=1)
        self.driver.term = 2
        self.pass_s(50)
        self.assertTrue(self.is_there(1))
        self.pass_s(2)
        self.assertFalse(self.is_there(1))

    def test_a_lease_has_room_for_so_many_keys(self) -> None:
        self.patch(leases_module, "DELETED_AT_ONCE_MAX", 2)
        self.call("lease_grant", ttl_s=2, id=1)
        self.put(b"a", b"b", lease=1)
        self.assertEqual(self.refused("put", b"c", lease=1), "too_large")
        self.assertEqual(self.refused("txn", success=[{"op": "put", "key": b"c", "lease": 1}]), "too_large")
        self.put(b"a", lease=1)


class ManyOverAtOnce(ConfigStoreCase):
    """300 leases with 300,000 keys were over at once: all servers stood still for 2 seconds in one entry."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(leases_module, "EXPIRE_STEPS_MAX", 8)
        self.rounds = 0
        machine: Any = self.driver.host.hosted("config").machine
        expire = machine.expire

        def counted(ctx: Any) -> None:
            self.rounds += 1
            expire(ctx)

        self.patch(machine, "expire", counted)

    def grant(self, *leases: int, ttl_s: int = 2, keys: int = 3) -> None:
        for lease in leases:
            self.call("lease_grant", ttl_s=ttl_s, id=lease)
            for number in range(keys):
                self.put(b"%d/%d" % (lease, number), lease=lease)

    def there(self) -> list[int]:
        leases: list[int] = self.ask("leases")["leases"]
        return leases

    def pass_ms(self, milliseconds: int) -> None:
        self.driver.clock(self.driver.time_ms + milliseconds)

    def pass_at_both(self, restored: Host, milliseconds: int) -> None:
        self.pass_ms(milliseconds)
        restored.apply(restored.applied_index + 1, self.driver.term, Clock(self.driver.time_ms))
        self.assertEqual(restored.digest(), self.driver.host.digest())

    def test_they_end_in_portions(self) -> None:
        self.grant(1, 2, 3, 4, 5)
        self.pass_ms(2_000)
        self.assertEqual((self.there(), self.rounds), ([3, 4, 5], 1))
        self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + leases_module.EXPIRE_PAUSE_MS)
        self.pass_ms(19)
        self.assertEqual((self.there(), self.rounds), ([3, 4, 5], 1))
        self.pass_ms(1)
        self.assertEqual((self.there(), self.rounds), ([5], 2))
        self.assertEqual(self.keys(prefix=True), [b"5/0", b"5/1", b"5/2"])
        self.pass_ms(500)
        self.assertEqual((self.there(), self.keys(prefix=True), self.rounds), ([], [], 3))
        self.assertIsNone(self.driver.host.deadline_ms())

    def test_a_restored_server_goes_on_at_the_same_time(self) -> None:
        self.grant(1, 2, 3, 4, 5)
        self.pass_ms(2_000)
        restored = self.driver.restored()
        for _ in range(25):
            self.assertEqual(restored.deadline_ms(), self.driver.host.deadline_ms())
            self.pass_at_both(restored, 2)
        self.assertEqual(self.there(), [])

    def test_one_that_was_revoked_and_granted_again_counts_once_there_and_here(self) -> None:
        for _ in range(9):
            self.grant(1, keys=0)
            self.call("lease_revoke", id=1)
        self.grant(1, 2, 3)
        restored = self.driver.restored()
        for milliseconds in (2_000, 20):
            self.pass_at_both(restored, milliseconds)

    def test_a_lease_ends_with_all_its_keys_even_if_they_are_more_than_a_portion(self) -> None:
        self.grant(1, keys=20)
        self.pass_ms(2_000)
        self.assertEqual((self.there(), self.keys(prefix=True)), ([], []))

    def test_those_without_keys_count_too(self) -> None:
        self.grant(*range(1, 20), keys=0)
        self.pass_ms(2_000)
        self.assertEqual(self.there(), list(range(9, 20)))

    def test_those_kept_alive_are_looked_at_in_portions_and_hold_up_no_other(self) -> None:
        self.grant(*range(1, 21), keys=0)
        self.pass_ms(1_500)
        for lease in range(1, 20):
            self.call("lease_keep_alive", id=lease)
        self.pass_ms(500)
        self.assertEqual(self.there(), list(range(1, 21)))
        self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + leases_module.EXPIRE_PAUSE_MS)
        for _ in range(2):
            self.pass_ms(20)
        self.assertEqual(self.there(), list(range(1, 20)))
        self.assertEqual(self.driver.host.deadline_ms(), self.driver.time_ms + 2_000 - 540)

    def test_until_its_portion_has_come_one_is_there_and_can_be_kept_alive(self) -> None:
        self.grant(1, 2, 3, 4, 5)
        self.pass_ms(2_000)
        self.assertEqual(self.ask("lease_time_to_live", id=3)["ttl_s"], 0)
        self.call("lease_keep_alive", id=4)
        self.put(b"more", lease=5)
        self.call("lease_revoke", id=3)
        self.pass_ms(20)
        self.assertEqual((self.there(), self.keys(prefix=True)), ([4], [b"4/0", b"4/1", b"4/2"]))

    def test_another_leader_amid_portions_gives_those_that_are_left_their_full_time(self) -> None:
        self.grant(*range(1, 7))
        self.pass_ms(2_000)
        self.driver.term = 2
        self.pass_ms(20)
        self.driver.swap_in_restored()
        self.pass_ms(1_999)
        self.assertEqual(self.there(), [3, 4, 5, 6])
        for _ in range(2):
            self.pass_ms(20)
        self.assertEqual(self.there(), [])


class LeasesCost(SynchronousTestCase):
    """What is done for a lease, however many there are."""

    def setUp(self) -> None:
        self.leases = Leases()
        for lease in range(1, 1_001):
            self.leases.grant(lease, 10, lease)

    def test_keeping_alive_and_another_term_touch_nothing_else(self) -> None:
        before = list(self.leases._noted)
        self.leases.find(5).renewed_ms = 5_000
        self.leases.begin_term(2, 6_000)
        self.assertEqual(self.leases._noted, before)

    def test_those_that_were_kept_alive_are_looked_at_once_for_each_time_to_live(self) -> None:
        looked: list[Any] = []
        deadline_ms = self.leases.deadline_ms
        self.leases.deadline_ms = lambda lease: looked.append(lease) or deadline_ms(lease)  # type: ignore[method-assign,func-returns-value]
        for now_ms in range(0, 30_000, 100):
            for kept in range(1, 1_001, 7):
                self.leases.find(kept).renewed_ms = now_ms
            for lease in self.leases.expired(now_ms):
                self.leases.remove(lease.id)
        self.assertEqual(self.leases.ids(), list(range(1, 1_001, 7)))
        self.assertLess(len(looked), 1_000 + 3 * 150)

    def test_those_that_were_revoked_do_not_pile_up(self) -> None:
        for lease in range(1_001, 20_000):
            self.leases.grant(lease, 10, 0)
            self.leases.remove(lease)
        self.assertLess(len(self.leases._noted), 4_000)
