"""One command or query as callers see it: its parameters with their types, and the check every call passes before it reaches the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import field, frozen

from txraft.errors import NotApplied
from txraft.statemachine.arguments import (
    check_nested_values,
    count_of_map,
    joined,
    names_are_unique,
    refuse_repeated_keys,
    sentence_of,
)
from txraft.statemachine.parameter_types import admit, is_flat, text_of
from txraft.statemachine.text_bytes import bytes_of_text, takes_bytes
from txraft.statemachine.values import decode_value_as, encode_value, typed_decoder

__all__ = ["WAIT_PARAMETER", "Declaration", "Operation"]

WAIT_PARAMETER = "wait_s"
"""A command's parameter of this name, in seconds, says how long its caller will wait: see `ISupplier`."""


@frozen(eq=False)
class Operation:
    """A command or query.

    Attributes:
        name: an identifier.
        arguments: a `msgspec.Struct` with one field for each parameter; made with `forbid_unknown_fields=True`.
        doc: for people; its first line stands in lists.
        returns: the type of the result, as far as it is known; shown, not enforced.
        patient: whoever calls it is in no hurry: see `patient_command`.
    """

    name: str
    arguments: type[msgspec.Struct]
    doc: str = ""
    returns: Any = Any
    patient: bool = False
    decoder: msgspec.msgpack.Decoder[msgspec.Struct] = field(init=False)
    parameters: tuple[str, ...] = field(init=False)
    _required: int = field(init=False)
    _floats: list[str] = field(init=False, factory=list)
    _needs_check: bool = field(init=False)
    _of_json: msgspec.json.Decoder[msgspec.Struct] = field(init=False)
    _shape: msgspec.inspect.Type | None = field(init=False)

    @decoder.default
    def _make_decoder(self) -> msgspec.msgpack.Decoder[msgspec.Struct]:
        return typed_decoder(self.arguments)

    @_of_json.default
    def _make_json_decoder(self) -> msgspec.json.Decoder[msgspec.Struct]:
        return msgspec.json.Decoder(self.arguments)

    @_shape.default
    def _shape_with_bytes(self) -> msgspec.inspect.Type | None:
        """The type of the arguments if there are bytes in it."""
        shape = msgspec.inspect.type_info(self.arguments)
        return shape if takes_bytes(shape) else None

    @parameters.default
    def _list_parameters(self) -> tuple[str, ...]:
        return tuple(parameter.encode_name for parameter in msgspec.structs.fields(self.arguments))

    @_required.default
    def _count_required(self) -> int:
        return sum(parameter.required for parameter in msgspec.structs.fields(self.arguments))

    @_needs_check.default
    def _look_into_types(self) -> bool:
        config = self.arguments.__struct_config__
        if config.array_like or config.tag is not None or not config.forbid_unknown_fields:
            raise TypeError(f"{self.name}: its arguments need a plain msgspec.Struct with forbid_unknown_fields=True")
        needs_check = False
        for parameter in msgspec.structs.fields(self.arguments):
            try:
                needs_check |= self._look_into(parameter)
            except TypeError as error:
                raise TypeError(f"{self.name}: parameter {parameter.name!r}: {error}") from None
        return needs_check

    def _look_into(self, parameter: msgspec.structs.FieldInfo) -> bool:
        """Whether a parameter needs `check_nested_values`; a number at most is checked by itself, which costs less."""
        if not admit(parameter.type):
            return False
        if is_flat(parameter.type):
            self._floats.append(parameter.name)
            return False
        return True

    def prepare(self, arguments: bytes | msgspec.Raw, bytes_max: int) -> msgspec.Raw:
        """Check arguments, and bring them into the form of the log; what is a map already passes as it came.

        Raises:
            NotApplied: `invalid_arguments` or `too_large`; the caller's fault.
        """
        if len(arguments) > bytes_max:
            raise NotApplied("too_large", f"{self.name}: {len(arguments)} bytes of arguments are more than the {bytes_max} allowed")
        encoded = bytes(arguments)
        try:
            first = encoded[0] if encoded else 0
            if 0x80 <= first <= 0x8F:
                count = first & 0x0F
            else:
                encoded = joined(encoded, self.parameters)
                count = count_of_map(encoded)
            decoded = decode_value_as(encoded, self.decoder)
            for name in self._floats:
                number = getattr(decoded, name)
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError("a number is not finite")
            if count > self._required:
                names_are_unique(encoded, count)
            if self._needs_check:
                check_nested_values(encoded)
        except MemoryError:
            raise
        except Exception as error:
            # Not only msgspec's: a Struct of the author's may check itself, and raise what it likes.
            raise self._invalid(sentence_of(error, encoded, self.arguments)) from None
        return msgspec.Raw(encoded)

    def from_json(self, body: bytes, *, text: bool = False) -> bytes:
        """A JSON object as arguments for `prepare`; no body is an empty object.

        Args:
            body: bytes in it are base64.
            text: bytes in it are text, as `text_bytes` has it.

        Raises:
            NotApplied: `invalid_arguments`.
        """
        try:
            if text and self._shape is not None:
                plain = bytes_of_text(msgspec.json.decode(body or b"{}"), self._shape)
                arguments = msgspec.convert(plain, self.arguments, builtin_types=(bytes,), str_keys=True)
            else:
                arguments = self._of_json.decode(body or b"{}")
            refuse_repeated_keys(body or b"{}")
            return encode_value(arguments)
        except MemoryError:
            raise
        except Exception as error:
            raise self._invalid(sentence_of(error, b"", self.arguments)) from None

    def _invalid(self, why: str) -> NotApplied:
        return NotApplied("invalid_arguments", f"{self.name}: {why}; it takes {self.signature()}")

    def signature(self) -> str:
        """The parameters as in a Python function, e.g. `(name: str, amount: int = 1)`."""
        return "(" + ", ".join(map(_parameter_text, msgspec.structs.fields(self.arguments))) + ")"

    def describe(self) -> dict[str, Any]:
        """For callers, as plain data: `doc`, `parameters` (each with `name`, `type`, `required`, `default`) and `returns`."""
        parameters = [
            {
                "name": parameter.encode_name,
                "type": text_of(parameter.type),
                "required": parameter.required,
                "default": None if parameter.required else msgspec.to_builtins(_default_of(parameter)),
            }
            for parameter in msgspec.structs.fields(self.arguments)
        ]
        return {"doc": self.doc, "parameters": parameters, "returns": text_of(self.returns)}


@frozen
class Declaration:
    """Everything that can be asked of a machine.

    Attributes:
        doc: what it is, for people.
        commands: by name; they go through the log.
        queries: by name; they change nothing. No name is both.
    """

    doc: str
    commands: Mapping[str, Operation]
    queries: Mapping[str, Operation]

    def describe(self) -> dict[str, Any]:
        """For callers, as plain data."""
        return {
            "doc": self.doc,
            "commands": {name: operation.describe() for name, operation in sorted(self.commands.items())},
            "queries": {name: operation.describe() for name, operation in sorted(self.queries.items())},
        }


def _default_of(parameter: msgspec.structs.FieldInfo) -> Any:
    return parameter.default if parameter.default is not msgspec.NODEFAULT else parameter.default_factory()


def _parameter_text(parameter: msgspec.structs.FieldInfo) -> str:
    text = f"{parameter.encode_name}: {text_of(parameter.type)}"
    return text if parameter.required else f"{text} = {_default_of(parameter)!r}"
