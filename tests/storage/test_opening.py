"""From a locked directory to a log that can be written."""

from __future__ import annotations

import errno
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import base, commands, make_snapshot, open_storage, persist, small, vote
from tests.support.simulated_files import SimulatedFiles
from txraft.errors import DamagedSnapshot, LostVotes, StorageError

ROOT = Path("/n1")


class OpeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        storage = open_storage(ROOT, files=self.files)
        storage.write([persist(metadata=vote(2))])
        for number in range(2, 6):
            storage.write([persist(number, commands("x" * 1500, term=2))])
        snapshot = make_snapshot(storage, 4, 2, b"s" * 4_000_000)
        storage.write([persist(base=base(snapshot, 3))])
        self.files = self.files.killed()

    def test_progress_goes_on_through_log_and_snapshot_by_their_sizes(self) -> None:
        told: list[float] = []
        open_storage(ROOT, files=self.files, progress=told.append)
        self.assertEqual(told, sorted(told))
        self.assertEqual(told[-1], 1.0)
        self.assertGreater(len([fraction for fraction in told if 0.1 < fraction < 0.9]), 2)

    def test_the_snapshot_is_read_whole_before_anything_is_changed(self) -> None:
        self.files.flip_bit(ROOT / "snapshots" / f"{4:020d}.snapshot", 3_999_999)
        before = self.files.all_files()
        self.assertRaises(DamagedSnapshot, open_storage, ROOT, files=self.files)
        self.assertEqual({**self.files.all_files(), f"{ROOT}/lock": b""}, {**before, f"{ROOT}/lock": b""})

    def test_a_term_older_than_that_of_the_snapshot_is_lost_votes(self) -> None:
        storage = open_storage(ROOT, files=self.files)
        old = [self.files.content(path) for path in (ROOT / "metadata-0", ROOT / "metadata-1")]
        snapshot = make_snapshot(storage, 9, 7)
        storage.write([persist(metadata=vote(7), base=base(snapshot, keeps_log=False))])
        self.files = self.files.killed()
        for path, content in zip((ROOT / "metadata-0", ROOT / "metadata-1"), old, strict=True):
            self.files.put(path, content)
        self.assertIn("term 2 against 7", str(self.assertRaises(LostVotes, open_storage, ROOT, files=self.files)))

    def test_an_error_at_any_call_leaves_nothing_open_and_the_next_opening_is_as_the_first(self) -> None:
        calls = self.files.killed()
        open_storage(ROOT, files=calls, limits=small())
        for at, (call, name) in enumerate(calls.calls):
            files = self.files.killed()
            before = sum(1 for one, other in calls.calls[:at] if (one, other) == (call, name))
            files.fail(call, errno.EIO, name=name, after=before)
            self.assertRaises(StorageError, open_storage, ROOT, files=files)
            self.assertEqual(files.opened, 0, (call, name))
            self.assertEqual(open_storage(ROOT, files=files).recovered.last_index, 5, (call, name))
