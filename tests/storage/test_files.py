"""The operating system's files: what the port promises."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from txraft.storage.files import REAL_FILES, replace_durably


@define
class StingyDisk:
    """Takes and gives at most so many bytes in one call."""

    at_most: int

    def pwrite(self, fd: int, content: bytes, offset: int) -> int:
        return REAL_PWRITE(fd, bytes(content[: self.at_most]), offset)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return REAL_PREAD(fd, min(length, self.at_most), offset)


REAL_PWRITE, REAL_PREAD = os.pwrite, os.pread


class RealFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.file = REAL_FILES.open(self.path, create=True)
        self.addCleanup(self.file.close)

    def test_short_writes_and_reads_are_continued(self) -> None:
        for at_most in (1, 3, 9, 10):
            disk = StingyDisk(at_most)
            with mock.patch.multiple(os, pwrite=disk.pwrite, pread=disk.pread):
                self.file.write(b"0123456789", 5)
                self.assertEqual(self.file.read(10, 5), b"0123456789")
                self.assertEqual(self.file.read(100, 10), b"56789")

    def test_a_disk_that_takes_nothing_is_an_error(self) -> None:
        with mock.patch.object(os, "pwrite", return_value=0):
            self.assertRaises(OSError, self.file.write, b"0123456789", 5)

    def test_a_file_system_that_cannot_preallocate_is_used_without(self) -> None:
        for number in (errno.EOPNOTSUPP, errno.EINVAL):
            with mock.patch.object(os, "posix_fallocate", side_effect=OSError(number, "cannot")):
                self.file.preallocate(4096)
        with mock.patch.object(os, "posix_fallocate", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertRaises(OSError, self.file.preallocate, 4096)

    def test_files_are_for_their_owner_and_for_no_child(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        links = {link.name: link.resolve() for link in Path("/proc/self/fd").iterdir()}
        (number,) = (name for name, path in links.items() if path == self.path.resolve())
        self.assertFalse(os.get_inheritable(int(number)))

    def test_behind_the_written_end_there_are_only_zeros(self) -> None:
        self.file.preallocate(1 << 20)
        self.file.write(b"x" * 5000, 100_000)
        end = self.file.written_end()
        self.assertTrue(105_000 <= end <= 1 << 20)
        with mock.patch.object(os, "lseek", side_effect=OSError(errno.EINVAL, "cannot tell")):
            self.assertEqual(self.file.written_end(), 1 << 20)

    def test_opening_says_what_may_be_missing_and_what_is_thrown_away(self) -> None:
        missing = self.path.with_name("missing")
        self.assertRaises(FileNotFoundError, REAL_FILES.open, missing)
        self.assertRaises(FileNotFoundError, REAL_FILES.open, missing, write=True)
        self.file.write(b"content", 0)
        REAL_FILES.open(self.path, create=True).close()
        self.assertEqual((REAL_FILES.size(self.path), self.file.size()), (7, 7))
        REAL_FILES.open(self.path, create=True, empty=True).close()
        self.assertEqual(self.file.size(), 0)

    def test_a_lock_is_for_one_opening(self) -> None:
        other = REAL_FILES.open(self.path)
        self.assertTrue(self.file.lock())
        self.assertFalse(other.lock())
        other.close()
        self.assertTrue(self.file.lock())


class RealNamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def test_names_are_sorted_and_a_missing_directory_has_none(self) -> None:
        for name in ("b", "a", "c"):
            (self.root / name).touch()
        self.assertEqual(REAL_FILES.names(self.root), ["a", "b", "c"])
        self.assertEqual(REAL_FILES.names(self.root / "missing"), [])
        self.assertRaises(OSError, REAL_FILES.names, self.root / "a")
        self.assertTrue(REAL_FILES.is_file(self.root / "a"))
        self.assertFalse(REAL_FILES.is_file(self.root))
        self.assertTrue(REAL_FILES.is_directory(self.root))

    def test_renaming_replaces_and_removing_twice_is_no_mistake(self) -> None:
        (self.root / "a").write_text("a")
        (self.root / "b").write_text("b")
        REAL_FILES.rename(self.root / "a", self.root / "b")
        self.assertEqual((self.root / "b").read_text(), "a")
        for _ in range(2):
            REAL_FILES.remove(self.root / "b")
        self.assertEqual(REAL_FILES.names(self.root), [])

    def test_a_file_replaced_durably_is_the_old_one_until_the_new_one_is_durable(self) -> None:
        path = self.root / "small"
        replace_durably(REAL_FILES, path, b"old")
        with mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "no")):
            self.assertRaises(OSError, replace_durably, REAL_FILES, path, b"new, and longer")
        self.assertEqual(path.read_bytes(), b"old")
        replace_durably(REAL_FILES, path, b"new")
        self.assertEqual(path.read_bytes(), b"new")

    def test_room_is_told(self) -> None:
        room = os.statvfs(self.root)
        self.assertAlmostEqual(REAL_FILES.free_bytes(self.root), room.f_bavail * room.f_frsize, delta=1 << 30)
