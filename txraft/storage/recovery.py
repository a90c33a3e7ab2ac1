"""Reading the log back at start-up: what is whole, what is the torn end of a write that a crash interrupted, and what is damage.

Everything is read and judged before anything is changed. The rule: a write that never became durable may be missing or torn, and is cut
off; a record that *was* durable must be readable, or this server refuses to run, because it may have answered for it. A record is known to
have been durable

* if a later record says so in its `durable_upto` (whether or not that record's own body is whole),
* if a later segment exists (a segment is only begun when all before it is durable),
* if term and vote were written after it (they note how far the log was durable).

The oldest segments may be gone, if a record in those that are left says that nothing in them is needed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from attrs import define, field

from txraft.core.effects import Base
from txraft.errors import DamagedLog, LostFiles, StorageError
from txraft.storage.files import File
from txraft.storage.layout import Layout
from txraft.storage.log_files import LogFiles
from txraft.storage.positions import Mark, Positions
from txraft.storage.records import Rest, decode_body, inspect_rest, scan
from txraft.storage.replay import Replay
from txraft.storage.segment import SEGMENT_HEADER_BYTES, OpenSegment, Origin, Segment

__all__ = ["Recovery"]

_PROGRESS_BYTES = 1024 * 1024
_COPY_BYTES = 1024 * 1024


@define
class Recovery:
    """One pass over the log of a directory: `read()`, which changes nothing, then `repair()`.

    Attributes:
        replay: what the records add up to.
        durable_upto: the last record known to have been durable; at first what is noted with term and vote.
        segments: those that were read, oldest first; of the last one what is good.
        base_segment: where the newest record is that says where the log begins.
        last_sequence: number of the last good record.
        is_read: all segments were read; whatever is wrong, it is not in one of them.
        torn_tail: one sentence on what `repair` cuts off, if anything.
    """

    layout: Layout
    origin: Origin
    replay: Replay
    durable_upto: int
    progress: Callable[[float], None]
    positions: Positions = field(factory=Positions)
    segments: list[Segment] = field(factory=list)
    base_segment: Segment | None = None
    last_sequence: int = 0
    is_read: bool = False
    torn_tail: str | None = None
    _uncertain: deque[tuple[int, int]] = field(factory=deque)
    _bytes_total: int = 0
    _bytes_before: int = 0

    def read(self) -> None:
        """Read all segments and decide what is to be done.

        Raises:
            DamagedLog: something that was durable is unreadable.
            LostFiles: a segment is missing.
            StorageError: a segment is renamed, or from elsewhere.
        """
        files = self.layout.segments()
        self._bytes_total = sum(self.layout.files.size(path) for _, path in files)
        for number, (first_sequence, path) in enumerate(files, 1):
            try:
                self._read_segment(first_sequence, path, newest=number == len(files))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                at = self.segments[-1].end if self.segments and self.segments[-1].path == path else 0
                raise DamagedLog(str(path), at, self.layout.files.size(path), "the disk does not give it back") from error
        self.is_read = True
        self._require_whole()

    def _read_segment(self, first_sequence: int, path: Path, *, newest: bool) -> None:
        with closing(self.layout.files.open(path)) as file:
            segment = Segment.from_file(path, file, self.origin)
            self._require_place(segment, first_sequence)
            size = file.size()
            written = file.written_end()
            self.segments.append(segment)
            self._read_records(segment, file, size)
            rest = inspect_rest(file, segment.end, written, self.last_sequence + 1, self.origin.seed)
        self._judge(segment, rest, size, newest=newest)
        self._bytes_before += size

    def _require_whole(self) -> None:
        """All entries behind the base are there, and if some before it are not, a snapshot stands for them."""
        replay = self.replay
        if missing := replay.missing():
            raise LostFiles(
                f"{self.layout.log}: entries {missing[0]} to {missing[1]} are missing between the beginning and "
                f"{self.segments[0].path.name}: a segment file was removed"
            )
        if replay.base_index and replay.snapshot is None:
            raise LostFiles(
                f"{self.layout.log}: {self.segments[0].path.name} begins behind entry {replay.base_index}, and no record says which "
                "snapshot stands for what is before it: a segment file was removed"
            )

    def _require_place(self, segment: Segment, named: int) -> None:
        """A segment must be what its name says, and continue where the one before it ended."""
        replay = self.replay
        if segment.first_sequence != named:
            right = self.layout.segment(segment.first_sequence).name
            raise StorageError(f"{segment.path}: the segment was renamed; its name should be {right}")
        if not self.segments:
            # Those before it may have been removed. Whether they were still needed is known in the end.
            self.last_sequence = segment.first_sequence - 1
            replay.begin(segment.next_index, segment.base_index, segment.base_term)
        due = self.last_sequence + 1
        if segment.first_sequence > due:
            raise LostFiles(
                f"{self.layout.log}: records {due} to {segment.first_sequence - 1} are missing between {self.segments[-1].path.name} and "
                f"{segment.path.name}: a segment file was removed"
            )
        found = (segment.first_sequence, segment.next_index, segment.base_index, segment.base_term)
        if found != (due, replay.last_index + 1, replay.base_index, replay.base_term):
            raise StorageError(
                f"{segment.path}: it begins with record {segment.first_sequence} and entry {segment.next_index} of a log that begins "
                f"behind entry {segment.base_index}, but record {due} and entry {replay.last_index + 1} of one that begins behind entry "
                f"{replay.base_index} are due: the files of this log do not belong together. Restore the directory from one copy"
            )
        self.durable_upto = max(self.durable_upto, segment.first_sequence - 1)

    def _read_records(self, segment: Segment, file: File, size: int) -> None:
        self._uncertain.clear()
        reported = 0
        for record in scan(file, SEGMENT_HEADER_BYTES, size, self.last_sequence + 1, self.origin.seed):
            run = decode_body(record.body)
            before = self.replay.last_index
            wrong = "its content makes no sense" if run is None else self.replay.take(run)
            if wrong or run is None:
                raise DamagedLog(str(segment.path), record.offset, record.end, f"record {record.header.sequence}: {wrong}")
            if run.base is not None:
                before = self._begin_at(run.base, segment, before)
            sequence = self.last_sequence = record.header.sequence
            self.positions.note(Mark(run.first_index, segment, record.offset, sequence), replaces=run.first_index <= before)
            segment.end = record.end
            self.durable_upto = max(self.durable_upto, record.header.durable_upto)
            self._uncertain.append((sequence, record.offset))
            while self._uncertain and self._uncertain[0][0] <= self.durable_upto:
                self._uncertain.popleft()
            if record.end - reported >= _PROGRESS_BYTES:
                reported = record.end
                self.progress(min(1.0, (self._bytes_before + record.end) / self._bytes_total))

    def _begin_at(self, base: Base, segment: Segment, before: int) -> int:
        """A record says where the log begins; the last index once it is taken, but for its entries."""
        self.base_segment = segment
        if base.keeps_log:
            return before
        self.positions.forget_all()
        for older in self.segments[:-1]:
            older.dead = True
        return base.snapshot.index

    def _judge(self, segment: Segment, rest: Rest, size: int, *, newest: bool) -> None:
        """Decide what it means that no record follows, or an unreadable one."""
        path, due = str(segment.path), self.last_sequence + 1
        if rest.proof is not None:
            raise DamagedLog(path, segment.end, rest.proof, f"record {due} is unreadable, but a later record knows it was durable")
        if not newest and rest.data_end > segment.end:
            raise DamagedLog(path, segment.end, rest.data_end, f"record {due} is unreadable, but a later segment follows")
        if newest and self.durable_upto >= due:
            end = rest.data_end if rest.data_end > segment.end else size
            why = f"records {due} to {self.durable_upto} are gone, but were durable when term and vote were last written; "
            raise DamagedLog(path, segment.end, end, why + "if a later segment file was removed, put it back")
        if rest.data_end > segment.end:
            self.torn_tail = (
                f"{path}: cut {rest.data_end - segment.end} bytes at offset {segment.end}, where a crash interrupted a write "
                f"(record {due}); the log ends with entry {self.replay.last_index}"
            )

    def repair(self, segment_bytes: int) -> LogFiles:
        """Cut the torn tail, make durable what was read, and open the log for appending. Interrupted and repeated it does the same.

        The end of the log may have been read from the kernel's memory and never have reached the disk: the process before this one may
        have been killed before its fsync, or stopped because of a failed one, after which the kernel takes the bytes for written. So
        what is not known to be durable is written once more, and then made durable.
        """
        self.layout.files.remove(self.layout.new_segment)
        newest, replay = self.segments[-1], self.replay
        with closing(self.layout.files.open(newest.path, write=True)) as file:
            if self.torn_tail is not None:
                # Bytes behind the cut may look like records that are due one day: none of them may be left.
                file.truncate(newest.end)
                file.preallocate(segment_bytes)
            offset = self._uncertain[0][1] if self._uncertain else newest.end
            while offset < newest.end:
                content = file.read(min(_COPY_BYTES, newest.end - offset), offset)
                file.write(content, offset)
                offset += len(content)
            file.sync()
        self.layout.files.sync_directory(self.layout.log)
        log = LogFiles(
            self.layout,
            self.origin,
            segment_bytes,
            self.segments,
            self.positions,
            replay.last_index,
            self.last_sequence,
            replay.base_index,
            replay.base_term,
            replay.snapshot,
            self.base_segment,
            OpenSegment.open(self.layout, newest, segment_bytes),
        )
        while log.remove_oldest():
            pass
        return log
