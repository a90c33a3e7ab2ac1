"""Arguments: checked before they reach the log, with a sentence that names the parameter."""

from __future__ import annotations

import enum
import math
from typing import Any, Literal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.machines import Recorder
from txraft.errors import NotApplied
from txraft.limits import Limits
from txraft.statemachine import Operation
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import HostMachine
from txraft.statemachine.values import INTEGER_BITS_MAX, NESTING_MAX, decode_value, encode_value

Ext = msgspec.msgpack.Ext


class ArgumentsCase(SynchronousTestCase):
    """A recorder, hosted."""

    def setUp(self) -> None:
        plugin = "tests.statemachine.machines:Recorder"
        self.host = Host({"recorder": plugin}, limits=Limits())
        self.host.apply(1, 1, HostMachine(0, "recorder", plugin, 1))

    def prepared(self, command: str, arguments: Any) -> bytes:
        encoded = arguments if isinstance(arguments, bytes) else encode_value(arguments)
        return bytes(self.host.prepare("recorder", command, encoded))

    def rejected(self, command: str, arguments: Any, *words: str, code: str = "invalid_arguments") -> None:
        error = self.assertRaises(NotApplied, self.prepared, command, arguments)
        self.assertEqual(error.code, code)
        for word in words:
            self.assertIn(word, error.message)
        self.assertTrue(len(error.message) < 600, len(error.message))


