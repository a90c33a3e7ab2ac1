"""The status of several nodes at once."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.cli_case import CliTestCase
from txraft.cli import status
from txraft.errors import NotApplied


class Status(CliTestCase):
    """Side by side, the silent ones too."""

    def setUp(self) -> None:
        super().setUp()
        self.digests_asked: list[bool] = []
        self.patch(status, "ask_status", self.ask)

    def ask(self, endpoint: str, timeout_s: float, *, digest: bool) -> dict[str, Any]:
        self.digests_asked.append(digest)
        if endpoint == "c:3":
            raise NotApplied("unreachable", "c:3: Connection refused")
        base: dict[str, Any] = {"name": endpoint[0], "term": 7, "leader": "a", "commit_index": 12, "last_index": 12}
        if endpoint == "b:2":
            return base | {"role": "follower", "applied_index": 9, "ready": False, "reason": "replaying the log"}
        return base | {
            "role": "leader",
            "applied_index": 12,
            "ready": True,
            "reason": "ok",
            **({"digest": "0123456789" * 6 + "abcd"} if digest else {}),
        }

    def test_table(self) -> None:
        told = self.run_command("--endpoints=a:1,b:2", "status")
        self.assertEqual(told.exit_code, 0)
        self.assertEqual(
            told.stdout.splitlines(),
            [
                "ENDPOINT  NAME  ROLE      TERM  LEADER  COMMIT  APPLIED  LAST  READY",
                "a:1       a     leader    7     a       12      12       12    yes",
                "b:2       b     follower  7     a       12      9        12    no     replaying the log",
            ],
        )

    def test_a_degraded_machine_is_told(self) -> None:
        machines = {"counter": {"degraded": False, "last_error": ""}, "shelf": {"degraded": True, "last_error": "add: ZeroDivisionError"}}
        self.patch(
            status,
            "ask_status",
            lambda endpoint, timeout_s, *, digest: self.ask(endpoint, timeout_s, digest=digest) | {"machines": machines},
        )
        told = self.run_command("--endpoints=a:1", "status")
        self.assertTrue(told.stdout.splitlines()[1].endswith("yes    shelf degraded: add: ZeroDivisionError"), told.stdout)

    def test_one_that_does_not_answer_makes_it_75(self) -> None:
        told = self.run_command("status", "--endpoints=a:1,c:3")
        self.assertEqual(told.exit_code, 75)
        self.assertRegex(told.stdout, r"c:3 +- .* -  +c:3: Connection refused\n$")

    def test_digest(self) -> None:
        told = self.run_command("status", "--endpoints=a:1", "--digest")
        self.assertIn(" 0123456789012345\n", told.stdout)
        self.assertEqual(self.digests_asked, [True])

    def test_for_programs(self) -> None:
        told = self.run_command("-o", "json", "status", "--endpoints=a:1,c:3")
        self.assertEqual(told.stdout.count("\n"), 1)
        first, second = json.loads(told.stdout)
        self.assertEqual((first["endpoint"], first["commit_index"]), ("a:1", 12))
        self.assertEqual(second, {"endpoint": "c:3", "error": "c:3: Connection refused", "code": "unreachable"})
