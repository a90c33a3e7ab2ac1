from __future__ import annotations

from zlib import crc32

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.effects import ReadChunk
from txraft.core.ids import ServerId
from txraft.core.snapshot import Snapshot
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
        self.sending.look()
        self.worker.flush()
        self.assertTrue(self.shelf.opened[0].closed)
        self.assertEqual(self.sending.progress, {})

    def test_the_file_of_a_transfer_under_way_is_not_closed_with_another(self) -> None:
        self.ask(0, to="n2")
        self.clock.advance(IDLE_S)
        self.ask(0, to="n3", of=snapshot(9, b"t" * 32))
        self.worker.flush()
        self.clock.advance(2)
        self.sending.look()
        self.worker.flush()
        self.assertEqual([file.closed for file in self.shelf.opened], [True, False])

    def test_a_snapshot_that_is_gone_is_said_to_be_and_the_next_is_tried(self) -> None:
        self.shelf.error = FileNotFoundError()
        effect = self.ask(0)
        self.worker.flush()
        self.assertEqual((self.pieces, self.failures), ([(effect, b"", 0)], []))

    def test_a_disk_that_does_not_give_it_has_failed(self) -> None:
        self.shelf.error = OSError(5, "Input/output error")
        self.ask(0)
        self.worker.flush()
        self.assertEqual((self.pieces, len(self.failures)), ([], 1))

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