class Forms(ArgumentsCase):
    def test_a_map_passes_as_it_came(self) -> None:
        for arguments in ({"value": "a"}, {"times": 2, "value": "a"}, {"value": "a", "loud": True, "times": 1}):
            encoded = encode_value(arguments)
            self.assertEqual(self.prepared("text", encoded), encoded)
            self.assertEqual(bytes(self.host.prepare("recorder", "text", msgspec.Raw(encoded))), encoded)

    def test_positional_arguments_become_a_map(self) -> None:
        self.assertEqual(decode_value(self.prepared("text", [["a"], {}])), {"value": "a"})
        self.assertEqual(decode_value(self.prepared("text", [["a", 3], {"loud": True}])), {"value": "a", "times": 3, "loud": True})
        self.assertEqual(decode_value(self.prepared("none", [[], {}])), {})
        self.assertEqual(decode_value(self.prepared("integer", [[1 << 90], {}])), {"value": 1 << 90})

    def test_positional_arguments_that_do_not_fit(self) -> None:
        self.rejected("integer", [[1, 2], {}], "2 positional arguments", "(value: int)")
        self.rejected("integer", [[1], {"value": 1}], "`value` is given twice")
        for wrong in ([[1]], [1, {}], [[1], [2]], [[1], {}, 3], [{}, [1]], []):
            self.rejected("integer", wrong)

    def test_a_map_of_any_width(self) -> None:
        narrow = encode_value({"value": 5})
        for header in (b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01"):
            self.assertEqual(decode_value(self.prepared("integer", header + narrow[1:])), {"value": 5})

    def test_what_is_no_map(self) -> None:
        for wrong in (b"", b"\xc0", b"\xc1", b"\x05", b"\xa1a", b"\x81", b"\xde", b"\xdf\xff\xff\xff\xff", b"\x91\x01", b"\x92\x90"):
            self.rejected("integer", wrong)
        self.rejected("integer", [1, 2, 3], "map by parameter name")

    def test_bytes_behind_the_map(self) -> None:
        self.rejected("integer", encode_value({"value": 1}) + b"\x00")


class Types(ArgumentsCase):
    def test_what_is_no_integer(self) -> None:
        for wrong in (True, 1.0, "1", None, b"1", [1], math.nan):
            self.rejected("integer", {"value": wrong}, "parameter `value`", "expected `int`", "it takes (value: int)")

    def test_integers_of_any_size(self) -> None:
        for value in (0, -1, 2**63, -(2**63) - 1, 2**64, (1 << INTEGER_BITS_MAX) - 1):
            self.assertEqual(decode_value(self.prepared("integer", {"value": value})), {"value": value})
            self.assertEqual(decode_value(self.prepared("integers", {"value": [value]})), {"value": [value]})

    def test_huge_integers(self) -> None:
        for command, value in (("integer", Ext(1, b"\x01" * 1_785)), ("anything", [Ext(1, b"\x01" * 100_000)])):
            self.rejected(command, msgspec.msgpack.encode({"value": value}), "parameter `value`")
        self.rejected("anything", msgspec.msgpack.encode({"value": Ext(9, b"x")}), "parameter `value`")

    def test_missing_and_surplus_parameters(self) -> None:
        self.rejected("text", {"times": 1}, "parameter `value` is missing")
        self.rejected("text", {"value": "a", "tiems": 1}, "no parameter `tiems`", "times: int = 1")
        self.rejected("text", {"value": "a", "x" * 100_000: 1}, "no parameter `xxx")
        self.rejected("none", {"value": 1}, "no parameter `value`", "it takes ()")

    def test_bounds_of_the_declaration(self) -> None:
        self.rejected("text", {"value": ""}, "parameter `value`", "length >= 1")
        self.rejected("text", {"value": "x" * 9}, "parameter `value`", "length <= 8")
        self.prepared("text", {"value": "é" * 8})

    def test_text_and_bytes_are_not_the_same(self) -> None:
        self.rejected("binary", {"value": "eA=="}, "parameter `value`", "expected `bytes`")
        self.rejected("text", {"value": b"x"}, "parameter `value`", "expected `str`")
        self.prepared("binary", {"value": b"\xff"})

    def test_places_within_a_parameter(self) -> None:
        self.rejected("article", {"value": {"sku": "a", "tags": ["x", 1]}}, "parameter `value.tags[1]`")
        self.rejected("by_name", {"value": {"a": "b"}}, "parameter `value[...]`")
        self.rejected("by_name", {"value": {1: 2}}, "parameter `value`", "a key")


class HostileInput(ArgumentsCase):
    """Row 22: each ends in a typed error, before the log."""

    def test_too_large(self) -> None:
        bytes_max = Limits().command_bytes_max
        self.rejected("binary", {"value": b"x" * bytes_max}, str(bytes_max), code="too_large")
        self.prepared("binary", {"value": b"x" * (bytes_max - 20)})

    def test_text_that_is_not_utf_8(self) -> None:
        self.rejected("text", b"\x81\xa5value\xa1\xff", "parameter `value`", "UTF-8")
        self.rejected("text", b"\x81\xa1\xff\xa1a", "UTF-8")
        self.rejected("anything", b"\x81\xa5value\x91\xa1\xff", "parameter `value`", "UTF-8")

    def test_hundreds_of_thousands_of_levels(self) -> None:
        for header in (b"\x91", b"\x81\xa1a"):
            self.rejected("anything", b"\x81\xa5value" + header * 500_000 + b"\xc0", "deeper than 64 levels")
        self.rejected("integer", b"\x91" * 1_000_000)
        self.rejected("integer", b"\x92" * 1_000_000)

    def test_levels_are_counted(self) -> None:
        def nested(levels: int) -> bytes:
            return b"\x81\xa5value" + b"\x91" * levels + b"\x01"

        self.prepared("anything", nested(NESTING_MAX - 1))
        self.rejected("anything", nested(NESTING_MAX), "deeper than 64 levels")
        self.rejected("anything", nested(900), "deeper than 64 levels")

    def test_numbers_that_are_none(self) -> None:
        for wrong in (math.nan, math.inf, -math.inf):
            self.rejected("number", {"value": wrong}, "parameter `value`", "not finite")
            self.rejected("anything", {"value": [{"a": wrong}]}, "parameter `value`", "not finite")
            self.rejected("anything", {"value": {"a": [wrong]}}, "not finite")
            self.rejected("article", {"value": {"sku": "a", "price": wrong}}, "not finite")
        self.prepared("number", {"value": 1.5})
        self.prepared("number", {"value": 3})

    def test_a_parameter_given_twice(self) -> None:
        value, times = encode_value("value"), encode_value("times")
        self.rejected("text", b"\x82" + (value + b"\xa1a") * 2, "parameter `value` is given twice")
        self.rejected("text", b"\x83" + value + b"\xa1a" + (times + b"\x01") * 2, "parameter `times` is given twice")
        self.rejected("integer", b"\x82" + (value + b"\x01") * 2, "parameter `value` is given twice")
        self.rejected("anything", b"\x82" + (value + b"\x01") * 2, "parameter `value` is given twice")
        self.rejected("anything", b"\xdf\x00\x03\x0d\x40" + (value + b"\x01") * 200_000, "parameter `value` is given twice")

    def test_keys_given_twice_within_a_parameter(self) -> None:
        for command in ("by_name", "anything"):
            self.rejected(command, b"\x81\xa5value\x82\xa1a\x01\xa1a\x02", "parameter `value`", "repeats a key")

    def test_no_bytes_whatever_lead_to_another_error(self) -> None:
        declaration = Recorder().declaration()

        @settings(deadline=None, max_examples=300)
        @given(st.sampled_from(sorted(declaration.commands)), st.binary(max_size=60), st.sampled_from([b"", b"\x81\xa5value", b"\x92\x91"]))
        def check(command: str, junk: bytes, start: bytes) -> None:
            operation: Operation = declaration.commands[command]
            try:
                prepared = bytes(operation.prepare(start + junk, 1_000))
            except NotApplied as error:
                self.assertIn(error.code, ("invalid_arguments", "too_large"))
            else:
                msgspec.convert(decode_value(prepared), operation.arguments, builtin_types=(bytes,))

        check()


class Json(ArgumentsCase):
    def of_json(self, command: str, body: bytes) -> Any:
        encoded = self.host.arguments_of_json("recorder", command, body)
        return decode_value(self.prepared(command, encoded))

    def not_of_json(self, command: str, body: bytes, *words: str) -> None:
        error = self.assertRaises(NotApplied, self.host.arguments_of_json, "recorder", command, body)
        self.assertEqual(error.code, "invalid_arguments")
        for word in words:
            self.assertIn(word, error.message)

    def test_an_object_becomes_arguments(self) -> None:
        self.assertEqual(self.of_json("text", b'{"value": "a", "loud": true}'), {"value": "a", "loud": True})
        self.assertEqual(self.of_json("integer", b'{"value": 123456789012345678901234567890}'), {"value": 123456789012345678901234567890})
        self.assertEqual(self.of_json("anything", b'{"value": [1, {"a": 1e40}]}'), {"value": [1, {"a": 1e40}]})
        self.assertEqual(self.of_json("article", b'{"value": {"sku": "a", "price": 2}}')["value"]["sku"], "a")

    def test_bytes_are_base64(self) -> None:
        self.assertEqual(self.of_json("binary", b'{"value": "/w=="}'), {"value": b"\xff"})

    def test_nothing_is_an_empty_object(self) -> None:
        self.assertEqual(self.of_json("none", b""), {})
        self.not_of_json("integer", b"", "parameter `value` is missing")

    def test_queries_too(self) -> None:
        self.assertEqual(self.host.arguments_of_json("recorder", "count", b"{}"), b"\x80")

    def test_the_longest_integer_passes(self) -> None:
        for value in ((1 << INTEGER_BITS_MAX) - 1, 1 - (1 << INTEGER_BITS_MAX)):
            self.assertEqual(self.of_json("integer", msgspec.json.encode({"value": value})), {"value": value})
        self.not_of_json("integer", b'{"value": ' + b"9" * 4_298 + b"}")
        self.not_of_json("integer", b'{"value": ' + b"9" * 1_000_000 + b"}")

    def test_what_is_no_argument(self) -> None:
        self.not_of_json("integer", b'{"value": 1.0}', "parameter `value`", "expected `int`, got `float`")
        self.not_of_json("integer", b'{"value": true}', "parameter `value`", "got `bool`")
        self.not_of_json("integer", b'{"value": 1, "value": 2}', "`value` is given twice")
        self.not_of_json("anything", b'{"value": {"a": 1, "a": 1}}', "`a` is given twice")
        self.not_of_json("integer", b"[1]", "by name, got `array`")
        self.not_of_json("anything", b'{"value": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "levels")
        self.not_of_json("text", b'{"value": "\\ud800"}')
        self.not_of_json("text", b'{"value": "\xff"}', "UTF-8")
        for wrong in (b'{"value": NaN}', b'{"value": 1e999}', b'{"value": Infinity}', b'{"value"', b"{]", b"\x00", b"{} {}"):
            self.not_of_json("number", wrong)


class Choices(SynchronousTestCase):
    """`compare[0].target: invalid enum value 'creates'` did not say what is right; the parameter's type says no more than `Compare`."""

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Paint(msgspec.Struct, tag_field="do", tag="paint"):
        color: Choices.Color | None = None
        shades: list[Literal["dark", "light"]] = []
        size: Literal[1, 2] = 1

    class Cut(msgspec.Struct, tag_field="do", tag="cut"):
        size: Literal[3] = 3

    class Steps(msgspec.Struct, forbid_unknown_fields=True):
        steps: list[Choices.Paint | Choices.Cut]

    def said(self, **step: Any) -> str:
        operation = Operation("work", self.Steps)
        encoded = encode_value({"steps": [step]})
        said: str = self.assertRaises(NotApplied, operation.prepare, encoded, 10_000).message
        body = msgspec.json.encode({"steps": [step]})
        self.assertEqual(self.assertRaises(NotApplied, operation.from_json, body).message, said)
        sentence, _, signature = said.rpartition("; ")
        self.assertIn("steps: list[", signature)
        return sentence

    def test_what_would_be_right_is_said_wherever_it_is(self) -> None:
        wrong = "work: parameter `steps[0]."
        self.assertEqual(self.said(do="paint", color="pink"), wrong + "color`: invalid enum value 'pink': it is one of 'red', 'blue'")
        self.assertEqual(
            self.said(do="paint", shades=["dark", "x"]), wrong + "shades[1]`: invalid enum value 'x': it is one of 'dark', 'light'"
        )
        self.assertEqual(self.said(do="saw"), wrong + "do`: invalid value 'saw': it is one of 'cut', 'paint'")

    def test_not_where_fields_of_one_name_differ(self) -> None:
        self.assertEqual(self.said(do="cut", size=7), "work: parameter `steps[0].size`: invalid enum value 7")

    def test_a_long_value_does_not_hide_it(self) -> None:
        self.assertIn("xxx…: it is one of 'red', 'blue'", self.said(do="paint", color="x" * 9_000))

    def test_a_value_that_looks_like_the_end_of_a_sentence(self) -> None:
        self.assertIn("it is one of 'red', 'blue'", self.said(do="paint", color="' - at `$.size`"))


class OwnStructs(SynchronousTestCase):
    """Operations of those who provide `IStateMachine` themselves."""

    def test_arguments_must_be_refused_when_unknown_and_travel_by_name(self) -> None:
        for options in ({}, {"forbid_unknown_fields": True, "array_like": True}, {"forbid_unknown_fields": True, "tag": "x"}):
            kind = msgspec.defstruct("Arguments", [("a", int)], **options)
            self.assertRaises(TypeError, Operation, "do", kind)

    def test_checks_of_a_struct_may_fail_as_they_like(self) -> None:
        class Picky(msgspec.Struct, forbid_unknown_fields=True):
            a: int

            def __post_init__(self) -> None:
                if self.a < 0:
                    raise ValueError("a is negative")
                if self.a > 9:
                    raise KeyError("boo")

        operation = Operation("do", Picky)
        operation.prepare(encode_value({"a": 5}), 100)
        for wrong, words in ((-1, "a is negative"), (10, "KeyError")):
            error = self.assertRaises(NotApplied, operation.prepare, encode_value({"a": wrong}), 100)
            self.assertIn(words, error.message)
