"""Watches, one page at a time: `GET /v1/MACHINE/watch` as a long poll."""

from __future__ import annotations

from typing import Any

from tests.http.exchange import TIMING, Exchange, HttpTestCase, Response, raw_request
from txraft.errors import NotApplied
from txraft.wire.requests import PollRequest


class WatchCase(HttpTestCase):
    def happen(self, topic: str = "t", count: int = 1, content: str = "") -> int:
        """Events of one command; their index."""
        body = f'{{"topic": "{topic}", "count": {count}, "content": "{content}"}}'
        index = Exchange(self.site).ask("POST", "/v1/shelf/happen?bytes=text", body.encode()).json["result"]
        assert isinstance(index, int)
        return index

    def watch(self, query: str = "") -> Response:
        return self.get(f"/v1/shelf/watch?{query}")

    def polled(self) -> PollRequest:
        """The last poll the node was asked."""
        request = self.gate.requests[-1]
        assert isinstance(request, PollRequest)
        return request


def _event(index: int, topic: str, number: int = 0, content: str = "") -> dict[str, Any]:
    return {"index": index, "topic": topic, "fields": {"number": number, "content": content}}


class PollTests(WatchCase):
    def test_events_come_with_the_place_to_go_on_from(self) -> None:
        index = self.happen("a", 2)
        response = self.watch(f"index={index}")
        self.assertEqual(response.status, 200)
        self.assertEqual(
            response.json,
            {"events": [_event(index, "a", 0), _event(index, "a", 1)], "next": index + 1, "skip": 0, "index": index, "term": 3},
        )
        self.assertEqual(self.watch(f"index={index}.1").json["events"], [_event(index, "a", 1)])

    def test_without_index_the_place_of_the_next_event_is_told_at_once(self) -> None:
        index = self.happen()
        for query in ("", "index=0"):
            self.assertEqual((self.watch(query).json["events"], self.watch(query).json["next"]), ([], index + 1))
            self.assertEqual((self.polled().first, self.polled().wait_ms), (0, 0))

    def test_one_that_has_not_come_is_waited_for(self) -> None:
        index = self.happen()
        self.exchange.send(raw_request("GET", f"/v1/shelf/watch?index={index + 1}"))
        self.assertEqual(self.exchange.responses(), [])
        self.happen("a")
        (response,) = self.exchange.responses()
        self.assertEqual(response.json["events"], [_event(index + 1, "a")])

    def test_how_long_is_bounded_and_said_to_the_node(self) -> None:
        index = self.happen()
        for query, wait_ms in (("wait=0", 0), ("wait=0.5", 500), ("wait=60", 60_000), ("", 30_000)):
            self.watch(f"index={index}&{query}")
            self.assertEqual((self.polled().wait_ms, self.gate.timeouts_s[-1]), (wait_ms, wait_ms / 1000 + TIMING.request_s))
        self.watch(f"index={index}&wait=3&timeout=2")
        self.assertEqual(self.gate.timeouts_s[-1], 5)
        for text in ("-1", "60.1", "nan", "x", "", "1&wait=1"):
            self.assert_problem(self.watch(f"wait={text}"), 400, "bad_request", "not_applied", "wait")

    def test_topic_and_prefix(self) -> None:
        index = self.happen("ab")
        self.happen("a"), self.happen("äb")
        for query, topics in (
            ("topic=a", ["a"]),
            ("prefix=a", ["ab", "a"]),
            ("prefix=", ["ab", "a", "äb"]),
            ("", ["ab", "a", "äb"]),
            ("topic=%C3%A4b", ["äb"]),
            ("topic64=w6Ri", ["äb"]),
            ("topic64=YQ==", ["a"]),
            ("prefix64=YQ", ["ab", "a"]),
            ("topic=&wait=0", []),
        ):
            events = self.watch(f"index={index}&{query}").json["events"]
            self.assertEqual([event["topic"] for event in events], topics, query)

    def test_any_bytes_can_be_a_topic(self) -> None:
        for text in ("%2B%2F8%3D", "-_8", "+/8="):
            self.watch(f"topic64={text}")
            self.assertEqual(self.polled().topic, b"\xfb\xff")
        for text in ("%ff", "a", "####", "YQ===YQ"):
            self.assertEqual(self.watch(f"topic64={text}").status, 400, text)

    def test_one_way_of_saying_what_is_watched(self) -> None:
        for query in ("topic=a&prefix=a", "topic=a&topic64=YQ==", "prefix=a&prefix64=YQ==", "topic=a&topic=b", "other=1", "skip=3"):
            self.assert_problem(self.watch(query), 400, "bad_request", "not_applied")
        self.assertEqual(self.gate.requests, [])

    def test_places_that_are_none(self) -> None:
        for text in ("", "x", "-1", "1.", ".1", "1.x", "1.2.3", "0.1", str(2**63), f"1.{2**63}", "9" * 40, "1&index=2"):
            self.assert_problem(self.watch(f"index={text}"), 400, "bad_request", "not_applied", "index")

    def test_bytes_in_events(self) -> None:
        index = self.happen("a", content="hällo")
        self.assertEqual(self.watch(f"index={index}").json["events"][0]["fields"]["content"], "aMOkbGxv")
        self.assertEqual(self.watch(f"index={index}&bytes=text").json["events"][0]["fields"]["content"], "hällo")

    def test_events_that_are_gone(self) -> None:
        self.gate.problem = NotApplied("compacted", "the events of shelf before index 7 are no longer kept", oldest=7)
        response = self.watch("index=3")
        self.assert_problem(response, 410, "compacted", "not_applied", "before index 7")
        self.assertEqual(response.json["oldest"], 7)

    def test_other_problems(self) -> None:
        self.assert_problem(self.get("/v1/nothing/watch"), 404, "unknown_machine", "not_applied")
        self.gate.problem = NotApplied("too_many_waits", "this node has 100000 already")
        response = self.watch("index=3")
        self.assert_problem(response, 503, "too_many_waits", "not_applied")
        self.assertEqual(response.header("Retry-After"), "1")

    def test_only_get(self) -> None:
        for method in ("POST", "PUT", "DELETE"):
            response = self.exchange.ask(method, "/v1/shelf/watch")
            self.assertEqual((response.status, response.header("Allow")), (405, "GET, HEAD"))
        response = self.exchange.ask("HEAD", "/v1/shelf/watch")
        self.assertEqual((response.status, response.body), (200, b""))

    def test_a_client_that_goes_is_not_waited_for(self) -> None:
        self.exchange.send(raw_request("GET", "/v1/shelf/watch?index=100"))
        self.assertEqual(len(self.gate.polls), 1)
        self.exchange.hang_up()
        self.assertEqual(self.gate.polls, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_wait_over_the_answer_is_empty(self) -> None:
        index = self.happen()
        self.exchange.send(raw_request("GET", f"/v1/shelf/watch?index={index + 1}&wait=60"))
        self.clock.pump([60.0] * 6)
        self.gate.end_waits()
        (response,) = self.exchange.responses()
        self.assertEqual((response.json["events"], response.json["next"], response.json["skip"]), ([], index + 1, 0))
