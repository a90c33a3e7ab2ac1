"""The API of a node as an OpenAPI document, made from the declarations of its machines.

Source: the OpenAPI Specification 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from attrs import define, field

from txraft import __version__
from txraft.http.openapi_parts import (
    FIXED_PATHS,
    PARAMETERS,
    PROBLEMS,
    SCHEMAS,
    answer_of,
    described,
    operation_parameters,
    problems_of,
    watch_path,
)
from txraft.http.parameters import OWN
from txraft.http.replies import Reply, reply_of_json
from txraft.statemachine.operations import Declaration, Operation

__all__ = ["OpenApi", "document_of"]

_REFERENCE = "#/components/schemas/"
_DESCRIPTION = "Commands go through the log, queries change nothing. Any node takes them. See docs/http-api.md."

Schema = dict[str, Any]


@define
class OpenApi:
    """Keeps the document of the machines there are."""

    _declarations: Mapping[str, Declaration] = field(factory=dict)
    _reply: Reply | None = None

    def reply(self, declarations: Mapping[str, Declaration]) -> Reply:
        """The document for these machines."""
        if self._reply is None or declarations != self._declarations:
            self._declarations, self._reply = declarations, reply_of_json(document_of(declarations))
        return self._reply


def document_of(declarations: Mapping[str, Declaration]) -> dict[str, Any]:
    """An OpenAPI document, as plain data."""
    components: dict[str, Schema] = dict(SCHEMAS)
    paths: dict[str, Any] = dict(FIXED_PATHS)
    for machine, declaration in declarations.items():
        path = f"/v1/{quote(machine, safe='')}"
        for operations, path_of in ((declaration.commands, _command), (declaration.queries, _query)):
            for name, operation in operations.items():
                paths[f"{path}/{name}"] = path_of(machine, operation, components)
        paths[f"{path}/watch"] = watch_path(machine)
    return {
        "openapi": "3.1.0",
        "info": {"title": "txraft", "version": __version__, "description": _DESCRIPTION},
        "tags": [described({"name": machine}, declaration.doc) for machine, declaration in declarations.items()],
        "paths": paths,
        "components": {"schemas": components, "parameters": PARAMETERS, "responses": PROBLEMS},
    }


def _command(machine: str, operation: Operation, components: dict[str, Schema]) -> dict[str, Any]:
    return {"post": _posted(machine, operation, components, is_query=False)}


def _query(machine: str, operation: Operation, components: dict[str, Schema]) -> dict[str, Any]:
    posted = _posted(machine, operation, components, is_query=True)
    asked = {name: member for name, member in posted.items() if name != "requestBody"}
    arguments = posted["requestBody"]["content"]["application/json"]["schema"]
    fields = [_field(name, schema, name in arguments["required"]) for name, schema in arguments["properties"].items() if name not in OWN]
    only_by_post = OWN.intersection(arguments["required"])
    got = {"get": {**asked, "operationId": f"{posted['operationId']}.get", "parameters": [*fields, *posted["parameters"]]}}
    return {**({} if only_by_post else got), "post": posted}


def _posted(machine: str, operation: Operation, components: dict[str, Schema], *, is_query: bool) -> dict[str, Any]:
    arguments = _schema(machine, operation.name, operation.arguments, components)
    # The arguments have a component of their own in what msgspec gives; nobody else refers to it.
    arguments = {**components.pop(arguments["$ref"].removeprefix(_REFERENCE)), "title": f"Arguments of {machine}.{operation.name}"}
    result = _schema(machine, operation.name, operation.returns, components)
    path = {
        "operationId": f"{machine}.{operation.name}",
        "tags": [machine],
        "parameters": operation_parameters(is_query=is_query),
        "requestBody": {"required": bool(arguments["required"]), "content": {"application/json": {"schema": arguments}}},
        "responses": {"200": answer_of(result, is_query=is_query), **problems_of(is_query=is_query)},
    }
    return described(path, operation.doc)


def _field(name: str, schema: Schema, required: bool) -> dict[str, Any]:
    """An argument in the query string: lists are repeated, and what may be an object is JSON."""
    parameter = {"name": name, "in": "query", "required": required}
    kinds = {kind.get("type", "object") for kind in schema.get("anyOf", [schema])}
    if "object" in kinds and "enum" not in schema:
        return {**parameter, "content": {"application/json": {"schema": schema}}}
    return {**parameter, "schema": schema}


def _schema(machine: str, operation: str, kind: Any, components: dict[str, Schema]) -> Schema:
    """The schema of a type; what it refers to is put into `components`, under names of this machine. `{}` for a type that has none."""
    for prefix in (machine, f"{machine}.{operation}"):
        prefix = re.sub(r"[^A-Za-z0-9.\-_]", "_", prefix)
        try:
            (schema,), found = msgspec.json.schema_components([kind], ref_template=f"{_REFERENCE}{prefix}.{{name}}")
        except (TypeError, ValueError):
            return {}
        named = {f"{prefix}.{name}": component for name, component in found.items()}
        if all(components.get(name, component) == component for name, component in named.items()):
            break
    components.update(named)
    return schema
