"""Puts, reads, deletions, compaction, the history of a key; snapshots."""

from __future__ import annotations

from tests.machines.config_store.case import ConfigStoreCase, version
from txraft.machines.config_store import key_values


class Puts(ConfigStoreCase):
    def test_the_first_write_makes_revision_2(self) -> None:
        self.assertEqual(self.ask("range", prefix=True), {"revision": 1, "kvs": [], "more": False, "count": 0})
        self.assertEqual(self.call("put", b"a", value=b"1"), {"revision": 2})
        self.assertEqual(self.call("put", b"a", value=b"2"), {"revision": 3})
        self.assertEqual(self.ask("get", b"a"), version(b"a", b"2", 2, 3, 2))

    def test_the_version_before_is_told_when_asked_for(self) -> None:
        self.assertEqual(self.call("put", b"a", value=b"1", prev_kv=True), {"revision": 2})
        self.assertEqual(self.call("put", b"a", prev_kv=True), {"revision": 3, "prev_kv": version(b"a", b"1", 2, 2, 1)})

    def test_value_and_lease_can_be_kept(self) -> None:
        self.call("lease_grant", ttl_s=60, id=7)
        self.put(b"a", value=b"1", lease=7)
        self.put(b"a", ignore_value=True)
        self.assertEqual(self.ask("get", b"a"), version(b"a", b"1", 2, 3, 2))
        self.put(b"a", lease=7)
        self.put(b"a", value=b"2", ignore_lease=True)
        self.assertEqual(self.ask("get", b"a"), version(b"a", b"2", 2, 5, 4, 7))

    def test_what_cannot_be_put(self) -> None:
        self.assertEqual(self.refused("put", b""), "empty_key")
        self.assertEqual(self.refused("put", b"a", ignore_value=True), "key_not_found")
        self.assertEqual(self.refused("put", b"a", ignore_lease=True), "key_not_found")
        self.assertEqual(self.refused("put", b"a", value=b"1", ignore_value=True), "value_provided")
        self.assertEqual(self.refused("put", b"a", lease=1, ignore_lease=True), "lease_provided")
        self.assertEqual(self.refused("put", b"a", lease=1), "lease_not_found")
        self.assertEqual(self.refused("put", b"a", lease=-1), "invalid_arguments")

    def test_keys_and_values_have_limits(self) -> None:
        longest, largest = b"k" * 65_536, b"v" * key_values.VALUE_BYTES_MAX
        self.put(longest, value=largest)
        self.assertEqual(len(self.ask("get", longest)["value"]), len(largest))
        self.assertEqual(self.refused("put", longest + b"k"), "invalid_arguments")
        self.assertIn("65536", self.problem.message)
        self.assertEqual(self.refused("put", b"a", value=largest + b"v"), "invalid_arguments")
        self.assertEqual(self.keys(prefix=True), [longest])


