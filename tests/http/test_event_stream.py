"""Watches as server-sent events: what is written, when the next page is asked for, and how a stream ends."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from attrs import frozen

from tests.http.exchange import TIMING, Exchange, raw_request
from tests.http.test_watching import WatchCase
from txraft.errors import NotApplied
from txraft.http import event_stream
from txraft.statemachine import events
from txraft.statemachine.results import Answer, answer_of_problem, answer_of_value, decode_answer
from txraft.wire.requests import PollRequest

SSE = {"Accept": "text/event-stream"}


@frozen
class Sent:
    """One event as a browser reads it; `value` None for an id alone."""

    id: str | None
    value: Any
    event: str = "message"


class StreamCase(WatchCase):
    head = b""
    ended = False

    def open(self, query: str = "", **headers: str) -> None:
        self.exchange.send(raw_request("GET", f"/v1/shelf/watch?{query}", headers={**SSE, **headers}))
        self.clock.advance(0)

    def text(self) -> str:
        """What was written since, without chunks and headers."""
        rest = self.exchange.transport.value()
        self.exchange.transport.clear()
        if not self.head:
            self.head, _, rest = rest.partition(b"\r\n\r\n")
        text = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            part, end, rest = rest[: int(size, 16)], rest[int(size, 16) :][:2], rest[int(size, 16) + 2 :]
            self.assertEqual(end, b"\r\n")
            self.assertFalse(self.ended)
            self.ended = not part
            text += part
        return text.decode()

    def sent(self) -> list[Sent]:
        found = []
        for block in self.text().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                value = json.loads(fields["data"]) if "data" in fields else None
                found.append(Sent(fields.get("id"), value, fields.get("event", "message")))
        return found

    def numbers(self) -> list[tuple[str | None, int, int]]:
        return [(one.id, one.value["index"], one.value["fields"]["number"]) for one in self.sent() if one.value]


class StreamTests(StreamCase):
    def test_events_as_they_come(self) -> None:
        index = self.happen()
        self.open()
        self.assertEqual(self.sent(), [Sent(f"{index + 1}.0", None)], "the place is told, so that nothing is missed when this is cut")
        self.happen("a")
        self.assertEqual(self.sent(), [Sent(f"{index + 2}.0", {"index": index + 1, "topic": "a", "fields": {"number": 0, "content": ""}})])
        self.clock.advance(0)
        self.happen("b")
        self.assertEqual([one.value["topic"] for one in self.sent()], ["b"])
        self.assertFalse(self.ended)

    def test_headers(self) -> None:
        self.open()
        self.text()
        for line in (b"200 OK", b"Content-Type: text/event-stream", b"Cache-Control: no-store", b"Transfer-Encoding: chunked"):
            self.assertIn(line, self.head)
        self.assertNotIn(b"Content-Length", self.head)

    def test_from_a_place_on(self) -> None:
        index = self.happen(count=3)
        self.happen()
        self.open(f"index={index}.1")
        self.assertEqual(self.numbers(), [(None, index, 1), (f"{index + 1}.0", index, 2), (f"{index + 2}.0", index + 1, 0)])

    def test_the_last_event_id_wins(self) -> None:
        index = self.happen(count=3)
        self.open("index=1", **{"Last-Event-ID": f"{index}.2"})
        self.assertEqual(self.numbers(), [(f"{index + 1}.0", index, 2)])

    def test_any_id_that_was_sent_goes_on_without_loss(self) -> None:
        index = self.happen("a", 2)
        self.happen("b"), self.happen("a")
        self.open(f"index={index}&topic=a")
        sent = self.sent()
        everything = [(one.value["index"], one.value["fields"]["number"]) for one in sent]
        for at, one in enumerate(sent):
            if one.id is not None:
                self.exchange, self.head = Exchange(self.site), b""
                self.open("topic=a", **{"Last-Event-ID": one.id})
                self.assertEqual(
                    [(later.value["index"], later.value["fields"]["number"]) for later in self.sent() if later.value], everything[at + 1 :]
                )

    def test_a_flag_for_those_who_cannot_set_a_header(self) -> None:
        index = self.happen()
        self.exchange.send(raw_request("GET", f"/v1/shelf/watch?index={index}&stream=true"))
        self.assertEqual(self.numbers(), [(f"{index + 1}.0", index, 0)])

    def test_bytes_as_text(self) -> None:
        index = self.happen(content="hällo")
        self.open(f"index={index}&bytes=text")
        self.assertEqual(self.sent()[0].value["fields"]["content"], "hällo")

    def test_silence_is_broken(self) -> None:
        self.open()
        self.text()
        request = self.gate.requests[-1]
        assert isinstance(request, PollRequest)
        self.assertEqual((request.wait_ms, self.gate.timeouts_s[-1]), (15_000, 15 + TIMING.request_s))
        for _ in range(3):
            self.gate.end_waits()
            self.assertEqual(self.text(), ": ping\n\n")
            self.clock.advance(0)
        self.happen()
        self.assertEqual(len(self.sent()), 1)

    def test_a_place_that_moved_on_without_an_event_is_told(self) -> None:
        self.gate.held = []
        self.exchange.send(raw_request("GET", "/v1/shelf/watch?index=5&topic=a", headers=SSE))
        self.gate.held.pop().callback(_page([], 4_000, 3))
        self.assertEqual(self.sent(), [Sent("4000.3", None)])
        self.clock.advance(0)
        request = self.gate.requests[-1]
        assert isinstance(request, PollRequest)
        self.assertEqual((request.first, request.skip, request.topic), (4_000, 3, b"a"))

    def test_head_has_no_body_and_no_end(self) -> None:
        response = self.exchange.ask("HEAD", "/v1/shelf/watch?stream=true")
        self.assertEqual((response.status, response.header("Content-Type"), response.body), (200, "text/event-stream", b""))
        self.assertEqual(self.gate.polls, {})
        self.assertEqual(self.get("/livez").status, 200)

    def test_a_stream_is_not_idle(self) -> None:
        self.open()
        self.clock.pump([100.0] * 10)
        self.assertFalse(self.exchange.transport.disconnecting)


class EndTests(StreamCase):
    def test_problems_before_it_begins_have_their_status(self) -> None:
        for problem, status in ((NotApplied("too_many_waits"), 503), (NotApplied("unknown_machine"), 404), (NotApplied("no_leader"), 503)):
            self.gate.problem = problem
            response = self.exchange.ask("GET", "/v1/shelf/watch", headers=SSE)
            self.assert_problem(response, status, problem.code, "not_applied")
        self.assertEqual(self.exchange.ask("GET", "/v1/shelf/watch?index=x", headers=SSE).status, 400)
        self.assertEqual(self.exchange.ask("GET", "/v1/shelf/watch", headers={**SSE, "Last-Event-ID": "x"}).status, 400)

    def test_events_that_are_gone_end_it_with_a_word(self) -> None:
        self.gate.problem = NotApplied("compacted", "gone", oldest=7)
        self.open("index=1")
        self.assertEqual(self.sent(), [Sent(None, {"oldest": 7}, "compacted")])
        self.assertTrue(self.ended)
        self.gate.problem = None
        self.assertEqual(self.get("/livez").status, 200, "the connection is as good as before")

    def test_so_do_those_that_go_while_it_runs(self) -> None:
        self.gate.held = []
        self.exchange.send(raw_request("GET", "/v1/shelf/watch?index=5", headers=SSE))
        self.gate.held.pop().callback(_page([], 5, 0))
        self.clock.advance(0)
        self.gate.held.pop().callback(_problem(NotApplied("compacted", "gone", oldest=9)))
        self.assertEqual(self.sent(), [Sent("5.0", None), Sent(None, {"oldest": 9}, "compacted")])
        self.assertTrue(self.ended)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_node_that_stops_ends_it(self) -> None:
        self.gate.held = []
        self.exchange.send(raw_request("GET", "/v1/shelf/watch?index=5", headers=SSE))
        self.gate.held.pop().callback(_page([], 5, 0))
        self.clock.advance(0)
        self.text()
        self.gate.held.pop().callback(_problem(NotApplied("shutting_down", "node n1 is stopping")))
        self.assertEqual((self.text(), self.ended), ("", True))

    def test_a_failure_of_ours_ends_it_and_is_logged(self) -> None:
        self.gate.held = []
        self.exchange.send(raw_request("GET", "/v1/shelf/watch?index=5", headers=SSE))
        self.gate.held.pop().callback(_page([], 5, 0))
        self.clock.advance(0)
        self.gate.held.pop().callback(decode_answer(answer_of_value({"events": 5}, 1, 1)))
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.text()
        self.assertTrue(self.ended)

    def test_a_client_that_goes_leaves_nothing(self) -> None:
        self.open()
        self.assertEqual(len(self.gate.polls), 1)
        self.exchange.hang_up()
        self.assertEqual(self.gate.polls, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.exchange = Exchange(self.site)
        self.gate.held = []
        self.exchange.send(raw_request("GET", "/v1/shelf/watch", headers=SSE))
        self.exchange.hang_up()
        self.assertTrue(self.gate.held[0].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BackpressureTests(StreamCase):
    """The transport says when it is full, as a TCP connection does."""

    def test_no_page_is_asked_for_before_the_last_is_taken(self) -> None:
        self.open()
        self.happen()
        self.exchange.protocol.pauseProducing()
        asked = len(self.gate.requests)
        self.clock.advance(TIMING.frame_s - 1)
        self.happen()
        self.assertEqual(len(self.gate.requests), asked + 1, "of the command; nothing of the stream")
        self.text()
        self.exchange.protocol.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(len(self.numbers()), 1)

    def test_a_client_that_reads_nothing_is_cut_off(self) -> None:
        self.open()
        self.exchange.protocol.pauseProducing()
        self.clock.advance(TIMING.frame_s - 0.1)
        self.assertFalse(self.exchange.transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.exchange.transport.aborted)
        self.exchange.hang_up()
        self.assertEqual((self.gate.polls, self.clock.getDelayedCalls()), ({}, []))

    def test_one_that_reads_slowly_is_not(self) -> None:
        self.open()
        for _ in range(5):
            self.exchange.protocol.pauseProducing()
            self.clock.advance(TIMING.frame_s - 1)
            self.exchange.protocol.resumeProducing()
            self.clock.advance(0)
        self.assertFalse(self.exchange.transport.aborted)

    def test_a_connection_that_is_full_before_it_begins(self) -> None:
        self.exchange.protocol.pauseProducing()
        self.exchange.send(raw_request("GET", "/v1/shelf/watch", headers=SSE))
        self.clock.advance(0)
        self.assertEqual(len(self.gate.requests), 1)
        self.clock.advance(TIMING.frame_s)
        self.assertTrue(self.exchange.transport.aborted)

    def test_what_all_clients_together_have_not_read_is_bounded(self) -> None:
        slow = []
        with patch.object(event_stream, "UNREAD_BYTES_MAX", 1_000):
            for _ in range(3):
                exchange = Exchange(self.site)
                index = self.happen(content="x" * 400)
                exchange.send(raw_request("GET", f"/v1/shelf/watch?index={index}", headers=SSE))
                exchange.protocol.pauseProducing()
                self.clock.advance(1)
                slow.append(exchange)
        self.assertEqual([exchange.transport.aborted for exchange in slow], [False, True, True])
        slow[0].protocol.resumeProducing()
        self.clock.advance(TIMING.frame_s)
        self.assertFalse(slow[0].transport.aborted)
        for exchange in slow:
            exchange.hang_up()
        self.assertEqual(self.site.api.watches._unread.bytes_now, 0)

    def test_a_client_far_behind_gets_page_after_page(self) -> None:
        for _ in range(500):
            self.happen()
        with patch.object(events, "SCANNED_MAX", 1):
            self.open("index=1")
        self.assertEqual(len(self.numbers()), 500)
        self.assertEqual(len([request for request in self.gate.requests if isinstance(request, PollRequest)]), 501)


def _page(events: list[Any], following: int, skip: int) -> Answer:
    return decode_answer(answer_of_value({"events": events, "next": following, "skip": skip}, 1, 1))


def _problem(problem: NotApplied) -> Answer:
    return decode_answer(answer_of_problem(problem))
