"""Transactions: conditions, branches, what is refused, and that a refused one changes nothing."""

from __future__ import annotations

from typing import Any

from tests.machines.config_store.case import ConfigStoreCase, version
from txraft.machines.config_store import key_values
from txraft.machines.config_store import transaction as transaction_module
from txraft.machines.config_store.transaction import OPERATIONS_IN_ALL_MAX, RESPONSE_BYTES, TRANSACTIONS_DEPTH_MAX
from txraft.statemachine.values import encode_value


def put(key: bytes, **fields: Any) -> dict[str, Any]:
    return {"op": "put", "key": key, **fields}


def read(key: bytes, **fields: Any) -> dict[str, Any]:
    return {"op": "range", "key": key, **fields}


def delete(key: bytes, **fields: Any) -> dict[str, Any]:
    return {"op": "delete", "key": key, **fields}


class TransactionCase(ConfigStoreCase):
    def succeeds(self, *compare: dict[str, Any]) -> bool:
        succeeded: bool = self.call("txn", compare=list(compare))["succeeded"]
        return succeeded


class Conditions(TransactionCase):
    def setUp(self) -> None:
        super().setUp()
        self.call("lease_grant", ttl_s=60, id=9)
        self.put(b"a", b"a", value=b"1", lease=9)
        self.put(b"b", value=b"2")

    def test_each_target(self) -> None:
        for target, of_a in (("version", 2), ("create", 2), ("mod", 3), ("lease", 9)):
            for result, holds in (("=", True), ("!=", False), (">", False), ("<", False)):
                self.assertEqual(self.succeeds({"key": b"a", "target": target, "result": result, "number": of_a}), holds)
            self.assertTrue(self.succeeds({"key": b"a", "target": target, "result": ">", "number": of_a - 1}))
            self.assertTrue(self.succeeds({"key": b"a", "target": target, "result": "<", "number": of_a + 1}))
        self.assertTrue(self.succeeds({"key": b"a", "target": "value", "result": "=", "value": b"1"}))
        self.assertTrue(self.succeeds({"key": b"a", "target": "value", "result": "<", "value": b"10"}))

    def test_a_key_that_is_not_there(self) -> None:
        for target in ("version", "create", "mod", "lease"):
            self.assertTrue(self.succeeds({"key": b"z", "target": target, "number": 0}))
        for result in ("=", "!=", "<", ">"):
            self.assertFalse(self.succeeds({"key": b"z", "target": "value", "result": result, "value": b""}))

    def test_all_keys_of_a_range(self) -> None:
        everything = {"key": b"a", "range_end": b"\0", "target": "mod"}
        self.assertTrue(self.succeeds({**everything, "result": ">", "number": 2}))
        self.assertFalse(self.succeeds({**everything, "result": ">", "number": 3}))
        self.assertTrue(self.succeeds({**everything, "key": b"c", "number": 0}))

    def test_all_must_hold(self) -> None:
        holds, fails = {"key": b"a", "target": "version", "number": 2}, {"key": b"a", "target": "version", "number": 1}
        self.assertEqual([self.succeeds(), self.succeeds(holds, holds), self.succeeds(holds, fails)], [True, True, False])

    def test_the_wrong_kind_of_value(self) -> None:
        self.assertEqual(self.refused("txn", compare=[{"key": b"a", "target": "value", "number": 1}]), "invalid_compare")
        self.assertEqual(self.refused("txn", compare=[{"key": b"a", "target": "mod", "value": b"1"}]), "invalid_compare")
        self.assertEqual(self.refused("txn", compare=[{"key": b"", "target": "mod", "number": 1}]), "empty_key")
        self.assertEqual(self.refused("txn", compare=[{"key": b"a", "target": "size"}]), "invalid_arguments")
        self.assertIn("'create'", self.problem.message)


