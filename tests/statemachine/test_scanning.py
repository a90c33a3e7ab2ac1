"""Whether something can be decoded, found out without decoding it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.values_given import PLAIN, UNPLAIN, Spot
from txraft.statemachine import scanning
from txraft.statemachine.scanning import scanned
from txraft.statemachine.values import RESULT_NESTING_MAX, decode_value, encode_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
KEYS = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.just(Spot(1)), lambda inner: st.tuples(inner, inner), max_leaves=3
)
VALUES = st.recursive(
    SCALARS | st.builds(Spot, st.integers()) | st.builds(msgspec.msgpack.Ext, st.integers(1, 3), st.binary(max_size=20)),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner),
)


def outcome(read: Any, encoded: bytes) -> str:
    try:
        read(encoded)
    except ValueError:
        return "unreadable"
    return "readable"


class ScanningTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(VALUES)
    def test_it_finds_what_decoding_would(self, value: Any) -> None:
        try:
            encoded = encode_value(value)
        except TypeError:  # an extension next to an integer beyond 64 bits
            return
        self.assertEqual(outcome(lambda it: list(scanned(it)), encoded), outcome(decode_value, encoded))
        for wrong in (encoded[:-1], encoded + b"\x00"):
            self.assertRaises(ValueError, lambda it: list(scanned(it)), wrong)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=40))
    def test_it_is_never_less_strict_but_for_text_and_times(self, encoded: bytes) -> None:
        try:
            list(scanned(encoded))
        except ValueError:
            return
        try:
            decode_value(encoded)
        except ValueError as error:
            self.assertRegex(str(error), "UTF-8|utf-8|imestamp")

    def test_everything_else(self) -> None:
        for value in [*PLAIN.values(), *(value for value, _ in UNPLAIN.values())]:
            encoded = encode_value(value)
            self.assertEqual(outcome(lambda it: list(scanned(it)), encoded), outcome(decode_value, encoded))
        for value in (b"x" * 300, "x" * 70_000, list(range(70_000)), dict.fromkeys(range(70_000), 0), [-(1 << 40), 1 << 14_000]):
            self.assertEqual(list(scanned(encode_value(value)))[-1], len(encode_value(value)))
        self.assertRaises(ValueError, list, scanned(b"\xc1"))

    def test_it_can_be_left_often(self) -> None:
        self.patch(scanning, "ELEMENTS_AT_ONCE", 10)
        self.patch(scanning, "BYTES_AT_ONCE", 100)
        encoded = encode_value([[1] * 3 for _ in range(100)] + ["x" * 30 for _ in range(100)])
        stops = list(scanned(encoded))
        self.assertEqual((stops, stops[-1]), (sorted(stops), len(encoded)))
        self.assertGreater(len(stops), 60)

    def test_how_deep(self) -> None:
        nested: Any = 0
        for _ in range(RESULT_NESTING_MAX):
            nested = [nested]
        list(scanned(encode_value(nested)))
        self.assertRaises(ValueError, list, scanned(encode_value([nested])))
