"""A file of a node, as it comes."""

from __future__ import annotations

import http.client
import io
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txraft.client.blocking_download import Download
from txraft.errors import ConfigurationError, NotApplied, Outcome, Unknown


class _Socket:
    """What an answer is read from."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


class Answering:
    """A connection whose server has answered already."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.asked, self.closed = raw, list[tuple[str, str]](), False

    def request(self, method: str, path: str) -> None:
        self.asked.append((method, path))

    def getresponse(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(_Socket(self.raw))  # type: ignore[arg-type]
        response.begin()
        return response

    def close(self) -> None:
        self.closed = True


class Downloads(SynchronousTestCase):
    def download(self, raw: bytes, endpoint: str = "a:1") -> Download:
        self.connection = Answering(raw)

        def connect(*place: Any) -> Any:
            self.dialled = place
            return self.connection

        return Download(endpoint, "/file", 3.0, connect)

    def refused(self, raw: bytes) -> Outcome:
        problem: Outcome = self.assertRaises(Outcome, self.download, raw)
        self.assertTrue(self.connection.closed)
        return problem

    def test_piece_by_piece(self) -> None:
        download = self.download(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: y\r\n\r\n0123456789", "http://[::1]:80/")
        self.assertEqual((self.dialled, self.connection.asked), (("http", "::1", 80, 3.0), [("GET", "/file")]))
        self.assertEqual((download.length, download.header("x")), (10, "y"))
        self.assertEqual(list(download.pieces(4)), [b"0123", b"4567", b"89"])
        download.close()
        self.assertTrue(self.connection.closed)

    def test_cut_short(self) -> None:
        download = self.download(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        pieces = download.pieces(5)
        self.assertEqual(next(pieces), b"01234")
        problem = self.assertRaises(Unknown, next, pieces)
        self.assertIn("a:1", problem.message)

    def test_a_problem(self) -> None:
        body = json.dumps({"outcome": "not_applied", "code": "no_snapshot", "detail": "none yet"}).encode()
        problem = self.refused(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self.assertEqual((type(problem), problem.code, problem.message), (NotApplied, "no_snapshot", "none yet"))

    def test_what_is_no_node(self) -> None:
        for raw in (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nwithout a length",
            b"SSH-2.0-x\r\n",
            b"",
        ):
            self.assertIsInstance(self.refused(raw), Unknown, raw)

    def test_nobody_there(self) -> None:
        def connect(*place: Any) -> Any:
            raise ConnectionRefusedError("connection refused")

        problem = self.assertRaises(NotApplied, Download, "a:1", "/file", 3.0, connect)
        self.assertEqual((problem.code, problem.message), ("unreachable", "a:1: connection refused"))
        self.assertRaises(ConfigurationError, Download, "nonsense", "/file", 3.0, connect)
