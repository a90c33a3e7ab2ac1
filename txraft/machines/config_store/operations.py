"""What a transaction consists of, as clients write it: tagged records, checked by their types before they reach the log.

Source: etcd's `rpc.proto`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from txraft.machines.config_store.key_values import Count, Key, LeaseId, RangeEnd, Revision, Value

__all__ = ["Compare", "Delete", "Operation", "Put", "Range", "SortTarget", "Txn"]

SortTarget = Literal["key", "version", "create", "mod", "value"]


class Put(msgspec.Struct, tag_field="op", tag="put", forbid_unknown_fields=True, omit_defaults=True):
    """As the command `put`."""

    key: Key
    value: Value = b""
    lease: LeaseId = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Delete(msgspec.Struct, tag_field="op", tag="delete", forbid_unknown_fields=True, omit_defaults=True):
    """As the command `delete`."""

    key: Key
    range_end: RangeEnd | None = None
    prefix: bool = False
    prev_kv: bool = False


class Range(msgspec.Struct, tag_field="op", tag="range", forbid_unknown_fields=True, omit_defaults=True):
    """As the query `range`."""

    key: Key = b""
    range_end: RangeEnd | None = None
    prefix: bool = False
    from_key: bool = False
    revision: Revision = 0
    limit: Count = 0
    sort: SortTarget = "key"
    descending: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: Revision = 0
    max_mod_revision: Revision = 0
    min_create_revision: Revision = 0
    max_create_revision: Revision = 0


class Compare(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A condition: what a key has, against what it is to have. With `range_end`, all keys of the range must fulfil it.

    A key that is not there has 0 as version, revisions and lease, and no value: no comparison of values holds.

    Attributes:
        target: what is compared: `value` with `value`, the others with `number`.
    """

    key: Key
    target: Literal["version", "create", "mod", "value", "lease"]
    result: Literal["=", "!=", ">", "<"] = "="
    number: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    value: Value | None = None
    range_end: RangeEnd | None = None


class Txn(msgspec.Struct, tag_field="op", tag="txn", forbid_unknown_fields=True, omit_defaults=True):
    """As the command `txn`."""

    compare: list[Compare] = []
    success: list[Operation] = []
    failure: list[Operation] = []


Operation = Put | Delete | Range | Txn
