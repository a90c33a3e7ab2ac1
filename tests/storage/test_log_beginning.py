"""The other end of the log: what a snapshot stands for goes, and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import errno
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import BOOTSTRAP, base, command, commands, configuration, make_snapshot, open_storage, persist, vote
from tests.support.simulated_files import SimulatedFiles
from txraft.core.entry import Entry
from txraft.core.ids import Index
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedLog, DamagedSnapshot, DiskFailed, Halted, LostFiles, SnapshotSuperseded
from txraft.storage import Storage

ROOT = Path("/n1")


class BeginningCase(SynchronousTestCase):
    """A log of ten entries, about three to a segment."""

    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.storage = open_storage(ROOT, files=self.files)
        self.log: list[Entry] = [*BOOTSTRAP]
        for number in range(2, 11):
            self.append(commands(chr(96 + number) * 1100))

    def append(self, entries: list[Entry]) -> None:
        self.storage.write([persist(len(self.log) + 1, entries)])
        self.log += entries

    def segments(self) -> list[str]:
        return [name.lstrip("0").removesuffix(".segment") for name in self.files.names(ROOT / "log")]

    def snapshots(self) -> list[str]:
        return self.files.names(ROOT / "snapshots")

    def reopen(self, files: SimulatedFiles | None = None) -> Storage:
        """As after kill -9."""
        self.files = files or self.files.killed()
        self.storage = open_storage(ROOT, files=self.files)
        return self.storage

    def behind_base(self) -> list[Entry]:
        return self.storage.read(Index(self.storage.recovered.base_index + 1), 1 << 30)


class CompactionTests(BeginningCase):
    def test_segments_go_when_all_their_entries_are_before_the_base_the_oldest_first_and_one_with_each_write(self) -> None:
        snapshot = make_snapshot(self.storage, 10)
        self.assertEqual(self.segments(), ["1", "5", "8"])
        for index, left in ((3, ["1", "5", "8"]), (4, ["5", "8"]), (6, ["5", "8"]), (7, ["8"]), (10, ["8"])):
            self.storage.write([persist(base=base(snapshot, index))])
            self.assertEqual(self.segments(), left)

    def test_more_of_them_go_one_with_each_write_and_the_rest_at_the_next_start(self) -> None:
        snapshot = make_snapshot(self.storage, 10)
        self.storage.write([persist(base=base(snapshot))])
        self.assertEqual(self.segments(), ["5", "8"])
        killed = self.files.killed()
        self.storage.write([persist()])
        self.assertEqual(self.segments(), ["8"])
        self.reopen(killed)
        self.assertEqual(self.segments(), ["8"])
        self.assertEqual(self.behind_base(), [])

    def test_entries_behind_the_base_are_read_and_those_before_it_are_refused(self) -> None:
        snapshot = make_snapshot(self.storage, 9)
        self.storage.write([persist(base=base(snapshot, 6))])
        for _ in range(2):
            self.assertEqual(self.storage.read(Index(7), 1 << 20), self.log[6:])
            self.assertEqual(self.storage.read(Index(10), 1 << 20), self.log[9:])
            refusal = self.assertRaises(Halted, self.storage.read, Index(6), 1 << 20)
            self.assertIn("begins with entry 7", str(refusal))
            self.reopen()

    def test_what_is_recovered_says_where_the_log_begins(self) -> None:
        self.storage.write([persist(11, [configuration(b"two", 2), *commands("x", term=3)], metadata=vote(3))])
        snapshot = make_snapshot(self.storage, 11, 2)
        for index, runs, configurations in (
            (8, [(9, 1), (11, 2), (12, 3)], [(1, BOOTSTRAP[0].payload), (11, b"two")]),
            (10, [(11, 2), (12, 3)], [(1, BOOTSTRAP[0].payload), (11, b"two")]),
            (11, [(12, 3)], [(1, BOOTSTRAP[0].payload)]),
        ):
            self.storage.write([persist(base=base(snapshot, index, 1 if index < 11 else 2))])
            recovered = self.reopen().recovered
            self.assertEqual((recovered.base_index, recovered.base_term), (index, 1 if index < 11 else 2))
            self.assertEqual((recovered.snapshot, recovered.last_index), (snapshot, 12))
            self.assertEqual((recovered.term_runs, recovered.configurations), (runs, configurations))
            self.assertEqual((recovered.tail_first_index, len(recovered.tail)), (index + 1, 12 - index))

    def test_the_segment_with_the_newest_base_stays_although_no_entry_in_it_is_needed(self) -> None:
        snapshot = make_snapshot(self.storage, 10)
        self.storage.write([persist(base=base(snapshot))])
        self.storage.write([persist(11, commands("x" * 4000))])
        self.storage.write([persist(12, commands("y"))])
        self.assertEqual(self.segments(), ["8", "12", "13"])
        self.log += commands("x" * 4000, "y")
        self.reopen()
        self.assertEqual(self.segments(), ["8", "12", "13"])
        self.assertEqual(self.behind_base(), self.log[10:])

    def test_a_truncation_that_reached_into_a_removed_segment_does_no_harm(self) -> None:
        self.storage.write([persist(3, commands("a" * 900, term=2), truncate=True, metadata=vote(2))])
        self.storage.write([persist(4, commands("b" * 3000, term=2))])
        snapshot = make_snapshot(self.storage, 3, 2)
        self.storage.write([persist(base=base(snapshot))])
        self.storage.write([persist()])
        recovered = self.reopen().recovered
        self.assertEqual((recovered.base_index, recovered.term_runs), (3, [(4, 2)]))
        self.assertEqual(self.behind_base(), commands("b" * 3000, term=2))

    def test_usage_counts_what_is_behind_an_index(self) -> None:
        before = self.storage.usage()
        self.assertEqual((before["snapshot_bytes"], before["segments"]), (0, 3))
        self.assertTrue(9 * 1100 <= before["live_bytes"] <= before["bytes"])
        self.assertTrue(1100 <= self.storage.bytes_behind(9) <= 4096)
        snapshot = make_snapshot(self.storage, 10)
        self.storage.write([persist(base=base(snapshot, 8))])
        self.storage.write([persist()])
        usage = self.storage.usage()
        self.assertEqual((usage["snapshot_bytes"], usage["segments"]), (5, 1))
        self.assertTrue(2200 < usage["live_bytes"] < 4096)
        self.assertGreater(usage["free_bytes"], 0)

    def test_a_removal_that_fails_stops_the_server_and_the_record_stays(self) -> None:
        snapshot = make_snapshot(self.storage, 10)
        self.files.fail("sync_directory", errno.EIO, name="log")
        self.assertRaises(DiskFailed, self.storage.write, [persist(base=base(snapshot))])
        self.assertEqual(self.reopen().recovered.base_index, 10)


class InstalledTests(BeginningCase):
    def test_an_installed_snapshot_empties_the_log_behind_and_before_it(self) -> None:
        for index in (20, 10, 5):
            self.setUp()
            snapshot = make_snapshot(self.storage, index, 4, path=self.storage.incoming_path(self.incoming(index)))
            self.storage.write([persist(metadata=vote(4), base=base(snapshot, keeps_log=False))])
            self.assertEqual(self.storage.read(Index(index + 1), 100), [])
            self.assertRaises(Halted, self.storage.read, Index(index), 100)
            self.storage.write([persist(index + 1, commands("next", term=4))])
            for _ in range(2):
                self.assertEqual(self.storage.read(Index(index + 1), 100), commands("next", term=4))
                recovered = self.reopen().recovered
                self.assertEqual((recovered.base_index, recovered.base_term, recovered.last_index), (index, 4, index + 1))
                self.assertEqual((recovered.term_runs, recovered.tail), ([(index + 1, 4)], commands("next", term=4)))
                self.assertEqual(len(self.segments()), 1)

    def incoming(self, index: int) -> Snapshot:
        return Snapshot(index, 4, 8, b"s" * 32, [])

    def test_entries_may_follow_in_the_same_write(self) -> None:
        snapshot = make_snapshot(self.storage, 7, 2)
        self.storage.write(
            [persist(8, commands("a", term=2), metadata=vote(2), base=base(snapshot, keeps_log=False)), persist(9, commands("b", term=2))]
        )
        for _ in range(2):
            self.assertEqual(self.storage.read(Index(8), 100), commands("a", "b", term=2))
            self.reopen()

    def test_older_segments_go_whatever_entries_they_had(self) -> None:
        snapshot = make_snapshot(self.storage, 2, 1)
        self.storage.write([persist(base=base(snapshot, keeps_log=False))])
        for number in range(3, 8):
            self.storage.write([persist(number, commands("z" * 1800))])
        self.assertEqual(self.segments()[0], "8")
        killed = self.files.killed()
        self.reopen(killed)
        self.assertEqual(self.storage.recovered.last_index, 7)
        newer = make_snapshot(self.storage, 7)
        self.storage.write([persist(base=base(newer, 6))])
        for _ in range(3):
            self.storage.write([persist()])
        self.assertEqual(len(self.segments()), 1)
        self.assertEqual(self.reopen().recovered.base_index, 6)


class RefusedTests(BeginningCase):
    def test_what_no_log_can_be_is_refused_before_it_is_written(self) -> None:
        snapshot = make_snapshot(self.storage, 8)
        self.storage.write([persist(base=base(snapshot, 5))])
        later = make_snapshot(self.storage, 11)
        before = self.files.all_files()
        for wrong in (
            [persist(base=base(snapshot, 4))],
            [persist(base=base(snapshot, 9))],
            [persist(base=base(later, 9))],
            [persist(11, commands("a")), persist(base=base(make_snapshot(self.storage, 12)))],
            [persist(8, [], truncate=True)],
            [persist(base=base(later, keeps_log=False), first_index=12, entries=[command(b"", 9)])],
            [persist(base=base(later, keeps_log=False)), persist(11, commands("a"))],
        ):
            self.assertRaises(Halted, self.storage.write, wrong)
        self.files.remove(ROOT / "snapshots" / f"{12:020d}.snapshot")
        self.assertEqual(self.files.all_files(), before)
        self.storage.write([persist(11, commands("a")), persist(base=base(later))])

    def test_a_snapshot_that_is_not_there_is_not_recorded(self) -> None:
        snapshot = make_snapshot(self.storage, 8)
        self.files.remove(ROOT / "snapshots" / f"{8:020d}.snapshot")
        self.assertIn("no such file", str(self.assertRaises(Halted, self.storage.write, [persist(base=base(snapshot))])))

    def test_another_snapshot_does_not_take_the_place_of_the_one_that_is_recorded(self) -> None:
        snapshot = make_snapshot(self.storage, 8)
        self.storage.write([persist(base=base(snapshot))])
        self.assertRaises(SnapshotSuperseded, make_snapshot, self.storage, 8, 1, b"another")
        self.assertEqual(self.reopen().recovered.snapshot, snapshot)


class DamageTests(BeginningCase):
    """Scenarios 59, 60, 65 and 84: of snapshot and log, neither is trusted without the other."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot = make_snapshot(self.storage, 9)
        self.path = self.storage.snapshot_path(9)
        self.storage.write([persist(base=base(self.snapshot, 8))])
        self.storage.close()

    def require_refused(self, error: type[Exception], *words: str) -> None:
        before = self.files.all_files()
        refusal = str(self.assertRaises(error, open_storage, ROOT, files=self.files))
        self.assertEqual(
            {name: content for name, content in self.files.all_files().items() if not name.endswith("/lock")},
            {name: content for name, content in before.items() if not name.endswith("/lock")},
        )
        for word in words:
            self.assertIn(word, refusal)

    def test_scenario_60_a_recorded_snapshot_that_is_missing_short_or_another_is_refused(self) -> None:
        content = self.files.content(self.path)
        for wrong in (content[:-1], content + b"x", b"stat\0", b""):
            self.files.put(self.path, wrong)
            self.require_refused(DamagedSnapshot, str(self.path))
        self.files.lose(self.path)
        self.require_refused(DamagedSnapshot, str(self.path), "missing")
        self.files.put(self.path, content)
        self.reopen()

    def test_a_snapshot_that_the_disk_does_not_give_back_is_damaged(self) -> None:
        self.files.fail("read", errno.EIO, name=self.path.name)
        self.require_refused(DamagedSnapshot, "does not give it back")

    def test_a_segment_that_the_disk_does_not_give_back_is_damaged(self) -> None:
        name = self.files.names(ROOT / "log")[-1]
        self.files.fail("read", errno.EIO, name=name, after=1)
        self.require_refused(DamagedLog, name, "does not give it back")

    def test_scenario_84_a_snapshot_without_a_record_is_worth_nothing_and_removed(self) -> None:
        self.reopen()
        make_snapshot(self.storage, 10)
        self.files.put(ROOT / "snapshots" / "new", b"half")
        recovered = self.reopen().recovered
        self.assertEqual(recovered.snapshot, self.snapshot)
        self.assertEqual(self.snapshots(), [self.path.name])

    def test_what_was_received_stays_only_of_newer_snapshots(self) -> None:
        self.reopen()
        for index in (8, 9, 10):
            self.files.put(self.storage.incoming_path(make_incoming(index)), b"part")
        self.files.put(ROOT / "snapshots" / "incoming-older", b"part")
        self.reopen()
        self.assertEqual(self.snapshots(), [self.path.name, self.storage.incoming_path(make_incoming(10)).name])

    def test_scenario_59_segments_that_are_needed_and_gone_are_missed(self) -> None:
        self.reopen()
        for number in range(11, 16):
            self.storage.write([persist(number, commands("n" * 2000))])
        names = self.files.names(ROOT / "log")
        self.storage.close()
        content = {name: self.files.content(ROOT / "log" / name) for name in names}
        for name in names[:-1]:
            self.files.lose(ROOT / "log" / name)
            words = ("removed",) if name == names[0] else ("missing",)
            self.require_refused(LostFiles, *words)
            self.files.put(ROOT / "log" / name, content[name])
        self.reopen()

    def test_the_older_snapshot_stays_until_the_newer_one_is_recorded(self) -> None:
        self.reopen()
        newer = make_snapshot(self.storage, 10, content=b"newer state")
        self.assertEqual(len(self.snapshots()), 2)
        self.storage.write([persist(base=base(newer, 9))])
        self.assertEqual(self.snapshots(), [self.storage.snapshot_path(10).name])


def make_incoming(index: int) -> Snapshot:
    return Snapshot(index, 1, 100, bytes([index]) * 32, [(1, b"")])
