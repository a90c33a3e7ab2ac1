"""The routes: commands, queries, sessions, status and health, through raw HTTP."""

from __future__ import annotations

import json

from tests.http.exchange import HttpTestCase
from txraft import __version__
from txraft.errors import NotApplied, Outcome, Refused, Unknown
from txraft.limits import Limits
from txraft.wire.requests import Ask


class CommandTests(HttpTestCase):
    def test_a_command_is_applied_and_answered_with_result_index_and_term(self) -> None:
        response = self.post("/v1/counter/add", '{"name": "a", "amount": 2}')
        self.assertEqual((response.status, response.header("Content-Type")), (200, "application/json"))
        self.assertEqual(response.json, {"result": 2, "index": self.gate.host.applied_index, "term": 3})
        self.assertEqual(self.post("/v1/counter/add", '{"name": "a"}').json["result"], 3)

    def test_what_curl_sends_without_being_told_is_taken(self) -> None:
        for content_type in ("application/x-www-form-urlencoded", "application/json; charset=utf-8", "text/plain", "multipart/form-data"):
            response = self.post("/v1/counter/add", '{"name": "a"}', {"Content-Type": content_type})
            self.assertEqual(response.status, 200, content_type)

    def test_an_empty_body_is_an_empty_object(self) -> None:
        self.assertEqual(self.post("/v1/shelf/refuse").status, 409)
        self.assertEqual(self.post("/v1/shelf/refuse", "").status, 409)

    def test_a_refusal_is_409_with_the_codes_and_details_of_the_machine(self) -> None:
        response = self.post("/v1/shelf/refuse")
        self.assert_problem(response, 409, "out_of_stock", "refused", "only 3 left")
        self.assertEqual((response.json["left"], response.json["detail_status"]), (3, "empty"))

    def test_a_bug_in_a_machine_is_500_unknown_without_internals(self) -> None:
        response = self.post("/v1/shelf/fail")
        self.assert_problem(response, 500, "machine_error", "unknown")
        self.assertNotIn(b"secret", response.body)
        self.assertNotIn(b"Traceback", response.body)

    def test_unknown_names_are_404_and_not_applied(self) -> None:
        self.assert_problem(self.post("/v1/nothing/add"), 404, "unknown_machine", "not_applied", "counter, shelf")
        self.assert_problem(self.post("/v1/counter/nothing"), 404, "unknown_command", "not_applied", "add")
        self.assert_problem(self.get("/v1/counter/%3Cscript%3E"), 404, "unknown_command", "not_applied")

    def test_before_the_machines_are_known_it_is_503(self) -> None:
        self.gate.describe_machines = dict  # type: ignore[method-assign]
        self.gate.readiness = (False, "the log is being replayed: 40 %")
        response = self.post("/v1/counter/add", '{"name": "a"}')
        self.assert_problem(response, 503, "not_ready", "not_applied", "replayed: 40 %")
        self.assertEqual(response.header("Retry-After"), "1")

    def test_a_get_does_not_run_a_command(self) -> None:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response = self.exchange.ask(method, "/v1/counter/add?name=a")
            self.assertEqual((response.status, response.header("Allow")), (405, "POST"), method)
        self.assertEqual(self.gate.requests, [])

    def test_arguments_of_a_command_in_the_query_string_are_refused(self) -> None:
        self.assert_problem(self.post("/v1/counter/add?name=a", "{}"), 400, "bad_request", "not_applied", "body")
        self.assert_problem(self.post("/v1/counter/add?consistency=local", '{"name": "a"}'), 400, "bad_request", "not_applied")

    def test_the_deadline_is_passed_on(self) -> None:
        self.post("/v1/counter/add?timeout=2.5", '{"name": "a"}')
        self.post("/v1/counter/add", '{"name": "a"}')
        self.assertEqual(self.gate.timeouts_s, [2.5, None])
        for text in ("0", "-1", "61", "nan", "inf", "x", "", "1&timeout=2"):
            self.assert_problem(self.post(f"/v1/counter/add?timeout={text}", '{"name": "a"}'), 400, "bad_request", "not_applied", "timeout")

    def test_every_outcome_has_its_status(self) -> None:
        cases: list[tuple[Outcome, int]] = [
            (Refused("anything", ""), 409),
            (Refused("invalid_arguments", ""), 409),
            (NotApplied("invalid_arguments", ""), 400),
            (NotApplied("unknown_machine", ""), 404),
            (NotApplied("too_large", ""), 413),
            (NotApplied("timeout", ""), 504),
            *(
                (NotApplied(code, ""), 503)
                for code in ("no_leader", "not_leader", "not_ready", "leadership_lost", "shutting_down", "overloaded")
            ),
            (NotApplied("of_a_later_version", ""), 503),
            (Unknown("timeout", ""), 504),
            (Unknown("of_a_later_version", ""), 504),
            (Unknown("machine_error", ""), 500),
            (Unknown("session_expired", ""), 410),
            (Unknown("serial_forgotten", ""), 410),
        ]
        for problem, status in cases:
            self.gate.problem = problem
            response = self.post("/v1/counter/add", '{"name": "a"}')
            self.assert_problem(response, status, problem.code, problem.outcome)
            self.assertEqual(response.header("Retry-After"), "1" if status == 503 else None, problem)

    def test_a_code_that_is_no_word_makes_a_valid_type(self) -> None:
        self.gate.problem = Refused("no such <thing>\r\n", "a\r\nb", type=1, ä=b"\xff")
        document = self.post("/v1/counter/add", '{"name": "a"}').json
        self.assertEqual(document["type"], "urn:txraft:problem:no%20such%20%3Cthing%3E%0D%0A")
        self.assertEqual((document["code"], document["detail_type"], document["ä"]), ("no such <thing>\r\n", 1, "/w=="))


