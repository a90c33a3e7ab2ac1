"""The log on disk: segments one behind the other, appended to at the end, read anywhere, and removed at the beginning.

It is append-only. A record that begins at or before the last index replaces everything from there on, so that truncating the log is
exactly as safe in a crash as appending to it; and a record that says where the log begins is the same for its other end. One write of the
disk worker is one write to one segment.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from attrs import define, frozen

from txraft.core.effects import Base
from txraft.core.entry import Entry, entry_bytes
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedLog, Halted
from txraft.storage.layout import Layout
from txraft.storage.positions import Mark, Positions
from txraft.storage.records import Run, decode_body, encode_record, encode_run, scan
from txraft.storage.segment import Begin, OpenSegment, Origin, Segment

__all__ = ["Batch", "LogFiles", "Placed", "encode"]


@frozen
class Placed:
    """A record within a batch.

    Attributes:
        offset: where it begins.
        first_index: the index it begins at.
        replaces: whether it replaces entries.
        base: where the log begins from it on, if it says so.
    """

    offset: int
    first_index: int
    replaces: bool
    base: Base | None


@frozen
class Batch:
    """Records ready to be written.

    Attributes:
        records: their bytes.
        placed: where each of them is, and what it does.
        last_index: the last index of the log once they are written.
    """

    records: bytes
    placed: list[Placed]
    last_index: int


def encode(runs: Sequence[Run], *, last_index: int, last_sequence: int, seed: int) -> Batch:
    """Make records of runs, to follow a log that is durable up to the given entry and record.

    Raises:
        Halted: a number is out of range.
    """
    sequence, offset = last_sequence, 0
    parts, placed = [], []
    for run in runs:
        base = run.base
        if base is not None and not base.keeps_log:
            last_index = base.snapshot.index
        for index, body in encode_run(run):
            sequence += 1
            record = encode_record(body, sequence=sequence, durable_upto=last_sequence, seed=seed)
            placed.append(Placed(offset, index, index <= last_index, base))
            parts.append(record)
            offset += len(record)
            last_index, base = index - 1, None
        last_index = run.first_index - 1 + len(run.entries)
    return Batch(b"".join(parts), placed, last_index)


@define
class LogFiles:
    """The segments of one directory, the newest of them open for appending.

    Attributes:
        segments: oldest first; never empty.
        last_index: index of the last entry, or of the last that the snapshot includes; 0 without any.
        last_sequence: number of the last record. Between two appends everything up to it is durable.
        base_index: index of the last entry that is not needed any more.
        base_term: its term.
        snapshot: what stands for those; None if the log has all entries.
        base_segment: where the newest record is that says so.
    """

    layout: Layout
    origin: Origin
    segment_bytes: int
    segments: list[Segment]
    positions: Positions
    last_index: int
    last_sequence: int
    base_index: int
    base_term: int
    snapshot: Snapshot | None
    base_segment: Segment | None
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
        for sequence, placed in enumerate(batch.placed, self.last_sequence + 1):
            if placed.base is not None:
                self._begin_at(placed.base, segment)
            self.positions.note(Mark(placed.first_index, segment, start + placed.offset, sequence), replaces=placed.replaces)
        self.last_sequence += len(batch.placed)
        self.last_index = batch.last_index

    def _roll(self, batch: Batch) -> int:
        """Begin a new segment with these records and say where they start in it. What is before them is durable since the last append."""
        begin = Begin(self.last_sequence + 1, self.last_index + 1, self.base_index, self.base_term)
        segment = Segment.create(self.layout, self.origin, begin, records=batch.records, size=self.segment_bytes)
        self._newest.close()
        self._newest = OpenSegment.open(self.layout, segment, self.segment_bytes)
        self.segments.append(segment)
        return segment.end - len(batch.records)

    def _begin_at(self, base: Base, segment: Segment) -> None:
        """A record in this segment says where the log begins."""
        self.snapshot, self.base_segment = base.snapshot, segment
        if base.keeps_log:
            self.base_index, self.base_term = base.index, base.term
            return
        self.base_index, self.base_term = base.snapshot.index, base.snapshot.term
        self.positions.forget_all()
        for older in self.segments[:-1]:
            older.dead = True

    def remove_oldest(self) -> bool:
        """Remove the oldest segment if nothing in it is needed any more, and say whether it was so.

        One at a time, each durably: of several a crash might bring back an older one without its successor.

        Raises:
            OSError: it may or may not be gone.
        """
        oldest = self.segments[0]
        if self.base_segment is None or oldest is self.base_segment:
            return False
        if not oldest.dead and self.segments[1].next_index - 1 > self.base_index:
            return False
        self.layout.files.remove(oldest.path)
        self.layout.files.sync_directory(self.layout.log)
        del self.segments[0]
        self.positions.forget(oldest)
        return True

    def read(self, first_index: int, bytes_max: int) -> list[Entry]:
        """Consecutive entries from `first_index` on, at least one if it exists, at most about `bytes_max`.

        Raises:
            Halted: the log begins behind it.
            DamagedLog: what was durable is unreadable.
            OSError: the disk does not answer.
        """
        if first_index <= self.base_index:
            raise Halted(f"asked for the entry at index {first_index}; the log begins with entry {self.base_index + 1}")
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
                if run is None or run.first_index > index:
                    break
                unread = record.end
                for entry in run.entries[index - run.first_index : upto - run.first_index]:
                    yield entry
                    index += 1
                if index == upto:
                    return
        raise DamagedLog(str(segment.path), unread, segment.end, f"entry {index} should be there and cannot be read")

    def used_bytes(self) -> int:
        """Bytes that the log takes, preallocated space not counted. May be asked from any thread."""
        return sum(segment.end for segment in tuple(self.segments))

    def bytes_behind(self, index: int) -> int:
        """About how many of them hold the entries behind `index`, up to 64 KiB too many. May be asked from any thread."""
        return self.positions.bytes_behind(index, tuple(self.segments))

    def close(self) -> None:
        """Close the newest segment."""
        self._newest.close()