class Deletions(ConfigStoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(b"a", b"b/1", b"b/2", b"c")

    def test_one_key(self) -> None:
        self.assertEqual(self.call("delete", b"a"), {"revision": 6, "deleted": 1})
        self.assertIsNone(self.ask("get", b"a"))
        self.assertEqual(self.ask("get", b"a", revision=5), version(b"a", b"", 2, 2, 1))

    def test_nothing_makes_no_revision(self) -> None:
        self.assertEqual(self.call("delete", b"z", prev_kv=True), {"revision": 5, "deleted": 0})
        self.assertEqual(self.call("delete", b"c", range_end=b"a"), {"revision": 5, "deleted": 0})

    def test_ranges(self) -> None:
        self.assertEqual(self.call("delete", b"b/", prefix=True), {"revision": 6, "deleted": 2})
        self.assertEqual(self.keys(prefix=True), [b"a", b"c"])
        deleted = self.call("delete", b"a", range_end=b"c", prev_kv=True)
        self.assertEqual(deleted, {"revision": 7, "deleted": 1, "prev_kvs": [version(b"a", b"", 2, 2, 1)]})
        self.assertEqual(self.call("delete", b"a", range_end=b"\0"), {"revision": 8, "deleted": 1})

    def test_a_key_put_again_begins_anew(self) -> None:
        self.call("delete", b"a")
        self.put(b"a")
        self.assertEqual(self.ask("get", b"a"), version(b"a", b"", 7, 7, 1))
        self.assertEqual([one["version"] for one in self.ask("history", b"a")["versions"]], [1, 0, 1])

    def test_what_cannot_be_deleted(self) -> None:
        self.assertEqual(self.refused("delete", b""), "empty_key")
        self.assertEqual(self.refused("delete", b"a", range_end=b"b", prefix=True), "invalid_range")

    def test_too_many_at_once(self) -> None:
        self.patch(key_values, "DELETED_AT_ONCE_MAX", 3)
        self.assertEqual(self.refused("delete", b"", prefix=True), "too_large")
        self.assertEqual(self.call("delete", b"b", range_end=b"\0")["deleted"], 3)


class Compaction(ConfigStoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(b"a", b"b", b"a", b"a")
        self.call("delete", b"b")

    def test_what_was_before_cannot_be_read(self) -> None:
        self.assertEqual(self.call("compact", revision=4), {"revision": 6})
        self.assertEqual(self.unanswered("get", b"a", revision=3), "compacted")
        self.assertEqual(self.problem.details, {"oldest": 4})
        self.assertEqual(self.unanswered("range", prefix=True, revision=3), "compacted")

    def test_at_the_compacted_revision_all_is_as_it_was(self) -> None:
        self.call("compact", revision=4)
        expected = [version(b"a", b"", 2, 4, 2), version(b"b", b"", 3, 3, 1)]
        self.assertEqual(self.ask("range", prefix=True, revision=4)["kvs"], expected)
        self.assertEqual([one["mod_revision"] for one in self.ask("history", b"b")["versions"]], [3, 6])

    def test_revisions_that_are_not_there(self) -> None:
        self.assertEqual(self.refused("compact", revision=7), "future_revision")
        self.assertEqual(self.refused("compact", revision=0), "invalid_arguments")
        self.call("compact", revision=4)
        self.assertEqual(self.refused("compact", revision=4), "compacted")
        self.assertEqual(self.unanswered("get", b"a", revision=7), "future_revision")

    def test_history_by_pages(self) -> None:
        def revisions(**arguments: int) -> list[int]:
            return [one["mod_revision"] for one in self.ask("history", b"a", **arguments)["versions"]]

        self.assertEqual(revisions(), [2, 4, 5])
        self.assertEqual((revisions(limit=2), revisions(first=3, limit=1), revisions(first=6)), ([2, 4], [4], []))
        self.call("compact", revision=5)
        self.assertEqual(revisions(), [5])
        self.assertEqual(self.unanswered("history", b"a", limit=1_001), "invalid_arguments")


class Signals(ConfigStoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.signalled: list[bytes] = []
        self.driver.host.on_signal = lambda machine, topic: self.signalled.append(topic)

    def test_every_change_is_signalled(self) -> None:
        self.put(b"a")
        self.call("lease_grant", ttl_s=1, id=5)
        self.put(b"b", b"c", lease=5)
        self.call("txn", success=[{"op": "put", "key": b"d"}, {"op": "delete", "key": b"a"}])
        self.driver.clock(self.driver.time_ms + 1_000)
        self.assertEqual(self.signalled, [b"a", b"b", b"c", b"d", b"a", b"b", b"c"])

    def test_nothing_else_is(self) -> None:
        self.call("delete", b"a")
        self.refused("txn", success=[{"op": "put", "key": b"a"}, {"op": "put", "key": b"b", "ignore_value": True}])
        self.call("txn", success=[{"op": "range", "prefix": True}])
        self.assertEqual(self.signalled, [])
