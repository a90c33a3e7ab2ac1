"""Entries in words."""

from __future__ import annotations

import json

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.log_entries import TOLD_LENGTH_MAX, kind_of, line_of_entry, plain_entry
from txraft.core.configuration import Configuration
from txraft.core.entry import Entry, EntryKind
from txraft.http.json_text import encode_json
from txraft.statemachine.log_commands import (
    Clock,
    CloseSession,
    HostMachine,
    Invoke,
    KeepSession,
    LogCommand,
    OpenSession,
    encode_log_command,
)
from txraft.statemachine.values import encode_value


def command(one: LogCommand) -> Entry:
    return Entry(3, EntryKind.COMMAND, encode_log_command(one))


def invoke(arguments: object, session: int = 4) -> Entry:
    return command(Invoke(99, session, 2, 1, "counter", "add", msgspec.Raw(encode_value(arguments))))


MEMBERS = Configuration.of({"n1": "a:1", "n2": "b:2"}, {"n3": "c:3"}, {"n1": "f" * 32})


class Entries(SynchronousTestCase):
    def told(self, entry: Entry) -> str:
        """What a line says behind index, term and kind."""
        index, term, _, *rest = line_of_entry(7, entry).split(None, 3)
        self.assertEqual((index, term), ("7", "3"))
        return rest[0] if rest else ""

    def test_a_call(self) -> None:
        self.assertEqual(
            plain_entry(7, invoke({"name": "a", "key": b"\xff", "amount": 2**70})),
            {
                "index": 7,
                "term": 3,
                "kind": "invoke",
                "time_ms": 99,
                "session": 4,
                "serial": 2,
                "first_outstanding": 1,
                "machine": "counter",
                "command": "add",
                "arguments": {"name": "a", "key": {"base64": "/w=="}, "amount": 2**70},
            },
        )
        self.assertEqual(self.told(invoke({"name": "a"})), 'counter.add {"name":"a"}  session 4/2')
        self.assertEqual(self.told(invoke({"name": "a"}, session=0)), 'counter.add {"name":"a"}')
        self.assertEqual(kind_of(invoke({})), ("invoke", "counter"))

    def test_long_arguments_are_cut_for_people_only(self) -> None:
        entry = invoke({"name": "a" * 1_000})
        self.assertLess(len(self.told(entry)), TOLD_LENGTH_MAX + 60)
        self.assertEqual(plain_entry(7, entry)["arguments"]["name"], "a" * 1_000)

    def test_what_the_host_does(self) -> None:
        entries = [
            command(one)
            for one in (OpenSession(9, 60_000), KeepSession(9, 5), CloseSession(9, 5), Clock(9), HostMachine(9, "shop", "my.shop", 2))
        ]
        told = [self.told(entry) for entry in entries]
        self.assertEqual(told, ["session 7, for 60 s", "session 5", "session 5", "log time 9", "shop: plug-in my.shop version 2"])
        kinds = [kind_of(entry)[0] for entry in entries]
        self.assertEqual(kinds, ["open_session", "keep_session", "close_session", "clock", "host_machine"])
        self.assertEqual(plain_entry(7, entries[0]), {"index": 7, "term": 3, "kind": "open_session", "time_ms": 9, "timeout_ms": 60_000})

    def test_configurations(self) -> None:
        entry = Entry(3, EntryKind.CONFIGURATION, MEMBERS.encode())
        self.assertEqual(self.told(entry), "n1=a:1 n2=b:2  learners n3=c:3")
        plain = plain_entry(7, entry)
        self.assertEqual((plain["voters"], plain["directories"]), ({"n1": "a:1", "n2": "b:2"}, {"n1": "f" * 32}))

    def test_nothing(self) -> None:
        self.assertEqual(line_of_entry(7, Entry(3, EntryKind.NOOP, b"")), "         7      3  noop")
        self.assertEqual(plain_entry(7, Entry(3, EntryKind.NOOP, b"")), {"index": 7, "term": 3, "kind": "noop"})

    def test_what_a_later_version_wrote(self) -> None:
        for kind in (EntryKind.COMMAND, EntryKind.CONFIGURATION, 9):
            entry = Entry(3, kind, b"\xc1?")
            self.assertEqual(plain_entry(7, entry)["undecoded"], "wT8=")
            self.assertTrue(line_of_entry(7, entry).endswith("2 bytes that this version cannot read"))
        self.assertEqual([kind_of(Entry(3, kind, b"\xc1"))[0] for kind in (1, 2, 9)], ["command", "configuration", "kind 9"])

    def test_all_of_it_is_json(self) -> None:
        for entry in (invoke({"a": [b"x", 2**200, float("nan")]}), Entry(3, EntryKind.CONFIGURATION, MEMBERS.encode())):
            self.assertEqual(json.loads(encode_json(plain_entry(7, entry)))["index"], 7)