class Operations(TransactionCase):
    def test_all_writes_have_one_revision(self) -> None:
        self.put(b"a", b"b")
        result = self.call("txn", success=[put(b"c"), delete(b"a"), put(b"b", prev_kv=True)])
        responses = [{"op": "put", "revision": 4}, {"op": "delete", "revision": 4, "deleted": 1}]
        responses.append({"op": "put", "revision": 4, "prev_kv": version(b"b", b"", 3, 3, 1)})
        self.assertEqual(result, {"revision": 4, "succeeded": True, "responses": responses})
        self.assertEqual([kv["mod_revision"] for kv in self.ask("range", prefix=True)["kvs"]], [4, 4])

    def test_reads_see_the_writes_before_them(self) -> None:
        result = self.call("txn", success=[read(b"a"), put(b"a", value=b"1"), read(b"a"), read(b"a", revision=1), delete(b"z")])
        first, _, second, old, nothing = result["responses"]
        self.assertEqual((first["revision"], first["count"]), (1, 0))
        self.assertEqual((second["revision"], second["kvs"]), (2, [version(b"a", b"1", 2, 2, 1)]))
        self.assertEqual((old["revision"], old["count"]), (2, 0))
        self.assertEqual(nothing, {"op": "delete", "revision": 2, "deleted": 0})

    def test_without_writes_there_is_no_revision(self) -> None:
        self.assertEqual(self.call("txn", success=[read(b"a"), delete(b"a")])["revision"], 1)

    def test_the_other_branch(self) -> None:
        result = self.call("txn", compare=[{"key": b"a", "target": "version", "result": ">", "number": 0}], failure=[put(b"a")])
        self.assertEqual((result["succeeded"], result["revision"]), (False, 2))

    def test_inner_conditions_are_judged_before_anything_is_written(self) -> None:
        inner = {"op": "txn", "compare": [{"key": b"a", "target": "version", "number": 0}], "success": [put(b"b")]}
        result = self.call("txn", success=[put(b"a"), inner])
        self.assertEqual(
            result["responses"][1], {"op": "txn", "revision": 2, "succeeded": True, "responses": [{"op": "put", "revision": 2}]}
        )
        self.assertEqual(self.keys(prefix=True), [b"a", b"b"])

    def test_a_key_put_and_then_deleted_within(self) -> None:
        self.call("txn", success=[{"op": "txn", "success": [put(b"k")]}, {"op": "txn", "success": [delete(b"k")]}])
        self.assertEqual([one["version"] for one in self.ask("history", b"k")["versions"]], [1, 0])
        self.driver.swap_in_restored()

    def test_what_an_estimate_counts(self) -> None:
        large = 2**63 - 1
        response = {"op": "delete", "revision": large, "deleted": large, "count": large, "more": False, "kvs": [], "succeeded": False}
        self.assertLessEqual(len(encode_value(response)), RESPONSE_BYTES)


