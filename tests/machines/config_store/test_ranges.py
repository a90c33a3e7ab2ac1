"""Reading ranges: bounds, order, limits, filters, the past, and what would be too much."""

from __future__ import annotations

from typing import Any

from tests.machines.config_store.case import ConfigStoreCase
from txraft.machines.config_store import key_values
from txraft.machines.config_store.key_values import Budget, KeyValue
from txraft.machines.config_store.operations import Range
from txraft.machines.config_store.ranges import read_range
from txraft.machines.config_store.versions import Versions


class Ranges(ConfigStoreCase):
    def setUp(self) -> None:
        super().setUp()
        for key, value in ((b"b", b"2"), (b"a/1", b"3"), (b"c", b"1"), (b"a/2", b"2"), (b"b", b"2")):  # revisions 2 to 6
            self.put(key, value=value)

    def counts(self, **arguments: Any) -> tuple[list[bytes], bool, int]:
        result = self.ask("range", **arguments)
        return [kv["key"] for kv in result["kvs"]], result["more"], result["count"]

    def test_which_keys(self) -> None:
        everything = [b"a/1", b"a/2", b"b", b"c"]
        self.assertEqual(self.keys(prefix=True), everything)
        self.assertEqual(self.keys(from_key=True), everything)
        self.assertEqual(self.keys(key=b"\0", range_end=b"\0"), everything)
        self.assertEqual(self.keys(key=b"a/", prefix=True), everything[:2])
        self.assertEqual(self.keys(key=b"b", from_key=True), everything[2:])
        self.assertEqual(self.keys(key=b"a/2", range_end=b"c"), everything[1:3])
        self.assertEqual(self.keys(key=b"b"), [b"b"])
        self.assertEqual((self.keys(key=b"c", range_end=b"a"), self.keys(key=b"b", range_end=b"b")), ([], []))

    def test_ranges_that_are_none(self) -> None:
        wrong: dict[str, Any]
        for wrong in ({"range_end": b"b", "prefix": True}, {"range_end": b"b", "from_key": True}, {"prefix": True, "from_key": True}):
            self.assertEqual(self.unanswered("range", b"a", **wrong), "invalid_range")
        for wrong in ({}, {"range_end": b"b"}):
            self.assertEqual(self.unanswered("range", **wrong), "empty_key")
        for name, value in (("sort", "size"), ("revision", -1), ("limit", -1), ("min_mod_revision", -5), ("descending", 1)):
            self.assertEqual(self.unanswered("range", prefix=True, **{name: value}), "invalid_arguments")

    def test_the_count_knows_no_limit(self) -> None:
        self.assertEqual(self.counts(prefix=True, limit=2), ([b"a/1", b"a/2"], True, 4))
        self.assertEqual(self.counts(prefix=True, limit=4), ([b"a/1", b"a/2", b"b", b"c"], False, 4))
        self.assertEqual(self.counts(prefix=True, count_only=True, limit=1), ([], False, 4))

    def test_nor_bounds_of_revisions(self) -> None:
        self.assertEqual(self.counts(prefix=True, min_mod_revision=4), ([b"a/2", b"b", b"c"], False, 4))
        self.assertEqual(self.counts(prefix=True, max_mod_revision=4, limit=1), ([b"a/1"], True, 4))
        self.assertEqual(self.counts(prefix=True, min_create_revision=3, max_create_revision=4), ([b"a/1", b"c"], False, 4))
        self.assertEqual(self.counts(prefix=True, min_mod_revision=5, max_mod_revision=4), ([], False, 4))

    def test_order(self) -> None:
        self.assertEqual(self.counts(prefix=True, descending=True, limit=2), ([b"c", b"b"], True, 4))
        self.assertEqual(self.keys(prefix=True, sort="version", descending=True), [b"b", b"a/1", b"a/2", b"c"])
        self.assertEqual(self.keys(prefix=True, sort="create"), [b"b", b"a/1", b"c", b"a/2"])
        self.assertEqual(self.keys(prefix=True, sort="mod", limit=1), [b"a/1"])

    def test_what_sorts_alike_stays_in_the_order_of_keys(self) -> None:
        self.assertEqual(self.keys(prefix=True, sort="value"), [b"c", b"a/2", b"b", b"a/1"])
        self.assertEqual(self.keys(prefix=True, sort="value", descending=True), [b"a/1", b"a/2", b"b", b"c"])

    def test_keys_only(self) -> None:
        kvs = self.ask("range", prefix=True, keys_only=True, sort="value", limit=2)["kvs"]
        self.assertEqual([(kv["key"], kv["value"], kv["mod_revision"]) for kv in kvs], [(b"c", b"", 4), (b"a/2", b"", 5)])

    def test_the_past(self) -> None:
        self.call("delete", b"a", prefix=True)
        self.put(b"0")
        self.assertEqual(self.counts(prefix=True, revision=5, limit=2), ([b"a/1", b"a/2"], True, 4))
        self.assertEqual(self.counts(prefix=True, revision=3), ([b"a/1", b"b"], False, 2))
        self.assertEqual(self.counts(prefix=True, revision=3, descending=True), ([b"b", b"a/1"], False, 2))
        self.assertEqual(self.counts(prefix=True, revision=1), ([], False, 0))
        self.assertEqual(self.counts(key=b"a", prefix=True, revision=7), ([], False, 0))


