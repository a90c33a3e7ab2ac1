"""Whatever is done to a snapshot file, it is told from one."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any
from zlib import crc32

import msgspec

from tests.storage.snapshot_case import END_BYTES, HEAD, PATH, FileCase
from txraft.errors import DamagedSnapshot
from txraft.storage.snapshot_file import open_snapshot, verify_snapshot


class Damage(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.snapshot = self.write([b"first", b"x" * 300, b"last"])
        self.content = self.files.content(PATH)

    def put(self, content: bytes) -> None:
        self.files.put(PATH, content)

    def test_any_byte_changed(self) -> None:
        for at in range(len(self.content)):
            for change in (0x01, 0x80, 0xFF):
                self.put(self.content[:at] + bytes([self.content[at] ^ change]) + self.content[at + 1 :])
                error = self.damaged()
                self.assertLessEqual(error.offset, at)

    def test_any_truncation(self) -> None:
        for size in range(len(self.content)):
            self.put(self.content[:size])
            self.damaged()
            self.damaged(self.snapshot)

    def test_anything_behind_the_end(self) -> None:
        for more in (b"\0", b"x" * 48, self.content, self.content[8:]):
            self.put(self.content + more)
            self.damaged()

    def test_frames_that_are_missing_twice_there_or_elsewhere(self) -> None:
        at = self.frames()
        for left, right in pairwise(at):
            self.put(self.content[:left] + self.content[right:])
            self.damaged()
            self.put(self.content[:right] + self.content[left:])
            self.damaged()
        first, second, third = at[1:4]
        self.put(self.content[:first] + self.content[second:third] + self.content[first:second] + self.content[third:])
        self.damaged()

    def frames(self) -> list[int]:
        at = [8]
        while length := int.from_bytes(self.content[at[-1] : at[-1] + 4], "big"):
            at.append(at[-1] + 8 + length)
        return at

    def test_no_length_is_believed(self) -> None:
        for at in self.frames():
            for word in (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 1 << 20, (1 << 20) + 1, len(self.content)):
                self.put(self.content[:at] + word.to_bytes(4, "big") + self.content[at + 4 :])
                self.assertEqual(self.damaged().offset, at)

    def test_sound_sums_around_lengths_that_are_not(self) -> None:
        """Made by somebody, not by chance."""
        for word, body in ((1 << 31, b""), ((1 << 20) + 1, b"x" * ((1 << 20) + 1)), (1 << 31 | 3, b"abc")):
            self.put(hostile([(word, body)]))
            self.damaged()

    def test_a_head_that_is_none(self) -> None:
        good = msgspec.to_builtins(HEAD, builtin_types=(bytes,))
        wrong: list[Any] = [None, [], good[:6], [*good[:2], -1, *good[3:]], [*good[:2], 1 << 63, *good[3:]], [*good[:6], [["a", "b", "c"]]]]
        wrong += [[*good[:4], configurations, *good[5:]] for configurations in ([[713, b""]], [[2, b""], [1, b""]], [[1, b""], [1, b""]])]
        for head in wrong:
            encoded = msgspec.msgpack.encode(head)
            self.put(hostile([(len(encoded), encoded)]))
            self.assertIn("configurations" if head in wrong[-3:] else "head", self.damaged().why)
        for encoded in (b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000):
            self.put(hostile([(len(encoded), encoded)]))
            self.damaged()
        self.put(hostile([]))
        self.damaged()
        encoded = msgspec.msgpack.encode(good)
        self.put(hostile([(len(encoded), encoded)]))
        self.assertEqual(self.read(), (HEAD, []))

    def test_no_snapshot_at_all(self) -> None:
        for content in (b"", b"txraftS", b"x" * 1_000, b"txraftL1" + self.content[8:]):
            self.put(content)
            self.assertEqual(str(self.damaged()), f"{PATH} is no snapshot of txraft")
        self.put(b"txraftS2" + self.content[8:])
        self.assertIn("version b'2'", self.damaged().why)

    def test_another_snapshot_than_the_expected_one(self) -> None:
        expected = self.snapshot
        for other, why in (
            (msgspec.structs.replace(expected, size=expected.size + 1), "should have"),
            (msgspec.structs.replace(expected, sha256=bytes(32)), "SHA-256"),
            (msgspec.structs.replace(expected, index=711), "index 711"),
            (msgspec.structs.replace(expected, term=4), "term 4"),
        ):
            self.assertIn(why, self.damaged(other).why)

    def test_a_file_that_shrinks_while_it_is_read(self) -> None:
        self.nothing_at_once()
        _, parts = open_snapshot(self.files, PATH)
        next(parts)
        self.files.open(PATH, write=True).truncate(100)
        self.assertIn("shorter", self.assertRaises(DamagedSnapshot, list, parts).why)

    def test_a_file_that_is_missing_or_unreadable_is_the_disks_affair(self) -> None:
        self.nothing_at_once()
        self.files.fail("read", after=4)
        self.assertRaises(OSError, self.read)
        self.files.remove(PATH)
        for read in (self.read, lambda: verify_snapshot(self.files, PATH)):
            self.assertRaises(FileNotFoundError, read)


def hostile(frames: list[tuple[int, bytes]]) -> bytes:
    """A file with right sums around anything."""
    content = b"txraftS1"
    crc = crc32(content)
    for word, body in frames:
        crc = crc32(body, crc32(word.to_bytes(4, "big"), crc))
        content += word.to_bytes(4, "big") + crc.to_bytes(4, "big") + body
    crc = crc32(bytes(4), crc)
    content += bytes(4) + crc.to_bytes(4, "big") + (len(content) + END_BYTES).to_bytes(8, "big")
    return content + hashlib.sha256(content).digest()
