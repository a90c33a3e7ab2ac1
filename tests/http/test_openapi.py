"""The OpenAPI document: true to the declarations, whole, and made once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.http.exchange import HttpTestCase
from txraft.http.openapi import document_of
from txraft.statemachine import Declaration, Meta, Operation, StateMachine, query

REFERENCE = "#/components/"


class Put(msgspec.Struct, tag_field="op", tag="put", forbid_unknown_fields=True):
    key: bytes


class Steps(msgspec.Struct, tag_field="op", tag="steps"):
    steps: list[Put | Steps] = []


class Steady(StateMachine):
    """A machine of one query."""

    @query
    def run(self, step: Put | Steps, limit: Annotated[int, Meta(ge=1, le=9)] = 5, names: list[str] = []) -> dict[str, int]:  # noqa: B006
        """Runs.

        And runs.
        """
        return {}

    @query
    def odd(self, step: Put | None = None) -> SynchronousTestCase:  # type: ignore[empty-body]
        """Returns what no schema can show."""


def references(part: Any) -> Iterator[str]:
    """All references in a document, those of discriminators included."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            elif name == "mapping" and isinstance(value, dict):
                yield from value.values()
            else:
                yield from references(value)
    elif isinstance(part, list):
        for item in part:
            yield from references(item)


