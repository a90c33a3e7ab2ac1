"""Operations of the config store in the words of etcd's JSON gateway, and etcd's answers in the words of the config store."""

from __future__ import annotations

import base64
from typing import Any

from tests.end_to_end.etcd_server import EtcdServer
from tests.support.config_operations import Arguments
from txraft.machines.config_store.key_values import prefix_end

__all__ = ["CODES", "EtcdDialect"]

CODES = {
    "etcdserver: key is not provided": "empty_key",
    "etcdserver: value is provided": "value_provided",
    "etcdserver: lease is provided": "lease_provided",
    "etcdserver: requested lease not found": "lease_not_found",
    "etcdserver: lease already exists": "lease_exists",
    "etcdserver: too large lease TTL": "invalid_arguments",
    "etcdserver: key not found": "key_not_found",
    "etcdserver: duplicate key given in txn request": "duplicate_key",
    "etcdserver: too many operations in txn request": "too_many_operations",
    "etcdserver: mvcc: required revision has been compacted": "compacted",
    "etcdserver: mvcc: required revision is a future revision": "future_revision",
}
TARGETS = {"version": "version", "create": "create_revision", "mod": "mod_revision", "lease": "lease", "value": "value"}
RESULTS = {"=": "EQUAL", "!=": "NOT_EQUAL", ">": "GREATER", "<": "LESS"}


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def range_of(asked: Arguments) -> Arguments:
    """`key` and `range_end`; etcd's clients, too, put a zero byte where all keys are meant."""
    key, end = asked.get("key", b""), asked.get("range_end")
    if asked.get("prefix"):
        key, end = (key, prefix_end(key) or b"\0") if key else (b"\0", b"\0")
    elif asked.get("from_key"):
        key, end = key or b"\0", b"\0"
    return {"key": text(key)} | ({"range_end": text(end)} if end else {})


def put_request(asked: Arguments) -> Arguments:
    return asked | {"key": text(asked["key"]), "value": text(asked.get("value", b"")), "lease": str(asked.get("lease", 0))}


def delete_request(asked: Arguments) -> Arguments:
    return {**range_of(asked), "prev_kv": asked.get("prev_kv", False)}


def range_request(asked: Arguments) -> Arguments:
    request = {name: value for name, value in asked.items() if name.endswith(("_revision", "_only")) or name in ("revision", "limit")}
    if asked.get("sort", "key") != "key" or asked.get("descending"):
        request |= {"sort_target": asked.get("sort", "key").upper(), "sort_order": "DESCEND" if asked.get("descending") else "ASCEND"}
    return range_of(asked) | request


def compare_request(compare: Arguments) -> Arguments:
    target = compare["target"]
    request = {"key": text(compare["key"]), "target": target.upper(), "result": RESULTS[compare["result"]]}
    request[TARGETS[target]] = text(compare["value"]) if target == "value" else str(compare["number"])
    return request | ({"range_end": text(compare["range_end"])} if compare.get("range_end") else {})


def txn_request(asked: Arguments) -> Arguments:
    request: Arguments = {"compare": [compare_request(one) for one in asked.get("compare", [])]}
    for branch in ("success", "failure"):
        request[branch] = [operation_request(one) for one in asked.get(branch, [])]
    return request


def operation_request(operation: Arguments) -> Arguments:
    asked = {name: value for name, value in operation.items() if name != "op"}
    name, translate = {
        "put": ("request_put", put_request),
        "delete": ("request_delete_range", delete_request),
        "range": ("request_range", range_request),
        "txn": ("request_txn", txn_request),
    }[operation["op"]]
    return {name: translate(asked)}


def version_of(kv: Arguments) -> Arguments:
    numbers = {name: int(kv.get(name, 0)) for name in ("create_revision", "mod_revision", "version", "lease")}
    return {"key": base64.b64decode(kv["key"]), "value": base64.b64decode(kv.get("value", "")), **numbers}


def revision_of(answer: Arguments) -> int:
    return int(answer["header"]["revision"])


def put_result(answer: Arguments) -> Arguments:
    return {"revision": revision_of(answer)} | ({"prev_kv": version_of(answer["prev_kv"])} if "prev_kv" in answer else {})


def delete_result(answer: Arguments) -> Arguments:
    result: Arguments = {"revision": revision_of(answer), "deleted": int(answer.get("deleted", 0))}
    return result | ({"prev_kvs": list(map(version_of, answer["prev_kvs"]))} if "prev_kvs" in answer else {})


