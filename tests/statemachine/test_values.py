"""Plain values as bytes."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.statemachine.values import (
    INTEGER_BITS_MAX,
    INTEGER_BYTES_MAX,
    decode_value,
    decode_value_as,
    encode_canonical,
    encode_value,
    typed_decoder,
)

LARGEST = (1 << INTEGER_BITS_MAX) - 1

integers = st.integers(-LARGEST, LARGEST) | st.integers(-(1 << 90), 1 << 90) | st.sampled_from([LARGEST, -LARGEST, 2**63, 2**64])
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text() | st.binary()
plain = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def _turned(item: Any) -> Any:
    """The same set, filled the other way round."""
    if not isinstance(item, set):
        return item
    turned: set[Any] = set()
    for one in list(item)[::-1]:
        turned.add(one)
    return turned


class Record(msgspec.Struct):
    number: int
    inner: Any = None


class RoundTrips(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(plain)
    def test_every_plain_value_comes_back(self, value: Any) -> None:
        for encoded in (encode_value(value), encode_canonical(value)):
            back = decode_value(encoded)
            self.assertEqual(back, value)
            self.assertEqual(
                repr(back) if isinstance(value, (bool, float)) else type(back),
                repr(value) if isinstance(value, (bool, float)) else type(value),
            )

    @settings(deadline=None, max_examples=100)
    @given(st.dictionaries(st.text() | st.integers(-100, 100), integers | st.sets(st.text(max_size=3)), max_size=6))
    def test_canonical_bytes_do_not_depend_on_order(self, value: dict[Any, Any]) -> None:
        turned = {key: _turned(item) for key, item in reversed(list(value.items()))}
        self.assertEqual(encode_canonical(turned), encode_canonical(value))

    @settings(deadline=None, max_examples=50)
    @given(integers, integers)
    def test_typed_decoding_takes_integers_of_any_size(self, number: int, other: int) -> None:
        back = decode_value_as(encode_value({"number": number, "inner": [other]}), typed_decoder(Record))
        self.assertEqual((back.number, back.inner), (number, [other]))

    def test_maps_keep_their_order_unless_canonical(self) -> None:
        value = {"b": 1 << 70, "a": 2}
        self.assertEqual(list(decode_value(encode_value(value))), ["b", "a"])
        self.assertEqual(list(decode_value(encode_canonical(value))), ["a", "b"])

    def test_records_and_times_next_to_large_integers(self) -> None:
        now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        value = [Record(1 << 80, now), now, b"raw"]
        self.assertEqual(decode_value(encode_value(value)), [{"number": 1 << 80, "inner": now}, now, b"raw"])


class Bounds(SynchronousTestCase):
    def test_the_longest_integer_passes_and_one_bit_more_does_not(self) -> None:
        for edge in (LARGEST, -LARGEST):
            self.assertEqual(decode_value(encode_value(edge)), edge)
        for beyond in (LARGEST + 1, -LARGEST - 1):
            self.assertRaises(ValueError, encode_value, beyond)
            self.assertRaises(ValueError, encode_canonical, [beyond])

    def test_the_longest_integer_can_be_written_in_decimal(self) -> None:
        self.assertEqual(json.loads(msgspec.json.encode(-LARGEST)), -LARGEST)

    def test_longer_integers_and_other_extensions_are_not_decoded(self) -> None:
        for code, content in ((1, b"\1" * (INTEGER_BYTES_MAX + 1)), (5, b"x")):
            encoded = msgspec.msgpack.encode({"number": msgspec.msgpack.Ext(code, content)})
            self.assertRaises(ValueError, decode_value, encoded)
            self.assertRaises(ValueError, decode_value_as, encoded, typed_decoder(Record))

    def test_what_is_not_plain_is_refused(self) -> None:
        for encode in (encode_value, encode_canonical):
            self.assertRaises(TypeError, encode, object())
            self.assertRaises(TypeError, encode, [1 << 70, object()])
            self.assertRaises(ValueError, encode, "\ud800")
            self.assertRaises(OverflowError, encode, {1 << 70: 1})
        cycle: list[Any] = [1 << 70]
        cycle.append(cycle)
        self.assertRaises(RecursionError, encode_value, cycle)


class Strictness(SynchronousTestCase):
    def test_a_large_integer_elsewhere_does_not_loosen_the_types(self) -> None:
        class Two(msgspec.Struct):
            number: int
            binary: bytes

        decoder = typed_decoder(Two)
        self.assertEqual(decode_value_as(encode_value({"number": 1 << 70, "binary": b"x"}), decoder), Two(1 << 70, b"x"))
        with self.assertRaises(msgspec.ValidationError):
            decode_value_as(encode_value({"number": 1 << 70, "binary": "eA=="}), decoder)
        with self.assertRaises(msgspec.ValidationError):
            decode_value_as(encode_value({"number": 1, "binary": "eA=="}), decoder)

    def test_bool_and_float_are_no_integers(self) -> None:
        for wrong in (True, 1.0, "1", None):
            with self.assertRaisesRegex(msgspec.ValidationError, r"Expected `int`.*\$\.number"):
                decode_value_as(encode_value({"number": wrong}), typed_decoder(Record))