class DocumentTests(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.document = self.get("/v1/openapi.json").json

    def operation(self, path: str, method: str = "post") -> Any:
        return self.document["paths"][path][method]

    def shared(self, path: str) -> set[str]:
        """The parameters of an operation that it has in common with others."""
        return {one["$ref"].rpartition("/")[2] for one in self.operation(path)["parameters"] if "$ref" in one}

    def test_all_that_can_be_asked_is_in_it(self) -> None:
        self.assertEqual(self.document["openapi"], "3.1.0")
        paths = self.document["paths"]
        for machine, described in self.get("/v1/machines").json.items():
            for name in described["commands"]:
                self.assertEqual(set(paths.pop(f"/v1/{machine}/{name}")), {"post"})
            for name in described["queries"]:
                self.assertEqual(set(paths.pop(f"/v1/{machine}/{name}")), {"post"} if name == "timed" else {"get", "post"})
            self.assertEqual(set(paths.pop(f"/v1/{machine}/watch")), {"get"})
        for path, methods in paths.items():
            for method in methods:
                body = b"{}" if method == "post" else None
                response = self.exchange.ask(method.upper(), path.replace("{session}", "1"), body)
                self.assertIn(str(response.status), methods[method]["responses"], f"{method} {path}: {response.body!r}")

    def test_arguments_of_a_command(self) -> None:
        operation = self.operation("/v1/counter/add")
        body = operation["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        self.assertEqual(schema["properties"]["amount"], {"type": "integer", "default": 1})
        self.assertEqual(schema["properties"]["name"], {"type": "string", "minLength": 1, "maxLength": 512})
        self.assertEqual((schema["required"], schema["additionalProperties"], body["required"]), (["name"], False, True))
        result = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["result"]
        self.assertEqual(result, {"type": "integer"})
        self.assertIn("new value", operation["description"])
        self.assertFalse(self.operation("/v1/shelf/happen")["requestBody"]["required"])

    def test_what_is_beside_the_arguments(self) -> None:
        command = self.shared("/v1/counter/add")
        self.assertEqual(command, {"timeout", "bytes", "Idempotency-Key", "First-Outstanding"})
        self.assertEqual(self.shared("/v1/counter/get"), {"timeout", "bytes", "consistency", "at_least", "max_staleness"})

    def test_arguments_of_a_query_by_get(self) -> None:
        parameters = {one["name"]: one for one in self.operation("/v1/shelf/echo", "get")["parameters"] if "name" in one}
        self.assertEqual(parameters["number"]["schema"], {"type": "integer", "default": 0})
        self.assertEqual(parameters["names"]["schema"]["type"], "array")
        self.assertIn("schema", parameters["limit"], "a number or null")
        self.assertIn("application/json", parameters["table"]["content"])
        self.assertTrue(next(one for one in self.operation("/v1/shelf/fetch", "get")["parameters"] if one.get("name") == "key")["required"])

    def test_docstrings(self) -> None:
        operation = self.operation("/v1/shelf/happen")
        self.assertEqual(operation["summary"], "Something happens.")
        self.assertIn("numbered", operation["description"])
        self.assertIn({"name": "shelf", "description": "Keeps what it is given."}, self.document["tags"])

    def test_problems(self) -> None:
        for status, reference in self.operation("/v1/counter/add")["responses"].items():
            if status != "200":
                problem = self.document["components"]["responses"][reference["$ref"].rpartition("/")[2]]
                self.assertIn("application/problem+json", problem["content"])
        members = self.document["components"]["schemas"]["Problem"]["required"]
        self.assertEqual(set(members), set(self.post("/v1/counter/nothing").json))

    def test_it_is_made_once_for_the_same_machines(self) -> None:
        openapi = self.site.api.openapi
        first, again = (openapi.reply(self.gate.declarations()) for _ in range(2))
        self.assertIs(first, again)
        other = openapi.reply({"counter": self.gate.declarations()["counter"]})
        self.assertNotIn(b"/v1/shelf/", other.body)
        self.assertIn(b"/v1/shelf/", openapi.reply(self.gate.declarations()).body)

    def test_methods(self) -> None:
        self.assertEqual(self.post("/v1/openapi.json").header("Allow"), "GET, HEAD")


class ComponentTests(SynchronousTestCase):
    def setUp(self) -> None:
        declaration = Steady().declaration()
        self.document = document_of({"one": declaration, "ä/b": declaration})

    def test_every_reference_leads_somewhere(self) -> None:
        found = set(references(self.document))
        self.assertIn(f"{REFERENCE}schemas/one.Steps", found)
        for reference in found:
            self.assertTrue(reference.startswith(REFERENCE))
            place = self.document["components"]
            for step in reference.removeprefix(REFERENCE).split("/"):
                self.assertRegex(step, re.compile(r"\A[A-Za-z0-9.\-_]+\Z"))
                place = place[step]

    def test_every_component_is_referred_to(self) -> None:
        used = {reference.rpartition("/")[2] for reference in references(self.document)}
        self.assertEqual(set(self.document["components"]["schemas"]) - used, set())

    def test_operation_ids_are_unique(self) -> None:
        ids = [one["operationId"] for path in self.document["paths"].values() for one in path.values() if "operationId" in one]
        self.assertEqual(len(ids), len(set(ids)))

    def test_a_machine_of_any_name_has_a_path(self) -> None:
        self.assertIn("/v1/%C3%A4%2Fb/run", self.document["paths"])

    def test_bounds_and_records(self) -> None:
        operation = self.document["paths"]["/v1/one/run"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(schema["properties"]["limit"], {"type": "integer", "minimum": 1, "maximum": 9, "default": 5})
        self.assertEqual(schema["properties"]["step"]["discriminator"]["propertyName"], "op")
        parameters = {one["name"]: one for one in self.document["paths"]["/v1/one/run"]["get"]["parameters"] if "name" in one}
        self.assertIn("application/json", parameters["step"]["content"])

    def test_a_result_without_a_schema_may_be_anything(self) -> None:
        answer = self.document["paths"]["/v1/one/odd"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        self.assertEqual(answer["properties"]["result"], {})

    def test_two_types_of_one_name(self) -> None:
        other = msgspec.defstruct("Put", [("number", int)])
        operations = {
            name: Operation(name, msgspec.defstruct(name, [("step", kind)], forbid_unknown_fields=True))
            for name, kind in (("first", Put), ("second", other))
        }
        self.document = document_of({"one": Declaration("", operations, {})})
        schemas = self.document["components"]["schemas"]
        self.assertEqual(
            (list(schemas["one.Put"]["properties"]), list(schemas["one.second.Put"]["properties"])), (["op", "key"], ["number"])
        )
        names = {reference.rpartition("/")[2] for reference in references(self.document) if "/schemas/" in reference}
        self.assertLessEqual(names, set(self.document["components"]["schemas"]))