def range_result(answer: Arguments) -> Arguments:
    kvs = list(map(version_of, answer.get("kvs", [])))
    return {"revision": revision_of(answer), "kvs": kvs, "more": answer.get("more", False), "count": int(answer.get("count", 0))}


def txn_result(answer: Arguments) -> Arguments:
    """An inner transaction has no revision in etcd's answers."""
    responses = [operation_result(one) for one in answer.get("responses", [])]
    result = {"succeeded": answer.get("succeeded", False), "responses": responses}
    return result | ({"revision": revision_of(answer)} if answer["header"] else {})


def operation_result(response: Arguments) -> Arguments:
    for name, operation, translate in (
        ("response_put", "put", put_result),
        ("response_delete_range", "delete", delete_result),
        ("response_range", "range", range_result),
        ("response_txn", "txn", txn_result),
    ):
        if name in response:
            return {"op": operation, **translate(response[name])}
    raise AssertionError(response)


class EtcdDialect:
    """Does with an etcd what `config_store` is asked to do; each operation answers as the config store does, or the code of a refusal."""

    def __init__(self, server: EtcdServer) -> None:
        self._server = server

    def run(self, operation: str, asked: Arguments) -> Any:
        result: Any = getattr(self, operation)(asked)
        return result

    def _call(self, path: str, request: Arguments) -> Any:
        status, answer = self._server.call(path, request)
        if status == 200:
            return answer
        message = answer.get("error") or answer
        return CODES.get(message, message)

    def _translated(self, path: str, request: Arguments, translate: Any) -> Any:
        answer = self._call(path, request)
        return answer if isinstance(answer, str) else translate(answer)

    def put(self, asked: Arguments) -> Any:
        return self._translated("/v3/kv/put", put_request(asked), put_result)

    def delete(self, asked: Arguments) -> Any:
        return self._translated("/v3/kv/deleterange", delete_request(asked), delete_result)

    def txn(self, asked: Arguments) -> Any:
        return self._translated("/v3/kv/txn", txn_request(asked), txn_result)

    def range(self, asked: Arguments) -> Any:
        return self._translated("/v3/kv/range", range_request(asked), range_result)

    def get(self, asked: Arguments) -> Any:
        result = self.range(asked)
        return result if isinstance(result, str) else next(iter(result["kvs"]), None)

    def compact(self, asked: Arguments) -> Any:
        return self._translated("/v3/kv/compaction", asked, lambda answer: {"revision": revision_of(answer)})

    def lease_grant(self, asked: Arguments) -> Any:
        request = {"TTL": str(asked["ttl_s"]), "ID": str(asked["id"])}
        return self._translated(
            "/v3/lease/grant",
            request,
            lambda answer: {"id": int(answer["ID"]), "ttl_s": int(answer["TTL"]), "revision": revision_of(answer)},
        )

    def lease_keep_alive(self, asked: Arguments) -> Any:
        """etcd answers nothing where the lease is not there."""
        result = self._call("/v3/lease/keepalive", {"ID": str(asked["id"])})["result"]
        return {"id": int(result["ID"]), "ttl_s": int(result["TTL"])} if "TTL" in result else "lease_not_found"

    def lease_revoke(self, asked: Arguments) -> Any:
        return self._translated("/v3/lease/revoke", {"ID": str(asked["id"])}, lambda answer: {"revision": revision_of(answer)})

    def lease_time_to_live(self, asked: Arguments) -> Any:
        """What is left of the time is not compared; the keys are in no order."""
        answer = self._call("/v3/lease/timetolive", {"ID": str(asked["id"]), "keys": asked["keys"]})
        if answer["TTL"] == "-1":
            return "lease_not_found"
        keys = sorted(map(base64.b64decode, answer.get("keys", []))) if asked["keys"] else None
        return {"id": int(answer["ID"]), "granted_ttl_s": int(answer["grantedTTL"]), "keys": keys}

    def leases(self, asked: Arguments) -> Any:
        return {"leases": sorted(int(one["ID"]) for one in self._call("/v3/lease/leases", asked).get("leases", []))}

    def events(self, first: int, last: int) -> list[Arguments]:
        """Of all keys from one revision to another."""
        return [
            {"type": "delete" if event.get("type") == "DELETE" else "put", "kv": version_of(event["kv"])}
            for event in self._server.watched(first, last)
        ]
