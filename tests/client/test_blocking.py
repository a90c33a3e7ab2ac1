from __future__ import annotations

import fcntl
import http.client
import json
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txraft.client.blocking import BlockingClient
from txraft.client.blocking_http import RESPONSE_BYTES_MAX, JsonApi
from txraft.errors import ConfigurationError, NotApplied, Refused, Unknown

Answer = tuple[int, bytes]


def ok(result: Any) -> Answer:
    return 200, json.dumps({"result": result, "index": 1, "term": 1}).encode()


def problem(status: int, outcome: str, code: str, **members: Any) -> Answer:
    return status, json.dumps({"outcome": outcome, "code": code, "detail": f"because {code}", "status": status, **members}).encode()


class Script:
    """A cluster behind HTTP, as a test wants it.

    Attributes:
        asked: method, path, headers and body of each request, with the port it went to.
        answers: taken in turn by requests for commands and queries, exceptions are raised; without any left, a value.
        dead: ports on which nobody listens.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, str, Mapping[str, str], Any]] = []
        self.answers: list[Answer | Exception] = []
        self.session_answers: list[Answer | Exception] = []
        self.dead: set[int] = set()
        self.dialled: list[int] = []
        self.now = 0.0
        self.slept: list[float] = []
        self.timeouts_s: list[float] = []
        self.takes_s = 0.0
        self._sessions = 6

    def connect(self, scheme: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
        self.dialled.append(port)
        self.timeouts_s.append(timeout_s)
        if port in self.dead:
            raise ConnectionRefusedError("connection refused")
        return _Connection(self, port, timeout_s)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def answer(self, port: int, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        self.asked.append((port, method, path, headers, json.loads(body) if body else None))
        self.now += self.takes_s
        if path == "/v1/machines":
            return 200, json.dumps(DESCRIPTION).encode()
        if path == "/v1/status":
            return 200, b'{"node": "n1"}'
        answers = self.session_answers if path.startswith("/v1/sessions") else self.answers
        answer = answers.pop(0) if answers else self._default(path)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _default(self, path: str) -> Answer:
        if path != "/v1/sessions":
            return ok(42)
        self._sessions += 1
        return 201, json.dumps({"session": self._sessions, "timeout_s": 3600}).encode()

    def keys(self) -> list[str | None]:
        return [headers.get("Idempotency-Key") for _, _, path, headers, _ in self.asked if path == "/v1/counter/add"]


DESCRIPTION = {
    "counter": {
        "commands": {"add": {"parameters": [{"name": "name"}, {"name": "amount"}, {"name": "wait_s"}]}},
        "queries": {"get": {"parameters": [{"name": "name"}]}},
    }
}


class _Connection(http.client.HTTPConnection):
    """Instead of a socket there is the script."""

    def __init__(self, script: Script, port: int, timeout_s: float) -> None:
        super().__init__("fake", port, timeout=timeout_s)
        self._script = script
        self._answer: Answer | Exception = (0, b"")

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **_: Any) -> None:
        try:
            self._answer = self._script.answer(self.port, method, url, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self._answer = error

    def getresponse(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return _Response(*self._answer)


class _Response:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    def read(self, bytes_max: int) -> bytes:
        return self._body[:bytes_max]


class BlockingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.script = Script()
        self.client = self.make_client("a:1", "b:2", "c:3")

    def make_client(self, *endpoints: str, timeout_s: float = 10.0) -> BlockingClient:
        return BlockingClient(
            endpoints,
            timeout_s,
            monotonic=lambda: self.script.now,
            sleep=self.script.sleep,
            rng=random.Random(1),
            connect=self.script.connect,
        )

    def add(self, **options: Any) -> Any:
        return self.client.command("counter", "add", name="a", amount=2, **options)

    def get(self, **options: Any) -> Any:
        return self.client.query("counter", "get", name="a", **options)


class CallTests(BlockingTestCase):
    def test_a_command_goes_into_a_session_with_serial_numbers_from_one(self) -> None:
        self.assertEqual(self.add(), 42)
        self.assertEqual(self.add(), 42)
        self.assertEqual([path for _, _, path, _, _ in self.script.asked], ["/v1/sessions", "/v1/counter/add", "/v1/counter/add"])
        self.assertEqual(self.script.keys(), ["7/1", "7/2"])
        self.assertEqual(self.script.asked[2][3]["First-Outstanding"], "2")
        self.assertEqual(self.script.asked[1][4], {"name": "a", "amount": 2})

    def test_a_query_needs_none(self) -> None:
        self.get(consistency="local")
        ((_, method, path, headers, body),) = self.script.asked
        self.assertEqual((method, path, body), ("POST", "/v1/counter/get?consistency=local", {"name": "a"}))
        self.assertNotIn("Idempotency-Key", headers)

    def test_positional_arguments_get_the_names_the_server_declares(self) -> None:
        self.client.command("counter", "add", "a", amount=5)
        self.client.query("counter", "get", "b")
        self.assertEqual([body for *_, body in self.script.asked], [None, {}, {"name": "a", "amount": 5}, {"name": "b"}])

    def test_too_many_positional_arguments_or_one_given_twice_are_not_applied(self) -> None:
        with self.assertRaises(NotApplied) as too_many:
            self.client.command("counter", "add", "a", 1, 2, 3)
        with self.assertRaises(NotApplied) as twice:
            self.client.command("counter", "add", "a", name="b")
        self.assertEqual([too_many.exception.code, twice.exception.code], ["invalid_arguments"] * 2)

    def test_a_machine_is_an_object_with_methods(self) -> None:
        counter = self.client.machine("counter")
        self.assertEqual(counter.add("a", 2), 42)
        self.assertEqual(counter.get(name="a", consistency="local"), 42)
        self.assertEqual(self.script.asked[-1][2], "/v1/counter/get?consistency=local")
        self.assertEqual(len([path for _, _, path, _, _ in self.script.asked if path == "/v1/machines"]), 1)

    def test_unknown_names_are_not_applied(self) -> None:
        with self.assertRaises(NotApplied) as command:
            self.client.machine("counter").subtract("a")
        with self.assertRaises(NotApplied) as machine:
            self.client.machine("stock").add("a")
        self.assertEqual([command.exception.code, machine.exception.code], ["unknown_command", "unknown_machine"])

    def test_names_are_escaped_in_the_path(self) -> None:
        self.client.query("a/b", "c?d")
        self.assertEqual(self.script.asked[0][2], "/v1/a%2Fb/c%3Fd?consistency=linearizable")

    def test_arguments_that_are_no_json_are_not_applied(self) -> None:
        for amount in (object(), float("nan")):
            with self.assertRaises(NotApplied) as caught:
                self.client.command("counter", "add", name="a", amount=amount)
            self.assertEqual(caught.exception.code, "invalid_arguments")
        self.assertEqual(self.script.asked, [])

    def test_status_and_description(self) -> None:
        self.assertEqual(self.client.status(), {"node": "n1"})
        self.assertEqual(self.client.describe(), DESCRIPTION)

    def test_problem_documents_become_outcomes_with_all_members(self) -> None:
        self.script.answers = [problem(409, "refused", "out_of_stock", left=3, type="about:blank")]
        with self.assertRaises(Refused) as caught:
            self.add()
        self.assertEqual((caught.exception.code, caught.exception.message), ("out_of_stock", "because out_of_stock"))
        self.assertEqual(caught.exception.details, {"left": 3})

    def test_endpoints_that_are_none_are_named(self) -> None:
        for endpoints in ([], ["localhost"], ["ftp://a:1"], ["unix:/tmp/socket"], "localhost:1"):
            with self.assertRaises(ConfigurationError):
                BlockingClient(endpoints)
        BlockingClient(["localhost:1", "http://a:2/", "[::1]:3", "tcp:host=b:port=4"])


class RetryTests(BlockingTestCase):
    def fails(self, call: Callable[[], Any], kind: type[Any]) -> Any:
        with self.assertRaises(kind) as caught:
            call()
        self.assertIs(type(caught.exception), kind)
        return caught.exception

    def test_a_dead_endpoint_is_passed_over_and_the_connection_kept(self) -> None:
        self.script.dead = {1}
        self.get()
        self.get()
        self.assertEqual(self.script.dialled[:2], [1, 2])
        self.assertEqual({port for port, *_ in self.script.asked}, {2})

    def test_a_lost_answer_is_fetched_with_the_same_key(self) -> None:
        self.script.answers = [ConnectionResetError(), http.client.RemoteDisconnected("closed"), TimeoutError()]
        self.assertEqual(self.add(), 42)
        self.assertEqual(self.script.keys(), ["7/1"] * 4)

    def test_unknown_and_passing_troubles_are_tried_again_elsewhere(self) -> None:
        self.script.answers = [
            problem(504, "unknown", "leadership_lost"),
            problem(503, "not_applied", "no_leader"),
            (502, b"<html>a proxy</html>"),
            (500, b'{"message": "not ours"}'),
            (200, b"not json"),
        ]
        self.assertEqual(self.add(), 42)
        self.assertEqual([port for port, _, path, _, _ in self.script.asked if path == "/v1/counter/add"], [1, 2, 3, 1, 2, 3])
        self.assertEqual(set(self.script.keys()), {"7/1"})

    def test_an_expired_session_at_the_first_try_means_a_new_one(self) -> None:
        self.script.answers = [problem(410, "unknown", "session_expired")]
        self.assertEqual(self.add(), 42)
        self.assertEqual(self.script.keys(), ["7/1", "8/1"])

    def test_an_expired_session_after_a_doubtful_try_is_unknown(self) -> None:
        self.script.answers = [ConnectionResetError(), problem(410, "unknown", "session_expired")]
        self.assertEqual(self.fails(self.add, Unknown).code, "session_expired")
        self.assertEqual(self.add(), 42)

    def test_after_an_expired_session_was_told_the_next_command_opens_a_new_one(self) -> None:
        self.script.answers = [ConnectionResetError(), problem(410, "unknown", "session_expired")]
        self.fails(self.add, Unknown)
        self.script.answers = [problem(410, "unknown", "session_expired")]
        self.add()
        self.assertEqual(self.script.keys()[-1], "8/1")

    def test_at_the_deadline_a_doubtful_command_is_unknown(self) -> None:
        self.script.answers = [ConnectionResetError(), *[problem(503, "not_applied", "no_leader")] * 100]
        self.assertEqual(self.fails(self.add, Unknown).code, "timeout")
        self.assertAlmostEqual(self.script.now, 10.0)

    def test_at_the_deadline_a_command_always_turned_away_was_not_applied(self) -> None:
        self.script.answers = [problem(503, "not_applied", "no_leader")] * 100
        self.assertEqual(self.fails(self.add, NotApplied).code, "no_leader")

    def test_at_the_deadline_a_command_that_never_left_was_not_applied(self) -> None:
        self.script.dead = {1, 2, 3}
        self.assertEqual(self.fails(self.add, NotApplied).code, "unreachable")

    def test_at_the_deadline_a_query_was_not_applied(self) -> None:
        self.script.answers = [ConnectionResetError()] * 100
        self.fails(self.get, NotApplied)

    def test_a_slow_server_does_not_use_up_the_time_of_the_others(self) -> None:
        self.script.takes_s = 3.4
        self.script.answers = [TimeoutError()]
        self.assertEqual(self.get(), 42)

    def test_without_a_session_an_unknown_outcome_is_told(self) -> None:
        for trouble in (ConnectionResetError(), problem(504, "unknown", "timeout"), (502, b"")):
            self.script.answers = [trouble]
            self.fails(lambda: self.add(exactly_once=False), Unknown)
        self.assertEqual(self.script.keys(), [None] * 3)

    def test_without_a_session_what_was_not_applied_is_tried_again(self) -> None:
        self.script.answers = [problem(503, "not_applied", "no_leader")]
        self.assertEqual(self.add(exactly_once=False), 42)

    def test_no_more_sessions_means_not_applied(self) -> None:
        self.script.session_answers = [problem(409, "refused", "too_many_sessions")]
        self.assertEqual(self.fails(self.add, NotApplied).code, "too_many_sessions")

    def test_a_session_is_opened_again_when_the_opening_was_lost(self) -> None:
        self.script.session_answers = [ConnectionResetError()]
        self.assertEqual(self.add(), 42)

    def test_answers_without_what_was_asked_for_are_told(self) -> None:
        self.script.answers = [(200, b"[]")]
        self.fails(self.add, Unknown)
        self.script.session_answers = [(201, b"{}")]
        self.client = self.make_client("a:1")
        self.fails(self.add, NotApplied)

    def test_an_endless_answer_is_not_read_to_its_end(self) -> None:
        self.script.answers = [(200, b" " * (RESPONSE_BYTES_MAX + 1))]
        self.assertEqual(self.fails(lambda: self.add(exactly_once=False), Unknown).code, "unexpected_answer")


class WaitTests(BlockingTestCase):
    def bodies(self) -> list[Any]:
        return [body for _, _, path, _, body in self.script.asked if path == "/v1/counter/add"]

    def test_a_command_that_may_wait_has_so_much_longer(self) -> None:
        self.script.takes_s = 3.4
        self.script.answers = [TimeoutError()] * 3
        self.assertEqual(self.add(wait_s=20), 42)
        self.assertEqual({port for port, *_ in self.script.asked}, {1, 2, 3})

    def test_a_server_is_given_the_wait_and_its_share_of_the_time(self) -> None:
        self.add()
        self.add(wait_s=20)
        self.assertEqual(self.script.timeouts_s[-2:], [10 / 3, 20 + 10 / 3])

    def test_a_wait_that_is_too_long_is_sent_for_the_machine_to_say_so(self) -> None:
        self.add(wait_s=61)
        self.assertEqual(self.bodies()[0]["wait_s"], 61)

    def test_sent_again_it_waits_for_what_is_left(self) -> None:
        self.script.takes_s = 12.0
        self.script.answers = [problem(503, "not_applied", "leadership_lost")]
        self.add(wait_s=20)
        waits = [body["wait_s"] for body in self.bodies()]
        self.assertEqual(waits[0], 8)  # Opening the session has taken some of it.
        self.assertEqual(waits[1:], [0.0])

    def test_at_the_end_of_both_it_is_over(self) -> None:
        self.script.answers = [problem(503, "not_applied", "no_leader")] * 200
        with self.assertRaises(NotApplied) as caught:
            self.add(wait_s=20)
        self.assertIn("within 30 s", caught.exception.message)

    def test_by_position_it_counts_too(self) -> None:
        self.script.answers = [problem(503, "not_applied", "no_leader")] * 200
        with self.assertRaises(NotApplied) as caught:
            self.client.command("counter", "add", "a", 2, 20)
        self.assertIn("within 30 s", caught.exception.message)


class ConsistencyTests(BlockingTestCase):
    def asked(self, **options: Any) -> str:
        self.get(**options)
        return self.script.asked[-1][2].removeprefix("/v1/counter/get?consistency=")

    def test_what_is_asked_for(self) -> None:
        self.assertEqual(self.asked(), "linearizable")
        self.assertEqual(self.asked(consistency="local"), "local")
        self.assertEqual(self.asked(consistency="local", at_least=7, max_staleness_s=0.5), "local&at_least=7&max_staleness=0.5")

    def test_the_greatest_index_of_all_answers_is_seen_again(self) -> None:
        self.assertEqual(self.asked(consistency="at_least"), "local")
        for index in (5, 9, 7):
            self.script.answers = [(200, json.dumps({"result": 1, "index": index, "term": 1}).encode())]
            self.get()
        self.assertEqual(self.client.index, 9)
        self.assertEqual(self.asked(consistency="at_least"), "local&at_least=9")
        self.assertEqual(self.asked(consistency="at_least", at_least=3), "local&at_least=3")

    def test_a_node_that_is_too_stale_is_left_for_another(self) -> None:
        self.script.answers = [problem(503, "not_applied", "stale")]
        self.get(consistency="local", max_staleness_s=1)
        self.assertEqual([port for port, *_ in self.script.asked], [1, 2])

    def test_what_does_not_go_together(self) -> None:
        for options in (
            {"consistency": "lease"},
            {"at_least": 5},
            {"max_staleness_s": 1.0},
            {"consistency": "local", "at_least": -1},
            {"consistency": "local", "at_least": "5"},
            {"consistency": "local", "max_staleness_s": 0},
            {"consistency": "at_least", "max_staleness_s": float("nan")},
        ):
            with self.assertRaises(NotApplied) as caught:
                self.get(**options)
            self.assertEqual(caught.exception.code, "invalid_arguments")
        self.assertEqual(self.script.asked, [])


class BytesTests(BlockingTestCase):
    def test_bytes_at_any_depth_are_base64(self) -> None:
        self.client.query("counter", "get", name=b"\xff", more=[{"key": bytearray(b"a")}, (memoryview(b"b"),)])
        self.assertEqual(self.script.asked[-1][4], {"name": "/w==", "more": [{"key": "YQ=="}, ["Yg=="]]})

    def test_they_may_be_text(self) -> None:
        options: dict[str, Any] = {"monotonic": lambda: self.script.now, "sleep": self.script.sleep, "connect": self.script.connect}
        with BlockingClient(["a:1"], text_bytes=True, **options).another() as client:
            client.query("counter", "get", name=b"\xff", more=[b"a"])
            client.command("counter", "add", name=b"a", amount=1, wait_s=1)
        asked = [(path, body) for _, _, path, _, body in self.script.asked if path.startswith("/v1/counter")]
        self.assertEqual(
            asked,
            [
                ("/v1/counter/get?consistency=linearizable&bytes=text", {"name": {"base64": "/w=="}, "more": ["a"]}),
                ("/v1/counter/add?bytes=text", {"name": "a", "amount": 1, "wait_s": 1}),
            ],
        )


class CloseTests(BlockingTestCase):
    def test_closing_closes_the_session_once(self) -> None:
        with self.client:
            self.add()
        self.client.close()
        self.assertEqual([path for _, method, path, _, _ in self.script.asked if method == "DELETE"], ["/v1/sessions/7"])

    def test_closing_puts_up_with_a_dead_server(self) -> None:
        self.add()
        self.script.session_answers = [ConnectionResetError()]
        self.client.close()

    def test_afterwards_nothing_is_taken(self) -> None:
        self.client.close()
        for call in (self.add, self.get, self.client.status):
            with self.assertRaises(NotApplied) as caught:
                call()
            self.assertEqual(caught.exception.code, "client_closed")


class _Piped(http.client.HTTPConnection):
    """A real connection, by a socket whose descriptor is beyond what `select` takes, to a server that answers at once."""

    def __init__(self, sock: socket.socket, server: socket.socket) -> None:
        super().__init__("piped")
        self.sock = sock
        self.server = server

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        super().request(method, url, body, headers or {}, **options)
        self.server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42")


class ManyDescriptorsTests(SynchronousTestCase):
    def connect(self, *_: Any) -> http.client.HTTPConnection:
        ours, server = socket.socketpair()
        with ours:
            high = socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1024))
        self.addCleanup(high.close)
        self.addCleanup(server.close)
        self.connections.append(_Piped(high, server))
        return self.connections[-1]

    def test_with_a_thousand_files_open_an_idle_connection_is_kept_until_its_end(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 1100:
            raise SkipTest(f"this process may have {hard} files open")
        if soft != resource.RLIM_INFINITY and soft < 1100:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1100, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.connections: list[_Piped] = []
        api = JsonApi(["a:1"], self.connect)
        self.addCleanup(api.close)
        for _ in range(2):
            self.assertEqual(api.exchange("GET", "/", None, {}, 1.0), 42)
        self.assertEqual(len(self.connections), 1)
        self.assertGreaterEqual(self.connections[0].sock.fileno(), 1024)
        self.connections[0].server.close()
        self.assertEqual(api.exchange("GET", "/", None, {}, 1.0), 42)
        self.assertEqual(len(self.connections), 2)


class ImportTests(SynchronousTestCase):
    def test_it_imports_nothing_but_the_standard_library(self) -> None:
        program = (
            "import sys; before = set(sys.modules); from txraft.client import BlockingClient; BlockingClient(['localhost:1']);"
            "new = {name.split('.')[0] for name in set(sys.modules) - before};"
            "print(sorted(new - set(sys.stdlib_module_names)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "['txraft']")

    def test_both_clients_are_found_where_they_are_promised(self) -> None:
        from txraft import client
        from txraft.client.client import Client

        self.assertIs(client.BlockingClient, BlockingClient)
        self.assertIs(client.Client, Client)
        with self.assertRaises(AttributeError):
            client.nothing  # noqa: B018
