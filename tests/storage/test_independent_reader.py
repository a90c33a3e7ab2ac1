"""The document is enough: a reader written from it alone reads what the package writes, and says what is broken."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage import independent_reader
from tests.storage.crash_scripts import SCRIPTS
from tests.storage.crash_world import ROOT, World, independently, state_of
from tests.storage.independent_reader import read_directory
from tests.support.disk import BOOTSTRAP, CLUSTER_ID, SERVER_ID, commands, no_sync, open_storage, overwrite, persist, segments, vote
from tests.support.simulated_files import SimulatedFiles
from txraft.core.entry import Entry

SOURCE = Path(independent_reader.__file__)


def files_below(files: SimulatedFiles) -> dict[str, bytes]:
    return {name.removeprefix(f"{ROOT}/"): content for name, content in files.all_files().items()}


class ScriptTests(SynchronousTestCase):
    """What a directory holds after every step of every script: appends, truncations, snapshots of one's own and of others, repairs."""

    def test_it_finds_what_the_storage_finds(self) -> None:
        found = set()
        for script in SCRIPTS.values():
            world = World(SimulatedFiles(), script.limits, lambda world: None, lambda world: found.add(self.compare(world)))
            script.run(world)
        self.assertEqual(found, {(repair, snapshot) for repair in ("", "log", "votes") for snapshot in (False, True)} - {("votes", True)})

    def compare(self, world: World) -> tuple[str, bool]:
        """Both read the same directory; what kind of directory it is."""
        image = world.files.killed()
        read, below = independently(image), read_directory(files_below(image))
        image.capacity = None
        storage = open_storage(ROOT, limits=world.limits, files=image)
        self.assertEqual(read, state_of(storage))
        identity, recovered = storage.identity, storage.recovered
        storage.close()
        cluster_id, server_id, incarnation, mark, processes = below["identity"]
        self.assertEqual((cluster_id, server_id), (CLUSTER_ID, SERVER_ID))
        self.assertEqual((incarnation + 1, mark.hex()), (identity.incarnation, identity.mark))
        self.assertEqual(tuple(process.hex() for process in processes), identity.previous_processes)
        note = below["repair"]
        if recovered.repair is not None:
            self.assertEqual(note, [list(recovered.repair.reasons), recovered.repair.votes_lost, list(recovered.repair.moved)])
        return read.repair, read.snapshot is not None


class DirectoryTests(SynchronousTestCase):
    """A directory on a real disk."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        with no_sync():
            storage = open_storage(self.root)
            storage.write([persist(2, commands("a", "b" * 3000), metadata=vote(1, "n1"))])
            storage.write([persist(4, commands("c" * 3000))])
            storage.write([persist(5, commands("f" * 3000))])
            storage.write([persist(3, commands("d", term=6), truncate=True, metadata=vote(6, "n3")), persist(4, commands("e", term=6))])
            storage.close()
        self.log = [*BOOTSTRAP, *commands("a"), *commands("d", "e", term=6)]

    def read(self) -> str:
        run = subprocess.run([sys.executable, "-I", str(SOURCE), str(self.root)], capture_output=True, text=True, check=False)
        return run.stdout or run.stderr

    def test_it_runs_by_itself(self) -> None:
        self.assertGreater(len(segments(self.root)), 1)
        overwrite(segments(self.root)[-1], 4000, b"torn")
        read = ast.literal_eval(self.read())
        self.assertEqual([Entry(*entry) for _, entry in read["log"]["entries"]], self.log)
        self.assertEqual((read["term"], read["voted_for"], read["log"]["torn"]), (6, "n3", True))

    def test_it_names_the_rule_that_is_broken(self) -> None:
        names = [f"log/{path.name}" for path in segments(self.root)]
        whole = {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        newest = whole[names[-1]]
        for spoiled, rule in (
            ({"identity": b""}, "identity"),
            ({"metadata-0": b"", "metadata-1": b"spoiled"}, "votes are lost"),
            ({names[0]: b"txraftL2"}, "header"),
            ({names[-1]: newest[:70] + b"\0\0" + newest[72:]}, "was durable"),
            ({names[1]: None}, "does not follow"),
            ({names[0]: None}, "missing"),
            ({names[-1]: None}, "was durable"),
        ):
            files = {name: content for name, content in {**whole, **spoiled}.items() if content is not None}
            self.assertIn(rule, str(self.assertRaises(ValueError, read_directory, files)))
        overwrite(self.root / names[0], 100, b"spoiled")
        self.assertIn("ValueError: record 1", self.read())


class IndependenceTests(SynchronousTestCase):
    def test_it_uses_nothing_of_the_package_and_is_short(self) -> None:
        text = SOURCE.read_text("utf-8")
        imported = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
        self.assertEqual(imported - set(sys.stdlib_module_names), {"msgspec"})
        self.assertLessEqual(len(text.splitlines()), 120)
