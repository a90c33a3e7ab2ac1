"""Entries: what they cost, and that nobody changes them."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.entry import OVERHEAD_BYTES, Entry, EntryKind, entry_bytes


class Entries(SynchronousTestCase):
    def test_even_an_empty_entry_costs_something(self) -> None:
        self.assertEqual(entry_bytes(Entry(1, EntryKind.NOOP, b"")), OVERHEAD_BYTES)
        self.assertEqual(entry_bytes(Entry(1, EntryKind.COMMAND, b"12345")), OVERHEAD_BYTES + 5)

    def test_the_overhead_covers_the_largest_numbers(self) -> None:
        encoded = msgspec.msgpack.encode(Entry(2**63 - 1, EntryKind.CONFIGURATION, b""))

        self.assertLessEqual(len(encoded), OVERHEAD_BYTES)

    def test_an_entry_cannot_be_changed(self) -> None:
        entry = Entry(1, EntryKind.COMMAND, b"x")

        self.assertRaises(AttributeError, setattr, entry, "term", 2)

    def test_numbers_of_kinds_are_what_logs_on_disks_hold(self) -> None:
        self.assertEqual({kind.name: kind.value for kind in EntryKind}, {"NOOP": 0, "COMMAND": 1, "CONFIGURATION": 2})
