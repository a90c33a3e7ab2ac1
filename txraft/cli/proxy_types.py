"""The types and defaults that a machine declares, as Python source for its callers."""

from __future__ import annotations

import ast
import base64
import binascii
import dataclasses
import json
import math
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from txraft.statemachine import Declaration

__all__ = ["Types", "as_source", "default_source", "is_bytes", "struct_names"]

_SCALARS = frozenset({"int", "float", "str", "bool", "bytes"})
_LISTS = frozenset({"list", "List", "Sequence", "MutableSequence", "Collection", "Iterable"})
_MAPPINGS = frozenset({"dict", "Dict", "Mapping", "MutableMapping"})
_TUPLES = frozenset({"tuple", "Tuple"})


class Types:
    """Turns the types of a description into annotations. What it cannot write is `Any`.

    Args:
        structs: names of types that travel as mappings from text.
        hidden: names that mean something else in the class that is written: its methods.
        in_json: results come as JSON: bytes within others are base64 text, and keys of mappings are text.
    """

    def __init__(self, structs: Iterable[str], hidden: Iterable[str], *, in_json: bool) -> None:
        self._structs, self._hidden, self._in_json = frozenset(structs), frozenset(hidden), in_json

    def parameter(self, text: str) -> str:
        """The annotation of a parameter."""
        return self._top(text, is_result=False)

    def result(self, text: str) -> str:
        """The annotation of a result. Tuples come as lists."""
        return self._top(text, is_result=True)

    def _top(self, text: str, *, is_result: bool) -> str:
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return "Any"
        if is_bytes(text):
            return self._builtin("bytes") + (" | None" if "None" in text else "")
        return self._written(tree, is_result)

    def _builtin(self, name: str) -> str:
        return f"builtins.{name}" if name in self._hidden else name

    def _written(self, node: ast.expr, is_result: bool) -> str:
        match node:
            case ast.Constant(value=None):
                return "None"
            case ast.Name(id=name):
                return self._name(name, is_result)
            case ast.Subscript(value=ast.Name(id=name), slice=inner):
                return self._subscript(name, list(inner.elts) if isinstance(inner, ast.Tuple) else [inner], is_result)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _union([self._written(left, is_result), self._written(right, is_result)])
        return "Any"

    def _name(self, name: str, is_result: bool) -> str:
        if name in _SCALARS:
            return self._builtin("str" if name == "bytes" and self._in_json and is_result else name)
        if name in _MAPPINGS or name in self._structs:
            return f"{self._builtin('dict')}[{self._builtin('str')}, Any]"
        if name in _LISTS or (name in _TUPLES and is_result):
            return f"{self._builtin('list')}[Any]"
        return f"{self._builtin('tuple')}[Any, ...]" if name in _TUPLES else "Any"

    def _subscript(self, name: str, inner: list[ast.expr], is_result: bool) -> str:
        if name == "Literal":
            return _literal(inner)
        several = len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis
        items = [self._written(item, is_result) for item in (inner[:1] if several else inner)]
        if name == "Optional":
            return _union([*items, "None"])
        if name == "Union":
            return _union(items)
        if name in _MAPPINGS and len(items) == 2:
            key = self._builtin("str") if self._in_json and is_result else items[0]
            return f"{self._builtin('dict')}[{key}, {items[1]}]"
        if name in _TUPLES and not is_result:
            return f"{self._builtin('tuple')}[{', '.join(items)}{', ...' if several else ''}]"
        if name in _LISTS or name in _TUPLES:
            return f"{self._builtin('list')}[{items[0] if len(set(items)) == 1 else 'Any'}]"
        return "Any"


def is_bytes(text: str) -> bool:
    """Whether a type is bytes, or bytes or nothing."""
    return text.replace(" ", "") in ("bytes", "bytes|None", "None|bytes")


def _union(parts: list[str]) -> str:
    single = list(dict.fromkeys(part for union in parts for part in ([union] if "[" in union else union.split(" | "))))
    return "Any" if "Any" in single else " | ".join(single)


def _literal(items: list[ast.expr]) -> str:
    values = [item.value if isinstance(item, ast.Constant) else ... for item in items]
    if not all(isinstance(value, str | int) or value is None for value in values):
        return "Any"
    return f"Literal[{', '.join(map(as_source, values))}]"


def as_source(value: Any) -> str:
    """A plain value as source, in the quotes that formatters prefer."""
    if isinstance(value, str):
        return repr(value) if '"' in value and "'" not in value and value.isascii() and value.isprintable() else json.dumps(value)
    if isinstance(value, bytes):
        text = repr(value)
        return text if '"' in text else f'b"{text[2:-1]}"'
    return repr(value)


def default_source(kind: str, annotation: str, default: Any) -> str | None:
    """A default as source; None if it cannot stand there (a list, a mapping, a number that is none): then the server's is left to it."""
    if is_bytes(kind) and isinstance(default, str):
        try:
            return as_source(base64.b64decode(default, validate=True))
        except binascii.Error:
            return None
    if default is None:
        return "None" if annotation == "Any" or annotation.split(" | ")[-1] == "None" or "None |" in annotation else None
    if isinstance(default, bool | int | str) or (isinstance(default, float) and math.isfinite(default)):
        return as_source(default)
    return None


def struct_names(declaration: Declaration) -> set[str]:
    """The names of the types in a declaration that travel as mappings: Structs, dataclasses, typed dicts."""
    operations = [*declaration.commands.values(), *declaration.queries.values()]
    kinds = [field.type for operation in operations for field in msgspec.structs.fields(operation.arguments)]
    parts = [part for kind in (*kinds, *(operation.returns for operation in operations)) for part in _parts(kind)]
    return {part.__name__ for part in parts if _is_mapping(part)}


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in typing.get_args(kind):
        yield from _parts(part)


def _is_mapping(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    if issubclass(kind, msgspec.Struct):
        return not kind.__struct_config__.array_like
    return dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)
