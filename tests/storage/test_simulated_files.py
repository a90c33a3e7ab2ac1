"""The file system in memory: it keeps what was synced, and forgets the rest in every way there is."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_contents import SECTOR_BYTES
from tests.support.simulated_files import PowerCut, SimulatedFiles

ROOT = Path("/n1")
FILE = ROOT / "file"


class SimulatedFilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.files.make_directory(ROOT)

    def left(self) -> set[tuple[tuple[str, bytes], ...]]:
        """All that may be left."""
        return {tuple(sorted(image.all_files().items())) for image in self.files.images()}

    def contents_left(self, path: Path = FILE) -> set[bytes | None]:
        return {dict(image).get(str(path)) for image in self.left()}


class ContentTests(SimulatedFilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.files.open(FILE, create=True)
        self.files.sync_directory(ROOT)

    def test_what_was_synced_stays(self) -> None:
        self.file.write(b"content", 0)
        self.file.sync()
        self.assertEqual(self.contents_left(), {b"content"})
        self.assertEqual(self.files.images_count(), 1)

    def test_of_what_was_not_every_subset_of_sectors_may_be_there(self) -> None:
        self.file.write(b"a" * SECTOR_BYTES * 3, 0)
        self.file.sync()
        self.file.write(b"b" * SECTOR_BYTES * 2, SECTOR_BYTES // 2)
        half = SECTOR_BYTES // 2
        pieces = [("a" * half + "b" * half), "b" * 2 * half, ("b" * half + "a" * half)]
        expected = {"".join(piece if new & 1 << at else "a" * SECTOR_BYTES for at, piece in enumerate(pieces)).encode() for new in range(8)}
        self.assertEqual(self.contents_left(), expected)
        self.assertEqual(self.files.images_count(), 8)

    def test_a_sector_may_be_anything_it_has_been(self) -> None:
        for content in (b"1", b"2", b"3"):
            self.file.write(content * 600, 0)
        first = {content[:1] for content in self.contents_left() if content}
        self.assertEqual(first, {b"1", b"2", b"3", b"\0"})

    def test_a_length_may_be_any_it_has_had(self) -> None:
        self.file.write(b"content", 0)
        self.file.sync()
        self.file.truncate(3)
        self.file.preallocate(9)
        found = self.contents_left()
        self.assertEqual({len(content) for content in found if content is not None}, {3, 7, 9})
        self.assertIn(b"con\0\0\0\0\0\0", found)
        self.assertIn(b"content", found)
        self.assertEqual(self.file.written_end(), 9)

    def test_preallocated_space_reads_as_zeros_and_is_known_to_be_unwritten(self) -> None:
        self.file.preallocate(1 << 30)
        self.file.write(b"x", 700)
        self.assertEqual((self.file.size(), self.file.written_end()), (1 << 30, 1024))
        self.assertEqual(self.file.read(4, 699), b"\0x\0\0")
        self.assertEqual(self.file.read(100, (1 << 30) - 2), b"\0\0")

    def test_lost_keeps_nothing_unsynced_and_killed_everything_but_it_can_still_be_lost(self) -> None:
        self.file.write(b"old", 0)
        self.file.sync()
        self.file.write(b"new", 0)
        self.assertEqual(self.files.lost().content(FILE), b"old")
        killed = self.files.killed()
        self.assertEqual(killed.content(FILE), b"new")
        self.assertEqual(killed.lost().content(FILE), b"old")
        killed.open(FILE, write=True).sync()
        self.assertEqual(killed.lost().content(FILE), b"new")
        self.assertEqual(self.files.lost().content(FILE), b"old")

    def test_samples_are_among_all_images_and_repeat_with_their_seed(self) -> None:
        self.file.write(b"a" * 2000, 0)
        self.files.rename(FILE, ROOT / "other")
        every, random = self.left(), Random(5)
        drawn = [tuple(sorted(self.files.sampled(random).all_files().items())) for _ in range(300)]
        self.assertLessEqual(set(drawn), every)
        self.assertGreater(len(set(drawn)), 10)
        random = Random(5)
        self.assertEqual(drawn, [tuple(sorted(self.files.sampled(random).all_files().items())) for _ in range(300)])


class NameTests(SimulatedFilesCase):
    def make(self, name: str, content: bytes) -> None:
        file = self.files.open(ROOT / name, create=True)
        file.write(content, 0)
        file.sync()
        file.close()

    def names_left(self) -> set[tuple[tuple[str, bytes], ...]]:
        return {tuple((path.removeprefix("/n1/"), content) for path, content in image) for image in self.left()}

    def test_a_new_name_may_be_missing_until_its_directory_is_synced(self) -> None:
        self.make("a", b"1")
        self.assertEqual(self.names_left(), {(), (("a", b"1"),)})
        self.files.sync_directory(ROOT)
        self.assertEqual(self.names_left(), {(("a", b"1"),)})

    def test_a_rename_is_not_there_or_with_both_names_or_whole_and_never_loses_the_file(self) -> None:
        self.make("a", b"1")
        self.make("b", b"2")
        self.files.sync_directory(ROOT)
        self.files.rename(ROOT / "a", ROOT / "b")
        self.assertEqual(self.names_left(), {(("a", b"1"), ("b", b"2")), (("a", b"1"), ("b", b"1")), (("b", b"1"),)})
        self.files.sync_directory(ROOT)
        self.assertEqual(self.names_left(), {(("b", b"1"),)})

    def test_a_file_moved_to_another_directory_is_in_one_of_them(self) -> None:
        self.make("a", b"1")
        self.files.make_directory(ROOT / "other")
        self.files.rename(ROOT / "a", ROOT / "other" / "a")
        both = {(("a", b"1"),), (("other/a", b"1"),), (("a", b"1"), ("other/a", b"1"))}
        self.assertEqual(self.names_left(), both)
        image = self.files.killed()
        image.sync_directory(ROOT)
        self.files = image
        self.assertEqual(self.names_left(), {(("other/a", b"1"),)})

    def test_a_removed_file_may_come_back(self) -> None:
        self.make("a", b"1")
        self.files.sync_directory(ROOT)
        self.files.remove(ROOT / "a")
        self.files.remove(ROOT / "a")
        self.assertFalse(self.files.is_file(ROOT / "a"))
        self.assertEqual(self.names_left(), {(), (("a", b"1"),)})

    def test_changes_may_be_kept_without_earlier_ones(self) -> None:
        self.make("a", b"1")
        self.make("b", b"2")
        self.assertIn((("b", b"2"),), self.names_left())

    def test_a_directory_that_was_cut_off_takes_its_files_along(self) -> None:
        self.files.cut_at = len(self.files.calls) + 2
        self.assertRaises(PowerCut, self.files.make_directory, ROOT / "new")
        self.files.cut_at = None
        self.assertEqual({image.is_directory(ROOT / "new") for image in self.files.images()}, {True, False})


class TroubleTests(SimulatedFilesCase):
    def test_the_power_is_cut_before_the_call_and_stays_off(self) -> None:
        self.files.cut_at = len(self.files.calls) + 2
        file = self.files.open(FILE, create=True)
        self.assertRaises(PowerCut, file.write, b"x", 0)
        self.assertRaises(PowerCut, file.sync)
        self.assertRaises(PowerCut, self.files.remove, FILE)
        self.assertEqual(self.files.content(FILE), b"")
        self.assertEqual(self.files.calls[-1], ("create", "file"))

    def test_an_error_strikes_the_call_it_was_meant_for_and_no_other(self) -> None:
        failure = self.files.fail("sync", errno.EIO, name="file", after=1, times=2)
        file = self.files.open(FILE, create=True)
        other = self.files.open(ROOT / "other", create=True)
        file.sync()
        other.sync()
        for _ in range(2):
            self.assertEqual(self.assertRaises(OSError, file.sync).errno, errno.EIO)
        file.sync()
        self.assertEqual(failure.happened, 2)

    def test_a_full_disk_takes_what_fits(self) -> None:
        self.files.capacity = 1000
        file = self.files.open(FILE, create=True)
        file.write(b"a" * 600, 0)
        self.assertEqual(self.files.free_bytes(ROOT), 400)
        self.assertEqual(self.assertRaises(OSError, file.preallocate, 1001).errno, errno.ENOSPC)
        self.assertEqual(self.assertRaises(OSError, file.write, b"b" * 600, 600).errno, errno.ENOSPC)
        self.assertEqual(file.size(), 1000)
        file.write(b"c" * 1000, 0)
        self.files.remove(FILE)
        self.assertEqual(self.files.free_bytes(ROOT), 1000)

    def test_damage_and_loss_are_on_the_platter(self) -> None:
        self.files.put(ROOT / "deep" / "file", b"abc")
        self.files.flip_bit(ROOT / "deep" / "file", 1, 1)
        self.files.overwrite(ROOT / "deep" / "file", 4, b"x")
        self.assertEqual(self.files.lost().all_files(), {"/n1/deep/file": b"a`c\0x"})
        self.files.lose(ROOT / "deep" / "file")
        self.assertEqual(self.files.lost().all_files(), {})

    def test_a_lock_is_for_one_opening_and_ends_with_the_process(self) -> None:
        first, second = self.files.open(FILE, create=True), self.files.open(FILE)
        self.assertTrue(first.lock())
        self.assertFalse(second.lock())
        self.assertTrue(self.files.killed().open(FILE).lock())
        first.close()
        self.assertTrue(second.lock())
        self.assertEqual(self.files.opened, 1)
        self.assertRaises(OSError, first.close)

    def test_what_is_missing_is_named(self) -> None:
        for call in (self.files.open, self.files.size, lambda path: self.files.rename(path, FILE)):
            self.assertEqual(self.assertRaises(FileNotFoundError, call, ROOT / "missing").filename, "/n1/missing")
        self.assertRaises(FileNotFoundError, self.files.open, Path("/nowhere/file"), create=True)
        self.assertRaises(IsADirectoryError, self.files.open, ROOT)
        self.assertEqual(self.files.names(Path("/nowhere")), [])
