from __future__ import annotations

import base64
import http.client
import json
import random
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_history import FakeHistory
from txraft.client import BlockingClient
from txraft.client.blocking_http import JsonApi
from txraft.client.blocking_watch import POLL_WAIT_S, BlockingWatch
from txraft.client.events import Event
from txraft.errors import NotApplied, Outcome
from txraft.wire.requests import PollRequest


class HttpHistory:
    """The events of a machine behind HTTP. A poll that would wait lets time pass and something happen.

    Attributes:
        asked: port and query string of each poll.
        happenings: called one by one by polls that wait.
        troubles: raised, or answered, instead of the next answers.
    """

    def __init__(self) -> None:
        self.history = FakeHistory()
        self.asked: list[tuple[int, dict[str, list[str]]]] = []
        self.happenings: list[Callable[[], Any]] = []
        self.troubles: list[Exception | tuple[int, bytes]] = []
        self.opened = 0
        self.now = 0.0
        self.dead: set[int] = set()

    def connect(self, scheme: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
        if port in self.dead:
            raise ConnectionRefusedError("connection refused")
        self.opened += 1
        return _Connection(self, port)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answer(self, port: int, url: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        asked = parse_qs(parts.query, keep_blank_values=True)
        self.asked.append((port, asked))
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        first, _, skip = asked.get("index", ["0.0"])[0].partition(".")
        name = "topic64" if "topic64" in asked else "prefix64"
        text = asked.get(name, [""])[0]
        wanted = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        request = PollRequest(0, "counter", wanted, name == "prefix64", int(first), int(skip or 0))
        page = self.history.page(request)
        if float(asked["wait"][0]) and isinstance(page, dict) and not page["events"] and request.first > self.history.newest:
            self.now += float(asked["wait"][0])
            if self.happenings:
                self.happenings.pop(0)()
            page = self.history.page(request)
        if isinstance(page, NotApplied):
            return problem(page)
        members = {**page, "index": self.history.newest, "term": 1}
        return 200, json.dumps(members, default=lambda value: base64.b64encode(value).decode()).encode()


def problem(outcome: Outcome) -> tuple[int, bytes]:
    members = {"outcome": outcome.outcome, "code": outcome.code, "detail": outcome.message, **outcome.details}
    return 503, json.dumps(members).encode()


class _Connection(http.client.HTTPConnection):
    def __init__(self, behind: HttpHistory, port: int) -> None:
        super().__init__("fake", port)
        self._behind = behind
        self._answer: tuple[int, bytes] = (0, b"")
        self.status = 0

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **_: Any) -> None:
        assert method == "GET" and url.startswith("/v1/counter/watch?"), url
        self.status, self._content = self._behind.answer(self.port, url)

    def getresponse(self) -> Any:
        return self

    def read(self, bytes_max: int) -> bytes:
        return self._content[:bytes_max]


class BlockingWatchTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = HttpHistory()
        self.emit = self.server.history.emit
        self.client = BlockingClient(
            ["a:1", "b:2"],
            6.0,
            monotonic=lambda: self.server.now,
            sleep=self.server.sleep,
            rng=random.Random(1),
            connect=self.server.connect,
        )

    def watch(self, *args: Any, **options: Any) -> BlockingWatch:
        return self.client.watch("counter", *args, **options)

    def fails(self, call: Callable[[], Any], code: str) -> Outcome:
        with self.assertRaises(Outcome) as caught:
            call()
        problem: Outcome = caught.exception
        self.assertEqual(problem.code, code)
        return problem

    def take(self, watch: BlockingWatch, count: int) -> list[Event]:
        return [next(watch) for _ in range(count)]


class TellingTests(BlockingWatchTestCase):
    def test_events_after_the_call_are_told_in_order(self) -> None:
        self.emit("before")
        watch = self.watch()
        self.emit("a", "b")
        self.server.happenings = [lambda: None, lambda: self.emit("c")]
        told = self.take(watch, 3)
        self.assertEqual(told, [Event(2, "a", {"n": 0}, (0, 0)), Event(2, "b", {"n": 1}, (0, 0)), Event(3, "c", {"n": 0}, (0, 0))])
        self.assertEqual([event.place for event in told], [(2, 1), (3, 0), (4, 0)])
        self.assertEqual((watch.place, self.client.index), ((4, 0), 3))

    def test_it_leaves_the_connection_of_calls_alone(self) -> None:
        watch = self.watch()
        self.emit("a")
        self.take(watch, 1)
        self.assertIsNone(self.client._api._connection)

    def test_what_is_asked(self) -> None:
        watch = self.watch("jobs/ä")
        self.watch(prefix=b"\xff", from_index=(1, 3))
        self.emit("jobs/ä")
        self.take(watch, 1)
        asked = [query for _, query in self.server.asked]
        self.assertEqual(asked[0], {"topic64": ["am9icy_DpA"], "wait": ["0"]})
        self.assertEqual(asked[1], {"prefix64": ["_w"], "index": ["1.0"], "wait": ["0"]})
        self.assertEqual(asked[2], {"topic64": ["am9icy_DpA"], "index": ["1.0"], "wait": [f"{POLL_WAIT_S:g}"]})

    def test_from_the_place_of_every_event_the_rest_is_told(self) -> None:
        rng = random.Random(3)
        for _ in range(12):
            self.emit(*rng.choices(["a", "ab", "b"], k=rng.randrange(9)))
        count = len(self.server.history.of(b"a"))
        everything = self.take(self.watch(prefix="a", from_index=1), count)
        self.assertEqual([(event.index, event.topic, event.fields["n"]) for event in everything], self.server.history.of(b"a"))
        for number, event in enumerate(everything):
            rest = self.take(self.watch(prefix="a", from_index=event.place), count - number - 1)
            self.assertEqual(rest, everything[number + 1 :])

    def test_topics_that_are_bytes_are_told_from_texts_by_what_was_asked(self) -> None:
        self.emit("key", b"key", b"key\xff", "YQ==")
        for prefix in ("k", b"k"):
            self.assertEqual([event.topic for event in self.take(self.watch(prefix=prefix, from_index=1), 3)], ["key", b"key", b"key\xff"])
        self.assertEqual(next(self.watch("YQ==", from_index=1)).topic, "YQ==")
        self.assertEqual([event.topic for event in self.take(self.watch(from_index=1), 2)], ["key", "a2V5"])


class TextBytesTests(BlockingWatchTestCase):
    def test_topics_are_text_and_bytes_where_they_are_not_utf_8(self) -> None:
        client = BlockingClient(["a:1"], text_bytes=True, connect=self.server.connect)
        page = {"events": [{"index": 1, "topic": topic, "fields": {}} for topic in ("a", {"base64": "/w=="})], "next": 2, "skip": 0}
        self.server.troubles = [(200, json.dumps(page).encode())]
        watch = client.watch("counter", from_index=1)
        self.assertEqual([event.topic for event in self.take(watch, 2)], ["a", b"\xff"])
        self.assertEqual(self.server.asked[0][1]["bytes"], ["text"])
        for topic in ({"base64": "?"}, {"base64": 5}, 5, None):
            page["events"] = [{"index": 1, "topic": topic, "fields": {}}]
            self.server.troubles = [(200, json.dumps(page).encode())]
            self.fails(lambda: client.watch("counter", from_index=1), "unexpected_answer")


class TroubleTests(BlockingWatchTestCase):
    def test_it_goes_on_elsewhere_without_gap_or_duplicate(self) -> None:
        watch = self.watch()
        for number in range(20):
            self.emit("a", "b")
            troubles: list[list[Exception | tuple[int, bytes]]] = [
                [],
                [ConnectionResetError()],
                [problem(NotApplied("not_ready")), TimeoutError()],
                [(502, b"a proxy"), problem(NotApplied("too_many_waits"))],
                [http.client.RemoteDisconnected("closed")] * 50,
            ]
            self.server.troubles = troubles[number % 5]
            if number % 2:
                self.take(watch, 3)
        told = self.take(watch, 10)
        self.assertEqual([(event.index, event.fields["n"]) for event in told], [(index, n) for index in range(16, 21) for n in (0, 1)])
        self.assertEqual({port for port, _ in self.server.asked}, {1, 2})

    def test_a_server_that_does_not_wait_is_not_asked_all_the_time(self) -> None:
        watch = self.watch()
        self.server.troubles = [(200, json.dumps({"events": [], "next": 1, "skip": 0}).encode())] * 60
        self.server.happenings = [lambda: self.emit("a")]
        next(watch)
        self.assertGreater(self.server.now, 20)

    def test_the_call_itself_has_its_time_like_any_other(self) -> None:
        self.server.dead = {1, 2}
        self.fails(self.watch, "unreachable")
        self.assertLess(self.server.now, 10)

    def test_what_no_later_try_could_cure_is_told_again_and_again(self) -> None:
        watch = self.watch(from_index=1)
        for _ in range(10):
            self.emit("a")
        self.server.history.compact(8)
        for _ in range(2):
            self.assertEqual(self.fails(lambda: next(watch), "compacted").details, {"oldest": 8})
        self.server.troubles = [problem(NotApplied("unknown_machine"))]
        self.fails(self.watch, "unknown_machine")
        self.server.troubles = [(200, b"{}")]
        self.fails(self.watch, "unexpected_answer")

    def test_wrong_arguments(self) -> None:
        for args, options in (
            (("a",), {"prefix": "b"}),
            ((5,), {}),
            (("\ud800",), {}),
            ((b"x" * 65_537,), {}),
            ((), {"from_index": 0}),
        ):
            self.fails(lambda args=args, options=options: self.watch(*args, **options), "invalid_arguments")  # type: ignore[misc]
        self.assertEqual(self.server.asked, [])


class EndTests(BlockingWatchTestCase):
    def test_stopped(self) -> None:
        with self.watch() as watch:
            self.emit("a")
            self.assertEqual(next(watch).topic, "a")
        self.assertEqual(list(watch), [])

    def test_stopped_while_it_waits(self) -> None:
        watch = self.watch()
        self.server.happenings = [watch.stop]
        self.assertEqual(list(watch), [])

    def test_closing_the_client_ends_it(self) -> None:
        watch = self.watch()
        self.server.happenings = [self.client.close]
        self.fails(lambda: next(watch), "client_closed")
        self.fails(self.watch, "client_closed")

    def test_another_client_has_the_same_servers(self) -> None:
        other = self.client.another()
        self.client.close()
        self.emit("a")
        self.assertEqual(next(other.watch("counter", from_index=1)).topic, "a")


class InterruptionTests(SynchronousTestCase):
    def test_an_exchange_in_another_thread_ends_at_once_and_for_good(self) -> None:
        ours, server = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(server.close)

        def connect(*_: Any) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("piped", timeout=30)
            connection.sock = ours
            return connection

        api = JsonApi(["a:1"], connect)
        self.addCleanup(api.close)
        ended: list[str] = []

        def wait() -> None:
            try:
                api.exchange("GET", "/", None, {}, 30.0)
            except Outcome as outcome:
                ended.append(outcome.code)

        thread = threading.Thread(target=wait)
        thread.start()
        server.recv(10)  # The request is there: the thread waits for the answer.
        api.interrupt()
        thread.join(20)
        self.assertEqual(ended, ["connection_lost"])
        with self.assertRaises(NotApplied):
            api.exchange("GET", "/", None, {}, 30.0)
