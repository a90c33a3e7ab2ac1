"""The channel: bounds while a request arrives, connections that end, and whatever bytes come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from tests.http.exchange import LIMITS, TIMING, Exchange, HttpTestCase, raw_request
from txraft.http import make_site
from txraft.statemachine.results import answer_of_value, decode_answer

ADD = raw_request("POST", "/v1/counter/add", b'{"name":"a"}')


class BodyTests(HttpTestCase):
    def head(self, *lines: str) -> bytes:
        return "\r\n".join(["POST /v1/shelf/keep HTTP/1.1", *lines, "", ""]).encode()

    def test_a_body_of_the_greatest_length_is_taken(self) -> None:
        body = json.dumps({"value": "x" * 3_987}).encode()
        self.assertEqual(len(body), LIMITS.http_body_bytes_max)
        self.assertEqual(self.post("/v1/shelf/keep", body).status, 200)

    def test_a_longer_one_is_refused_before_it_arrives(self) -> None:
        self.exchange.send(self.head("Content-Length: 4001"))
        (response,) = self.exchange.responses()
        self.assert_problem(response, 413, "too_large", "not_applied", "4000")
        self.assertEqual((response.json["bytes_max"], response.header("Connection")), (4_000, "close"))
        self.exchange.send(b"x" * 4_000)
        self.assertFalse(
            self.exchange.transport.disconnecting, "closing now could take the answer away from a client that is still sending"
        )
        self.exchange.send(b"x")
        self.assertTrue(self.exchange.transport.disconnecting)
        self.assertEqual(self.exchange.responses(), [])

    def test_one_that_waits_to_be_asked_for_its_body_is_not_asked(self) -> None:
        self.exchange.send(self.head("Content-Length: 1000000", "Expect: 100-continue"))
        (response,) = self.exchange.responses()
        self.assertEqual(response.status, 413)
        exchange = Exchange(self.site)
        exchange.send(self.head("Content-Length: 12", "Expect: 100-continue"))
        self.assertEqual(exchange.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_chunks_are_counted(self) -> None:
        self.exchange.send(self.head("Transfer-Encoding: chunked") + b"c\r\n" + b'{"value": 1}' + b"\r\n0\r\n\r\n")
        self.assertEqual(self.exchange.responses()[0].status, 200)
        self.exchange.send(self.head("Transfer-Encoding: chunked") + b"fa0\r\n" + b"x" * 4_000 + b"\r\n")
        self.assertEqual(self.exchange.responses(), [])
        self.exchange.send(b"1\r\nx")
        self.assertEqual(self.exchange.responses()[0].status, 413)
        self.exchange.send(b"\r\n0\r\n\r\n")
        self.assertTrue(self.exchange.transport.disconnecting)

    def test_a_refused_body_is_not_kept(self) -> None:
        self.exchange.send(self.head("Content-Length: 100000000") + b"x" * 50_000)
        self.assertEqual(self.exchange.protocol.requests[0].content.getvalue(), b"")

    def test_lengths_that_are_none(self) -> None:
        for line in (
            "Content-Length: -1",
            "Content-Length: x",
            "Content-Length: " + "9" * 5_000,
            "Content-Length: 1_0",
            "Transfer-Encoding: gzip",
        ):
            exchange = Exchange(self.site)
            exchange.send(self.head(line, "Host: a"))
            self.assertTrue(exchange.transport.value().startswith(b"HTTP/1.1 400 "), line)
            self.assertTrue(exchange.transport.disconnecting)
        self.assertEqual(self.gate.requests, [])

    def test_two_lengths_are_a_smuggled_request(self) -> None:
        self.exchange.send(self.head("Content-Length: 5", "Transfer-Encoding: chunked", "Host: a"))
        self.assertTrue(self.exchange.transport.value().startswith(b"HTTP/1.1 400 "))


class HeaderTests(HttpTestCase):
    def test_what_every_answer_carries(self) -> None:
        for response in (self.get("/livez"), self.get("/nowhere"), self.post("/v1/counter/add", '{"name": "a"}')):
            self.assertEqual(response.header("X-Content-Type-Options"), "nosniff")
            self.assertEqual(response.header("Cache-Control"), "no-store")
            self.assertEqual(response.header("Date"), "Tue, 14 Nov 2023 22:13:20 GMT")
            self.assertIs(response.header("Access-Control-Allow-Origin"), None)
            self.assertIs(response.header("Server"), None)
        self.date = "Tue, 14 Nov 2023 23:13:20 GMT"
        self.assertEqual(self.get("/livez").header("Date"), "Tue, 14 Nov 2023 22:13:20 GMT", "made once a second")
        self.clock.advance(2)
        self.assertEqual(self.get("/livez").header("Date"), "Tue, 14 Nov 2023 23:13:20 GMT")

    def test_header_sizes_are_bounded(self) -> None:
        for raw in (b"GET /" + b"x" * 20_000, b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 20_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000):
            exchange = Exchange(self.site)
            exchange.send(raw)
            self.assertTrue(exchange.transport.disconnecting)

    def test_only_http_1_1_is_negotiated(self) -> None:
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])

    def test_there_is_no_access_log(self) -> None:
        timers = len(self.clock.getDelayedCalls())
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)
        with capturedLogs() as events:
            self.get("/livez")
        self.assertEqual(events, [])


class ConnectionTests(HttpTestCase):
    def test_one_connection_serves_many_requests(self) -> None:
        for count in range(1, 4):
            self.assertEqual(self.post("/v1/counter/add", '{"name": "a"}').json["result"], count)
        self.assertFalse(self.exchange.transport.disconnecting)

    def test_requests_sent_ahead_are_answered_in_order_one_at_a_time(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD + raw_request("GET", "/version") + ADD)
        self.assertEqual((len(self.gate.held), self.exchange.responses()), (1, []))
        self.gate.held[0].callback(decode_answer(answer_of_value(41, 5, 3)))
        first, second = self.exchange.responses()
        self.assertEqual((first.json["result"], "version" in second.json), (41, True))
        self.gate.held[1].callback(decode_answer(answer_of_value(42, 6, 3)))
        self.assertEqual(self.exchange.responses()[0].json["result"], 42)

    def test_a_request_in_pieces_is_the_same_request(self) -> None:
        for byte in ADD:
            self.exchange.send(bytes([byte]))
        self.assertEqual(self.exchange.responses()[0].json["result"], 1)

    def test_connection_close_is_heeded(self) -> None:
        self.assertEqual(self.get("/livez", Connection="close").status, 200)
        self.assertTrue(self.exchange.transport.disconnecting)

    def test_a_client_that_has_gone_gets_nothing_and_nothing_fails(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD)
        self.exchange.hang_up()
        self.gate.held[0].callback(decode_answer(answer_of_value(1, 5, 3)))
        self.assertEqual(self.exchange.responses(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_goes_in_the_middle_of_a_request(self) -> None:
        for raw in (ADD[:10], ADD[:-3], raw_request("POST", "/v1/shelf/keep", b"x" * 9_000)[:5_000]):
            exchange = Exchange(self.site)
            exchange.send(raw)
            exchange.hang_up()
        self.assertEqual(self.gate.requests, [])
        self.exchange.hang_up()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_request_must_arrive_in_time_however_its_bytes_drip(self) -> None:
        for raw in (ADD, ADD[:-1] + b" " * 100, raw_request("POST", "/v1/shelf/keep", b"x" * 9_000)):
            exchange = Exchange(self.site)
            for byte in raw[:29]:
                exchange.send(bytes([byte]))
                self.clock.advance(1)
            self.assertFalse(exchange.transport.aborted)
            self.clock.advance(1)
            self.assertTrue(exchange.transport.aborted)

    def test_a_body_too_large_is_not_listened_to_for_ever(self) -> None:
        self.exchange.send(raw_request("POST", "/v1/shelf/keep", b"x" * 9_000)[:500])
        self.clock.advance(TIMING.frame_s)
        self.assertTrue(self.exchange.transport.aborted)

    def test_waiting_for_an_answer_is_no_slow_request(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD)
        self.exchange.send(b"GET /ver")
        self.clock.pump([20.0] * 3)
        self.assertFalse(self.exchange.transport.disconnecting)
        self.gate.held[0].callback(decode_answer(answer_of_value(1, 5, 3)))
        self.clock.advance(TIMING.frame_s)
        self.assertTrue(self.exchange.transport.aborted, "now the rest of the second request is due")

    def test_an_idle_connection_is_closed_after_five_minutes(self) -> None:
        self.get("/livez")
        for _ in range(3):
            self.clock.advance(299)
            self.assertFalse(self.exchange.transport.disconnecting)
            self.get("/livez")
        self.clock.advance(301)
        self.assertTrue(self.exchange.transport.disconnecting)
        self.clock.advance(14)
        self.assertFalse(self.exchange.transport.aborted)
        self.clock.advance(1)
        self.assertTrue(self.exchange.transport.aborted, "what it has not read is not kept for ever")
        self.exchange.hang_up()

    def test_a_connection_that_waits_for_an_answer_is_not_idle(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD)
        self.clock.advance(301)
        self.assertFalse(self.exchange.transport.disconnecting)
        self.gate.held[0].callback(decode_answer(answer_of_value(1, 5, 3)))
        self.clock.advance(299)
        self.assertFalse(self.exchange.transport.disconnecting)

    def test_requests_that_arrive_whole_make_no_timers(self) -> None:
        for _ in range(10):
            self.post("/v1/counter/add", '{"name": "a"}')
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class FailureTests(HttpTestCase):
    def test_an_exception_of_ours_is_500_unknown_and_logged(self) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a secret of the inside")

        for name, send in (("call", self.command), ("arguments_of_json", self.command), ("status", self.status)):
            setattr(self.gate, name, broken)
            response = send()
            self.assert_problem(response, 500, "internal_error", "unknown")
            self.assertNotIn(b"secret", response.body)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            delattr(self.gate, name)

    def test_an_answer_that_cannot_be_read_is_500_unknown_and_logged(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD)
        answer = decode_answer(answer_of_value(1, 5, 3))
        answer.body = type(answer.body)(b"\xc1")
        self.gate.held[0].callback(answer)
        self.assert_problem(self.exchange.responses()[0], 500, "internal_error", "unknown")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_a_node_that_fails_an_answer_is_500_unknown_and_logged(self) -> None:
        self.gate.held = []
        self.exchange.send(ADD)
        self.gate.held[0].errback(RuntimeError("must not happen"))
        self.assert_problem(self.exchange.responses()[0], 500, "internal_error", "unknown")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def command(self) -> Any:
        return self.post("/v1/counter/add", '{"name": "a"}')

    def status(self) -> Any:
        return self.get("/v1/status")


PIECES = st.sampled_from(
    [
        ADD,
        b"GET ",
        b"POST ",
        b"/v1/counter/add",
        b"/v1/shelf/echo?number=",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b" HTTP/9.9\r\n",
        b"\r\n",
        b"\n",
        b"Content-Length: 12\r\n",
        b"Content-Length: 99999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Idempotency-Key: 1/1\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"c\r\n",
        b"0\r\n\r\n",
        b"fffffffffffffffffff\r\n",
        b'{"name":"a"}',
        b"%ff",
        b"\x00",
        b": ",
        b" folded\r\n",
        b"Cookie: a=b; c\r\n",
    ]
)


class AnyBytesTests(HttpTestCase):
    @settings(deadline=None, max_examples=250)
    @given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12), st.integers(1, 40))
    def test_no_bytes_raise_past_the_channel(self, pieces: list[bytes], step: int) -> None:
        exchange = Exchange(make_site(self.gate, limits=LIMITS, timing=TIMING, reactor=self.clock))
        raw = b"".join(pieces)
        for start in range(0, len(raw), step):
            if not exchange.transport.disconnecting:
                exchange.send(raw[start : start + step])
        exchange.hang_up()
        self.assertEqual(self.flushLoggedErrors(), [], raw)

    @settings(deadline=None, max_examples=250)
    @given(
        st.binary(max_size=60), st.sampled_from(["/v1/shelf/keep", "/v1/counter/add", "/v1/sessions", "/v1/shelf/echo", "/v1/shelf/raw"])
    )
    def test_any_body_gets_an_answer(self, body: bytes, path: str) -> None:
        response = Exchange(self.site).ask("POST", path, body)
        self.assertIn(response.status, (200, 201, 400))
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(deadline=None, max_examples=250)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        )
    )
    def test_any_json_value_comes_back_as_it_went_in(self, value: Any) -> None:
        body = json.dumps({"value": value}).encode()
        response = Exchange(self.site).ask("POST", "/v1/shelf/keep", body[:4_000])
        if len(body) <= 4_000:
            self.assertEqual((response.status, response.json["result"]), (200, value))
