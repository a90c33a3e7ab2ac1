"""A share of the enumeration of crashes, and proof that it can fail.

Where what happened to others (by its number) is tested below `tests/storage`:

| | test |
|---|---|
| 56 torn writes | `test_recovery`: every cut and every subset of sectors of the last batch; here: `one_append`, `appends` |
| 57 what no fsync covered is lost | here: `test_scenario_57_…`: every image of every place |
| 58 files that went to disk at different times | `test_recovery`, `test_crashes`; here: `one_vote`, `votes` |
| 59 a crash between snapshot and compaction | here: `test_scenario_59_…`; `test_log_beginning` |
| 60 a snapshot that is half written | here: `test_scenario_60_…`; `test_log_beginning` |
| 66 damage in the middle cuts nothing off | `test_recovery`; here: `test_scenario_66_…` |
| 67, 68 lengths and zeros that are no records | `test_recovery` |
| 69 data forgotten after some kills | here: `test_scenario_69_…` |
| 70 a state older than the log goes with | here: `test_scenario_70_…` |
| 71 files that are no promise | `test_recovery` |
| 72 two processes on one directory | `test_identity` |
| 73 segments that are missing or from the future | `test_recovery`, `test_log_beginning` |
| 84 files written in the wrong order | here: `test_scenario_84_…`; `test_log_beginning` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.storage import crash_enumeration
from tests.storage.crash_cases import Budget
from tests.storage.crash_enumeration import Figures, enumerate_crashes
from tests.storage.crash_scripts import SCRIPTS, SMALL, random_script
from tests.storage.crash_world import ROOT, Violation
from tests.support.disk import BOOTSTRAP, base, command, make_snapshot, open_storage, persist, vote, whole_log
from tests.support.simulated_files import PowerCut, SimulatedFile, SimulatedFiles
from txraft.errors import DamagedSnapshot, StorageError
from txraft.storage.records import Rest
from txraft.storage.snapshot_files import SnapshotFiles

FEW = Budget(images_max=4, samples=2, again=8, onward=8, kills=4, spoiled=2)


class ScriptTests(SynchronousTestCase):
    """Scripts are run, and the power is cut at each of their calls."""

    def crash(self, *names: str, budget: Budget = FEW, seed: int = 1) -> Figures:
        figures = Figures()
        for name in names:
            enumerate_crashes(name, SCRIPTS[name], seed, budget, figures)
        self.assertGreater(figures.counts["kill -9"], 30 * len(names))
        return figures

    def test_scenario_57_every_image_of_every_crash_of_small_scripts_keeps_what_was_acknowledged(self) -> None:
        figures = self.crash(*SMALL, budget=Budget(images_max=20_000, again=30, onward=30, kills=2, spoiled=1))
        self.assertEqual(figures.sampled, 0)
        self.assertGreater(figures.counts["power cut, every image"], 3_000)

    def test_appends_votes_and_truncations(self) -> None:
        figures = self.crash("appends", "votes", "truncations")
        self.assertGreater(figures.counts["second crash, while it was opened"], 50)
        self.assertGreater(figures.counts["went on after it was opened"], 50)
        self.assertGreater(figures.counts["(read by the reader written from the document, too)"], 50)

    def test_scenario_59_any_crash_while_a_snapshot_takes_the_place_of_a_part_of_the_log(self) -> None:
        self.crash("local_snapshot", "truncated_then_snapshot")

    def test_scenario_60_any_crash_while_a_snapshot_is_received(self) -> None:
        self.crash("installed_snapshot", "installed_beside_the_log")

    def test_scenario_84_any_crash_while_one_snapshot_follows_another(self) -> None:
        self.crash("installed_over_a_local_one")

    def test_any_crash_while_damage_is_repaired(self) -> None:
        figures = self.crash("damaged_log", "lost_segment", "lost_snapshot", "lost_votes")
        self.assertGreater(figures.counts["second crash, while it was repaired"], 20)

    def test_any_crash_on_a_full_disk(self) -> None:
        self.crash("full_disk", "full_disk_in_pieces")

    def test_any_crash_after_a_failed_sync(self) -> None:
        self.crash(
            "failed_syncs", "failed_syncs_while_receiving", budget=Budget(images_max=2, samples=1, again=10, onward=10, kills=4, spoiled=1)
        )

    def test_scripts_by_lot(self) -> None:
        figures = Figures()
        for number in (1, 2):
            enumerate_crashes(f"random-{number}", random_script(number), number, FEW, figures)
        self.assertGreater(figures.places, 100)

    def test_scenario_66_what_is_spoiled_below_what_was_durable_is_named(self) -> None:
        figures = self.crash("votes", budget=Budget(images_max=0, samples=0, again=50, onward=50), seed=4)
        named = sum(count for kind, count in figures.counts.items() if kind.startswith("damage, named"))
        self.assertGreater(named, 15)

    def test_the_command_line_counts_and_says_how_a_case_comes_again(self) -> None:
        with mock.patch("builtins.print") as printed:
            self.assertEqual(crash_enumeration.main(["--cases", "10", "--script", "one_vote"]), 0)
        self.assertIn("cases; 1 scripts", printed.call_args[0][0])
        with mock.patch("builtins.print") as printed, without_sync("metadata-"):
            self.assertEqual(crash_enumeration.main(["--script", "one_vote", "--seed", "7"]), 1)
        self.assertIn("--script one_vote --seed 7", printed.call_args[0][0])


def without_sync(prefix: str) -> Any:
    """Files whose names begin so are not synced."""
    real = SimulatedFile.sync_content

    def sync_content(file: SimulatedFile) -> None:
        if not file.path.name.startswith(prefix):
            real(file)

    return mock.patch.object(SimulatedFile, "sync_content", sync_content)


def without_whole_sync(name: str) -> Any:
    """Files of this name are not synced with fsync."""
    real = SimulatedFile.sync

    def sync(file: SimulatedFile) -> None:
        if file.path.name != name:
            real(file)

    return mock.patch.object(SimulatedFile, "sync", sync)


def without_names(directory: str) -> Any:
    """The names in a directory are not synced."""
    real = SimulatedFiles.sync_directory

    def sync_directory(files: SimulatedFiles, path: Path) -> None:
        if path != ROOT / directory:
            real(files, path)

    return mock.patch.object(SimulatedFiles, "sync_directory", sync_directory)


@contextmanager
def without_cutting() -> Iterator[None]:
    """What a full disk or a crash left of a write is neither cut off nor overwritten with zeros."""
    real = SimulatedFile.truncate

    def truncate(file: SimulatedFile, size: int) -> None:
        if file.path.suffix != ".segment":
            real(file, size)

    with mock.patch.object(SimulatedFile, "truncate", truncate), mock.patch("txraft.storage.segment._ZEROS", b""):
        yield


def without_proof() -> Any:
    """No later record counts as proof that an unreadable one was durable."""
    return mock.patch("txraft.storage.recovery.inspect_rest", lambda file, offset, stop, sequence, seed: Rest(stop, None))


def without_removing() -> Any:
    """What was received stays when it could not be synced."""
    return mock.patch.object(SnapshotFiles, "sync_incoming", lambda self, snapshot, file: file.sync_content())


class BrokenStorageTests(SynchronousTestCase):
    """A storage that leaves out a single step of those that make it safe is found out."""

    def require_found_out(self, broken: Callable[[], Any], *names: str, budget: Budget = FEW) -> None:
        with broken():
            for name in names:
                try:
                    enumerate_crashes(name, SCRIPTS[name], 1, budget, Figures())
                except Violation:
                    return
        self.fail("nobody noticed")

    def test_a_vote_that_is_not_durable(self) -> None:
        self.require_found_out(lambda: without_sync("metadata-"), "one_vote")

    def test_entries_that_are_not_durable(self) -> None:
        self.require_found_out(lambda: without_sync("0000"), "one_append")

    def test_a_segment_that_is_not_durable(self) -> None:
        self.require_found_out(lambda: without_whole_sync("new"), "one_roll")

    def test_a_segment_without_a_durable_name(self) -> None:
        self.require_found_out(lambda: without_names("log"), "one_roll")

    def test_an_identity_that_is_not_durable(self) -> None:
        self.require_found_out(lambda: without_whole_sync("identity.new"), "first_opening")

    def test_a_snapshot_without_a_durable_name(self) -> None:
        self.require_found_out(lambda: without_names("snapshots"), "local_snapshot", "installed_snapshot")

    def test_leavings_that_are_not_cut_off(self) -> None:
        self.require_found_out(without_cutting, "full_disk_in_pieces", "full_disk")

    def test_what_was_received_and_could_not_be_synced_is_not_taken_for_whole(self) -> None:
        self.require_found_out(without_removing, "failed_syncs_while_receiving")

    def test_damage_that_is_taken_for_the_leavings_of_a_crash(self) -> None:
        self.require_found_out(without_proof, "appends", "truncations")


class KillTests(SynchronousTestCase):
    def test_scenario_69_killed_a_hundred_times_it_has_forgotten_nothing(self) -> None:
        """NATS #6888: a node that was killed some times had lost what it had stored."""
        random, files = Random(69), SimulatedFiles()
        log, term, snapshot = [*BOOTSTRAP], 1, None
        for number in range(100):
            with closing(storage := open_storage(ROOT, files=files)):
                self.assertEqual(storage.recovered.metadata, vote(term, "n1" if term > 1 else None))
                self.assertEqual(storage.recovered.snapshot, snapshot)
                behind = storage.recovered.base_index
                self.assertEqual(storage.read(behind + 1, 1 << 30), log[behind:])  # type: ignore[arg-type]
                self.assertEqual(storage.identity.incarnation, number + 1)
                term += 1
                storage.write([persist(metadata=vote(term, "n1"))])
                for _ in range(random.randrange(4)):
                    entries = [command(b"x" * random.randrange(900), term)]
                    storage.write([persist(len(log) + 1, entries)])
                    log += entries
                if number % 10 == 9 and (snapshot is None or snapshot.index < len(log)):
                    snapshot = make_snapshot(storage, len(log), log[-1].term)
                    storage.write([persist(base=base(snapshot, len(log) - 1, log[-2].term))])
                files = random.choice((files.killed, files.lost))()
        self.assertGreater(len(log), 100)

    def test_scenario_70_a_state_older_than_the_log_goes_with_is_refused(self) -> None:
        """dragonboat #369: the files of the state were put back from an older copy, and nobody noticed."""
        files = SimulatedFiles()
        storage = open_storage(ROOT, files=files)
        storage.write([persist(2, [command(b"x" * 2000)] * 4)])
        older = make_snapshot(storage, 3, content=b"older")
        storage.write([persist(base=base(older))])
        copy = files.content(storage.snapshot_path(3))
        newer = make_snapshot(storage, 5, content=b"newer")
        storage.write([persist(base=base(newer))])
        storage.close()
        files.put(storage.snapshot_path(5), copy)
        refusal = self.assertRaises(DamagedSnapshot, open_storage, ROOT, files=files)
        self.assertIn("SHA-256", str(refusal))
        files.lose(storage.snapshot_path(5))
        files.put(storage.snapshot_path(3), copy)
        refusal = self.assertRaises(DamagedSnapshot, open_storage, ROOT, files=files)
        self.assertIn("missing", str(refusal))
        files.put(storage.snapshot_path(5), b"newer")
        open_storage(ROOT, files=files).close()


