"""Entries of the log in words and in JSON, as far as this version reads them. A command is its name and arguments: no machine is needed."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.http.json_text import encode_json, with_text_bytes
from txraft.statemachine.log_commands import Invoke, LogCommand, decode_log_command
from txraft.statemachine.values import decode_value

__all__ = ["kind_of", "line_of_entry", "plain_entry"]

TOLD_LENGTH_MAX = 200
"""Longer arguments are cut on a line for people; programs get all."""

_KINDS = {EntryKind.NOOP: "noop", EntryKind.COMMAND: "command", EntryKind.CONFIGURATION: "configuration"}

_COMMANDS = {
    "Invoke": "invoke",
    "OpenSession": "open_session",
    "KeepSession": "keep_session",
    "CloseSession": "close_session",
    "Clock": "clock",
    "HostMachine": "host_machine",
}


def plain_entry(index: int, entry: Entry) -> dict[str, Any]:
    """For programs: `kind`, and the fields of what it is. Bytes as text, or `{"base64": …}`."""
    head = {"index": index, "term": entry.term}
    if entry.kind == EntryKind.CONFIGURATION:
        try:
            found = Configuration.decode(entry.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return head | {"kind": "configuration", **_undecoded(entry)}
        more = {"directories": found.directories} if found.directories else {}
        return head | {"kind": "configuration", "voters": found.voters, "learners": found.learners, **more}
    if entry.kind != EntryKind.COMMAND:
        known = entry.kind in list(EntryKind)
        return head | ({"kind": _KINDS[EntryKind(entry.kind)]} if known else {"kind": f"kind {entry.kind}", **_undecoded(entry)})
    command = _command_of(entry)
    return head | ({"kind": "command", **_undecoded(entry)} if command is None else _plain_command(command))


def kind_of(entry: Entry) -> tuple[str, str]:
    """The kind of an entry, and the machine it is for; "" if it is for none."""
    if entry.kind == EntryKind.COMMAND:
        command = _command_of(entry)
        if command is not None:
            return _COMMANDS[type(command).__name__], command.machine if isinstance(command, Invoke) else ""
    return (_KINDS[EntryKind(entry.kind)] if entry.kind in list(EntryKind) else f"kind {entry.kind}"), ""


def _command_of(entry: Entry) -> LogCommand | None:
    try:
        return decode_log_command(entry.payload)
    except (ValueError, RecursionError):
        return None


def _undecoded(entry: Entry) -> dict[str, Any]:
    return {"undecoded": base64.b64encode(entry.payload).decode()}


def _plain_command(command: LogCommand) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": _COMMANDS[type(command).__name__]}
    plain |= {name: getattr(command, name) for name in command.__struct_fields__ if name != "arguments"}
    if isinstance(command, Invoke):
        try:
            plain["arguments"] = with_text_bytes(decode_value(bytes(command.arguments)))
        except (ValueError, RecursionError):
            plain["arguments"] = None
    return plain


def line_of_entry(index: int, entry: Entry) -> str:
    """For people."""
    plain = plain_entry(index, entry)
    kind = str(plain["kind"])
    return f"{index:>10}  {entry.term:>5}  {kind:<14}  {_told(plain, entry)}".rstrip()


def _told(plain: dict[str, Any], entry: Entry) -> str:
    if "undecoded" in plain:
        return f"{len(entry.payload)} bytes that this version cannot read"
    match plain["kind"]:
        case "invoke":
            session = f"  session {plain['session']}/{plain['serial']}" if plain["session"] else ""
            return f"{plain['machine']}.{plain['command']} {_short(plain['arguments'])}{session}"
        case "open_session":
            return f"session {plain['index']}, for {plain['timeout_ms'] / 1000:g} s"
        case "keep_session" | "close_session":
            return f"session {plain['session']}"
        case "host_machine":
            return f"{plain['name']}: plug-in {plain['plugin']} version {plain['version']}"
        case "clock":
            return f"log time {plain['time_ms']}"
        case "configuration":
            voters = " ".join(f"{name}={address}" for name, address in plain["voters"].items())
            learners = " ".join(f"{name}={address}" for name, address in plain["learners"].items())
            return voters + (f"  learners {learners}" if learners else "")
    return ""


def _short(value: Any) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= TOLD_LENGTH_MAX else f"{text[:TOLD_LENGTH_MAX]}… ({len(text)} characters)"
