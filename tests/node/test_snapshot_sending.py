from __future__ import annotations

from zlib import crc32

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.effects import ReadChunk, SnapshotRefused
from txraft.core.ids import ServerId
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot
from txraft.limits import Limits
from txraft.node.snapshot_sending import IDLE_S, SnapshotSending

CONTENT = bytes(range(256)) * 40


def snapshot(index: int = 7, sha256: bytes = b"s" * 32) -> Snapshot:
    return Snapshot(index, 1, len(CONTENT), sha256, [(1, b"c")])


class OpenFile:
    def __init__(self) -> None:
        self.closed = False

    def read(self, length: int, offset: int) -> bytes:
        assert not self.closed
        return CONTENT[offset : offset + length]

    def close(self) -> None:
        self.closed = True


class Shelf:
    """What the sending asks of `SnapshotFiles`."""

    def __init__(self) -> None:
        self.opened: list[OpenFile] = []
        self.error: OSError | None = None
        self.recorded: Snapshot | None = None
        self.verified: list[Snapshot] = []
        self.damage: DamagedSnapshot | None = None

    def verify(self, one: Snapshot) -> None:
        self.verified.append(one)
        if self.damage is not None:
            raise self.damage

    def open(self, one: Snapshot) -> OpenFile:
        if self.error is not None:
            raise self.error
        self.opened.append(OpenFile())
        return self.opened[-1]


class SendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.worker, self.shelf = Clock(), PumpedWorker(), Shelf()
        self.pieces: list[tuple[ReadChunk, bytes, int]] = []
        self.failures: list[Failure] = []
        self.sending = SnapshotSending(
            "n1",
            self.clock,
            Limits(snapshot_bytes_per_s=1000),
            worker=self.worker,
            files=self.shelf,  # type: ignore[arg-type]
            was_read=lambda effect, content, crc: self.pieces.append((effect, content, crc)),
            on_failure=self.failures.append,
        )

    def ask(self, offset: int, *, to: str = "n2", of: Snapshot | None = None) -> ReadChunk:
        effect = ReadChunk(ServerId(to), of or snapshot(), offset, 500)
        self.sending.read(effect)
        return effect

    def test_a_piece_is_read_with_its_checksum(self) -> None:
        effect = self.ask(256)
        self.worker.flush()
        self.assertEqual(self.pieces, [(effect, CONTENT[256:756], crc32(CONTENT[256:756]))])

    def test_nothing_is_read_beyond_the_end(self) -> None:
        self.ask(len(CONTENT) - 100)
        self.clock.advance(1)
        self.ask(len(CONTENT))
        self.worker.flush()
        self.assertEqual([content for _, content, _ in self.pieces], [CONTENT[-100:], b""])

    def test_no_more_bytes_a_second_leave_than_are_allowed_to_all_followers_together(self) -> None:
        for offset, to in ((0, "n2"), (0, "n3"), (500, "n2")):
            self.ask(offset, to=to)
        self.worker.flush()
        self.assertEqual(len(self.pieces), 1)
        self.clock.advance(0.5)
        self.worker.flush()
        self.assertEqual(len(self.pieces), 2)
        self.clock.advance(0.5)
        self.worker.flush()
        self.assertEqual(len(self.pieces), 3)

    def test_a_file_stays_open_for_the_next_piece_and_is_closed_when_nobody_asks_any_more(self) -> None:
        self.ask(0)
        self.clock.advance(1)
        self.ask(500)
        self.worker.flush()
        self.assertEqual(len(self.shelf.opened), 1)
        self.clock.advance(IDLE_S + 1)
        self.sending.look([ServerId("n2"), ServerId("n3")])
        self.worker.flush()
        self.assertTrue(self.shelf.opened[0].closed)
        self.assertEqual(self.sending.progress, {})

    def test_the_file_of_a_transfer_under_way_is_not_closed_with_another(self) -> None:
        self.ask(0, to="n2")
        self.clock.advance(IDLE_S)
        self.ask(0, to="n3", of=snapshot(9, b"t" * 32))
        self.worker.flush()
        self.clock.advance(2)
        self.sending.look([ServerId("n2"), ServerId("n3")])
        self.worker.flush()
        self.assertEqual([file.closed for file in self.shelf.opened], [True, False])

    def test_a_snapshot_that_is_gone_is_said_to_be_and_the_next_is_tried(self) -> None:
        self.shelf.error = FileNotFoundError()
        effect = self.ask(0)
        self.worker.flush()
        self.assertEqual((self.pieces, self.failures), ([(effect, b"", 0)], []))

    def test_the_recorded_one_that_is_gone_is_damage(self) -> None:
        self.shelf.recorded, self.shelf.error = snapshot(), FileNotFoundError(2, "No such file", "7.snapshot")
        self.ask(0)
        self.worker.flush()
        self.assertEqual((self.pieces, [failure.type for failure in self.failures]), ([], [DamagedSnapshot]))

    def test_one_that_a_follower_refuses_is_read_again_and_trusted_if_it_is_whole(self) -> None:
        self.shelf.recorded = snapshot()
        self.sending.refused(SnapshotRefused(ServerId("n2"), snapshot()))
        self.sending.refused(SnapshotRefused(ServerId("n3"), snapshot()))
        self.worker.flush()
        self.assertEqual((self.shelf.verified, self.failures), ([snapshot()], []))

    def test_one_that_is_damaged_is_not_sent_over_and_over(self) -> None:
        """Found by review: a snapshot that went bad while its server ran was sent and refused for ever, and nobody was told."""
        self.shelf.recorded, self.shelf.damage = snapshot(), DamagedSnapshot("7.snapshot", 3, "its SHA-256 is another")
        self.sending.refused(SnapshotRefused(ServerId("n2"), snapshot()))
        self.worker.flush()
        self.assertEqual([failure.type for failure in self.failures], [DamagedSnapshot])

    def test_one_that_is_not_recorded_any_more_is_not_read_again(self) -> None:
        self.sending.refused(SnapshotRefused(ServerId("n2"), snapshot()))
        self.worker.flush()
        self.assertEqual(self.shelf.verified, [])

    def test_a_transfer_that_waits_long_for_its_turn_is_not_forgotten(self) -> None:
        """Found by review: at a low rate the turn came after the transfer had been taken for ended, and the question was dropped."""
        for _ in range(100):
            self.ask(0)
        self.clock.advance(IDLE_S + 5)
        self.sending.look([ServerId("n2"), ServerId("n3")])
        self.clock.advance(20)
        self.worker.flush()
        self.assertEqual(len(self.pieces), 100)

    def test_a_disk_that_does_not_give_it_has_failed(self) -> None:
        self.shelf.error = OSError(5, "Input/output error")
        self.ask(0)
        self.worker.flush()
        self.assertEqual((self.pieces, len(self.failures)), ([], 1))

    def test_a_follower_that_needs_it_no_more_is_not_in_the_status_for_long(self) -> None:
        """Found by a newcomer: a transfer that was over stood in the status for half a minute."""
        self.ask(500)
        self.sending.look([])
        self.worker.flush()
        self.assertEqual(self.sending.progress, {})

    def test_status_tells_how_far_each_transfer_is(self) -> None:
        self.ask(500)
        self.assertEqual(self.sending.progress, {"n2": {"index": 7, "sent": 500, "size": len(CONTENT)}})

    def test_after_the_stop_what_waited_for_its_turn_is_not_read(self) -> None:
        self.ask(0)
        self.worker.flush()
        self.ask(500)
        self.sending.stop()
        self.clock.advance(10)
        self.worker.flush()
        self.assertEqual((len(self.pieces), self.shelf.opened[0].closed), (1, True))