class HostileArgumentsTests(HttpTestCase):
    def refused(self, body: bytes | str, *words: str, path: str = "/v1/shelf/keep") -> None:
        before = self.gate.host.applied_index
        self.assert_problem(self.post(path, body), 400, "invalid_arguments", "not_applied", *words)
        self.assertEqual(self.gate.host.applied_index, before)

    def test_what_is_no_json_object(self) -> None:
        for body in ("[]", "1", "null", '"a"', "{", "{}x", '{"value": }', "\x00", "name=a&amount=2", '{"value": 1,}', "   "):
            self.refused(body)

    def test_text_that_is_not_unicode(self) -> None:
        self.refused(b'{"value": "\xff"}')
        self.refused(b'{"\xff": 1}')
        self.refused('{"value": "\\ud800"}')
        self.refused('{"value": 1}'.encode("utf-16"))

    def test_numbers_that_are_none(self) -> None:
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "01", "+1", "1.", "0x10"):
            self.refused(f'{{"value": {number}}}')

    def test_nesting(self) -> None:
        self.refused('{"value": ' + "[" * 1_900 + "]" * 1_900 + "}")
        self.refused('{"value": ' + '{"a":' * 600 + "1" + "}" * 601)
        self.refused('{"value": ' + "[" * 100 + "]" * 100 + "}")
        self.assertEqual(self.post("/v1/shelf/keep", '{"value": ' + "[" * 50 + "]" * 50 + "}").status, 200)

    def test_a_key_given_twice(self) -> None:
        self.refused('{"value": 1, "value": 2}', "twice")
        self.refused('{"value": {"a": 1, "b": {"c": 1, "c": 1}}}', "twice")
        self.refused('{"name": "a", "amount": 1, "amount": 5}', path="/v1/counter/add")

    def test_wrong_names_and_types(self) -> None:
        self.refused("{}", "value")
        self.refused('{"value": 1, "other": 2}', "other")
        self.refused('{"name": 5}', "name", path="/v1/counter/add")
        self.refused('{"name": "a", "amount": "2"}', "amount", path="/v1/counter/add")
        self.refused('{"name": "a", "amount": 1.5}', "amount", path="/v1/counter/add")

    def test_large_integers_pass_and_too_large_ones_are_told_so(self) -> None:
        large = 10**4_000 // 7
        response = self.post("/v1/counter/add", json.dumps({"name": "a", "amount": large})[:3_999].encode())
        self.assertEqual(response.status, 400)  # cut
        large = -(10**3_500)
        self.assertEqual(self.post("/v1/counter/add", f'{{"name": "a", "amount": {large}}}').json["result"], large)
        self.assertEqual(self.get("/v1/counter/get?name=a").json["result"], large)

    def test_an_integer_with_more_digits_than_python_converts(self) -> None:
        self.site.limits = Limits()
        for digits in (4_400, 100_000):
            self.refused(f'{{"value": {"9" * digits}}}')
            self.refused(f'{{"name": "a", "amount": {"9" * digits}}}', path="/v1/counter/add")


