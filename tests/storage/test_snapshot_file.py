"""A snapshot file is whole, or it is told that it is not."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

import txraft
from tests.storage.snapshot_case import END_BYTES, HEAD, PARTS, PATH, FileCase
from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, Halted
from txraft.statemachine.state_parts import EndPart, StatePart
from txraft.statemachine.values import encode_value
from txraft.storage import snapshot_file
from txraft.storage.files import REAL_FILES, FileSystem
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, verify_snapshot, write_snapshot


class WritingAndReading(FileCase):
    def test_what_is_written_is_read(self) -> None:
        snapshot = self.write()
        content = self.files.content(PATH)
        self.assertEqual(snapshot, Snapshot(712, 5, len(content), hashlib.sha256(content).digest(), HEAD.configurations))
        self.assertEqual(self.read(), (HEAD, PARTS))
        self.assertEqual(self.read(snapshot), (HEAD, PARTS))
        self.assertEqual(verify_snapshot(self.files, PATH), (HEAD, snapshot))

    def test_the_same_on_a_real_disk(self) -> None:
        path = Path(self.mktemp())
        snapshot = write_snapshot(REAL_FILES, path, HEAD, PARTS)
        self.assertEqual(verify_snapshot(REAL_FILES, path), (HEAD, snapshot))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_equal_states_make_equal_files(self) -> None:
        first = self.write()
        content = self.files.content(PATH)
        self.assertEqual((self.write(), self.files.content(PATH)), (first, content))

    def test_no_parts(self) -> None:
        snapshot = self.write([])
        self.assertEqual(self.read(snapshot), (HEAD, []))

    def test_parts_longer_than_a_frame(self) -> None:
        self.patch(snapshot_file, "FRAME_BYTES_MAX", 10)
        parts = [b"a" * size for size in (1, 9, 10, 11, 19, 20, 21, 100)]
        self.assertEqual(self.read(self.write(parts)), (HEAD, parts))

    def test_huge_parts(self) -> None:
        parts = [bytes([number]) * (3 * (1 << 20) + number - 1) for number in range(3)]
        self.assertEqual(self.read(self.write(parts)), (HEAD, parts))

    def test_a_part_that_no_reader_could_hold_or_that_is_empty(self) -> None:
        self.patch(snapshot_file, "PART_BYTES_MAX", 20_000)
        for wrong in (b"", b"x" * 20_001):
            self.assertRaises(Halted, self.write, [wrong])
        self.write([b"x" * 20_000])
        self.patch(snapshot_file, "PART_BYTES_MAX", 19_999)
        self.patch(snapshot_file, "FRAME_BYTES_MAX", 19_000)
        self.damaged()

    def test_what_was_there_is_replaced(self) -> None:
        self.files.put(PATH, b"?" * 100_000)
        self.assertEqual(self.read(self.write()), (HEAD, PARTS))

    def test_progress_and_pauses(self) -> None:
        told: list[int] = []
        pauses: list[int] = []
        snapshot = self.write(progress=told.append, pause=lambda: pauses.append(len(told)))
        self.assertEqual([size - told[0] for size in told], [0, 13, 5_021, 5_033])
        self.assertEqual(told[-1], snapshot.size - END_BYTES)
        self.assertEqual(pauses, [1, 2, 3, 4, 4, 4, 4])  # after each part written, the head too, then after each part read
        told.clear()
        verify_snapshot(self.files, PATH, progress=told.append)
        self.assertEqual([size - told[0] for size in told], [0, 5_008, 5_020])

    def test_parts_are_taken_as_they_are_written(self) -> None:
        self.nothing_at_once()
        sizes: list[int] = []

        def parts() -> Iterator[bytes]:
            for _ in range(4):
                sizes.append(self.files.size(PATH))
                yield b"x" * 1_000

        self.write_iterated(parts())
        self.assertEqual([size - sizes[0] for size in sizes], [0, 1_008, 2_016, 3_024])

    def test_several_are_written_and_read_at_once(self) -> None:
        """The file is the same; what it says of itself in the end is not hashed with the rest, wherever a window ends."""
        parts = [bytes([number]) * 100 for number in range(40)]
        self.nothing_at_once()
        snapshot = self.write(parts)
        for at_once in (99, 100, 101, 1_000, len(self.files.content(PATH)) - 33, len(self.files.content(PATH)) - 1, 1 << 20):
            self.patch(snapshot_file, "AT_ONCE_BYTES", at_once)
            self.assertEqual(self.write(parts), snapshot)
            self.assertEqual(self.read(snapshot), (HEAD, parts))

    def write_iterated(self, parts: Iterator[bytes]) -> Snapshot:
        return write_snapshot(self.files, PATH, HEAD, parts)

    def test_a_file_that_is_not_read_to_its_end_can_be_let_go(self) -> None:
        self.write()
        _, parts = open_snapshot(self.files, PATH)
        self.assertEqual(next(parts), b"first")
        parts.close()
        self.assertRaises(StopIteration, next, parts)


class Durability(FileCase):
    def test_everything_is_durable_before_it_is_said(self) -> None:
        self.patch(snapshot_file, "SYNC_BYTES", 2_000)
        snapshot = self.write()
        self.files.sync_directory(PATH.parent)
        after = self.files.lost()
        self.assertEqual(verify_snapshot(after, PATH), (HEAD, snapshot))

    def test_it_is_synced_now_and_then(self) -> None:
        self.nothing_at_once()
        self.patch(snapshot_file, "SYNC_BYTES", 10_000)
        failure = self.files.fail("sync_content", after=3, times=1)
        self.assertRaises(OSError, self.write, [b"x" * 4_000] * 12)
        self.assertEqual(failure.happened, 1)
        self.files.fail("sync_content", after=4, times=1)
        self.write([b"x" * 4_000] * 12)

    def test_what_is_left_of_a_power_cut_is_no_snapshot_or_all_of_it(self) -> None:
        self.nothing_at_once()
        self.patch(snapshot_file, "SYNC_BYTES", 700)
        snapshot, cut_at = None, 0
        whole = 0
        while snapshot is None:
            files = SimulatedFiles(cut_at=cut_at + 3)
            cut_at += 1
            try:
                files.make_directory(PATH.parent)
                snapshot = write_snapshot(files, PATH, HEAD, [b"a" * 600, b"b" * 600])
            except PowerCut:
                for image in files.images():
                    whole += self.is_whole(image)
        self.assertGreater(cut_at, 6)
        self.assertGreater(whole, 0)

    def is_whole(self, image: SimulatedFiles) -> bool:
        if not image.is_file(PATH):
            return False
        try:
            _, found = verify_snapshot(image, PATH)
        except DamagedSnapshot:
            return False
        self.assertEqual((found.index, found.term), (712, 5))
        return True

    def test_what_cannot_be_written_leaves_nothing(self) -> None:
        self.nothing_at_once()
        for call, number in (("write", errno.ENOSPC), ("sync_content", errno.EIO), ("sync", errno.EIO), ("read", errno.EIO)):
            self.files = SimulatedFiles()
            self.files.make_directory(PATH.parent)
            self.patch(snapshot_file, "SYNC_BYTES", 100)
            self.files.fail(call, number, name=PATH.name, after=0 if call.startswith("sync") else 1)
            error = self.assertRaises(OSError, self.write)
            self.assertEqual((error.errno, self.files.is_file(PATH)), (number, False))

    def test_so_does_what_the_parts_raise(self) -> None:
        def parts() -> Iterator[bytes]:
            yield b"some"
            raise LookupError("no more")

        self.assertRaises(LookupError, self.write_iterated, parts())
        self.assertFalse(self.files.is_file(PATH))

    def write_iterated(self, parts: Iterator[bytes]) -> Snapshot:
        return write_snapshot(self.files, PATH, HEAD, parts)

    def test_it_is_read_back(self) -> None:
        """A disk, or memory, that changes what it is given."""
        for spoiled, offset in ((b"y", 400), (b"\x00", 20)):
            lying: FileSystem = Lying(self.files, spoiled, offset)
            self.assertRaises(DamagedSnapshot, write_snapshot, lying, PATH, HEAD, PARTS)
            self.assertFalse(self.files.is_file(PATH))


class Lying:
    """A file system on which a byte changes once the file is synced."""

    def __init__(self, files: SimulatedFiles, spoiled: bytes, offset: int) -> None:
        self._files, self._spoiled, self._offset = files, spoiled, offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def open(self, path: Path, **how: Any) -> Any:
        if not how:
            self._files.overwrite(path, self._offset, self._spoiled)
        return self._files.open(path, **how)


class TheDocument(FileCase):
    def test_its_example_is_what_is_written(self) -> None:
        document = (Path(txraft.__file__).parent / "docs" / "disk-format.md").read_text("utf-8")
        example = re.search(r"```\n(74787261 66745331[^`]*)```", document)
        assert example is not None
        head = SnapshotHead("txraft", "orders", 7, 2, [(1, b"\x93\x80\x80\x80")], 1_000, [])
        parts = [encode_value(part) for part in (StatePart(1, 1_000, 7), EndPart(1))]
        self.write(parts, head)
        self.assertEqual(bytes.fromhex(example[1]), self.files.content(PATH))

    def test_a_reader_made_from_it_reads_a_file(self) -> None:
        self.patch(snapshot_file, "FRAME_BYTES_MAX", 1_000)
        snapshot = self.write()
        content = self.files.content(PATH)
        self.assertEqual(hashlib.sha256(content).digest(), snapshot.sha256)
        crc, at = crc32(b"txraftS1"), 8
        parts: list[bytes] = [b""]
        while word := content[at : at + 4]:
            crc = crc32(word, crc)
            length = int.from_bytes(word, "big") & 0x7FFFFFFF
            body = content[at + 8 : at + 8 + length]
            crc = crc32(body, crc)
            self.assertEqual(content[at + 4 : at + 8], crc.to_bytes(4, "big"))
            if length == 0:
                break
            parts[-1] += body
            at += 8 + length
            if word[0] < 0x80:
                parts.append(b"")
        self.assertEqual(content[at + 8 : at + 16], len(content).to_bytes(8, "big"))
        self.assertEqual(content[at + 16 :], hashlib.sha256(content[: at + 16]).digest())
        head, *rest = parts[:-1]
        self.assertEqual(msgspec.msgpack.decode(head), msgspec.msgpack.decode(msgspec.msgpack.encode(HEAD)))
        self.assertEqual(rest, PARTS)