class FirstOpeningTests(SynchronousTestCase):
    def test_a_directory_whose_maker_was_killed_before_its_name_was_durable_is_there_after_a_power_cut(self) -> None:
        for cut_at in (2, 4):
            files = SimulatedFiles(cut_at=cut_at)
            self.assertRaises(PowerCut, open_storage, Path("/var/n1"), files=files)
            self.assertEqual(files.calls[-1][0], "make_directory")
            left = files.killed()
            storage = open_storage(Path("/var/n1"), files=left)
            storage.write([persist(metadata=vote(5, "n2"))])
            with closing(open_storage(Path("/var/n1"), files=left.lost())) as storage:
                self.assertEqual(storage.recovered.metadata, vote(5, "n2"))


class SecondNameTests(SynchronousTestCase):
    """A crash may leave both names of a renamed file: what is written under the one must not change the other."""

    def twice(self, name: str, other: str) -> SimulatedFiles:
        """A directory in which a file has a second name."""
        files = SimulatedFiles()
        storage = open_storage(ROOT, files=files)
        storage.write([persist(2, [command(b"a")])])
        storage.close()
        files.link(ROOT / name, ROOT / other)
        files.sync_directory((ROOT / other).parent)
        return files

    def test_an_identity_with_two_names_is_not_emptied_when_the_next_one_is_made(self) -> None:
        files = self.twice("identity", "identity.new")
        before = files.content(ROOT / "identity")
        files.fail("write", name="identity.new")
        self.assertRaises(StorageError, open_storage, ROOT, files=files)
        self.assertEqual(files.content(ROOT / "identity"), before)
        left = files.killed()
        with closing(open_storage(ROOT, files=left)) as storage:
            self.assertEqual(whole_log(storage), [*BOOTSTRAP, command(b"a")])

    def test_a_segment_with_two_names_is_not_emptied_when_the_next_one_is_made(self) -> None:
        files = self.twice(f"log/{1:020d}.segment", "log/new")
        files.overwrite(ROOT / "log" / f"{1:020d}.segment", 0, files.content(ROOT / "log" / f"{1:020d}.segment"))
        with closing(open_storage(ROOT, files=files)) as storage:
            storage.write([persist(3, [command(b"b" * 5000)])])
            self.assertEqual(whole_log(storage), [*BOOTSTRAP, command(b"a"), command(b"b" * 5000)])
