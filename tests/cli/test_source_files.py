"""Which files are a machine's, whether they have changed, and loading what came from them anew."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.shop import SHOP, Shop
from txraft.cli import source_files
from txraft.cli.settings import UsageProblem
from txraft.cli.source_files import SourceFiles, source_of


class SourceFilesTests(SynchronousTestCase):
    """The package of the machine, whole."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.shop = Shop(self.folder)
        self.addCleanup(self.shop.close)
        self.sources = SourceFiles([self.shop.file.parent])

    def load(self) -> type:
        made: type = importlib.import_module(f"{self.shop.name}.machine").Shop
        return made

    def test_the_source_of_a_module_is_its_package(self) -> None:
        self.load()
        self.assertEqual(source_of(f"{self.shop.name}.machine"), self.shop.file.parent.resolve())
        self.assertEqual(source_of("textwrap"), Path(sys.modules["textwrap"].__file__ or "").resolve())
        self.assertIsNone(source_of("txraft.machines.counter"))
        self.assertIsNone(source_of("no_such_module"))

    def test_a_package_without_front_counts_by_its_own_folder(self) -> None:
        (self.shop.file.parent / "__init__.py").unlink()
        self.load()
        self.assertEqual(source_of(f"{self.shop.name}.machine"), self.shop.file.resolve())

    def test_stamps_tell_changed_new_and_lost_files(self) -> None:
        stamps = [self.sources.stamps()]
        self.assertEqual([path.name for path in sorted(stamps[0])], ["__init__.py", "machine.py"])
        self.shop.write(SHOP + "\n")
        stamps.append(self.sources.stamps())
        (self.shop.file.parent / "more.py").touch()
        stamps.append(self.sources.stamps())
        (self.shop.file.parent / "more.py").unlink()
        stamps.append(self.sources.stamps())
        self.assertNotEqual(stamps[0], stamps[1])
        self.assertNotEqual(stamps[1], stamps[2])
        self.assertEqual(stamps[1], stamps[3])

    def test_what_is_no_source_is_not_looked_at(self) -> None:
        for name in (".git/a.py", "__pycache__/a.py", "venv/lib/a.py", "notes.txt"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()
        (self.folder / "venv" / "pyvenv.cfg").touch()
        self.assertEqual([path.name for path in sorted(SourceFiles([self.folder]).stamps())], ["__init__.py", "machine.py"])

    def test_after_forget_the_file_is_read_anew(self) -> None:
        old = self.load()
        self.assertIs(self.load(), old)
        self.shop.write(SHOP.replace("version = 1", "version = 2"))
        self.sources.forget()
        self.assertEqual(self.load().version, 2)  # type: ignore[attr-defined]

    def test_put_back_the_old_modules_are_whole(self) -> None:
        old = self.load()
        unloaded = self.sources.forget()
        self.assertIsNot(self.load(), old)
        (self.shop.file.parent / "more.py").touch()
        importlib.import_module(f"{self.shop.name}.more")
        self.sources.put_back(unloaded)
        self.assertIs(self.load(), old)
        self.assertIs(importlib.import_module(self.shop.name).machine.Shop, old)
        self.assertNotIn(f"{self.shop.name}.more", sys.modules)

    def test_paths_that_cannot_be_watched(self) -> None:
        self.assertIn("is not there", str(self.assertRaises(UsageProblem, SourceFiles, [self.folder / "gone"])))
        self.patch(source_files, "FILES_MAX", 1)
        self.assertIn("smaller folder", str(self.assertRaises(UsageProblem, SourceFiles, [self.folder])))