class QueryTests(HttpTestCase):
    def echo(self, query: str) -> list[object]:
        response = self.get(f"/v1/shelf/echo?{query}")
        self.assertEqual(response.status, 200, response.body)
        result = response.json["result"]
        self.assertIsInstance(result, list)
        return list(result)

    def test_get_converts_by_the_declared_types(self) -> None:
        self.assertEqual(self.echo(""), ["", 0, 0.0, False, [], [], 5, "", {}])
        self.assertEqual(
            self.echo(
                "text=5&number=5&ratio=1&wanted=true&names=5&names=a&numbers=1&numbers=2&limit=null&content=%2Fw%3D%3D&table=%7B%22a%22:1%7D"
            ),
            ["5", 5, 1.0, True, ["5", "a"], [1, 2], None, "/w==", {"a": 1}],
        )
        self.assertEqual(
            self.echo("text=null&wanted=False&numbers=[1,2]&names=[%22x%22]&ratio=1e3")[:6], ["null", 0, 1e3, False, ["x"], [1, 2]]
        )
        self.assertEqual(self.echo("text=a%20b%2Bc+d%26%C3%A9")[0], "a b+c d&é")
        self.assertEqual(self.echo("names=&text=")[4], [""])

    def test_get_refuses_what_does_not_fit(self) -> None:
        for query in (
            "number=x",
            "number=1.5",
            "number=",
            "number=%22a%22",
            "wanted=maybe",
            "number=1&number=2",
            "text=a&text=b",
            "other=1",
            "limit=x",
        ):
            self.assert_problem(self.get(f"/v1/shelf/echo?{query}"), 400, "invalid_arguments", "not_applied")
        for query in (
            "number=NaN",
            "ratio=NaN",
            "ratio=1e999",
            "table=%7B%22a%22:1,%22a%22:2%7D",
            "number=1,%22text%22:2",
            "numbers=[" * 900,
        ):
            self.assert_problem(self.get(f"/v1/shelf/echo?{query}"), 400, "invalid_arguments", "not_applied")
        for query in ("text=%ff", "&".join(f"a{number}=1" for number in range(300))):
            self.assert_problem(self.get(f"/v1/shelf/echo?{query}"), 400, "bad_request", "not_applied")

    def test_post_takes_a_json_object(self) -> None:
        response = self.post("/v1/shelf/echo", '{"text": "x", "numbers": [1]}')
        self.assertEqual(response.json["result"][:6], ["x", 0, 0.0, False, [], [1]])
        self.assertIsInstance(self.gate.requests[-1], Ask)

    def test_consistency(self) -> None:
        for query, consistency in [("", "linearizable"), ("?consistency=linearizable", "linearizable"), ("?consistency=local", "local")]:
            self.assertEqual(self.get(f"/v1/shelf/kept_now{query}").status, 200)
            self.assertEqual(self.post(f"/v1/shelf/kept_now{query}").status, 200)
            for request in self.gate.requests[-2:]:
                assert isinstance(request, Ask)
                self.assertEqual(request.consistency, consistency)
        self.assert_problem(self.get("/v1/shelf/kept_now?consistency=lease"), 400, "bad_request", "not_applied", "this version")
        self.assert_problem(self.get("/v1/shelf/kept_now?consistency=weak"), 400, "bad_request", "not_applied")
        self.assert_problem(self.get("/v1/shelf/kept_now?consistency=local&consistency=local"), 400, "bad_request", "not_applied")

    def test_parameters_that_http_has_itself_go_by_post(self) -> None:
        self.assertEqual(self.post("/v1/shelf/timed", '{"timeout": 5, "consistency": "x"}').json["result"], [5, "x"])

    def test_other_methods(self) -> None:
        response = self.exchange.ask("DELETE", "/v1/shelf/echo")
        self.assertEqual((response.status, response.header("Allow")), (405, "GET, HEAD, POST"))

    def test_values_that_json_does_not_have(self) -> None:
        response = self.get("/v1/shelf/keyed")
        self.assertEqual(
            response.json["result"],
            {"1": "a", "aw==": "b", "null": None, "t": "/w==", "large": [2**70]},
        )
        self.assertEqual(self.post("/v1/shelf/raw", '{"content": "/w=="}').json["result"], "/w==")

    def test_the_index_is_how_far_the_log_was_applied(self) -> None:
        index = self.post("/v1/shelf/keep", '{"value": 1}').json["index"]
        self.assertEqual(self.get("/v1/shelf/kept_now").json, {"result": 1, "index": index, "term": 3})


