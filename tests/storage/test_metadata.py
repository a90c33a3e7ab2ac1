"""Term and vote: never lost, never an older one in place of a newer."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import flip_bit, vote
from tests.support.simulated_files import SimulatedFiles
from txraft.core.effects import Metadata
from txraft.errors import DiskFull, Halted
from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX
from txraft.storage.layout import Layout
from txraft.storage.metadata import MetadataFiles

SEED = 99


class MetadataTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.layout = Layout(Path(self.mktemp()))
        self.layout.prepare()

    def files(self) -> MetadataFiles:
        files = MetadataFiles.read(self.layout, SEED)
        self.addCleanup(files.close)
        return files

    def current(self) -> Metadata | None:
        return self.files().current

    def test_nothing_is_nothing(self) -> None:
        self.assertIsNone(self.current())

    def test_the_last_written_comes_back(self) -> None:
        files = self.files()
        for term, voted_for in ((1, None), (2, "n1"), (2, "n1"), (3, "é" * NAME_LENGTH_MAX), (INDEX_MAX, "")):
            files.write(vote(term, voted_for), 7)
            self.assertEqual(self.current(), vote(term, voted_for))
            self.assertEqual(self.files().durable_upto, 7)

    def test_each_write_is_durable_in_one_file_before_the_other_is_touched(self) -> None:
        files = self.files()
        files.write(vote(1), 0)
        for term in range(2, 6):
            calls = []
            pwrite = os.pwrite

            def noted(fd: int, content: bytes, offset: int) -> int:
                calls.append(("pwrite", fd))  # noqa: B023
                return pwrite(fd, content, offset)  # noqa: B023

            with mock.patch.multiple(os, pwrite=noted, fdatasync=lambda fd: calls.append(("sync", fd))):  # noqa: B023
                files.write(vote(term), 0)
            (_, first), _, (_, second) = calls
            self.assertEqual(calls, [("pwrite", first), ("sync", first), ("pwrite", second)])
            self.assertNotEqual(first, second)

    def test_a_write_torn_anywhere_leaves_the_old_or_the_new(self) -> None:
        for torn in self.layout.metadata:
            files = self.files()
            files.write(vote(4, "n1"), 0)
            files.write(vote(5, "n2"), 0)
            content = torn.read_bytes()
            for cut in range(0, len(content), 5):
                for image in (content[:cut], content[:cut] + bytes(len(content) - cut), os.urandom(cut)):
                    torn.write_bytes(image)
                    # The other file has it too.
                    self.assertEqual(self.current(), vote(5, "n2"))
            torn.write_bytes(content)

    def test_a_crash_between_the_two_files_leaves_the_newer(self) -> None:
        files = self.files()
        for term in range(1, 6):
            before = [path.read_bytes() if path.exists() else b"" for path in self.layout.metadata]
            files.write(vote(term, "n1"), 0)
            after = [path.read_bytes() for path in self.layout.metadata]
            for number, path in enumerate(self.layout.metadata):
                path.write_bytes(before[number])
                self.assertEqual(self.current(), vote(term, "n1"))
                path.write_bytes(after[number])

    def test_a_vote_rotten_in_one_file_does_not_bring_back_the_one_before(self) -> None:
        files = self.files()
        files.write(vote(7, "n1"), 0)
        files.write(vote(7, "n2"), 0)
        for path in self.layout.metadata:
            content = path.read_bytes()
            flip_bit(path, 20)
            self.assertEqual(self.current(), vote(7, "n2"))
            path.write_bytes(content)

    def test_both_spoiled_is_nothing(self) -> None:
        self.files().write(vote(7, "n1"), 0)
        for path in self.layout.metadata:
            flip_bit(path, 20)
        self.assertIsNone(self.current())

    def test_what_the_disk_does_not_give_back_is_not_there(self) -> None:
        files = SimulatedFiles()
        layout = Layout(Path("/n1"), files)
        layout.prepare()
        MetadataFiles.read(layout, SEED).write(vote(7, "n1"), 0)
        for path in layout.metadata:
            files.fail("read", errno.EIO, name=path.name)
            self.assertEqual(MetadataFiles.read(layout, SEED).current, vote(7, "n1"))
        for path in layout.metadata:
            files.fail("read", errno.EIO, name=path.name)
        self.assertIsNone(MetadataFiles.read(layout, SEED).current)
        files.fail("read", errno.EACCES, name=layout.metadata[0].name)
        self.assertRaises(OSError, MetadataFiles.read, layout, SEED)

    def test_a_full_disk_leaves_what_was_durable_and_the_same_may_be_written_again(self) -> None:
        for number in (0, 1):
            files = SimulatedFiles()
            layout = Layout(Path("/n1"), files)
            layout.prepare()
            metadata = MetadataFiles.read(layout, SEED)
            metadata.write(vote(7, "n1"), 0)
            files.fail("write", errno.ENOSPC, after=number)
            self.assertRaises(DiskFull, metadata.write, vote(8), 0)
            self.assertEqual(MetadataFiles.read(layout, SEED).current, vote(8) if number else vote(7, "n1"))
            metadata.write(vote(8), 0)
            self.assertEqual(MetadataFiles.read(layout, SEED).current, vote(8))

    def test_what_was_read_is_written_and_synced_before_the_other_file_is_touched(self) -> None:
        """After kill -9 the newest may be in the kernel's memory only; the other file may be the only one on disk."""
        self.files().write(vote(3, "n1"), 0)
        newest, older = self.layout.metadata
        older.write_bytes(bytes(1024))
        again = self.files()
        calls = []
        pwrite = os.pwrite

        def path_of(fd: int) -> str:
            return Path(f"/proc/self/fd/{fd}").readlink().name

        def noted(fd: int, content: bytes, offset: int) -> int:
            calls.append(("pwrite", path_of(fd)))
            return pwrite(fd, content, offset)

        with mock.patch.multiple(os, pwrite=noted, fdatasync=lambda fd: calls.append(("sync", path_of(fd)))):
            again.write(vote(4), 0)
        self.assertEqual(calls[:4], [("pwrite", newest.name), ("sync", newest.name), ("pwrite", older.name), ("sync", older.name)])

    def test_what_does_not_fit_is_refused_before_it_is_written(self) -> None:
        files = self.files()
        files.write(vote(1), 0)
        for wrong in (vote(-1), vote(INDEX_MAX + 1), vote(2, "n" * 1100)):
            self.assertRaises(Halted, files.write, wrong, 0)
        self.assertEqual(self.current(), vote(1))
