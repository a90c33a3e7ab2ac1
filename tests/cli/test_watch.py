"""What is watched, and a line for each event."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.cli_case import CliTestCase, FakeClient
from txraft.client.events import Event
from txraft.errors import NotApplied

SOLD = Event(7, "sold", {"sku": "a", "n": 2, "to": None}, (8, 0))
PUT = Event(8, "jobs/a", {"type": "put", "kv": {"key": "jobs/a", "value": "x\ny", "version": 1}}, (8, 1))
DELETED = Event(8, "jobs/ä", {"type": "delete", "kv": {"key": "jobs/ä", "value": ""}}, (9, 0))
RAW = Event(9, b"\xff", {"type": "put", "kv": {"key": {"base64": "/w=="}, "value": "v"}}, (10, 0))


class Watching(CliTestCase):
    """What is asked."""

    def watched(self, *arguments: str) -> tuple[Any, ...]:
        told = self.run_command(*arguments)
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        return self.called[-2]

    def test_machine_topic_and_prefix(self) -> None:
        self.assertEqual(self.watched("watch", "stock"), ("watch", "stock", None, None, None))
        self.assertEqual(self.watched("watch", "stock", "sold"), ("watch", "stock", "sold", None, None))
        for words in (["--prefix", "so"], ["so", "--prefix"], ["--prefix=so"]):
            self.assertEqual(self.watched("watch", "stock", *words), ("watch", "stock", None, "so", None), words)
            self.assertEqual(self.watched("stock", "watch", *words), ("watch", "stock", None, "so", None), words)

    def test_a_topic_need_not_be_text(self) -> None:
        self.assertEqual(self.watched("stock", "watch", "\udcff")[2], b"\xff")
        self.assertEqual(self.watched("stock", "watch", "ä")[2], "ä")

    def test_from_an_index_or_a_place(self) -> None:
        self.assertEqual(self.watched("watch", "stock", "--from", "7")[4], (7, 0))
        self.assertEqual(self.watched("watch", "stock", "--from", "7.3")[4], (7, 3))

    def test_usage(self) -> None:
        for words in ([], ["stock", "a", "--prefix", "b"], ["stock", "--count", "0"], ["stock", "--from", "0"], ["stock", "--from", "x"]):
            told = self.run_command("watch", *words)
            self.assertEqual((told.exit_code, told.stdout, told.stderr.count("\n")), (64, "", 1), words)

    def test_common_options_may_stand_anywhere(self) -> None:
        self.watched("stock", "--timeout", "2", "watch", "a", "--endpoints", "c:3")
        self.assertEqual(self.called[0], ("connect", ("c:3",), 2.0))


class Telling(CliTestCase):
    """What is printed."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(FakeClient, "events", [SOLD, PUT, DELETED, RAW])

    def test_a_line_for_each_event(self) -> None:
        self.assertEqual(
            self.run_command("watch", "stock").stdout.splitlines(),
            [
                "7  sold  sku=a  n=2  to=-",
                '8  put     jobs/a = "x\\ny"',
                "8  delete  jobs/ä",
                '9  put     {"base64":"/w=="} = v',
            ],
        )

    def test_for_programs_an_object_a_line(self) -> None:
        told = [json.loads(line) for line in self.run_command("-o", "json", "watch", "stock").stdout.splitlines()]
        self.assertEqual(told[0], {"index": 7, "topic": "sold", "fields": SOLD.fields, "place": "8.0"})
        self.assertEqual((told[1]["place"], told[3]["topic"]), ("8.1", {"base64": "/w=="}))

    def test_no_more_than_were_wanted(self) -> None:
        self.assertEqual(len(self.run_command("watch", "stock", "--count", "2").stdout.splitlines()), 2)

    def test_until_it_is_interrupted(self) -> None:
        self.patch(FakeClient, "result", KeyboardInterrupt())
        told = self.run_command("watch", "stock")
        self.assertEqual((told.exit_code, len(told.stdout.splitlines()), told.stderr), (130, 4, "txraft: interrupted\n"))

    def test_what_it_cannot_go_on_from_is_told(self) -> None:
        self.patch(FakeClient, "result", NotApplied("compacted", "events before 9 are gone", oldest=9))
        told = self.run_command("watch", "stock", "--from", "3")
        self.assertEqual((told.exit_code, told.stderr), (1, "txraft: events before 9 are gone [compacted]\n"))
