"""The log on disk: segments one behind the other, appended to at the end and read anywhere.

It is append-only. A record that begins at or before the last index replaces everything from there on, so that truncating the log is
exactly as safe in a crash as appending to it. One write of the disk worker is one write to one segment.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from attrs import define, frozen

from txraft.core.entry import Entry, entry_bytes
from txraft.errors import DamagedLog
from txraft.storage.layout import Layout
from txraft.storage.positions import Mark, Positions
from txraft.storage.records import Run, decode_body, encode_record, encode_run, scan
from txraft.storage.segment import OpenSegment, Origin, Segment

__all__ = ["Batch", "LogFiles", "encode"]


@frozen
class Batch:
    """Records ready to be written.

    Attributes:
        records: their bytes.
        placed: for each record its place within `records`, the index it begins at, and whether it replaces entries.
        last_index: the last index of the log once they are written.
    """

    records: bytes
    placed: list[tuple[int, int, bool]]
    last_index: int


def encode(runs: Sequence[Run], *, last_index: int, last_sequence: int, seed: int) -> Batch:
    """Make records of runs, to follow a log that is durable up to the given entry and record.

    Raises:
        Halted: a number is out of range.
    """
    sequence, offset = last_sequence, 0
    parts, placed = [], []
    for run in runs:
        for index, body in encode_run(run):
            sequence += 1
            record = encode_record(body, sequence=sequence, durable_upto=last_sequence, seed=seed)
            placed.append((offset, index, index <= last_index))
            parts.append(record)
            offset += len(record)
            last_index = index - 1
        last_index = run[0] - 1 + len(run[1])
    return Batch(b"".join(parts), placed, last_index)


@define
class LogFiles:
    """The segments of one directory, the newest of them open for appending.

    Attributes:
        segments: oldest first; never empty.
        last_index: index of the last entry; 0 without any.
        last_sequence: number of the last record. Between two appends everything up to it is durable.
    """

    layout: Layout
    origin: Origin
    segment_bytes: int
    segments: list[Segment]
    positions: Positions
    last_index: int
    last_sequence: int
    _newest: OpenSegment

    def prepare(self, runs: Sequence[Run]) -> Batch:
        """Make the records that are next. Touches nothing.

        Raises:
            Halted: a number is out of range.
        """
        return encode(runs, last_index=self.last_index, last_sequence=self.last_sequence, seed=self.origin.seed)

    def append(self, batch: Batch) -> None:
        """Write the records that `prepare` has just made, and wait until they are durable.

        Raises:
            OSError: they may or may not be on disk: this object must not be used for writing again.
        """
        start = self._newest.segment.end
        if start + len(batch.records) > self.segment_bytes:
            start = self._roll(batch)
        else:
            self._newest.append(batch.records)
        segment = self.segments[-1]
        for sequence, (offset, index, replaces) in enumerate(batch.placed, self.last_sequence + 1):
            self.positions.note(Mark(index, segment, start + offset, sequence), replaces=replaces)
        self.last_sequence += len(batch.placed)
        self.last_index = batch.last_index

    def _roll(self, batch: Batch) -> int:
        """Begin a new segment with these records and say where they start in it. What is before them is durable since the last append."""
        segment = Segment.create(
            self.layout,
            self.origin,
            first_sequence=self.last_sequence + 1,
            next_index=self.last_index + 1,
            records=batch.records,
            size=self.segment_bytes,
        )
        self._newest.close()
        self._newest = OpenSegment.open(self.layout, segment, self.segment_bytes)
        self.segments.append(segment)
        return segment.end - len(batch.records)

    def read(self, first_index: int, bytes_max: int) -> list[Entry]:
        """Consecutive entries from `first_index` on, at least one if it exists, at most about `bytes_max`.

        Raises:
            DamagedLog: what was durable is unreadable.
            OSError: the disk does not answer.
        """
        found: list[Entry] = []
        room = bytes_max
        while (index := first_index + len(found)) <= self.last_index:
            mark, upto = self.positions.around(index)
            with closing(self._entries(mark, index, upto or self.last_index + 1)) as entries:
                for entry in entries:
                    room -= entry_bytes(entry)
                    if room < 0 and found:
                        return found
                    found.append(entry)
                    if room <= 0:
                        return found
        return found

    def _entries(self, mark: Mark, index: int, upto: int) -> Generator[Entry, None, None]:
        """The entries from `index` up to `upto` (exclusive), all of which are in one segment behind `mark`."""
        segment, unread = mark.segment, mark.offset
        with closing(self.layout.files.open(segment.path)) as file:
            for record in scan(file, mark.offset, segment.end, mark.sequence, self.origin.seed):
                run = decode_body(record.body)
                if run is None or run[0] > index:
                    break
                unread = record.end
                for entry in run[1][index - run[0] : upto - run[0]]:
                    yield entry
                    index += 1
                if index == upto:
                    return
        raise DamagedLog(str(segment.path), unread, segment.end, f"entry {index} should be there and cannot be read")

    def used_bytes(self) -> int:
        """Bytes that the log takes, preallocated space not counted."""
        return sum(segment.end for segment in self.segments)

    def close(self) -> None:
        """Close the newest segment."""
        self._newest.close()