class SessionTests(HttpTestCase):
    def open(self) -> int:
        response = self.post("/v1/sessions")
        self.assertEqual(response.status, 201)
        session = response.json["session"]
        self.assertEqual(response.header("Location"), f"/v1/sessions/{session}")
        return int(session)

    def add(self, key: str, **headers: str) -> object:
        response = self.post("/v1/counter/add", '{"name": "a"}', {"Idempotency-Key": key, **headers})
        return response.json["result"] if response.status == 200 else response

    def test_the_same_key_is_applied_once(self) -> None:
        session = self.open()
        self.assertEqual([self.add(f"{session}/1"), self.add(f"{session}/1"), self.add(f'"{session}/2"')], [1, 1, 2])
        self.assertEqual(self.get("/v1/counter/get?name=a").json["result"], 2)

    def test_open_says_what_was_opened(self) -> None:
        response = self.post("/v1/sessions")
        self.assertEqual(
            response.json, {"session": response.json["index"], "timeout_s": 600.0, "index": self.gate.host.applied_index, "term": 3}
        )
        self.assertEqual(self.post("/v1/sessions", '{"timeout_s": 1.5}').json["timeout_s"], 1.5)

    def test_what_a_session_does_not_take(self) -> None:
        for body in (
            '{"timeout_s": 0}',
            '{"timeout_s": -1}',
            '{"timeout_s": "5"}',
            '{"timeout_s": 1e10}',
            '{"other": 1}',
            "[]",
            "x",
            '{"timeout_s": NaN}',
        ):
            self.assert_problem(self.post("/v1/sessions", body), 400, "invalid_arguments", "not_applied", "timeout_s")
        self.assert_problem(self.post("/v1/sessions", b'{"\xff": 1}'), 400, "invalid_arguments", "not_applied")
        self.assertEqual(self.get("/v1/sessions").header("Allow"), "POST")

    def test_keep_and_close(self) -> None:
        session = self.open()
        kept = self.post(f"/v1/sessions/{session}/keep")
        self.assertEqual(kept.json, {"session": session, "index": self.gate.host.applied_index, "term": 3})
        closed = self.exchange.ask("DELETE", f"/v1/sessions/{session}")
        self.assertEqual((closed.status, closed.json["session"]), (200, session))
        self.assert_problem(self.post(f"/v1/sessions/{session}/keep"), 410, "session_expired", "unknown")
        response = self.post("/v1/counter/add", '{"name": "a"}', {"Idempotency-Key": f"{session}/1"})
        self.assert_problem(response, 410, "session_expired", "unknown")
        self.assertEqual(self.get(f"/v1/sessions/{session}").header("Allow"), "DELETE")
        self.assertEqual(self.get(f"/v1/sessions/{session}/keep").header("Allow"), "POST")

    def test_a_session_is_a_positive_number(self) -> None:
        for text in ("0", "x", "-1", "1" * 30, "%D9%A1", "9223372036854775808", ""):
            self.assert_problem(self.exchange.ask("DELETE", f"/v1/sessions/{text}"), 404, "not_found", "not_applied")

    def test_malformed_keys(self) -> None:
        for key in ("", "1", "1/", "/1", "a/b", "1/1/1", "0/1", "1/0", "-1/1", "1/1.5", f"1/{2**63}", f"{'1' * 400}/1", "١/1"):
            response = self.post("/v1/counter/add", '{"name": "a"}', {"Idempotency-Key": key})
            self.assert_problem(response, 400, "bad_request", "not_applied", "Idempotency-Key")
        for headers in ({"Idempotency-Key": "1/1", "idempotency-key": "1/1"}, {"First-Outstanding": "1"}):
            self.assert_problem(self.post("/v1/counter/add", '{"name": "a"}', headers), 400, "bad_request", "not_applied")
        for first in ("", "x", "3", "-1", "1" * 30):
            headers = {"Idempotency-Key": "1/2", "First-Outstanding": first}
            self.assert_problem(
                self.post("/v1/counter/add", '{"name": "a"}', headers), 400, "bad_request", "not_applied", "First-Outstanding"
            )
        self.assertEqual(self.gate.requests, [])

    def test_results_that_were_received_are_forgotten(self) -> None:
        session = self.open()
        self.add(f"{session}/1")
        self.assertEqual(self.add(f"{session}/2", **{"First-Outstanding": "2"}), 2)
        response = self.post("/v1/counter/add", '{"name": "a"}', {"Idempotency-Key": f"{session}/1"})
        self.assert_problem(response, 410, "serial_forgotten", "unknown")

    def test_one_who_never_says_what_was_received_can_go_on_for_ever(self) -> None:
        session = self.open()
        for serial in range(1, 31):
            self.assertEqual(self.add(f"{session}/{serial}"), serial)
        self.assertEqual(self.add(f"{session}/25"), 25)
        response = self.post("/v1/counter/add", '{"name": "a"}', {"Idempotency-Key": f"{session}/5"})
        self.assert_problem(response, 410, "serial_forgotten", "unknown")


