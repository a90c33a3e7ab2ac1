"""`BlockingClient` over real sockets, against a server of a few lines that speaks the HTTP API."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.trial.unittest import TestCase

from txraft.client import BlockingClient
from txraft.errors import NotApplied, Refused, Unknown

DESCRIPTION = {
    "counter": {
        "commands": {"add": {"parameters": [{"name": "name"}, {"name": "amount"}]}},
        "queries": {"get": {"parameters": [{"name": "name"}]}},
    }
}


class StubServer(ThreadingHTTPServer):
    """One counter behind HTTP.

    Attributes:
        connections: how many were accepted.
        lose_answers: so many of the next commands are applied and the connection cut instead of an answer.
        hang_up_after: end each connection after the answer.
        keys: of the commands, in the order they came.
        ended: released when a connection has been closed here.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.lock = threading.Lock()
        self.connections = 0
        self.lose_answers = 0
        self.hang_up_after = False
        self.total = 0
        self.sessions: dict[str, dict[str, int]] = {}
        self.keys: list[str | None] = []
        self.ended = threading.Semaphore(0)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended.release()

    def add(self, key: str | None, amount: int) -> tuple[int, dict[str, Any]]:
        self.keys.append(key)
        session, _, serial = (key or "").partition("/")
        if key is not None and session not in self.sessions:
            return 410, {"outcome": "unknown", "code": "session_expired", "detail": "no such session"}
        results = self.sessions.get(session, {})
        if serial not in results:
            if self.total + amount < 0:
                return 409, {"outcome": "refused", "code": "out_of_stock", "detail": "too few", "left": self.total}
            self.total += amount
            results[serial] = self.total
        return 200, {"result": results[serial], "index": 1, "term": 1}


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StubServer

    def do_GET(self) -> None:
        self._answer(200, DESCRIPTION if self.path == "/v1/machines" else {"node": "n1"})

    def do_DELETE(self) -> None:
        del self.server.sessions[self.path.rpartition("/")[2]]
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        with self.server.lock:
            if path == "/v1/sessions":
                session = str(len(self.server.sessions) + 5)
                self.server.sessions[session] = {}
                self._answer(201, {"session": int(session), "timeout_s": 3600})
            elif path == "/v1/counter/get":
                self._answer(200, {"result": self.server.total, "index": 1, "term": 1})
            elif path == "/v1/counter/add":
                status, answer = self.server.add(self.headers["Idempotency-Key"], arguments["amount"])
                if self.server.lose_answers:
                    self.server.lose_answers -= 1
                    self.close_connection = True
                else:
                    self._answer(status, answer)
            else:
                self._answer(404, {"outcome": "not_applied", "code": "unknown_machine", "detail": "no such machine"})

    def _answer(self, status: int, answer: object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection |= self.server.hang_up_after

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class BlockingClientTests(TestCase):
    def setUp(self) -> None:
        self.server = StubServer()
        self.addCleanup(self.server.stop)
        self.client = BlockingClient([self.server.address], timeout_s=5.0)
        self.addCleanup(self.client.close)

    def test_calls_share_one_connection(self) -> None:
        counter = self.client.machine("counter")
        self.assertEqual([counter.add("a", 2), counter.add("a", amount=3), counter.get("a")], [2, 5, 5])
        self.assertEqual(self.client.status(), {"node": "n1"})
        self.assertEqual(self.client.describe(), DESCRIPTION)
        self.assertEqual(self.server.connections, 1)

    def test_outcomes_are_told(self) -> None:
        with self.assertRaises(Refused) as refused:
            self.client.command("counter", "add", name="a", amount=-1)
        self.assertEqual((refused.exception.code, refused.exception.details), ("out_of_stock", {"left": 0}))
        with self.assertRaises(NotApplied):
            self.client.command("stock", "take", amount=1)
        self.server.lose_answers = 1
        with self.assertRaises(Unknown):
            self.client.command("counter", "add", name="a", amount=1, exactly_once=False)
        self.assertEqual(self.server.total, 1)

    def test_answers_lost_on_the_way_are_fetched_and_nothing_is_added_twice(self) -> None:
        for number in range(5):
            self.server.lose_answers = number % 3
            self.assertEqual(self.client.command("counter", "add", name="a", amount=1), number + 1)
        self.assertEqual(self.server.keys[:3], ["5/1", "5/2", "5/2"])

    def test_a_connection_that_the_server_has_closed_is_not_used(self) -> None:
        self.server.hang_up_after = True
        for number in range(5):
            self.assertEqual(self.client.command("counter", "add", name="a", amount=1, exactly_once=False), number + 1)
            self.assertTrue(self.server.ended.acquire(timeout=5.0))

    def test_a_dead_endpoint_is_passed_over(self) -> None:
        dead = StubServer()
        address = dead.address
        dead.stop()
        with BlockingClient([address, self.server.address], timeout_s=5.0) as client:
            self.assertEqual(client.command("counter", "add", name="a", amount=1), 1)

    def test_without_any_server_it_is_not_applied_within_the_time(self) -> None:
        dead = StubServer()
        address = dead.address
        dead.stop()
        with BlockingClient([address], timeout_s=0.2) as client, self.assertRaises(NotApplied) as caught:
            client.command("counter", "add", name="a", amount=1)
        self.assertEqual(caught.exception.code, "unreachable")

    def test_an_expired_session_is_replaced(self) -> None:
        self.client.command("counter", "add", name="a", amount=1)
        self.server.sessions = {"other": {}}
        self.assertEqual(self.client.command("counter", "add", name="a", amount=1), 2)

    def test_closing_closes_the_session(self) -> None:
        with BlockingClient([self.server.address]) as client:
            client.command("counter", "add", name="a", amount=1)
            self.assertEqual(len(self.server.sessions), 1)
        self.assertEqual(self.server.sessions, {})

    def test_threads_take_turns(self) -> None:
        def add_many() -> None:
            for _ in range(20):
                self.client.command("counter", "add", name="a", amount=1)

        threads = [threading.Thread(target=add_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.server.total, 80)
        self.assertEqual(len(set(self.server.keys)), 80)
