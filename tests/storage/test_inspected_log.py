"""A directory read from outside: what it says, and that nothing in it is changed."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_files import SimulatedFiles
from txraft.core.effects import Metadata, Persist, Receipt
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, Term
from txraft.errors import DamagedLog, StorageError
from txraft.limits import Limits
from txraft.storage import Storage
from txraft.storage.identity import Claim
from txraft.storage.inspected_log import InspectedLog, verify_directory
from txraft.storage.layout import Layout

ROOT = Path("/n1")
LIMITS = Limits(segment_bytes=65_536, reserve_bytes=1)
CLUSTER = "c" * 32


def persist(first_index: int, entries: list[Entry], term: int) -> Persist:
    metadata = Metadata(Term(term), None)
    receipt = Receipt(Term(term), Index(first_index - 1 + len(entries)), Term(term))
    return Persist(metadata, None, Index(first_index), entries, receipt, ())


class InspectedCase(SynchronousTestCase):
    """A directory with three segments or so."""

    def setUp(self) -> None:
        self.files = SimulatedFiles()
        self.layout = Layout(ROOT, self.files)

    def open(self) -> Storage:
        return Storage.open(ROOT, cluster_id=CLUSTER, server_id="n1", bootstrap=[self.entry(1)], limits=LIMITS, files=self.files)

    def entry(self, index: int, term: int = 1) -> Entry:
        return Entry(term, EntryKind.COMMAND, b"%d" % index + bytes(1_000))

    def fill(self) -> None:
        storage = self.open()
        for number in range(15):
            first = 2 + 10 * number
            storage.write([persist(first, [self.entry(index, 1 + number) for index in range(first, first + 10)], 1 + number)])
        storage.close()

    def read(self, *, strict: bool = True) -> InspectedLog:
        return InspectedLog.read(self.layout, lambda fraction: None, strict=strict)

    def spoil(self, path: Path, offset: int, content: bytes = b"\xff" * 8) -> None:
        file = self.files.open(path, write=True)
        file.write(content, offset)
        file.close()


class Reading(InspectedCase):
    """The entries of a log."""

    def test_all_entries(self) -> None:
        self.fill()
        calls = len(self.files.calls)
        log = self.read()
        self.assertEqual((log.first_index, log.last_index, log.problem), (1, 151, None))
        found = list(log.entries(1))
        self.assertEqual([index for index, _ in found], list(range(1, 152)))
        self.assertEqual([found[0][1], found[150][1]], [self.entry(1), self.entry(151, 15)])
        self.assertEqual([index for index, _ in log.entries(149)], [149, 150, 151])
        self.assertEqual(list(log.entries(152)), [])
        self.assertGreater(len(log.recovery.segments), 2)
        self.assertEqual((len(self.files.calls), self.files.opened), (calls, 0), "nothing was changed")

    def test_while_it_is_in_use(self) -> None:
        self.fill()
        storage = self.open()
        calls = len(self.files.calls)
        self.assertEqual(len(list(self.read().entries(1))), 151)
        self.assertIsNotNone(verify_directory(self.layout, lambda fraction: None))
        self.assertEqual(len(self.files.calls), calls)
        storage.close()

    def test_a_segment_that_was_removed_meanwhile(self) -> None:
        self.fill()
        log = self.read()
        self.files.remove(self.layout.segments()[0][1])
        self.assertRaises(StorageError, list, log.entries(1))

    def test_up_to_the_damage(self) -> None:
        self.fill()
        first = self.layout.segments()[0][1]
        self.spoil(first, 30_000)
        self.assertRaises(DamagedLog, self.read)
        log = self.read(strict=False)
        self.assertIsInstance(log.problem, DamagedLog)
        self.assertEqual(len(list(log.entries(1))), log.last_index)
        self.assertTrue(10 < log.last_index < 40)

    def test_nobodys(self) -> None:
        self.assertIn("no such directory", str(self.assertRaises(StorageError, self.read)))
        self.files.make_directory(ROOT)
        self.assertIn("no data directory", str(self.assertRaises(StorageError, self.read)))

    def test_not_begun(self) -> None:
        self.layout.prepare()
        Claim.stake(self.layout, CLUSTER, "n1")
        calls = len(self.files.calls)
        self.assertEqual(list(self.read().entries(1)), [])
        self.assertIsNone(verify_directory(self.layout, lambda fraction: None))
        self.assertEqual(len(self.files.calls), calls, "no log was begun by looking")

    def test_snapshots(self) -> None:
        self.fill()
        self.files.open(self.layout.snapshot(7), create=True).close()
        self.assertEqual(self.read().snapshots(), [(self.layout.snapshot(7), 0, False)])


class Verifying(InspectedCase):
    """Everything, as at a start."""

    def test_sound(self) -> None:
        self.fill()
        fractions: list[float] = []
        recovery = verify_directory(self.layout, fractions.append)
        assert recovery is not None
        self.assertEqual((recovery.replay.last_index, recovery.torn_tail, fractions[-1]), (151, None, 1.0))

    def test_torn(self) -> None:
        self.fill()
        newest = self.read().recovery.segments[-1]
        self.spoil(newest.path, newest.end, b"torn")
        recovery = verify_directory(self.layout, lambda fraction: None)
        assert recovery is not None and recovery.torn_tail is not None
        self.assertIn(str(newest.path), recovery.torn_tail)

    def test_damaged(self) -> None:
        self.fill()
        path = self.layout.segments()[1][1]
        self.spoil(path, 20_000)
        problem = self.assertRaises(DamagedLog, verify_directory, self.layout, lambda fraction: None)
        self.assertEqual(problem.path, str(path))

    def test_votes_that_are_gone(self) -> None:
        self.fill()
        for path in self.layout.metadata:
            self.files.remove(path)
        self.assertRaises(StorageError, verify_directory, self.layout, lambda fraction: None)
