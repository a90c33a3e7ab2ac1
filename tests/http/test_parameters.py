"""What the query string says beside arguments: freshness, the form of bytes, and how long commands with `wait_s` may take."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.exchange import TIMING, Exchange, HttpTestCase
from txraft.errors import NotApplied
from txraft.wire.requests import Ask, Consistency


class FreshnessTests(HttpTestCase):
    def asked(self, query: str) -> tuple[Consistency, int, int]:
        """What the node was asked for."""
        for response in (self.get(f"/v1/shelf/kept_now?{query}"), self.post(f"/v1/shelf/kept_now?{query}")):
            self.assertEqual(response.status, 200, response.body)
        request = self.gate.requests[-1]
        assert isinstance(request, Ask)
        self.assertEqual(request, self.gate.requests[-2])
        return request.consistency, request.at_least, request.max_staleness_ms

    def test_at_least_and_max_staleness_make_a_query_local(self) -> None:
        self.assertEqual(self.asked(""), ("linearizable", 0, 0))
        self.assertEqual(self.asked("consistency=local"), ("local", 0, 0))
        self.assertEqual(self.asked("at_least=7"), ("local", 7, 0))
        self.assertEqual(self.asked("consistency=local&at_least=7&max_staleness=1.5"), ("local", 7, 1500))
        self.assertEqual(self.asked("at_least=9223372036854775807"), ("local", 2**63 - 1, 0))
        self.assertEqual(self.asked("at_least=0"), ("local", 0, 0))
        self.assertEqual(self.asked("max_staleness=0.0001"), ("local", 0, 1))

    def test_linearizable_needs_neither(self) -> None:
        for query in ("consistency=linearizable&at_least=1", "consistency=linearizable&max_staleness=1"):
            self.assert_problem(self.get(f"/v1/shelf/kept_now?{query}"), 400, "bad_request", "not_applied", "linearizable")
        self.assertEqual(self.gate.requests, [])

    def test_what_is_no_index_and_no_time(self) -> None:
        for text in ("", "-1", "x", "1.0", "9223372036854775808", "9" * 30, "%D9%A1", "1&at_least=2"):
            self.assert_problem(self.get(f"/v1/shelf/kept_now?at_least={text}"), 400, "bad_request", "not_applied", "at_least")
        for text in ("", "-1", "0", "x", "nan", "inf", "1e10", "1&max_staleness=2"):
            self.assert_problem(self.get(f"/v1/shelf/kept_now?max_staleness={text}"), 400, "bad_request", "not_applied", "max_staleness")

    def test_they_are_not_for_commands(self) -> None:
        for query in ("at_least=1", "max_staleness=1", "consistency=linearizable"):
            response = self.post(f"/v1/counter/add?{query}", '{"name": "a"}')
            self.assert_problem(response, 400, "bad_request", "not_applied", query.partition("=")[0], "for queries")

    def test_stale_is_503_and_may_be_asked_elsewhere(self) -> None:
        self.gate.problem = NotApplied("stale", "the last word of the leader is 5 s old")
        response = self.get("/v1/shelf/kept_now?max_staleness=1")
        self.assert_problem(response, 503, "stale", "not_applied", "5 s")
        self.assertEqual(response.header("Retry-After"), "1")


class TextBytesTests(HttpTestCase):
    def test_arguments_and_results_are_text(self) -> None:
        self.assertEqual(self.post("/v1/shelf/raw?bytes=text", '{"content": "hällo"}').json["result"], "hällo")
        self.assertEqual(self.post("/v1/shelf/raw?bytes=text", '{"content": {"base64": "/w=="}}').json["result"], {"base64": "/w=="})
        self.assertEqual(self.post("/v1/shelf/raw", '{"content": "/w=="}').json["result"], "/w==")
        self.assertEqual(self.post("/v1/shelf/raw?bytes=base64", '{"content": "/w=="}').json["result"], "/w==")

    def test_everywhere_in_a_result(self) -> None:
        body = '{"key": "a", "end": {"base64": "/w=="}, "more": ["b", {"base64": "gA=="}]}'
        result = self.post("/v1/shelf/fetch?bytes=text", body).json["result"]
        self.assertEqual(
            result, {"key": "a", "end": {"base64": "/w=="}, "more": ["b", {"base64": "gA=="}], "a": [["a"]]}, "bytes as a key, too"
        )
        self.assertIn("/w==", self.post("/v1/shelf/fetch?bytes=text", '{"key": {"base64": "/w=="}}').json["result"])

    def test_get_takes_the_text_itself(self) -> None:
        result = self.get(f"/v1/shelf/fetch?key={quote('ä b')}&end=null&more=c&more=d&bytes=text").json["result"]
        self.assertEqual((result["key"], result["end"], result["more"]), ("ä b", "null", ["c", "d"]))
        self.assertEqual(self.get("/v1/shelf/fetch?key=YQ==").json["result"]["key"], "YQ==")

    def test_who_writes_text_by_mistake_is_told_how(self) -> None:
        for response in (self.post("/v1/shelf/raw", '{"content": "hello"}'), self.get("/v1/shelf/fetch?key=hello")):
            self.assert_problem(response, 400, "invalid_arguments", "not_applied", "invalid base64", "With bytes=text in the query string")

    def test_details_of_a_refusal(self) -> None:
        for query, key in (("?bytes=text", "a"), ("", "YQ==")):
            response = self.post(f"/v1/shelf/refuse_bytes{query}", json.dumps({"key": key}))
            self.assert_problem(response, 409, "not_there", "refused")
            self.assertEqual(response.json["key"], key)

    def test_what_is_refused(self) -> None:
        for path in ("/v1/shelf/fetch?key=a&bytes=hex", "/v1/shelf/fetch?key=a&bytes=", "/v1/shelf/fetch?key=a&bytes=text&bytes=text"):
            self.assert_problem(self.get(path), 400, "bad_request", "not_applied", "bytes")
        response = self.post("/v1/shelf/raw?bytes=text", '{"content": {"base64": "#"}}')
        self.assert_problem(response, 400, "invalid_arguments", "not_applied", "raw: parameter `content.base64`: invalid base64")
        response = self.post("/v1/shelf/raw?bytes=text", '{"content": 5}')
        self.assert_problem(response, 400, "invalid_arguments", "not_applied", "expected `bytes`, got `int`; it takes (content: bytes)")

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=40))
    def test_what_a_result_says_can_be_said_as_an_argument(self, content: bytes) -> None:
        exchange = Exchange(self.site)
        first = exchange.ask("POST", "/v1/shelf/raw?bytes=text", json.dumps({"content": {"base64": _base64(content)}}).encode())
        again = exchange.ask("POST", "/v1/shelf/raw?bytes=text", json.dumps({"content": first.json["result"]}).encode())
        self.assertEqual(first.json["result"], again.json["result"])
        plain = exchange.ask("POST", "/v1/shelf/raw", json.dumps({"content": _base64(content)}).encode())
        self.assertEqual(plain.json["result"], _base64(content))
        self.assertEqual(isinstance(first.json["result"], str), _is_utf8(content))


class WaitTests(HttpTestCase):
    def timeout_s(self, path: str, body: str | None = None) -> float | None:
        self.assertEqual(self.post(path, body).status, 200)
        return self.gate.timeouts_s[-1]

    def test_the_deadline_is_later_by_what_a_command_waits(self) -> None:
        self.assertEqual(self.timeout_s("/v1/shelf/take", '{"wait_s": 5}'), TIMING.request_s + 5)
        self.assertEqual(self.timeout_s("/v1/shelf/take", '{"wait_s": 0.25, "name": "a"}'), TIMING.request_s + 0.25)
        self.assertEqual(self.timeout_s("/v1/shelf/take?timeout=60", '{"wait_s": 60}'), 120)
        self.assertEqual(self.timeout_s("/v1/shelf/take", '{"wait_s": 1e9}'), TIMING.request_s + 60, "nobody waits longer")
        self.assertEqual(self.timeout_s("/v1/shelf/take", '{"wait_s": -1}'), TIMING.request_s)

    def test_the_default_of_the_command_counts(self) -> None:
        self.assertEqual(self.timeout_s("/v1/shelf/take"), TIMING.request_s)
        self.assertEqual(self.timeout_s("/v1/shelf/take_patiently"), TIMING.request_s + 20)
        self.assertEqual(self.timeout_s("/v1/shelf/take_patiently", '{"wait_s": 0}'), TIMING.request_s)

    def test_other_commands_have_the_deadline_they_had(self) -> None:
        self.assertIs(self.timeout_s("/v1/shelf/keep", '{"value": {"wait_s": 5}}'), None)

    def test_what_is_no_time_is_refused_and_waits_for_nobody(self) -> None:
        response = self.post("/v1/shelf/take", '{"wait_s": "5"}')
        self.assert_problem(response, 400, "invalid_arguments", "not_applied", "wait_s")

    def test_a_client_that_goes_does_not_wait_any_longer(self) -> None:
        self.gate.held = []
        self.exchange.send(b"POST /v1/shelf/take HTTP/1.1\r\nContent-Length: 13\r\n\r\n" + b'{"wait_s": 5}')
        (held,) = self.gate.held
        self.assertFalse(held.called)
        self.exchange.hang_up()
        self.assertTrue(held.called)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
