from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from attrs import field, frozen
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.effects import StoreChunk
from txraft.core.ids import ServerId, Term
from txraft.core.messages import InstallSnapshot
from txraft.core.snapshot import Snapshot
from txraft.errors import CorruptState, DamagedSnapshot, MachineUnavailable, RestoreFailed, SnapshotSuperseded
from txraft.node.snapshot_receiving import SYNC_BYTES, SnapshotReceiving

CONTENT = b"0123456789" * 10


def snapshot(index: int = 7, sha256: bytes = b"s" * 32, size: int = len(CONTENT)) -> Snapshot:
    return Snapshot(index, 1, size, sha256, [(1, b"c")])


@frozen
class Head:
    cluster_id: str = "here"
    index: int = 7
    term: int = 1
    configurations: list[tuple[int, bytes]] = field(factory=lambda: [(1, b"c")])


class OpenFile:
    def __init__(self) -> None:
        self.content = b""
        self.syncs = 0
        self.closed = False

    def size(self) -> int:
        return len(self.content)

    def write(self, content: bytes, offset: int) -> None:
        assert not self.closed and offset == len(self.content)
        self.content += content

    def close(self) -> None:
        self.closed = True


class Layout:
    """Where the files are."""

    def incoming(self, one: Snapshot) -> str:
        return f"incoming-{one.index}"


class Shelf:
    """What the receiving asks of `SnapshotFiles`."""

    def __init__(self) -> None:
        self.layout = Layout()
        self.files: dict[bytes, OpenFile] = {}
        self.kept: list[Snapshot] = []
        self.dropped: list[int] = []
        self.head = Head()
        self.problem: Exception | None = None
        self.sync_problem: OSError | None = None

    def incoming(self, one: Snapshot) -> OpenFile:
        file = self.files.setdefault(one.sha256, OpenFile())
        file.closed = False
        return file

    def sync_incoming(self, one: Snapshot, file: OpenFile) -> None:
        file.syncs += 1
        if self.sync_problem is not None:
            del self.files[one.sha256]
            raise self.sync_problem

    def drop_incoming(self, keep: Snapshot | None = None) -> None:
        for sha256 in [sha256 for sha256 in self.files if keep is None or sha256 != keep.sha256]:
            assert self.files[sha256].closed
            del self.files[sha256]

    def read_incoming(self, one: Snapshot) -> tuple[Head, Iterator[bytes]]:
        if self.problem is not None:
            raise self.problem
        return self.head, iter([self.files[one.sha256].content])

    def drop(self, one: Snapshot) -> None:
        self.dropped.append(one.index)

    def keep_incoming(self, one: Snapshot) -> None:
        self.kept.append(one)


class Machines:
    """What the receiving asks of `Host`."""

    def __init__(self) -> None:
        self.state = b""
        self.problem: Exception | None = None

    def restored(self, parts: Iterable[bytes]) -> bytes:
        if self.problem is not None:
            raise self.problem
        return b"".join(parts)

    def adopt(self, restored: bytes) -> None:
        self.state = restored


class ReceivingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.worker, self.shelf, self.machines = Clock(), PumpedWorker(), Shelf(), Machines()
        self.told: list[tuple[Any, ...]] = []
        self.failures: list[Failure] = []
        self.receiving = self.make()

    def make(self) -> SnapshotReceiving:
        return SnapshotReceiving(
            "n1",
            self.clock,
            cluster_id="here",
            worker=self.worker,
            files=self.shelf,  # type: ignore[arg-type]
            host=self.machines,  # type: ignore[arg-type]
            stored=lambda leader, sha256, offset: self.told.append(("stored", leader, sha256[:1], offset)),
            received=lambda one: self.told.append(("received", one.index)),
            refused=lambda leader, sha256: self.told.append(("refused", leader)),
            rest=lambda seconds: None,
            on_failure=self.failures.append,
        )

    def chunk(self, offset: int, content: bytes, *, of: Snapshot | None = None, sender: str = "n2", crc: int | None = None) -> None:
        message = InstallSnapshot(Term(1), sender, of or snapshot(), offset, content, crc32(content) if crc is None else crc)
        self.receiving.store(StoreChunk(ServerId(sender), message))

    def comes(self, offset: int, content: bytes, **others: Any) -> Any:
        self.told.clear()
        self.chunk(offset, content, **others)
        self.worker.flush()
        return self.told[0] if self.told else None

    def whole(self) -> None:
        self.comes(0, CONTENT)

    def test_pieces_are_put_behind_each_other_and_the_next_offset_is_told(self) -> None:
        self.assertEqual(self.comes(0, b""), ("stored", "n2", b"s", 0))
        self.assertEqual(self.comes(0, CONTENT[:40]), ("stored", "n2", b"s", 40))
        self.assertEqual(self.comes(40, CONTENT[40:60]), ("stored", "n2", b"s", 60))
        self.assertEqual(self.shelf.files[b"s" * 32].content, CONTENT[:60])

    def test_a_piece_that_comes_twice_out_of_order_or_garbled_changes_nothing(self) -> None:
        self.comes(0, CONTENT[:40])
        for offset, content, crc in ((0, CONTENT[:40], None), (60, CONTENT[60:], None), (40, b"x" * 10, 1)):
            self.assertEqual(self.comes(offset, content, crc=crc), ("stored", "n2", b"s", 40))
        self.assertEqual(self.shelf.files[b"s" * 32].content, CONTENT[:40])

    def test_what_has_come_stays_through_a_restart(self) -> None:
        self.comes(0, CONTENT[:40])
        self.receiving.stop()
        self.worker.flush()
        self.receiving = self.make()
        self.assertEqual(self.comes(0, b""), ("stored", "n2", b"s", 40))

    def test_another_snapshot_takes_the_place_of_the_one_that_was_coming(self) -> None:
        self.comes(0, CONTENT[:40])
        self.assertEqual(self.comes(0, b"abc", of=snapshot(9, b"t" * 32), sender="n3"), ("stored", "n3", b"t", 3))
        self.assertEqual(list(self.shelf.files), [b"t" * 32])

    def test_a_whole_snapshot_is_restored_kept_and_told_and_adopted_only_when_asked(self) -> None:
        self.whole()
        self.assertEqual(self.told, [("stored", "n2", b"s", 100), ("received", 7)])
        self.assertEqual((self.shelf.kept, self.machines.state), ([snapshot()], b""))
        self.receiving.adopt(snapshot())
        self.assertEqual(self.machines.state, CONTENT)

    def test_another_may_be_ready_before_the_record_of_the_first_is_durable(self) -> None:
        self.whole()
        self.comes(0, b"later", of=(later := snapshot(7, b"t" * 32, 5)))
        self.receiving.adopt(snapshot())
        self.assertEqual(self.machines.state, CONTENT)
        self.receiving.adopt(later)
        self.assertEqual(self.machines.state, b"later")

    def test_one_that_is_superseded_leaves_nothing(self) -> None:
        """Found by review: machines that nobody needed stayed in memory, and their file on the disk."""
        self.whole()
        self.receiving.superseded(snapshot())
        self.worker.flush()
        self.assertEqual((self.shelf.dropped, self.receiving._ready), ([7], {}))

    def test_what_is_committed_meanwhile_is_not_received_any_more(self) -> None:
        self.comes(0, CONTENT[:40])
        self.receiving.look(6)
        self.assertIsNotNone(self.receiving.progress)
        self.receiving.look(7)
        self.worker.flush()
        self.assertEqual((self.receiving.progress, self.shelf.files), (None, {}))

    def test_nor_restored(self) -> None:
        self.chunk(0, CONTENT)
        self.worker.pump()
        self.receiving.look(7)
        self.worker.flush()
        self.assertNotIn(("received", 7), self.told)
        self.assertEqual((self.failures, self.receiving.progress), ([], None))

    def test_one_of_the_same_entry_that_this_server_has_made_meanwhile_is_no_failure(self) -> None:
        self.shelf.problem = SnapshotSuperseded("there is one already")
        self.whole()
        self.assertEqual((self.failures, self.receiving.progress, self.told), ([], None, [("stored", "n2", b"s", 100)]))

    def test_while_it_is_restored_the_leader_is_told_that_all_is_here(self) -> None:
        self.chunk(0, CONTENT)
        self.worker.pump()
        self.told.clear()
        self.chunk(0, b"")
        self.assertEqual(self.told, [("stored", "n2", b"s", 100)])
        self.assertTrue((self.receiving.progress or {})["restoring"])

    def test_a_damaged_file_is_dropped_and_refused_and_the_next_is_welcome(self) -> None:
        for problem in (DamagedSnapshot("file", 3, "crc"), CorruptState("no such machine state")):
            self.shelf.problem = problem
            self.whole()
            self.assertEqual(self.told[1], ("refused", "n2"))
            self.assertEqual(self.shelf.files, {})
        self.shelf.problem = None
        self.whole()
        self.assertEqual(self.told[1], ("received", 7))
        self.assertEqual(self.receiving.problem, "")

    def test_a_snapshot_of_another_cluster_or_of_another_place_than_announced_is_refused(self) -> None:
        for head in (Head(cluster_id="there"), Head(index=8), Head(term=2), Head(configurations=[(1, b"d")])):
            self.shelf.head = head
            self.whole()
            self.assertEqual(self.told[1], ("refused", "n2"))
        self.assertEqual(self.shelf.kept, [])

    def test_a_missing_plug_in_halts_the_node(self) -> None:
        self.machines.problem = MachineUnavailable("stock is not installed")
        self.whole()
        self.assertEqual([type(failure.value) for failure in self.failures], [MachineUnavailable])

    def test_a_machine_that_cannot_take_over_its_own_state_had_the_snapshot_refused_as_damaged_over_and_over(self) -> None:
        self.machines.problem = RestoreFailed("machine 'stock' cannot", machine="stock", failure_text="Traceback")
        self.whole()
        [failure] = self.failures
        error: Any = failure.value
        self.assertEqual(str(error).partition(". ")[0], "incoming-7: machine 'stock' cannot")
        self.assertEqual((error.machine, error.failure_text, error.exit_code), ("stock", "Traceback", 78))
        self.assertEqual(self.told, [("stored", "n2", b"s", 100)])
        self.assertEqual(list(self.shelf.files), [b"s" * 32])  # it is whole

    def test_without_room_on_the_disk_it_is_tried_again_when_the_leader_asks(self) -> None:
        self.shelf.problem = OSError(28, "No space left on device")
        self.whole()
        self.assertIn("no room", self.receiving.problem)
        self.assertEqual(self.failures, [])
        self.shelf.problem = None
        self.assertEqual(self.comes(0, b""), ("stored", "n2", b"s", 100))
        self.assertEqual(self.told[-1], ("received", 7))

    def test_an_error_of_the_disk_halts_the_node(self) -> None:
        self.shelf.problem = OSError(5, "Input/output error")
        self.whole()
        self.assertEqual(len(self.failures), 1)

    def test_a_newer_transfer_ends_a_restoration(self) -> None:
        self.chunk(0, CONTENT)
        self.worker.pump()
        self.chunk(0, b"", of=snapshot(9, b"t" * 32))
        self.worker.flush()
        self.assertNotIn(("received", 7), self.told)
        self.assertEqual(self.failures, [])

    def test_much_that_comes_is_made_durable_now_and_then(self) -> None:
        size = SYNC_BYTES // 2
        large = snapshot(size=10 * size)
        for number in range(4):
            self.comes(number * size, bytes(size), of=large)
        self.assertEqual(self.shelf.files[b"s" * 32].syncs, 2)

    def test_what_could_not_be_synced_is_gone_and_the_snapshot_comes_from_its_beginning(self) -> None:
        large = snapshot(size=2 * SYNC_BYTES)
        self.shelf.sync_problem = OSError(errno.ENOSPC, "no space left")
        self.assertIsNone(self.comes(0, bytes(SYNC_BYTES), of=large))
        self.assertIn("no room", self.receiving.problem)
        self.shelf.sync_problem = None
        self.assertEqual(self.comes(SYNC_BYTES, b"more", of=large), ("stored", "n2", b"s", 0))
        self.assertEqual(self.comes(0, bytes(SYNC_BYTES), of=large), ("stored", "n2", b"s", SYNC_BYTES))

    def test_status_tells_how_much_has_come(self) -> None:
        self.assertIsNone(self.receiving.progress)
        self.comes(0, CONTENT[:40])
        self.assertEqual(self.receiving.progress, {"from": "n2", "index": 7, "received": 40, "size": 100, "restoring": False})
