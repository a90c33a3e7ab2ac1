"""A snapshot file in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, NoSnapshot
from txraft.storage import snapshot_file
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, verify_snapshot, write_snapshot

PATH = Path("/snapshots/new")
HEAD = SnapshotHead("txraft 9", "orders", 712, 5, [(1, b"one"), (700, b"two")], 1_000, [("stock", "stock", 1)])
PARTS = [b"first", b"x" * 5_000, b"last"]
END_BYTES = 48


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.files.make_directory(PATH.parent)

    def nothing_at_once(self) -> None:
        """Every piece is written and read by itself."""
        self.patch(snapshot_file, "AT_ONCE_BYTES", 1)

    def write(self, parts: list[bytes] | None = None, head: SnapshotHead = HEAD, **told: Any) -> Snapshot:
        return write_snapshot(self.files, PATH, head, PARTS if parts is None else parts, **told)

    def read(self, expected: Snapshot | None = None) -> tuple[SnapshotHead, list[bytes]]:
        head, parts = open_snapshot(self.files, PATH, expected)
        return head, list(parts)

    def damaged(self, expected: Snapshot | None = None) -> DamagedSnapshot:
        """The file is read and verified, in vain."""
        error: DamagedSnapshot = self.assertRaises(DamagedSnapshot, self.read, expected)
        if expected is None:
            verified = self.assertRaises(DamagedSnapshot, verify_snapshot, self.files, PATH)
            self.assertEqual((verified.offset, verified.why), (error.offset, error.why))
        self.assertEqual(error.path, str(PATH))
        told = f"{PATH} {error.why}" if isinstance(error, NoSnapshot) else f"{PATH}: byte {error.offset}: {error.why}"
        self.assertEqual(error.found, told)
        self.assertTrue(str(error).startswith(told))
        return error
