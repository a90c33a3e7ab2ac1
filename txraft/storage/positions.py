"""Where in the files an entry stands: a mark about every 64 KiB of log, in memory only.

From a mark the records are read forward. A record that replaces entries drops the marks of what it replaces and sets its own; so between
two neighbouring marks the log is made of plain appends, as far as indexes below the second mark go. The first record of a segment always
has a mark, so that a segment can be removed together with its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from attrs import define, field

from txraft.storage.segment import SEGMENT_HEADER_BYTES, Segment

__all__ = ["Mark", "Positions"]

_SPACING_BYTES = 64 * 1024


class Mark(NamedTuple):
    """The record that begins with the entry at `first_index`."""

    first_index: int
    segment: Segment
    offset: int
    sequence: int


@define
class Positions:
    """The marks, by rising index (and, it follows, by rising place in the log)."""

    _marks: list[Mark] = field(factory=list)

    def note(self, mark: Mark, *, replaces: bool) -> None:
        """A record was appended at `mark`; `replaces` when it removes earlier entries."""
        marks = self._marks
        if replaces:
            while marks and marks[-1].first_index >= mark.first_index:
                marks.pop()
        elif marks and marks[-1].segment is mark.segment and mark.offset - marks[-1].offset < _SPACING_BYTES:
            return
        elif marks and marks[-1].first_index == mark.first_index:
            marks.pop()
        marks.append(mark)

    def around(self, index: int) -> tuple[Mark, int | None]:
        """The mark to start from for the entry at `index`, which exists, and the index up to which (exclusively) what follows it holds;
        None if up to the end.
        """
        at = bisect_right(self._marks, index, key=_first_index)
        return self._marks[at - 1], self._marks[at].first_index if at < len(self._marks) else None

    def forget(self, segment: Segment) -> None:
        """A segment, the oldest, was removed."""
        kept = next((number for number, mark in enumerate(self._marks) if mark.segment is not segment), len(self._marks))
        del self._marks[:kept]

    def forget_all(self) -> None:
        """The log was emptied."""
        self._marks.clear()

    def bytes_behind(self, index: int, segments: Sequence[Segment]) -> int:
        """About how much of these segments holds the entries behind `index`, up to 64 KiB too much. May be asked from any thread."""
        marks = tuple(self._marks)
        at = bisect_right(marks, index + 1, key=_first_index)
        if not at:
            return sum(segment.end for segment in segments)
        mark = marks[at - 1]
        behind = [segment.end - SEGMENT_HEADER_BYTES for segment in segments if segment.first_sequence > mark.segment.first_sequence]
        return max(0, mark.segment.end - mark.offset) + sum(behind)


def _first_index(mark: Mark) -> int:
    return mark.first_index
