"""What a data directory holds, as people and programs read it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.cli.cli_case import CliTestCase, Told
from txraft.core.configuration import Configuration
from txraft.core.effects import Metadata, Persist, Receipt
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, ServerId, Term
from txraft.limits import Limits
from txraft.statemachine.log_commands import HostMachine, Invoke, OpenSession, encode_log_command
from txraft.statemachine.values import encode_value
from txraft.storage import Storage

MEMBERS = Entry(1, EntryKind.CONFIGURATION, Configuration.of({"n1": "a:1"}).encode())
LIMITS = Limits(segment_bytes=65_536, reserve_bytes=1)


def command(one: Any, term: int = 2) -> Entry:
    return Entry(term, EntryKind.COMMAND, encode_log_command(one))


class LogCase(CliTestCase):
    """A directory with a small log."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()

    def open(self) -> Storage:
        return Storage.open(self.root, cluster_id="c" * 32, server_id="n1", bootstrap=[MEMBERS], limits=LIMITS)

    def fill(self) -> None:
        storage = self.open()
        entries = [
            Entry(2, EntryKind.NOOP, b""),
            command(HostMachine(5, "counter", "counter", 1)),
            command(OpenSession(5, 60_000)),
            *(command(self.invoke(number)) for number in range(1, 4)),
        ]
        self.write(storage, entries)
        storage.close()

    def write(self, storage: Storage, entries: list[Entry]) -> None:
        receipt = Receipt(Term(2), Index(1 + len(entries)), Term(2))
        storage.write([Persist(Metadata(Term(2), ServerId("n1")), None, Index(2), entries, receipt, ())])

    def invoke(self, number: int) -> Invoke:
        return Invoke(6, 4, number, 1, "counter", "add", msgspec.Raw(encode_value({"name": "a", "amount": number})))

    def spoil(self, offset: int) -> None:
        with next((self.root / "log").glob("*.segment")).open("r+b") as file:
            file.seek(offset)
            file.write(b"\xff" * 8)

    def log(self, *arguments: str) -> Told:
        return self.run_command("log", arguments[0], str(self.root), *arguments[1:])

    def stamps(self) -> Iterator[tuple[str, int, int]]:
        """What tells whether anything was changed."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                found = Path(folder, name).stat()
                yield name, found.st_mtime_ns, found.st_size


class Show(LogCase):
    """The entries."""

    def test_for_people(self) -> None:
        self.fill()
        before = sorted(self.stamps())
        told = self.log("show")
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        self.assertEqual(
            told.stdout.splitlines(),
            [
                "         1      1  configuration   n1=a:1",
                "         2      2  noop",
                "         3      2  host_machine    counter: plug-in counter version 1",
                "         4      2  open_session    session 4, for 60 s",
                '         5      2  invoke          counter.add {"name":"a","amount":1}  session 4/1',
                '         6      2  invoke          counter.add {"name":"a","amount":2}  session 4/2',
                '         7      2  invoke          counter.add {"name":"a","amount":3}  session 4/3',
            ],
        )
        self.assertEqual(sorted(self.stamps()), before, "nothing was changed")

    def test_for_programs(self) -> None:
        self.fill()
        for arguments in (["--json"], ["-o", "json"]):
            lines = [json.loads(line) for line in self.log("show", *arguments).stdout.splitlines()]
            self.assertEqual([line["index"] for line in lines], list(range(1, 8)))
            self.assertEqual((lines[6]["arguments"], lines[0]["voters"]), ({"name": "a", "amount": 3}, {"n1": "a:1"}))

    def test_a_part(self) -> None:
        self.fill()
        told = self.log("show", "--from", "3", "--count", "2")
        self.assertEqual([line.split()[0] for line in told.stdout.splitlines()], ["3", "4"])
        self.assertEqual(self.log("show", "--from", "9").stdout, "")

    def test_up_to_the_damage(self) -> None:
        self.fill()
        self.spoil(200)
        told = self.log("show")
        self.assertEqual((told.exit_code, told.stdout.splitlines()[0].split()[0]), (1, "1"))
        self.assertRegex(told.stderr, r"segment: bytes \d+ to \d+")

    def test_in_use(self) -> None:
        self.fill()
        storage = self.open()
        lock = (self.root / "lock").read_text()
        told = self.log("show", "--count", "1")
        self.assertEqual(told.exit_code, 0)
        self.assertIn(f"in use by process {os.getpid()}", told.stderr)
        self.assertEqual((self.root / "lock").read_text(), lock)
        storage.close()

    def test_wrong_usage(self) -> None:
        for arguments in (["show"], [], ["nonsense", "d"], ["show", "d", "--from", "0"], ["show", "d", "--count", "x"]):
            self.assertEqual(self.run_command("log", *arguments).exit_code, 64, arguments)
        self.assertIn("Try: txraft log stat --help", self.run_command("log", "stat", "d", "--count", "1").stderr)

    def test_no_directory(self) -> None:
        told = self.log("show")
        self.assertEqual(told.exit_code, 74)
        self.assertIn("there is no such directory", told.stderr)


class Verify(LogCase):
    """Whether it is whole."""

    def test_sound(self) -> None:
        self.fill()
        before = sorted(self.stamps())
        self.assertEqual(self.log("verify").stdout, f"{self.root} is sound; the log ends with entry 7\n")
        self.assertEqual(json.loads(self.log("verify", "-o", "json").stdout), {"sound": True, "last_index": 7, "notes": []})
        self.assertEqual(sorted(self.stamps()), before, "nothing was changed")

    def test_damaged(self) -> None:
        self.fill()
        self.spoil(200)
        told = self.log("verify")
        self.assertEqual((told.exit_code, told.stderr), (1, ""))
        self.assertRegex(told.stdout, r"0001\.segment: bytes \d+ to \d+")
        self.assertEqual(json.loads(self.log("verify", "-o", "json").stdout)["sound"], False)

    def test_a_torn_tail_is_no_damage(self) -> None:
        self.fill()
        with next((self.root / "log").glob("*.segment")).open("r+b") as file:
            end = len(file.read().rstrip(b"\0"))
            file.seek(end)
            file.write(b"torn")
        told = self.log("verify")
        self.assertEqual((told.exit_code, len(told.stdout.splitlines())), (0, 2))
        self.assertIn("where a crash interrupted a write", told.stdout)

    def test_no_directory_is_no_sound_one(self) -> None:
        self.assertEqual(self.log("verify").exit_code, 1)


class Stat(LogCase):
    """Figures."""

    def test_figures(self) -> None:
        self.fill()
        figures = json.loads(self.log("stat", "-o", "json").stdout)
        expected = {"server": "n1", "incarnation": 1, "term": 2, "voted_for": "n1", "first_index": 1, "last_index": 7, "entries": 7}
        self.assertEqual({name: figures[name] for name in expected}, expected)
        self.assertEqual((figures["segments"], figures["in_use_by"], figures["snapshots"]), (1, None, []))
        self.assertTrue(200 < figures["bytes"] < figures["file_bytes"])
        self.assertEqual(figures["terms"], [{"term": 1, "entries": 1}, {"term": 2, "entries": 6}])
        kinds = {(one["kind"], one["machine"]): one["entries"] for one in figures["kinds"]}
        expected_kinds = {("configuration", None): 1, ("noop", None): 1, ("host_machine", None): 1, ("open_session", None): 1}
        self.assertEqual(kinds, expected_kinds | {("invoke", "counter"): 3})

    def test_for_people(self) -> None:
        self.fill()
        lines = self.log("stat").stdout.splitlines()
        self.assertIn("entries         7", lines)
        self.assertRegex("\n".join(lines), r"(?m)^invoke +counter +3 ")
        self.assertIn("snapshots       -", lines)

    def test_of_what_is_damaged(self) -> None:
        self.fill()
        self.spoil(200)
        told = self.log("stat", "-o", "json")
        self.assertEqual((told.exit_code, json.loads(told.stdout)["last_index"] < 7), (1, True))
