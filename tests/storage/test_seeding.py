"""A directory made from a snapshot: what is in it, and what a crash leaves."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import PowerCut, SimulatedFiles
from txraft.core.configuration import Configuration
from txraft.core.snapshot import Snapshot
from txraft.errors import ConfigurationError, DamagedSnapshot, StorageError
from txraft.limits import Limits
from txraft.storage import Storage
from txraft.storage.identity import Claim
from txraft.storage.inspected_log import verify_directory
from txraft.storage.layout import Layout
from txraft.storage.seeding import Seed, seed_directory
from txraft.storage.snapshot_file import SnapshotHead, open_snapshot, write_snapshot

BACKUP = Path("/backup")
ROOT = Path("/n1")
OLD, NEW = "c" * 32, "d" * 32
MEMBERS = Configuration.of({"n1": "a:1", "n2": "b:2"}).encode()
SEED = Seed(NEW, "n1", MEMBERS, 65_536)
PARTS = [b"%d" % number * 50 for number in range(1, 30)]


class SeedingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.back_up(self.files)

    def back_up(self, files: SimulatedFiles) -> None:
        old = Configuration.of({"x": "x:1"}).encode()
        head = SnapshotHead("txraft 9", OLD, 4_711, 17, [(3, old)], 99, [("counter", "counter", 1)])
        write_snapshot(files, BACKUP, head, PARTS)

    def seed(self, files: SimulatedFiles | None = None, root: Path = ROOT) -> Snapshot:
        return seed_directory(files or self.files, BACKUP, root, SEED)

    def open(self, root: Path = ROOT) -> Storage:
        return Storage.open(
            root, cluster_id=NEW, server_id="n1", bootstrap=[], limits=Limits(segment_bytes=65_536, reserve_bytes=1), files=self.files
        )


class Seeded(SeedingCase):
    """What is made."""

    def test_a_log_behind_the_snapshot(self) -> None:
        snapshot = self.seed()
        storage = self.open()
        recovered = storage.recovered
        self.assertEqual((recovered.last_index, recovered.base_index, recovered.base_term), (4_711, 4_711, 17))
        self.assertEqual((recovered.metadata.term, recovered.metadata.voted_for, recovered.snapshot), (17, None, snapshot))
        self.assertEqual(recovered.configurations, [(4_711, MEMBERS)])
        self.assertEqual((storage.identity.incarnation, recovered.repair), (1, None))
        storage.close()

    def test_the_same_state_under_another_name(self) -> None:
        snapshot = self.seed()
        head, parts = open_snapshot(self.files, Layout(ROOT).snapshot(4_711), snapshot)
        self.assertEqual((head.cluster_id, head.configurations, head.log_time_ms), (NEW, [(4_711, MEMBERS)], 99))
        self.assertEqual((head.machines, head.program, list(parts)), ([("counter", "counter", 1)], "txraft 9", PARTS))

    def test_the_file_is_the_same_on_all_servers(self) -> None:
        self.assertEqual(self.seed(), self.seed(root=Path("/n2")))

    def test_progress(self) -> None:
        fractions: list[float] = []
        seed_directory(self.files, BACKUP, ROOT, SEED, fractions.append)
        self.assertEqual((fractions, fractions[-1]), (sorted(fractions), 1.0))
        self.assertGreater(len(fractions), 10)

    def test_nothing_stays_open_or_locked(self) -> None:
        self.seed()
        self.assertEqual(self.files.opened, 0)


class Refused(SeedingCase):
    """What is not made."""

    def test_a_directory_with_something_in_it(self) -> None:
        self.seed()
        calls = len(self.files.calls)
        self.assertIn("not empty", str(self.assertRaises(StorageError, self.seed)))
        self.assertEqual(len(self.files.calls), calls)

    def test_the_same_cluster(self) -> None:
        seed = Seed(OLD, "n1", MEMBERS, 65_536)
        problem = self.assertRaises(ConfigurationError, seed_directory, self.files, BACKUP, ROOT, seed)
        self.assertIn("another name", str(problem))
        self.assertFalse(self.files.is_directory(ROOT))

    def test_an_empty_one_will_do(self) -> None:
        self.files.make_directory(ROOT / "lost+found")
        self.assertEqual(self.seed().index, 4_711)

    def test_a_damaged_snapshot_makes_nothing(self) -> None:
        file = self.files.open(BACKUP, write=True)
        file.write(b"\xff\xff", 900)
        file.close()
        self.assertRaises(DamagedSnapshot, self.seed)
        self.assertFalse(self.files.is_directory(ROOT))


class Interrupted(SeedingCase):
    """After a crash at any moment it is whole, or refused, or as if nothing had been begun."""

    def test_cut_at_every_call(self) -> None:
        begun = len(self.files.calls)
        self.seed()
        outcomes: set[str] = set()
        for call in range(begun + 1, len(self.files.calls) + 1):
            files = SimulatedFiles(cut_at=call)
            self.back_up(files)
            self.assertRaises(PowerCut, self.seed, files)
            for image in (files.lost(), files.killed()):
                outcomes.add(self.outcome(image))
        self.assertEqual(outcomes, {"nothing", "refused", "whole"})

    def outcome(self, files: SimulatedFiles) -> str:
        layout = Layout(ROOT, files)
        try:
            claim = Claim.read(layout)
        except StorageError:
            return "refused"
        if claim is None:
            self.assertEqual(files.names(layout.snapshots), [], "a start would begin an empty log here")
            return "nothing"
        recovery = verify_directory(layout, lambda fraction: None)
        assert recovery is not None
        self.assertEqual(recovery.replay.last_index, 4_711)
        return "whole"