class StatusTests(HttpTestCase):
    def test_machines_are_described(self) -> None:
        described = self.get("/v1/machines").json
        self.assertEqual(sorted(described), ["counter", "shelf"])
        self.assertIn("keep", described["shelf"]["commands"])

    def test_status_with_and_without_digest(self) -> None:
        self.assertNotIn("digest", self.get("/v1/status").json)
        self.assertNotIn("digest", self.get("/v1/status?digest=false").json)
        self.assertEqual(self.get("/v1/status?digest=true").json["digest"], self.gate.host.digest())

    def test_version(self) -> None:
        self.assertEqual(self.get("/version").json, {"version": __version__, "protocol": 1})

    def test_probes(self) -> None:
        for path in ("/livez", "/readyz"):
            response = self.get(path)
            self.assertEqual((response.status, response.body), (200, b"ok\n"))
            self.assertEqual(response.header("Content-Type"), "text/plain; charset=utf-8")
        self.gate.readiness = (False, "no leader is known")
        self.assertEqual(self.get("/livez").status, 200)
        response = self.get("/readyz")
        self.assertEqual((response.status, response.body), (503, b"no leader is known\n"))
        response = self.get("/readyz?verbose")
        self.assertEqual((response.status, response.body), (503, b"[+] alive\n[-] ready: no leader is known\n"))
        self.gate.soundness = (False, "the disk has not answered for 12 s")
        self.assertEqual(self.get("/livez").status, 503)
        self.assertEqual(self.get("/readyz").body, b"the disk has not answered for 12 s\nno leader is known\n")

    def test_head_is_get_without_the_body(self) -> None:
        for path in ("/livez", "/version", "/v1/status", "/v1/shelf/kept_now", "/nowhere"):
            got, head = self.get(path), self.exchange.ask("HEAD", path)
            self.assertEqual((head.status, head.header("Content-Length"), head.body), (got.status, str(len(got.body)), b""), path)

    def test_unknown_paths(self) -> None:
        for path in (
            "/",
            "/v1",
            "/v1/",
            "/v1/counter",
            "/v1/counter/",
            "/v1//add",
            "/v2/counter/add",
            "/v1/counter/get/x",
            "*",
            "/livez/",
        ):
            self.assert_problem(self.get(path), 404, "not_found", "not_applied", "/v1/machines")
        self.assert_problem(self.get("/v1/counter/%ff"), 404, "not_found", "not_applied", "UTF-8")

    def test_methods_of_fixed_paths(self) -> None:
        for path in ("/livez", "/readyz", "/version", "/v1/status", "/v1/machines"):
            response = self.post(path)
            self.assertEqual((response.status, response.header("Allow")), (405, "GET, HEAD"))

    def test_the_node_is_not_asked_to_describe_itself_for_every_request(self) -> None:
        for _ in range(5):
            self.post("/v1/counter/add", '{"name": "a"}')
            self.get("/v1/counter/nothing")
        self.assertEqual(self.gate.descriptions, 1)
        self.clock.advance(1.5)
        self.get("/v1/counter/nothing")
        self.assertEqual(self.gate.descriptions, 2)
