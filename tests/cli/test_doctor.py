"""The doctor: all findings, the exit code, and that nothing is changed."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from tests.cli.cli_case import CliTestCase, Told
from txraft.cli import doctor
from txraft.cli.doctor import Patient
from txraft.cli.examinations.findings import Finding, Verdict, advice, ok, problem
from txraft.config import NodeConfig
from txraft.errors import NotApplied
from txraft.limits import Limits
from txraft.storage import Storage
from txraft.storage.identity import DirectoryLock
from txraft.storage.layout import Layout

LIMITS = Limits(segment_bytes=65_536, reserve_bytes=1)


class Doctor(CliTestCase):
    """The command, with the examinations of a healthy computer."""

    def setUp(self) -> None:
        super().setUp()
        self.findings = [ok("disk", "fast", median_s=0.5), advice("clock", "behind", "Set it.")]
        self.patients: list[Patient] = []
        self.patch(doctor, "examine", self.examine)
        self.patch(doctor, "ask_status", self.ask)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "n1.yaml"
        self.file.write_text(f"name: n7\ndata_dir: {self.folder}/n7\n")

    def examine(self, patient: Patient) -> list[Finding]:
        self.patients.append(patient)
        return self.findings

    def ask(self, endpoint: str, timeout_s: float) -> dict[str, Any]:
        if endpoint == "b:2":
            raise NotApplied("unreachable", "b:2: refused")
        return {"name": "n1"}

    def doctor(self, *arguments: str, **environ: str) -> Told:
        return self.run_command("doctor", *arguments, **environ)

    def test_for_people(self) -> None:
        told = self.doctor("--config", str(self.file))
        self.assertEqual(told.exit_code, 0)
        self.assertEqual(
            told.stdout.splitlines(),
            ["ok      disk   fast", "advice  clock  behind", "               -> Set it.", "0 problems, 1 piece of advice"],
        )

    def test_a_problem_makes_it_1(self) -> None:
        self.findings.append(problem("ports", "taken", "Choose another."))
        told = self.doctor("--config", str(self.file))
        self.assertEqual((told.exit_code, told.stdout.splitlines()[-1]), (1, "1 problem, 1 piece of advice"))

    def test_for_programs(self) -> None:
        told = self.doctor("--config", str(self.file), "-o", "json")
        self.assertEqual(told.stdout.count("\n"), 1)
        self.assertEqual([one["verdict"] for one in json.loads(told.stdout)], ["ok", "advice"])

    def test_the_configuration(self) -> None:
        self.doctor("--config", str(self.file))
        self.doctor(TXRAFT_CONFIG=str(self.file), TXRAFT_NAME="n8", HOME="/")
        found = [(one.config.name, one.configured, one.config.data_dir.name) for one in self.patients]
        self.assertEqual(found, [("n7", True, "n7"), ("n8", True, "n7")])
        self.assertEqual(self.patients[0].above, self.folder.resolve())

    def test_a_directory_alone(self) -> None:
        self.doctor("--data-dir", str(self.folder), TXRAFT_CONFIG=str(self.file))
        (patient,) = self.patients
        self.assertEqual((patient.layout.root, patient.configured), (self.folder, False))

    def test_nodes_are_asked_if_they_are_named(self) -> None:
        self.doctor()
        self.doctor("--endpoints", "a:1,b:2")
        self.assertEqual([[one.name for one in patient.neighbours] for patient in self.patients], [[], ["n1", "b:2"]])

    def test_wrong_usage(self) -> None:
        self.assertEqual(self.doctor("--config", str(self.folder / "missing.yaml")).exit_code, 64)
        self.assertEqual(self.doctor("--nonsense").exit_code, 64)
        self.assertEqual(self.patients, [])


class Examined(CliTestCase):
    """All examinations together, on this computer."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(doctor, "try_to_bind", lambda interface, port: None)
        self.patch(time, "sleep", lambda seconds: None)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(0o700)

    def findings(self, *arguments: str, **environ: str) -> list[dict[str, Any]]:
        told = self.run_command("-o", "json", "doctor", *(arguments or ["--config", str(self.folder / "n1.yaml")]), **environ)
        found: list[dict[str, Any]] = json.loads(told.stdout)
        self.assertEqual(told.exit_code, int("problem" in {one["verdict"] for one in found}))
        return found

    def test_every_family_has_its_say_and_nothing_is_changed(self) -> None:
        (self.folder / "n1.yaml").write_text(f"data_dir: {self.folder}/n1\n")
        (self.folder / "n1").mkdir(0o700)
        about = [one["about"] for one in self.findings()]
        for family in (
            "versions",
            "directory",
            "identity",
            "in use",
            "file system",
            "free space",
            "disk speed",
            "clock",
            "port",
            "open files",
        ):
            self.assertIn(family, about)
        self.assertEqual(about.count("port"), 2)
        self.assertEqual(list((self.folder / "n1").iterdir()), [])

    def test_a_directory_that_is_not_there_is_not_made(self) -> None:
        (self.folder / "n1.yaml").write_text(f"data_dir: {self.folder}/n1\n")
        self.assertIn("disk speed", [one["about"] for one in self.findings()])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["n1.yaml"])

    def test_a_directory_that_no_node_starts_with(self) -> None:
        file, root = self.folder / "n1.yaml", self.folder / "n1"
        others = "{n1: '127.0.0.1:7001', n2: '127.0.0.1:7002'}"
        for more, verdict in (("", "problem"), (f"bootstrap: {others}\n", "advice")):
            file.write_text(f"data_dir: {root}\n{more}")
            config = NodeConfig.load(file)
            Storage.open(root, cluster_id=config.cluster_id, server_id="n1", bootstrap=[], limits=LIMITS).close()
            self.assertIn(("log", "ok"), [(one["about"], one["verdict"]) for one in self.findings()])
            for path in (root / "log").iterdir():
                path.unlink()
            self.assertIn(("log", verdict), [(one["about"], one["verdict"]) for one in self.findings()])
            self.assertIn(("log", "problem"), [(one["about"], one["verdict"]) for one in self.findings("--data-dir", str(root))])
            shutil.rmtree(root)

    def test_a_node_that_is_stopped_is_no_other_node_that_does_not_answer(self) -> None:
        (self.folder / "n1.yaml").write_text(f"data_dir: {self.folder}/n1\nclient: 'tcp:7501:interface=127.0.0.1'\n")

        def ask(endpoint: str, timeout_s: float) -> dict[str, Any]:
            raise NotApplied("unreachable", f"{endpoint}: refused")

        self.patch(doctor, "ask_status", ask)
        told = [one["found"] for one in self.findings(TXRAFT_ENDPOINTS="127.0.0.1:7501,127.0.0.1:7502") if one["about"] == "nodes"]
        self.assertEqual(told, ["127.0.0.1:7502 does not answer: refused"])
        layout = Layout(self.folder / "n1")
        layout.prepare()
        lock = DirectoryLock.take(layout)
        self.addCleanup(lock.release)
        self.assertEqual([one["about"] for one in self.findings(TXRAFT_ENDPOINTS="127.0.0.1:7501,127.0.0.1:7502")].count("nodes"), 2)

    def test_what_cannot_be_seen_is_a_problem_of_its_own(self) -> None:
        (self.folder / "n1.yaml").write_text(f"data_dir: {self.folder}/n1\n")

        def denied(layout: object) -> None:
            raise PermissionError(13, "Permission denied", "lock")

        self.patch(doctor, "holder_of", denied)
        verdicts = {one["about"]: one["verdict"] for one in self.findings()}
        self.assertEqual(verdicts["ports"], Verdict.PROBLEM.value)
        self.assertIn("clock", verdicts)
