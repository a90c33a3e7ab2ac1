"""A stream of parts that is none: told from one, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import SAMPLES
from tests.statemachine.streamed_machines import parts_of, used
from txraft.errors import CorruptState, MachineUnavailable, RestoreFailed
from txraft.limits import EVENTS_KEPT_MAX
from txraft.statemachine.state_parts import EndPart, EventsPart, ItemsPart, MachinePart, PlainPart, SessionsPart, StatePart, read_through
from txraft.statemachine.values import decode_value, encode_value

EVENT = b"", b"\x80"


class NoSuchStream(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = used()
        self.parts = parts_of(self.driver)

    def refused(self, parts: Iterable[bytes]) -> str:
        return str(self.assertRaises(CorruptState, self.driver.host.restored, parts))

    def changed(self, kind: str, fields: dict[int, Any]) -> list[bytes]:
        """All parts, the first one of a kind with other fields."""
        parts = list(self.parts)
        at = next(at for at, part in enumerate(parts) if decode_value(part)[0] == kind)
        content = decode_value(parts[at])
        parts[at] = encode_value([fields.get(number, field) for number, field in enumerate(content)])
        return parts

    def test_no_parts(self) -> None:
        self.refused([])

    def test_nonsense(self) -> None:
        for nonsense in (b"", b"\xc0", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\xff" * 50, encode_value(["else", 1])):
            self.refused([nonsense])
            self.refused([self.parts[0], nonsense])
            self.refused([*self.parts, nonsense])

    def test_every_part_is_needed_once_and_in_its_place(self) -> None:
        for at in range(len(self.parts)):
            self.refused(self.parts[:at])
            self.refused(self.parts[:at] + self.parts[at + 1 :])
            self.refused(self.parts[:at] + self.parts[at : at + 1] + self.parts[at:])

    def test_a_part_that_is_cut_short(self) -> None:
        for at, part in enumerate(self.parts):
            for end in (0, 1, len(part) // 2, len(part) - 1):
                self.refused([*self.parts[:at], part[:end], *self.parts[at + 1 :]])

    def test_another_version(self) -> None:
        self.assertIn("version 2", self.refused(self.changed("state", {1: 2})))

    def test_a_machine_that_is_not_installed(self) -> None:
        for changed in ({2: "tests.nowhere.Queue"}, {3: 9}):
            parts = self.changed("machine", changed)
            self.assertRaises(MachineUnavailable, self.driver.host.restored, parts)

    def test_a_machine_that_comes_twice(self) -> None:
        machine = [part for part in self.parts if decode_value(part)[:2] == ["machine", "one"]] + [
            encode_value(PlainPart(encode_value([])))
        ]
        stream = [encode_value(StatePart(1, 0, 9)), *machine, *machine, encode_value(EndPart(5))]
        self.assertIn("comes twice", self.refused(stream))

    def test_a_state_that_the_machine_cannot_take_over(self) -> None:
        """It is another thing than a stream that is no state: another copy of it would be of no use."""
        for name, parts in (("one", self.parts_with_state("one", encode_value(5))), ("shelves", self.changed("items", {1: [["a", 1], 5]}))):
            error = self.assertRaises(RestoreFailed, self.driver.host.restored, parts)
            self.assertRegex(str(error), f"machine '{name}' .plug-in 'tests.*, version 1. cannot .* `restore` failed with TypeError: ")
            self.assertEqual((error.machine, error.exit_code), (name, 78))
            self.assertIn("in restore", error.failure_text)
        self.assertIn("'one'", self.refused(self.parts_with_state("one", b"\xdd\xff\xff\xff\xff")))

    def parts_with_state(self, machine: str, state: bytes) -> list[bytes]:
        head = next(at for at, part in enumerate(self.parts) if decode_value(part)[:2] == ["machine", machine])
        after = next(at for at in range(head + 1, len(self.parts)) if decode_value(self.parts[at])[0] != "plain")
        parts = [*self.parts[: head + 1], encode_value(["plain", state]), *self.parts[after:-1]]
        return [*parts, encode_value(EndPart(len(parts)))]

    def test_reading_through_finds_all_that_restoring_would(self) -> None:
        read_through(self.parts)
        for at in range(len(self.parts)):
            self.assertRaises(CorruptState, read_through, [*self.parts[:at], *self.parts[at + 1 :]])
        self.assertRaises(CorruptState, read_through, self.changed("state", {1: 2}))
        self.assertRaises(CorruptState, read_through, self.parts_with_state("one", b"\xdd\xff\xff\xff\xff"))

    def test_events_out_of_order_or_too_many(self) -> None:
        head = MachinePart("one", SAMPLES + "Recorder", 1, 0, 0, 9, 2, True)
        rest = [PlainPart(encode_value([]))]
        for events in ([(5, *EVENT), (4, *EVENT)], [(1, *EVENT)], [(10, *EVENT)], [(5, *EVENT)] * (EVENTS_KEPT_MAX + 1)):
            stream = [StatePart(1, 0, 9), head, EventsPart(events[:9]), EventsPart(events[9:]), *rest, EndPart(5)]
            self.refused([encode_value(part) for part in stream])
        stream = [StatePart(1, 0, 9), head, EventsPart([(2, *EVENT), (9, *EVENT)]), *rest, EndPart(4)]
        self.driver.host.restored([encode_value(part) for part in stream])

    def test_wrong_types_and_numbers(self) -> None:
        good: list[Any] = [
            StatePart(1, 0, 9),
            SessionsPart([]),
            MachinePart("one", SAMPLES + "Recorder", 1, 0, 0, 0, 1, True),
            ItemsPart([]),
        ]
        for number, part in enumerate(good):
            plain = msgspec.to_builtins(part)
            for field in range(1, len(plain)):
                wrongs: list[Any] = [None, -1, "", 1 << 63, [[]], {}]
                for wrong in wrongs:
                    stream = [*good[:number], [*plain[:field], wrong, *plain[field + 1 :]]]
                    self.refused([encode_value(one) for one in stream])

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any_bytes_changed(self, draws: st.DataObject) -> None:
        """Either it is no state, or it is one; nothing else, and nothing changes here. (That it is the right one, the file's sums say.)"""
        parts = list(self.parts)
        at = draws.draw(st.integers(0, len(parts) - 1))
        changed = bytearray(parts[at])
        for _ in range(draws.draw(st.integers(1, 3))):
            changed[draws.draw(st.integers(0, len(changed) - 1))] = draws.draw(st.integers(0, 255))
        parts[at] = bytes(changed)
        try:
            self.driver.host.restored(parts)
        except (CorruptState, RestoreFailed, MachineUnavailable) as error:
            self.assertTrue(str(error))
