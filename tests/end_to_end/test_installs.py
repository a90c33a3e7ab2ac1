"""Installed from the wheel, from the source distribution and editable, each into a fresh environment, everything is found.

The registry is asked once, for a folder of wheels; the three installations are made from that folder alone, so that they see nothing of
the environment that runs the tests.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "twisted", "txraft")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")
PIP = (sys.executable, "-m", "pip")
PYTHON_VENV = (sys.executable, "-m", "venv", "--without-pip")

LIST_MACHINES = """
from twisted.plugin import getPlugins
from txraft.statemachine import IStateMachinePlugin
print(*sorted(plugin.name for plugin in getPlugins(IStateMachinePlugin)))
"""
LIST_FILES = """
import pathlib, txraft
root = pathlib.Path(txraft.__file__).parent
print(root, *sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix not in {".py", ".pyc"}))
"""
BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


@frozen
class Prepared:
    """What the installations are made from.

    Attributes:
        folder: a temporary one, for everything.
        tree: a copy of the source, which building may write into.
        wheels: our wheel, those of all it requires, and what builds it.
        unreachable: why they are not there, if no package registry can be asked.
    """

    folder: Path
    tree: Path
    wheels: Path
    unreachable: str


@functools.cache
def prepared() -> Prepared:
    """Copy the source and fill the folder of wheels, once for all tests."""
    folder = Path(mkdtemp(prefix="txraft-installs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tree, wheels = folder / "source", folder / "wheels"
    tree.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=LEFT_BEHIND)
        else:
            shutil.copy(ROOT / name, tree)
    asked = run(*PIP, "wheel", "--no-deps", "-w", wheels, "setuptools>=68", folder=folder)
    if asked.returncode != 0:
        return Prepared(folder, tree, wheels, asked.stderr.strip().splitlines()[-1])
    must(*PIP, "wheel", "-w", wheels, tree, folder=folder)
    return Prepared(folder, tree, wheels, unreachable="")


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of our own environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TXRAFT", "VIRTUAL_ENV"))}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )


def must(*command: str | Path, folder: Path) -> str:
    """Run a command that must succeed, and give what it printed."""
    done = run(*command, folder=folder)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Installations(SynchronousTestCase):
    """What a user of each kind of installation finds, from another directory than the source's."""

    def setUp(self) -> None:
        if not (ROOT / "setup.cfg").exists():
            raise SkipTest("the tests do not stand in a checkout")
        made = prepared()
        if made.unreachable:
            raise SkipTest(f"pip reaches no package registry: {made.unreachable}")
        self.folder = made.folder / self._testMethodName
        self.folder.mkdir()

    def environment(self, name: str, *installed: str | Path) -> Path:
        """The `bin` folder of a fresh virtual environment with these and what they require, and no more."""
        home = self.folder / name
        must(*PYTHON_VENV, home, folder=self.folder)
        offline = ("--no-index", "--find-links", prepared().wheels)
        must(*PIP, "--python", home / "bin" / "python", "install", *offline, "--no-compile", *installed, folder=self.folder)
        return home / "bin"

    def check(self, commands: Path, root: Path) -> None:
        """Everything is found, from a folder of no meaning; the package itself is under `root`."""
        here = self.folder / "elsewhere"
        here.mkdir()
        self.assertRegex(must(commands / "twistd", "--help", folder=here), r"\n +txraft +A replicated state machine node")
        self.assertIn("--data-dir", must(commands / "twistd", "txraft", "--help", folder=here))
        self.assertRegex(must(commands / "txraft", "--version", folder=here), r"\d+\.\d+")
        self.assertIn("status", must(commands / "python", "-m", "txraft", "--help", folder=here))
        self.assertIn("counter", must(commands / "python", "-c", LIST_MACHINES, folder=here).split())
        where, *files = must(commands / "python", "-c", LIST_FILES, folder=here).split()
        self.assertEqual(Path(where), root / "txraft")
        documents = {path.relative_to(ROOT / "txraft").as_posix() for path in (ROOT / "txraft" / "docs").rglob("*.md")}
        self.assertEqual({"py.typed", *documents} - set(files), set())

    def site_packages(self, commands: Path) -> Path:
        return next(commands.parent.glob("lib/python*/site-packages"))

    def test_wheel(self) -> None:
        (wheel,) = prepared().wheels.glob("txraft-*.whl")
        commands = self.environment("installed", wheel)
        self.check(commands, self.site_packages(commands))

    def test_source_distribution(self) -> None:
        builder = self.environment("builder", "setuptools")
        must(builder / "python", "-c", BUILD_SDIST, self.folder, folder=prepared().tree)
        (archive,) = self.folder.glob("txraft-*.tar.gz")
        commands = self.environment("installed", archive)
        self.check(commands, self.site_packages(commands))

    def test_editable(self) -> None:
        self.check(self.environment("installed", "--editable", prepared().tree), prepared().tree)