class Refusals(TransactionCase):
    def test_a_key_is_written_once(self) -> None:
        self.assertEqual(self.refused("txn", success=[put(b"a"), put(b"a")]), "duplicate_key")
        self.assertEqual(self.refused("txn", failure=[delete(b"a", prefix=True), put(b"ab")]), "duplicate_key")

    def test_what_the_operations_need(self) -> None:
        self.put(b"a")
        self.assertEqual(self.refused("txn", success=[put(b"b"), put(b"c", ignore_value=True)]), "key_not_found")
        self.assertEqual(self.refused("txn", success=[put(b"b"), put(b"c", lease=5)]), "lease_not_found")
        self.assertEqual(self.refused("txn", success=[put(b"b"), read(b"a", revision=3)]), "future_revision")
        self.call("compact", revision=2)
        self.assertEqual(self.refused("txn", success=[put(b"b"), read(b"a", revision=1)]), "compacted")
        self.assertTrue(self.call("txn", failure=[put(b"c", lease=5), read(b"a", revision=9)])["succeeded"])

    def test_what_they_ask_for(self) -> None:
        for wrong, code in ((put(b""), "empty_key"), (read(b""), "empty_key"), (delete(b""), "empty_key")):
            self.assertEqual(self.refused("txn", failure=[wrong]), code)
        self.assertEqual(self.refused("txn", success=[put(b"a", value=b"1", ignore_value=True)]), "value_provided")
        self.assertEqual(self.refused("txn", success=[read(b"a", prefix=True, range_end=b"b")]), "invalid_range")
        self.assertEqual(self.refused("txn", success=[{"op": "swap", "key": b"a"}]), "invalid_arguments")

    def test_how_many(self) -> None:
        self.assertEqual(self.refused("txn", success=[read(b"a")] * 129), "too_many_operations")
        self.assertIn("128", self.problem.message)
        inner = {"op": "txn", "failure": [read(b"a")] * 28}
        self.assertEqual(len(self.call("txn", success=[inner, *[read(b"a")] * 99])["responses"]), 100)
        self.assertEqual(self.refused("txn", success=[inner, *[read(b"a")] * 100]), "too_many_operations")

    def test_how_many_with_those_of_inner_transactions(self) -> None:
        inner = {"op": "txn", "compare": [{"key": b"a", "target": "mod", "number": 0}] * 7, "success": [read(b"a")] * 8}
        inner["failure"] = [{"op": "txn", "success": [read(b"a")] * 47}]
        self.assertEqual(self.call("txn", success=[inner] * 16)["revision"], 1)
        self.assertEqual(self.refused("txn", success=[inner] * 16, compare=inner["compare"][:1]), "too_many_operations")
        self.assertIn(str(OPERATIONS_IN_ALL_MAX), self.problem.message)

    def test_64_000_deletions_in_branches_that_are_not_taken_are_refused_before_they_are_checked(self) -> None:
        """They took 0.6 seconds on all servers, to answer that nothing was done."""
        self.patch(transaction_module, "check_writes", self.fail)
        operations: list[dict[str, Any]] = [delete(b"%d" % number) for number in range(40)]
        for _ in range(2):
            operations = [{"op": "txn", "success": operations}] * 40
        self.assertEqual(self.refused("txn", failure=operations), "too_many_operations")

    def test_how_deep(self) -> None:
        txn: dict[str, Any] = {"success": [put(b"a")]}
        for _ in range(TRANSACTIONS_DEPTH_MAX - 1):
            txn = {"success": [{"op": "txn", **txn}]}
        self.assertEqual(self.refused("txn", success=[{"op": "txn", **txn}]), "too_deep")
        self.assertIn(str(TRANSACTIONS_DEPTH_MAX), self.problem.message)
        self.assertEqual(self.call("txn", **txn)["revision"], 2)

    def test_too_much_undoes_all_of_it(self) -> None:
        self.call("lease_grant", ttl_s=60, id=3)
        self.put(b"a", value=bytes(700_000))
        self.put(b"b", b"b", lease=3)
        self.put(b"gone")
        self.call("delete", b"gone")
        before = self.versions()
        writes = [put(b"c", lease=3), put(b"b"), put(b"gone"), delete(b"a", range_end=b"b", prev_kv=True)]
        self.assertEqual(self.refused("txn", success=[read(b"a"), read(b"a"), *writes]), "too_large")
        self.assertEqual(self.versions(), before)
        self.assertEqual(self.ask("lease_time_to_live", id=3, keys=True)["keys"], [b"b"])
        self.driver.swap_in_restored()
        self.assertEqual(self.keys(prefix=True), [b"a", b"b"])

    def test_a_value_kept_of_a_key_that_was_just_deleted(self) -> None:
        """etcd ends in a panic here."""
        self.put(b"a", b"b")
        success = [delete(b"a", range_end=b"\0"), put(b"b", ignore_value=True)]
        self.assertEqual(self.refused("txn", success=success), "key_not_found")
        self.assertEqual(self.keys(prefix=True), [b"a", b"b"])

    def test_all_parts_share_one_bound_of_work(self) -> None:
        self.put(b"a", b"b", b"c")
        self.patch(key_values, "KEYS_AT_ONCE_MAX", 5)
        compare = {"key": b"a", "range_end": b"\0", "target": "version", "number": 1}
        self.assertEqual(self.refused("txn", compare=[compare, compare]), "too_large")
        reads = [read(b"a", range_end=b"d", sort="mod")]
        self.assertEqual(self.refused("txn", compare=[compare], success=[put(b"z"), *reads]), "too_large")
        self.patch(key_values, "DELETED_AT_ONCE_MAX", 2)
        deletions = [delete(b"a", range_end=b"b"), delete(b"b", range_end=b"d")]
        self.assertEqual(self.refused("txn", success=deletions), "too_large")
        self.assertTrue(self.succeeds(compare))
