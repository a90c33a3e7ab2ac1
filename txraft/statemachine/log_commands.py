"""What stands in the log's command entries: calls of machines, and the host's own commands.

Every one carries `time_ms`, the leader's wall clock when it was proposed. Applied in log order and never allowed to go back, it is the
*log time* that machines, deadlines and sessions live by.

Source: §6.3 (sessions); §8 of the design (log time).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from txraft.limits import INDEX_MAX, NAME_LENGTH_MAX

__all__ = [
    "Clock",
    "CloseSession",
    "HostMachine",
    "Invoke",
    "KeepSession",
    "LogCommand",
    "OpenSession",
    "decode_log_command",
    "encode_log_command",
]

Number = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]


class _LogCommand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    time_ms: Number


class Invoke(_LogCommand, tag="i", frozen=True, array_like=True, gc=False):
    """Call a command of a machine.

    Attributes:
        session: 0 for none: then a repeated call is applied again.
        serial: the number of this call in its session, from 1.
        first_outstanding: results of smaller serial numbers may be forgotten; the client has them.
        arguments: msgpack map by parameter name, validated before it was proposed.
    """

    session: Number
    serial: Number
    first_outstanding: Number
    machine: Name
    command: Name
    arguments: msgspec.Raw


class OpenSession(_LogCommand, tag="o", frozen=True, array_like=True, gc=False):
    """Open a session; its id is the index of this entry. `timeout_ms`: it expires when unused for this long in log time."""

    timeout_ms: Number


class KeepSession(_LogCommand, tag="k", frozen=True, array_like=True, gc=False):
    """Say that the session is still used."""

    session: Number


class CloseSession(_LogCommand, tag="x", frozen=True, array_like=True, gc=False):
    """Forget the session and its results."""

    session: Number


class Clock(_LogCommand, tag="c", frozen=True, array_like=True, gc=False):
    """Nothing but the time: proposed by a leader when a deadline has passed and no other entry would say so."""


class HostMachine(_LogCommand, tag="m", frozen=True, array_like=True, gc=False):
    """From here on, machine `name` exists and is run by plug-in `plugin`. Repeated, it changes nothing."""

    name: Name
    plugin: Name
    version: Number


LogCommand = Invoke | OpenSession | KeepSession | CloseSession | Clock | HostMachine

encode_log_command = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[LogCommand] = msgspec.msgpack.Decoder(LogCommand)


def decode_log_command(payload: bytes) -> LogCommand:
    """Read the payload of a command entry; raises `ValueError` (`msgspec.MsgspecError`) when a newer version wrote a kind unknown here."""
    return _DECODER.decode(payload)