class TooMuch(ConfigStoreCase):
    """A result is bounded before it is built, and so is the work."""

    def test_results(self) -> None:
        for number in range(40):
            self.put(b"%02d" % number, value=bytes(60_000))
        self.assertEqual(self.unanswered("range", prefix=True), "too_large")
        self.assertIn("limit", self.problem.message)
        self.assertEqual(self.unanswered("range", prefix=True, limit=30), "too_large")
        self.assertEqual(self.unanswered("range", prefix=True, sort="mod", descending=True), "too_large")
        self.assertEqual(self.refused("delete", b"", prefix=True, prev_kv=True), "too_large")
        self.assertEqual(len(self.keys(prefix=True, limit=25)), 25)
        self.assertEqual(len(self.keys(prefix=True, keys_only=True)), 40)
        for _ in range(30):
            self.put(b"a", value=bytes(60_000))
        self.assertEqual(self.unanswered("history", b"a"), "too_large")

    def test_work(self) -> None:
        self.patch(key_values, "KEYS_AT_ONCE_MAX", 3)
        self.put(b"a", b"b", b"c", b"d", b"d", b"d", b"d", b"d", b"d")
        self.assertEqual(self.unanswered("range", prefix=True, sort="mod"), "too_large")
        self.assertEqual(self.unanswered("range", prefix=True, revision=5), "too_large")
        self.assertEqual(self.ask("range", prefix=True, limit=1)["count"], 4)
        self.assertEqual(self.keys(prefix=True), [b"a", b"b", b"c", b"d"])

    def test_the_past_is_read_page_by_page_though_too_much_has_changed_since_to_count_it(self) -> None:
        """With 131,072 keys, and as many changes since the first page, the next one was refused."""
        self.put(*(b"%02d" % number for number in range(20)), b"a")
        for _ in range(3):
            self.put(*(b"%02d" % number for number in range(0, 20, 2)), b"a")
            self.call("delete", b"a")
        self.patch(key_values, "KEYS_AT_ONCE_MAX", 10)
        for descending in (False, True):
            for page in range(4):
                place: dict[str, Any] = {"key": b"%02d" % (5 * page), "range_end": b"b"}
                if descending:
                    place = {"key": b"\0", "range_end": b"%02d" % (20 - 5 * page)}
                answer = self.ask("range", **place, revision=22, limit=5, descending=descending)
                numbers = range(5 * page, 5 * page + 5)
                expected = [b"%02d" % (19 - number if descending else number) for number in numbers]
                self.assertEqual([kv["key"] for kv in answer["kvs"]], expected)
                self.assertTrue(all(kv["mod_revision"] <= 22 for kv in answer["kvs"]))
                self.assertEqual(answer["more"], not (descending and page == 3))
                if page < 2:
                    self.assertIsNone(answer["count"])
        self.assertEqual(self.ask("range", b"16", range_end=b"b", revision=22, limit=2)["count"], 5)
        self.assertEqual(self.ask("range", b"16", range_end=b"b", revision=22, limit=5)["count"], 5)
        self.assertEqual(self.unanswered("range", b"\0", range_end=b"b", revision=22, count_only=True, limit=2), "too_large")
        operations = [{"op": "range", "key": b"\0", "range_end": b"b", "revision": 22, "limit": 2}]
        self.assertIsNone(self.call("txn", success=operations)["responses"][0]["count"])

    def test_the_past_costs_what_has_changed_since_or_what_there_is(self) -> None:
        machine = self.driver.host.hosted("config").machine
        versions: Versions = machine._versions  # type: ignore[attr-defined]
        self.put(*(b"%03d" % number for number in range(100)))
        self.call("delete", b"050")
        asked, budget = Range(prefix=True, revision=101, limit=2), Budget()
        self.assertEqual(read_range(versions, asked, versions.revision, budget)["count"], 100)
        self.assertEqual(key_values.KEYS_AT_ONCE_MAX - budget.keys_left, 1 + 3)

    def test_the_estimate_is_no_less_than_the_result(self) -> None:
        from txraft.statemachine.values import encode_value

        large = 2**63 - 1
        one = KeyValue(b"k" * 70_000, b"v" * 70_000, large, large, large, large)
        self.assertLessEqual(len(encode_value(one)), 140_000 + key_values.KEY_VALUE_BYTES)
