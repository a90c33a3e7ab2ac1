"""Bytes as text: the declared types decide which texts are bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import NotApplied
from txraft.statemachine import Meta, Operation
from txraft.statemachine.values import decode_value


class Put(msgspec.Struct, tag_field="op", tag="put", forbid_unknown_fields=True):
    key: bytes
    value: bytes = b""
    note: str = ""


class Delete(msgspec.Struct, tag_field="op", tag="delete", rename={"range_end": "end"}):
    key: bytes
    range_end: bytes | None = None


class Txn(msgspec.Struct, tag_field="op", tag="txn"):
    steps: list[Put | Delete | Txn] = []


class Pair(msgspec.Struct, array_like=True, tag=7):
    name: str
    content: bytes


class Point(NamedTuple):
    name: str
    content: bytes


class Typed(TypedDict):
    name: str
    content: bytes


@dataclass
class Record:
    name: str
    content: bytes


FF = {"base64": "/w=="}


class TextBytesTests(SynchronousTestCase):
    def read(self, kind: Any, value: Any) -> Any:
        """What an argument of this type becomes."""
        arguments = msgspec.defstruct("put", [("value", kind)], forbid_unknown_fields=True)
        encoded = Operation("put", arguments).from_json(json.dumps({"value": value}).encode(), text=True)
        return decode_value(encoded)["value"]

    def refused(self, kind: Any, value: Any, *words: str) -> None:
        error = self.assertRaises(NotApplied, self.read, kind, value)
        self.assertEqual(error.code, "invalid_arguments")
        for word in words:
            self.assertIn(word, error.message)

    def test_a_text_is_its_utf8_and_anything_else_is_base64_in_an_object(self) -> None:
        self.assertEqual(self.read(bytes, "hällo"), "hällo".encode())
        self.assertEqual(self.read(bytes, "YWJj"), b"YWJj")
        self.assertEqual(self.read(bytes, FF), b"\xff")
        self.assertEqual(self.read(bytes, {"base64": ""}), b"")
        self.assertEqual(self.read(Annotated[bytes, Meta(max_length=3, description="short")], "abc"), b"abc")

    def test_without_the_option_bytes_are_base64(self) -> None:
        operation = Operation("put", msgspec.defstruct("put", [("value", bytes)], forbid_unknown_fields=True))
        self.assertEqual(decode_value(operation.from_json(b'{"value": "/w=="}')), {"value": b"\xff"})
        self.assertRaises(NotApplied, operation.from_json, b'{"value": {"base64": "/w=="}}')

    def test_where_no_bytes_are_wanted_texts_stay_texts(self) -> None:
        for kind in (str, Any, str | int, dict[str, str], list[str]):
            value = {"a": "b"} if "dict" in str(kind) else ["a"] if "list" in str(kind) else "a"
            self.assertEqual(self.read(kind, value), value)
        self.assertEqual(self.read(Any, FF), FF)
        self.assertEqual(self.read(dict[str, str], FF), FF)

    def test_unions(self) -> None:
        for kind in (bytes | None, bytes | int, bytes | list[int], bytes | dict[str, int], Annotated[bytes, Meta(description="x")] | None):
            self.assertEqual(self.read(kind, "abc"), b"abc")
            self.assertEqual(self.read(kind, FF), b"\xff")
        self.assertIs(self.read(bytes | None, None), None)
        self.assertEqual(self.read(bytes | int, 5), 5)
        self.assertEqual(self.read(bytes | dict[str, int], {"base64": 5}), {"base64": 5})
        self.assertEqual(self.read(str | list[bytes], ["a", FF]), [b"a", b"\xff"])
        self.assertEqual(self.read(str | list[bytes], "a"), "a")

    def test_containers(self) -> None:
        self.assertEqual(self.read(list[bytes], ["a", FF, ""]), [b"a", b"\xff", b""])
        self.assertEqual(self.read(tuple[bytes, ...], ["a", "b"]), [b"a", b"b"])
        self.assertEqual(self.read(tuple[str, bytes, int], ["a", "b", 1]), ["a", b"b", 1])
        self.assertEqual(self.read(dict[str, list[bytes]], {"a": ["b"]}), {"a": [b"b"]})
        self.assertEqual(self.read(dict[bytes, int], {"a": 1}), {b"a": 1})
        self.assertEqual(self.read(dict[int, bytes], {"1": "a"}), {1: b"a"})

    def test_records_of_all_kinds(self) -> None:
        for kind in (Typed, Record):
            self.assertEqual(self.read(kind, {"name": "a", "content": "b"}), {"name": "a", "content": b"b"})
        self.assertEqual(self.read(Point, ["a", "b"]), ["a", b"b"])
        self.assertEqual(self.read(Pair, [7, "a", "b"]), [7, "a", b"b"])
        self.assertEqual(self.read(Delete, {"op": "delete", "key": "a", "end": FF}), {"op": "delete", "key": b"a", "end": b"\xff"})

    def test_the_tag_says_which_record_it_is(self) -> None:
        steps = [
            {"op": "put", "key": "a", "value": FF, "note": "n"},
            {"op": "delete", "key": "b", "end": None},
            {"op": "txn", "steps": [{"op": "txn", "steps": [{"op": "put", "key": "c"}]}]},
        ]
        put, delete, txn = self.read(list[Put | Delete | Txn], steps)
        self.assertEqual(put, {"op": "put", "key": b"a", "value": b"\xff", "note": "n"})
        self.assertEqual(delete["key"], b"b")
        self.assertEqual(txn["steps"][0]["steps"][0]["key"], b"c")
        self.assertEqual(self.read(bytes | Put, {"op": "put", "key": "a"})["key"], b"a")
        self.assertEqual(self.read(bytes | Put, FF), b"\xff")

    def test_what_does_not_fit_is_refused_by_its_place(self) -> None:
        self.refused(bytes, 5, "parameter `value`: expected `bytes`, got `int`")
        self.refused(bytes, {"base64": "###"}, "parameter `value.base64`: invalid base64")
        self.refused(bytes, {"base64": "ä"}, "parameter `value.base64`: invalid base64")
        self.refused(bytes, {"base64": "/w"}, "parameter `value.base64`: invalid base64")
        self.refused(bytes, {"base64": 5}, "expected `bytes`, got `object`")
        self.refused(bytes, {"base64": "/w==", "other": 1}, "expected `bytes`, got `object`")
        self.refused(Annotated[bytes, Meta(max_length=1)], "ä", "parameter `value`", "length <= 1")
        self.refused(list[Put | Delete], [{"op": "put", "key": 5}], "parameter `value[0].key`")
        self.refused(list[Put | Delete], [{"op": "put", "key": {"base64": "?"}}], "parameter `value[0].key.base64`")
        self.refused(list[Put | Delete], [{"op": "none", "key": "a"}], "parameter `value[0].op`")
        self.refused(list[Put | Delete], [{"key": "a"}], "missing required field `op`")
        self.refused(Put, {"op": "put", "key": "a", "other": 1}, "unknown field `other`")
        self.refused(tuple[str, bytes], ["a"], "length 2")
        self.refused(tuple[str, bytes], ["a", "b", "c"], "length 2")
        self.refused(Pair, [8, "a", "b"], "parameter `value[0]`")
        self.refused(Pair, [], "parameter `value`")
        self.refused(dict[str, bytes], {"a": {"base64": "?"}}, "invalid base64")

    def test_what_is_no_object_at_all(self) -> None:
        operation = Operation("put", msgspec.defstruct("put", [("value", bytes)], forbid_unknown_fields=True))
        for body in (
            b"",
            b"[]",
            b"5",
            b"{",
            b'{"value": "\\ud800"}',
            b'{"value": "\xff"}',
            b'{"value": "a", "value": "b"}',
            b"[" * 100_000,
        ):
            error = self.assertRaises(NotApplied, operation.from_json, body, text=True)
            self.assertEqual(error.code, "invalid_arguments", body[:20])

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=30))
    def test_any_bytes_can_be_said(self, content: bytes) -> None:
        try:
            value: Any = content.decode()
        except UnicodeDecodeError:
            value = {"base64": base64.b64encode(content).decode()}
        self.assertEqual(self.read(bytes | None, value), content)
        self.assertEqual(self.read(list[Put | Delete | Txn], [{"op": "put", "key": value}])[0]["key"], content)


class TypesTests(SynchronousTestCase):
    def test_a_description_does_not_hide_a_type_from_the_checks(self) -> None:
        kind = msgspec.defstruct("Bad", [("value", Annotated[set[int], Meta(description="a few")])], forbid_unknown_fields=True)
        self.assertIn("set", str(self.assertRaises(TypeError, Operation, "put", kind)))
        kind = msgspec.defstruct("Good", [("value", Annotated[float, Meta(description="how much")])], forbid_unknown_fields=True)
        nan = msgspec.msgpack.encode({"value": float("nan")})
        self.assertIn("finite", self.assertRaises(NotApplied, Operation("put", kind).prepare, nan, 100).message)
