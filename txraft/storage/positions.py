"""Where in the files an entry stands: a mark about every 64 KiB of log, in memory only.

From a mark the records are read forward. A record that replaces entries drops the marks of what it replaces and sets its own; so between
two neighbouring marks the log is made of plain appends, as far as indexes below the second mark go.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from attrs import define, field

from txraft.storage.segment import Segment

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
        at = bisect_right(self._marks, index, key=lambda mark: mark.first_index)
        return self._marks[at - 1], self._marks[at].first_index if at < len(self._marks) else None
