"""Snapshots over HTTP: what is asked of the gate, what comes back, and that nothing is read that is not wanted."""

from __future__ import annotations

from hashlib import sha256

from tests.http.exchange import TIMING, Exchange, HttpTestCase, Response, raw_request
from txraft.errors import NotApplied, StorageError
from txraft.http.snapshots import PIECE_BYTES, READ_AT_ONCE_MAX


class SnapshotCase(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.gate.snapshot = bytes(range(256)) * 600  # two pieces and a bit

    def open(self, method: str = "GET") -> Exchange:
        exchange = Exchange(self.site)
        exchange.send(raw_request(method, "/v1/snapshot"))
        return exchange

    def read_all(self, exchange: Exchange) -> Response:
        while self.gate.pieces:
            self.gate.give_piece()
        (response,) = exchange.responses()
        return response


class Taking(SnapshotCase):
    """`POST /v1/snapshot`."""

    def test_taken(self) -> None:
        assert self.gate.snapshot is not None
        response = self.post("/v1/snapshot")
        expected = {
            "index": self.gate.host.applied_index,
            "term": 3,
            "bytes": len(self.gate.snapshot),
            "sha256": sha256(self.gate.snapshot).hexdigest(),
        }
        self.assertEqual((response.status, response.json, self.gate.snapshots_taken), (200, expected, 1))

    def test_refused(self) -> None:
        self.gate.problem = NotApplied("not_ready", "the directory is not open")
        self.assert_problem(self.post("/v1/snapshot"), 503, "not_ready", "not_applied", "directory")

    def test_no_parameters_and_no_other_methods(self) -> None:
        self.assert_problem(self.post("/v1/snapshot?index=3"), 400, "bad_request", "not_applied")
        self.assertEqual(self.exchange.ask("DELETE", "/v1/snapshot").header("Allow"), "GET, HEAD, POST")
        self.assertEqual(self.gate.snapshots_taken, 0)


class Reading(SnapshotCase):
    """`GET /v1/snapshot`."""

    def test_whole(self) -> None:
        assert self.gate.snapshot is not None
        response = self.read_all(self.open())
        self.assertEqual(response.body, self.gate.snapshot)
        told = [response.header(f"Txraft-Snapshot-{name}") for name in ("Index", "Term", "Sha256")]
        self.assertEqual(told, [str(self.gate.host.applied_index), "3", sha256(self.gate.snapshot).hexdigest()])
        self.assertEqual(response.header("Content-Type"), "application/octet-stream")
        self.assertEqual(
            self.gate.pieces_read, [(0, PIECE_BYTES), (PIECE_BYTES, PIECE_BYTES), (2 * PIECE_BYTES, 153_600 - 2 * PIECE_BYTES)]
        )
        self.assertEqual(self.gate.snapshots_open, 0)

    def test_the_connection_can_be_used_again(self) -> None:
        exchange = self.open()
        self.read_all(exchange)
        self.assertEqual(exchange.ask("GET", "/livez").status, 200)

    def test_one_piece_at_a_time(self) -> None:
        self.open()
        self.assertEqual(len(self.gate.pieces_read), 1)
        self.gate.give_piece()
        self.assertEqual(len(self.gate.pieces_read), 2)

    def test_none_yet(self) -> None:
        self.gate.snapshot = None
        self.assert_problem(self.get("/v1/snapshot"), 404, "no_snapshot", "not_applied")
        self.gate.snapshot = b"x"
        self.assertEqual(self.read_all(self.open()).body, b"x")

    def test_head(self) -> None:
        response = self.exchange.ask("HEAD", "/v1/snapshot")
        self.assertEqual((response.header("Content-Length"), response.body), ("153600", b""))
        self.assertEqual((self.gate.pieces_read, self.gate.snapshots_open), ([], 0))

    def test_a_slow_client_is_waited_for(self) -> None:
        exchange = self.open()
        exchange.protocol.pauseProducing()
        self.gate.give_piece()
        self.assertEqual(len(self.gate.pieces_read), 1)
        exchange.protocol.resumeProducing()
        self.assertEqual(len(self.gate.pieces_read), 2)
        self.clock.advance(TIMING.frame_s + 1)
        self.assertFalse(exchange.transport.aborted)

    def test_one_that_takes_nothing_is_cut_off(self) -> None:
        exchange = self.open()
        exchange.protocol.pauseProducing()
        self.clock.advance(TIMING.frame_s + 1)
        self.assertEqual((exchange.transport.aborted, self.gate.snapshots_open), (True, 0))

    def test_one_that_goes_away(self) -> None:
        exchange = self.open()
        exchange.hang_up()
        self.assertEqual(self.gate.snapshots_open, 0)
        piece, _ = self.gate.pieces[0]
        self.assertTrue(piece.called, "it is cancelled")

    def test_a_disk_that_fails_cuts_the_answer(self) -> None:
        exchange = self.open()
        self.gate.give_piece()
        self.gate.pieces.pop()[0].errback(StorageError("the disk does not answer"))
        self.assertEqual((exchange.transport.aborted, self.gate.snapshots_open), (True, 0))
        self.assertEqual(len(self.flushLoggedErrors(StorageError)), 1)

    def test_not_too_many_at_once(self) -> None:
        exchanges = [self.open() for _ in range(READ_AT_ONCE_MAX)]
        self.assert_problem(self.get("/v1/snapshot"), 503, "overloaded", "not_applied", "another node")
        exchanges[0].hang_up()
        self.assertEqual(self.gate.snapshots_open, READ_AT_ONCE_MAX - 1)
        self.open()
        self.assertEqual(self.gate.snapshots_open, READ_AT_ONCE_MAX)
