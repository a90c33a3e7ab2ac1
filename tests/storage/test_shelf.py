"""Where snapshots are, and which of them count."""

from __future__ import annotations

import errno
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, DiskFailed, SnapshotSuperseded
from txraft.storage.layout import Layout
from txraft.storage.shelf import Shelf

CONTENT = bytes(range(256)) * 9000


def snapshot(index: int, content: bytes = CONTENT) -> Snapshot:
    return Snapshot(index, 1, len(content), sha256(content).digest(), [(1, b"")])


class ShelfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(Path("/n1"), self.files)
        self.layout.prepare()
        self.shelf = Shelf(self.layout)

    def put(self, *indexes: int) -> None:
        for index in indexes:
            self.files.put(self.layout.snapshot(index), CONTENT)

    def names(self) -> list[str]:
        return [name.lstrip("0") for name in self.files.names(self.layout.snapshots)]

    def test_a_snapshot_gets_its_name_durably(self) -> None:
        self.files.put(self.layout.new_snapshot, CONTENT)
        self.assertFalse(self.shelf.has(snapshot(7)))
        self.assertEqual(self.shelf.keep(snapshot(7), self.layout.new_snapshot), self.layout.snapshot(7))
        self.assertTrue(self.shelf.has(snapshot(7)))
        self.assertFalse(self.shelf.has(snapshot(7, b"another")))
        self.assertEqual(self.files.lost().all_files()["/n1/snapshots/00000000000000000007.snapshot"], CONTENT)
        self.assertEqual(self.names(), ["7.snapshot"])

    def test_a_snapshot_never_takes_the_place_of_another(self) -> None:
        """Found by review: an own snapshot and a leader's, of the same entry and the same size, were taken for each other."""
        self.put(7)
        self.files.put(self.layout.new_snapshot, b"another")
        self.assertRaises(SnapshotSuperseded, self.shelf.keep, snapshot(7, b"another"), self.layout.new_snapshot)
        self.assertEqual(self.files.content(self.layout.snapshot(7)), CONTENT)
        self.assertEqual(self.names(), ["7.snapshot"])

    def test_without_room_for_its_name_it_can_be_tried_again(self) -> None:
        self.files.put(self.layout.new_snapshot, CONTENT)
        self.files.fail("link", errno.ENOSPC)
        self.assertRaises(OSError, self.shelf.keep, snapshot(7), self.layout.new_snapshot)
        self.shelf.keep(snapshot(7), self.layout.new_snapshot)
        self.assertEqual(self.names(), ["7.snapshot"])

    def test_a_name_that_could_not_be_synced_is_not_tried_again_even_for_want_of_room(self) -> None:
        """Found by review: the next attempt would find the name taken, and each one after it, for ever."""
        for call in ("sync_directory", "remove"):
            self.files.put(self.layout.new_snapshot, CONTENT)
            self.files.fail(call, errno.ENOSPC)
            self.assertRaises(DiskFailed, self.shelf.keep, snapshot(7), self.layout.new_snapshot)
            self.files.lose(self.layout.snapshot(7))

    def test_all_of_the_file_is_read_with_progress(self) -> None:
        self.put(7)
        told: list[float] = []
        self.shelf.require_whole(snapshot(7), told.append)
        self.assertEqual(len(told), 3)
        self.assertEqual((told, told[-1]), (sorted(told), 1.0))

    def test_any_bit_of_it_counts(self) -> None:
        for offset in (0, len(CONTENT) // 2, len(CONTENT) - 1):
            self.put(7)
            self.files.flip_bit(self.layout.snapshot(7), offset)
            refusal = self.assertRaises(DamagedSnapshot, self.shelf.require_whole, snapshot(7), lambda _: None)
            self.assertIn("SHA-256", str(refusal))

    def test_what_is_not_recorded_goes(self) -> None:
        self.put(5, 7, 9)
        self.files.put(self.layout.new_snapshot, b"half")
        for index in (6, 7, 8):
            self.files.put(self.layout.incoming(snapshot(index)), b"half")
        self.files.put(self.layout.snapshots / "notes", b"of the operator")
        self.shelf.clear(snapshot(7))
        self.assertEqual(self.names(), ["7.snapshot", self.layout.incoming(snapshot(8)).name, "notes"])
        self.shelf.clear(None)
        self.assertEqual(self.names(), [self.layout.incoming(snapshot(8)).name, "notes"])

    def test_older_ones_go_when_a_newer_one_is_recorded_and_are_read_to_their_end(self) -> None:
        self.put(3, 5, 7, 9)
        reading = self.files.open(self.layout.snapshot(3))
        self.shelf.clear_older(snapshot(7))
        self.assertEqual(self.names(), ["7.snapshot", "9.snapshot"])
        self.assertEqual(reading.read(100, 5), CONTENT[5:105])
