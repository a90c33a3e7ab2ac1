"""What the demo counts as a proof, and how its clients count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve

from tests.cli.cli_case import CliTestCase
from txraft.cli import increments
from txraft.cli.demo import Verdict
from txraft.cli.increments import Increments
from txraft.errors import NotApplied, Outcome, Unknown

GOOD = Verdict(acknowledged=10, unknown=0, counter=10, applied={"n1": 30, "n2": 30, "n3": 30}, digests={"n1": "d", "n2": "d", "n3": "d"})


class Proof(CliTestCase):
    """Only if everything holds."""

    def test_all_is_equal(self) -> None:
        self.assertTrue(GOOD.proved)

    def test_lost_doubled_unknown_or_different(self) -> None:
        for change in (
            {"counter": 9},
            {"counter": 11},
            {"unknown": 1},
            {"digests": {"n1": "d", "n2": "d", "n3": "e"}},
            {"applied": {"n1": 30, "n2": 30, "n3": 29}},
        ):
            self.assertFalse(evolve(GOOD, **change).proved, change)


class Clients(CliTestCase):
    """Each increment once, until enough are acknowledged."""

    def work(self, wished: int, answers: list[Outcome | None]) -> Increments:
        """One client gets these answers, and good ones after them."""

        class Client:
            def __init__(self, endpoints: list[str], timeout_s: float) -> None:
                pass

            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def command(self, *call: Any) -> None:
                answer = answers.pop(0) if answers else None
                if answer is not None:
                    raise answer

        self.patch(increments, "BlockingClient", Client)
        counted = Increments(["a:1"], wished)
        counted._work(["a:1"])
        return counted

    def test_as_many_as_wished(self) -> None:
        counted = self.work(5, [])
        self.assertEqual((counted.acknowledged, counted.unknown, counted.trouble), (5, 0, ""))

    def test_what_was_certainly_not_applied_is_done_anew(self) -> None:
        counted = self.work(5, [None, NotApplied("no_leader"), NotApplied("unreachable")])
        self.assertEqual((counted.acknowledged, counted.unknown, counted.trouble), (5, 0, ""))

    def test_what_is_unknown_is_never_done_again(self) -> None:
        counted = self.work(5, [None, Unknown("timeout", "no answer")])
        self.assertEqual((counted.acknowledged, counted.unknown), (1, 1))
        self.assertIn("no answer", counted.trouble)

    def test_what_cannot_be_cured_ends_it(self) -> None:
        counted = self.work(5, [NotApplied("unknown_machine", "there is no machine 'counter'")])
        self.assertEqual((counted.acknowledged, counted.unknown), (0, 0))
        self.assertIn("no machine", counted.trouble)


class CommandLine(CliTestCase):
    """What is refused before anything is started."""

    def test_wrong_figures_and_used_directories(self) -> None:
        directory = self.mktemp()
        Path(directory).mkdir()
        (Path(directory) / "n1.yaml").touch()
        for words in (["--increments=0"], ["--clients=x"], ["--directory", directory], ["--directory", f"{directory}/n1.yaml"]):
            told = self.run_command("demo", *words)
            self.assertEqual((told.exit_code, told.stdout, told.stderr.count("\n")), (64, "", 1), told)
        self.assertIn("'0' is not a whole number from 1 on", self.run_command("demo", "--increments=0").stderr)
