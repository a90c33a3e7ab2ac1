"""Common options, exit codes, and who is asked."""

from __future__ import annotations

from tests.cli.cli_case import CliTestCase, FakeClient
from txraft.cli import main
from txraft.errors import NotApplied, Refused, Unknown


class ExitCodes(CliTestCase):
    """0 done, 1 refused, 64 usage, 75 unavailable or unknown."""

    def outcome(self, result: object) -> tuple[int, str]:
        self.patch(FakeClient, "result", result)
        told = self.run_command("stock", "add", "a")
        return told.exit_code, told.stderr

    def test_done(self) -> None:
        self.assertEqual(self.outcome(3), (0, ""))

    def test_refused(self) -> None:
        self.assertEqual(self.outcome(Refused("out_of_stock", "only 1 of a left")), (1, "txraft: only 1 of a left [out_of_stock]\n"))

    def test_unavailable_or_unknown(self) -> None:
        for problem in (NotApplied("no_leader", "no leader"), NotApplied("unreachable"), Unknown("timeout", "it may have been applied")):
            exit_code, said = self.outcome(problem)
            self.assertEqual((exit_code, said.count("\n")), (75, 1))

    def test_what_no_later_try_could_cure_is_usage(self) -> None:
        self.assertEqual(self.outcome(NotApplied("invalid_arguments", "parameter `n`: expected `int`, got `str`"))[0], 64)

    def test_interrupted(self) -> None:
        def interrupt(client: FakeClient) -> None:
            raise KeyboardInterrupt

        self.patch(FakeClient, "_answer", interrupt)
        told = self.run_command("stock", "add", "a")
        self.assertEqual((told.exit_code, told.stderr), (130, "txraft: interrupted\n"))

    def test_usage(self) -> None:
        for arguments in ([], ["--colour"], ["-o", "yaml", "status"], ["--timeout", "0", "status"], ["--endpoints", ",", "status"]):
            told = self.run_command(*arguments)
            self.assertEqual((told.exit_code, told.stdout, told.stderr.count("\n")), (64, "", 1), arguments)


class CommonOptions(CliTestCase):
    """Before or after the subcommand, or in the environment."""

    def connected(self, *arguments: str, **environ: str) -> object:
        self.run_command(*arguments, **environ)
        return self.called[0][1:]

    def test_endpoints_and_timeout(self) -> None:
        add = ["stock", "add", "a"]
        self.assertEqual(self.connected(*add), (("127.0.0.1:2379",), 10.0))
        self.called.clear()
        self.assertEqual(self.connected(*add, TXRAFT_ENDPOINTS="a:1, b:2"), (("a:1", "b:2"), 10.0))
        self.called.clear()
        self.assertEqual(self.connected("--endpoints", "c:3", "--timeout=2", *add, TXRAFT_ENDPOINTS="a:1"), (("c:3",), 2.0))
        self.called.clear()
        self.assertEqual(self.connected(*add, "--endpoints", "d:4", "--timeout", "0.5"), (("d:4",), 0.5))
        self.called.clear()
        self.assertEqual(self.connected("stock", "--endpoints=e:5", "add", "a"), (("e:5",), 10.0))

    def test_a_timeout_that_is_none(self) -> None:
        for text in ("x", "0", "nan", "3601"):
            told = self.run_command("stock", "add", "a", "--timeout", text)
            self.assertEqual((told.exit_code, "more than 0 and at most 3600" in told.stderr), (64, True), told)

    def test_output_for_programs(self) -> None:
        self.patch(FakeClient, "result", {"ä": [1]})
        for arguments in (["-o", "json", "stock", "add", "a"], ["stock", "add", "a", "-o", "json"]):
            self.assertEqual(self.run_command(*arguments).stdout, '{"ä":[1]}\n')

    def test_help_names_all_commands_and_fits_a_terminal(self) -> None:
        told = self.run_command("--help")
        self.assertEqual((told.exit_code, told.stderr), (0, ""))
        for command in main.SUBCOMMANDS:
            self.assertIn(f"\n  {command} ", told.stdout)
        self.assertRegex(self.run_command("--version").stdout, r"^txraft \d")
