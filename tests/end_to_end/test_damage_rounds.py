"""A few rounds of `damage_rounds`, which has the whole story; and what it does to files is looked at."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.broken_files import RECORD_MAGIC, flip_bit, lose_unsynced
from tests.support.processes import ROOT, ProcessTestCase
from tests.support.spoiled_disk import joined


class LosingWhatWasNotSynced(SynchronousTestCase):
    """Only that, in sectors, and never what an fsync covers."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "1.segment"
        self.path.write_bytes(b"x" * 4096)

    def lost(self, *calls: str) -> set[int]:
        """Bytes that some of twenty power cuts have taken."""
        taken: set[int] = set()
        for seed in range(20):
            self.path.write_bytes(b"x" * 4096)
            lose_unsynced([call.replace("F", f"15<{self.path.absolute()}>") for call in calls], random.Random(seed))
            taken |= {offset for offset, byte in enumerate(self.path.read_bytes()) if not byte}
        return taken

    def test_a_write_without_sync(self) -> None:
        self.assertEqual(self.lost('pwrite64(F, "ab"..., 700, 500) = 700', "fdatasync(F) = ?"), set(range(500, 1200)))

    def test_a_write_with_sync(self) -> None:
        self.assertEqual(self.lost('pwrite64(F, "ab"..., 700, 500) = 700', "fdatasync(F) = 0 (DELAYED)"), set())

    def test_a_sync_that_failed_is_none(self) -> None:
        self.assertEqual(
            self.lost('pwrite64(F, ") = 0"..., 9, 0) = 9', "fdatasync(F) = -1 EIO (Input/output error) (INJECTED)"), set(range(9))
        )

    def test_a_write_that_has_not_returned(self) -> None:
        self.assertEqual(self.lost('pwrite64(F, "ab"..., 10, 1000'), set(range(1000, 1010)))

    def test_calls_of_several_threads(self) -> None:
        lines = [
            "7 fdatasync(15</a> <unfinished ...>",
            "8 fsync(3</b>)  = 0",
            "7 <... fdatasync resumed>)         = 0",
            "8 fsync(3</b> <unfinished ...>",
        ]
        self.assertEqual(joined(lines), ["fsync(3</b>)  = 0", "fdatasync(15</a>)         = 0", "fsync(3</b>"])


class FlippingABit(SynchronousTestCase):
    """One, and not in the newest records of a segment."""

    def test_the_newest_records_are_spared(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "1.segment"
        good = bytes(64) + 5 * (RECORD_MAGIC + bytes(60))
        changed = set()
        for seed in range(60):
            path.write_bytes(good)
            flip_bit(path, random.Random(seed))
            flipped = [(offset, old ^ new) for offset, (old, new) in enumerate(zip(good, path.read_bytes(), strict=True)) if old != new]
            self.assertEqual([bits.bit_count() for _, bits in flipped], [1])
            changed.add(flipped[0][0])
        self.assertIn(max(changed), range(64 + 64, 64 + 2 * 64), "within the second of five records")


class DamageRounds(ProcessTestCase):
    """One of each of some kinds."""

    command_s = 90.0

    def test_nothing_is_lost_or_doubled(self) -> None:
        kinds = ("damage", "power", "restoring")
        command = [sys.executable, "-m", "tests.end_to_end.damage_rounds", f"--rounds={len(kinds)}", f"--only={','.join(kinds)}"]
        done = self.run_command(*command, PYTHONPATH=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for kind in kinds:
            self.assertIn(f"1 {kind}", done.stdout)
        self.assertRegex(done.stdout, r"All is well: [\d,]{3,} acknowledged increments")
