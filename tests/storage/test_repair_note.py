"""The note that something was lost."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.storage.layout import Layout
from txraft.storage.repair_note import RepairNote

SEED = 7


class RepairNoteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(Path("/n1"), self.files)
        self.layout.prepare()

    def read(self) -> RepairNote | None:
        return RepairNote.read(self.layout, SEED)

    def test_it_is_there_from_when_it_is_written_until_it_is_removed_durably(self) -> None:
        self.assertIsNone(self.read())
        note = RepairNote(("one", "two"), False, ("a to b",))
        note.write(self.layout, SEED)
        self.assertEqual(self.read(), note)
        self.assertEqual(RepairNote.read(Layout(Path("/n1"), self.files.lost()), SEED), note)
        RepairNote.remove(self.layout)
        self.assertIsNone(RepairNote.read(Layout(Path("/n1"), self.files.lost()), SEED))
        RepairNote.remove(self.layout)

    def test_a_later_one_adds_to_it_and_says_nothing_twice(self) -> None:
        first, second = RepairNote(("one",), True, ("a to b",)), RepairNote(("one", "two"), False, ())
        self.assertEqual(second.joined(first), RepairNote(("one", "two"), True, ("a to b",)))
        self.assertEqual(second.joined(None), second)
        many = RepairNote(tuple(f"{number}" for number in range(3000)), False, ())
        self.assertEqual(len(many.joined(first).reasons), 1000)
        self.assertEqual(many.joined(first).reasons[-1], "2999")

    def test_any_flipped_bit_makes_it_the_worst_there_is(self) -> None:
        RepairNote(("one",), False, ()).write(self.layout, SEED)
        content = self.files.content(self.layout.repair)
        for bit in range(len(content) * 8):
            self.files.put(self.layout.repair, content)
            self.files.flip_bit(self.layout.repair, bit // 8, bit % 8)
            note = self.read()
            assert note is not None
            self.assertEqual((note.votes_lost, note.moved), (True, ()))
            self.assertIn("unreadable", note.reasons[0])
