"""Where entries stand."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.storage.positions import Mark, Positions
from txraft.storage.segment import Segment

KIB = 1024


def segment(number: int, end: int = 1000 * KIB) -> Segment:
    return Segment(Path(f"{number}"), number, number, end=end)


FIRST, SECOND = segment(1), segment(50)


class PositionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.positions = Positions()
        for index, offset in ((1, 64), (10, 30 * KIB), (20, 70 * KIB), (30, 140 * KIB)):
            self.note(index, FIRST, offset)
        self.note(40, SECOND, 64)
        self.note(45, SECOND, 10 * KIB)

    def note(self, index: int, where: Segment, offset: int, *, replaces: bool = False) -> None:
        self.positions.note(Mark(index, where, offset, index), replaces=replaces)

    def around(self, index: int) -> tuple[int, int | None]:
        mark, upto = self.positions.around(index)
        return mark.first_index, upto

    def test_there_is_a_mark_each_64_kib_and_at_the_beginning_of_a_segment(self) -> None:
        expected = {1: (1, 20), 19: (1, 20), 20: (20, 30), 39: (30, 40), 40: (40, None), 60: (40, None)}
        self.assertEqual({index: self.around(index) for index in expected}, expected)

    def test_a_record_that_replaces_has_a_mark_and_what_it_replaces_has_none(self) -> None:
        self.note(25, SECOND, 11 * KIB, replaces=True)
        self.assertEqual([self.around(index) for index in (24, 25, 90)], [(20, 25), (25, None), (25, None)])

    def test_of_two_marks_of_one_index_the_later_counts(self) -> None:
        third = segment(60)
        self.note(40, third, 64, replaces=False)
        self.assertEqual(self.around(41), (40, None))
        self.assertIs(self.positions.around(41)[0].segment, third)

    def test_a_segment_goes_with_its_marks(self) -> None:
        self.positions.forget(FIRST)
        self.assertEqual(self.around(40), (40, None))
        self.positions.forget(SECOND)
        self.positions.forget_all()
        self.note(7, SECOND, 64)
        self.assertEqual(self.around(8), (7, None))

    def test_bytes_are_counted_from_the_mark_before_the_entry(self) -> None:
        both = (FIRST, SECOND)
        self.assertEqual(self.positions.bytes_behind(60, both), 1000 * KIB - 64)
        self.assertEqual(self.positions.bytes_behind(29, both), 2000 * KIB - 140 * KIB - 64)
        self.assertEqual(self.positions.bytes_behind(28, both), 2000 * KIB - 70 * KIB - 64)
        self.positions.forget(FIRST)
        self.assertEqual(self.positions.bytes_behind(5, (SECOND,)), 1000 * KIB)
