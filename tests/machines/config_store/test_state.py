"""The state as items: how large they are, that all servers have the same, and that nothing is lost."""

from __future__ import annotations

from typing import Any

from tests.machines.config_store.case import CONFIG_STORE, ConfigStoreCase, TermDriver
from txraft.errors import RestoreFailed
from txraft.machines.config_store import ConfigStore, state, store, versions
from txraft.statemachine.values import decode_value, encode_value


class Items(ConfigStoreCase):
    def items(self, kind: str) -> list[list[Any]]:
        machine = self.driver.host.hosted("config").machine
        return [fields for found, *fields in machine.snapshot() if found == kind]

    def keys_of(self, kind: str) -> list[list[bytes]]:
        return [fields[0] for fields in self.items(kind)]

    def fill(self) -> None:
        self.call("lease_grant", ttl_s=60, id=5)
        for number in range(40):
            self.put(b"%d" % number, value=b"v", lease=5 * (number % 7 == 0))
        self.call("delete", b"3")
        self.call("compact", revision=30)
        self.put(b"5", b"40", b"3")

    def test_of_a_store_that_is_empty(self) -> None:
        machine = ConfigStore()
        self.assertEqual(list(machine.snapshot()), [["revisions", 1, 0], ["times", 0, 0, 0, 0]])

    def test_field_by_field(self) -> None:
        self.call("lease_grant", ttl_s=60, id=5)
        self.put(b"a", value=b"1", lease=5)
        self.put(b"a", value=b"2")
        self.assertEqual(self.items("log"), [[[b"a", b"a"], [b"1", b"2"], [2, 2], [2, 3], [1, 2], [5, 0]]])
        now_ms = self.driver.time_ms
        self.assertEqual(self.items("leases"), [[[5], [60], [now_ms], [now_ms + 60_000]]])
        self.assertEqual(self.items("revisions"), [[3, 0]])

    def test_what_compaction_has_left_is_apart_from_the_log(self) -> None:
        self.put(b"a", b"b", b"c", b"b", b"d")
        self.call("delete", b"c")
        self.call("compact", revision=6)
        self.assertEqual((self.keys_of("settled"), self.keys_of("log")), ([[b"a", b"c", b"b"]], [[b"d", b"c"]]))
        self.call("compact", revision=7)
        self.assertEqual((self.keys_of("settled"), self.keys_of("log")), ([[b"a", b"c", b"b", b"d"]], [[b"c"]]))
        self.put(b"a", b"e")
        self.call("compact", revision=9)
        self.assertEqual((self.keys_of("settled"), self.keys_of("log")), ([[b"b", b"d", b"a"]], [[b"e"]]))

    def test_a_few_large_values_or_many_small_ones(self) -> None:
        self.put(*(b"%d" % number for number in range(3_000)))
        self.put(b"a", b"b", b"c", value=bytes(100_000))
        self.put(b"d")
        keys = self.keys_of("log")
        self.assertEqual([len(some) for some in keys[-3:]], [1, 1, 1])
        self.assertEqual(sum(map(len, keys)), 3_004)
        for fields in self.items("log")[:-4]:
            self.assertTrue(10_000 < len(encode_value(fields)) < 32_768)

    def test_all_servers_have_the_same_however_they_keep_it(self) -> None:
        self.fill()
        hosts = [self.driver.host, self.driver.restored()]
        self.patch(versions, "PIECE", 7)
        self.patch(state, "ITEM_BYTES", 50)
        hosts.append(self.driver.restored())
        self.driver = TermDriver(config=CONFIG_STORE)
        self.patch(store, "PIECE", 3)
        self.fill()
        hosts.append(self.driver.host)
        first, *others = [[encode_value(item) for item in host.hosted("config").machine.snapshot()] for host in hosts]
        self.assertGreater(len(first), 20)
        self.assertEqual(others, [first] * 3)

    def test_a_restored_server_goes_on_as_the_others(self) -> None:
        self.fill()
        for portion in (1, 7):  # compaction is under way
            self.patch(store, "SWEPT_BY_OTHERS", portion)
            self.patch(store, "SWEPT_BY_COMPACTION", portion)
            self.call("compact", revision=33 + portion)
            other = TermDriver(config=CONFIG_STORE)
            other.host, other.time_ms = self.driver.restored(), self.driver.time_ms
            results: list[list[Any]] = []
            for driver in (self.driver, other):
                results.append([driver.call("config", "lease_keep_alive", id=5)])
                for number in range(20):
                    key = b"%d" % (number * 3 % 11)
                    results[-1].append(driver.call("config", "put", key=key, value=b"again", prev_kv=True))
                    results[-1].append(driver.ask("config", "history", key=b"7"))
                driver.clock(driver.time_ms + 1_000)
            self.assertEqual(*results)
            self.assertEqual(other.host.digest(), self.driver.host.digest())

    def test_of_all_versions_of_a_key_there_is_one_key_in_memory(self) -> None:
        self.patch(state, "ITEM_BYTES", 1)
        self.put(*[b"key"] * 3)
        self.call("delete", b"key")
        self.put(b"key")
        self.driver.swap_in_restored()
        self.put(b"key")
        machine: Any = self.driver.host.hosted("config").machine
        self.assertEqual(len({id(one.key) for one in machine._versions.log}), 1)

    def test_what_is_no_part_of_a_state(self) -> None:
        with self.assertRaisesRegex(ValueError, "'blue' is no part of a config store's state"):
            ConfigStore().restore(iter([["blue", 1]]))
        parts = [part.replace(b"revisions", b"revisionz") for part in self.driver.host.capture().parts()]
        with self.assertRaisesRegex(RestoreFailed, "'revisionz' is no part"):
            self.driver.fresh_host().restored(parts)

    def test_items_are_plain_data(self) -> None:
        self.fill()
        machine = self.driver.host.hosted("config").machine
        self.assertEqual([decode_value(encode_value(item)) for item in machine.snapshot()], list(machine.snapshot()))
