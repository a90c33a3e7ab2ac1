"""One segment file."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import flip_bit, overwrite
from txraft.errors import DamagedLog, StorageError
from txraft.storage.files import REAL_FILES
from txraft.storage.layout import Layout
from txraft.storage.segment import SEGMENT_HEADER_BYTES, Begin, OpenSegment, Origin, Segment


class SegmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.layout = Layout(Path(self.mktemp()))
        self.layout.prepare()

    def create(self, records: bytes = b"records", size: int = 4096) -> Segment:
        return Segment.create(self.layout, Origin(b"m" * 16), Begin(5, 77, 70, 3), records=records, size=size)

    def reread(self, path: Path, origin: Origin | None = None) -> Segment:
        with closing(REAL_FILES.open(path)) as file:
            return Segment.from_file(path, file, origin or Origin(b"m" * 16))

    def test_what_is_created_can_be_read(self) -> None:
        segment = self.create()
        self.assertEqual(segment.path.name, "00000000000000000005.segment")
        again = self.reread(segment.path)
        self.assertEqual((again.first_sequence, again.next_index, again.base_index, again.base_term), (5, 77, 70, 3))
        self.assertEqual(segment.path.read_bytes()[SEGMENT_HEADER_BYTES:], b"records".ljust(4096 - SEGMENT_HEADER_BYTES, b"\0"))
        self.assertEqual(segment.end, SEGMENT_HEADER_BYTES + 7)

    def test_it_grows_for_records_that_are_larger(self) -> None:
        segment = self.create(b"r" * 10_000)
        self.assertEqual(segment.path.stat().st_size, segment.end)

    def test_it_has_no_name_before_it_is_durable(self) -> None:
        with mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "no")):
            self.assertRaises(OSError, self.create)
        self.assertEqual(self.layout.segments(), [])

    def test_every_damaged_header_is_refused(self) -> None:
        segment = self.create()
        content = segment.path.read_bytes()
        for offset in range(60):
            segment.path.write_bytes(content)
            flip_bit(segment.path, offset, offset % 8)
            self.assertRaises(StorageError, self.reread, segment.path)
        segment.path.write_bytes(content[:20])
        self.assertRaises(DamagedLog, self.reread, segment.path)

    def test_another_directory_and_another_version_are_told_apart_from_damage(self) -> None:
        segment = self.create()
        refusal = self.assertRaises(StorageError, self.reread, segment.path, Origin(b"o" * 16))
        self.assertIn("another data directory", str(refusal))
        overwrite(segment.path, 7, b"9")
        self.assertRaises(DamagedLog, self.reread, segment.path)
        overwrite(segment.path, 20, b"another header")
        self.assertIn("version b'9'", str(self.assertRaises(StorageError, self.reread, segment.path)))

    def test_zeros_are_written_ahead_but_not_beyond_what_is_preallocated(self) -> None:
        segment = self.create(size=4096)
        newest = OpenSegment.open(self.layout, segment, 4096)
        self.addCleanup(newest.close)
        with mock.patch.object(os, "pwrite", wraps=os.pwrite) as pwrite:
            newest.append(b"a" * 100)
            newest.append(b"b" * 100)
            newest.append(b"c" * 4000)
            newest.append(b"d" * 100)
        self.assertEqual([len(call.args[1]) for call in pwrite.call_args_list], [4096 - SEGMENT_HEADER_BYTES - 7, 100, 4000, 100])
        content = segment.path.read_bytes()
        self.assertEqual(content[SEGMENT_HEADER_BYTES:], b"records" + b"a" * 100 + b"b" * 100 + b"c" * 4000 + b"d" * 100)

    def test_zeros_ahead_are_renewed_when_they_are_used_up(self) -> None:
        newest = OpenSegment.open(self.layout, self.create(size=1 << 20), 1 << 20)
        self.addCleanup(newest.close)
        with mock.patch.object(os, "pwrite", wraps=os.pwrite) as pwrite:
            for _ in range(10):
                newest.append(b"x" * 60_000)
        ahead = [len(call.args[1]) - 60_000 for call in pwrite.call_args_list]
        self.assertEqual([n > 0 for n in ahead], [True, False, False, False, False, True, False, False, False, False])

    def test_one_append_is_one_write_and_one_sync(self) -> None:
        newest = OpenSegment.open(self.layout, self.create(), 4096)
        self.addCleanup(newest.close)
        with mock.patch.object(os, "pwrite", wraps=os.pwrite) as pwrite, mock.patch.object(os, "fdatasync") as fdatasync:
            newest.append(b"a" * 100)
        self.assertEqual((pwrite.call_count, fdatasync.call_count), (1, 1))
