"""setup.cfg ships everything there is, and the top of the repository holds what it must and no more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from twisted.trial.unittest import SkipTest

from tests.tidy.sources import NOT_OURS, ROOT, TidyTestCase

TOP_LEVEL = frozenset({"LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tests", "twisted", "txraft"})


def setup_cfg() -> ConfigParser:
    """The distribution's one description."""
    description = ConfigParser()
    description.read_string((ROOT / "setup.cfg").read_text("utf-8"))
    return description


def files_under(folder: str) -> list[str]:
    """The files that belong to the repository, by path from its root; what running leaves behind is not among them."""
    left_behind = ("__pycache__", "_trial_temp", "dropin.cache", ".hypothesis")
    paths = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    names = sorted(path.as_posix() for path in paths if not any(part.startswith(left_behind) for part in path.parts))
    return [name for name in names if not name.startswith(NOT_OURS)]


def check_package_list(packages: Iterable[str], files: Iterable[str]) -> Iterator[str]:
    """Where the packages to ship and the folders with Python files differ."""
    listed = set(packages)
    folders = {PurePosixPath(name).parent.as_posix().replace("/", ".") for name in files if name.endswith(".py")}
    yield from (f"setup.cfg: the package {name} is not in [options] packages" for name in folders - listed)
    yield from (f"setup.cfg: [options] packages lists {name}, which has no Python file" for name in listed - folders)


def check_package_data(patterns: Iterable[str], files: Iterable[str]) -> Iterator[str]:
    """Files of txraft/ that are neither Python nor matched by `package_data`, so that no installation would have them."""
    wanted = [PurePosixPath("txraft", pattern) for pattern in patterns]
    for name in map(PurePosixPath, files):
        shipped = any(len(pattern.parts) == len(name.parts) and all(map(fnmatchcase, name.parts, pattern.parts)) for pattern in wanted)
        if name.suffix != ".py" and not shipped:
            yield f"{name}: no pattern of [options.package_data] in setup.cfg ships it"


def check_package_fronts(files: Iterable[str]) -> Iterator[str]:
    """Folders with Python files but no `__init__.py`: not shipped, or not found by trial."""
    names = set(files)
    for folder in {PurePosixPath(name).parent for name in names if name.endswith(".py")}:
        if f"{folder}/__init__.py" not in names:
            yield f"{folder} has no __init__.py"


def check_plugin_folders(files: Iterable[str]) -> Iterator[str]:
    """Files that would make twisted/plugins/ a package of its own: twistd would not look into it any more."""
    yield from (f"{name}: twisted/ and twisted/plugins/ belong to Twisted" for name in files if name.endswith("/__init__.py"))


def check_top_level(tracked: Iterable[str]) -> Iterator[str]:
    """What stands at the top of the repository and has no place there."""
    for name in {name.split("/")[0] for name in tracked}:
        if name not in TOP_LEVEL and not name.startswith("."):
            yield f"{name}: the top level holds {', '.join(sorted(TOP_LEVEL))} and dot files only"


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_every_package_is_shipped(self) -> None:
        packages = setup_cfg()["options"]["packages"].split()
        self.assert_tidy(check_package_list(packages, files_under("txraft") + files_under("twisted")))
        self.assertEqual(packages, sorted(packages, key=lambda name: (name == "twisted.plugins", name)), "sorted, twisted.plugins last")

    def test_every_other_file_is_shipped(self) -> None:
        self.assert_tidy(check_package_data(setup_cfg()["options.package_data"]["txraft"].split(), files_under("txraft")))

    def test_every_folder_is_a_package(self) -> None:
        self.assert_tidy(check_package_fronts(files_under("txraft") + files_under("tests")))

    def test_twisted_is_no_package_here(self) -> None:
        self.assert_tidy(check_plugin_folders(files_under("twisted")))

    def test_plug_ins_are_found_when_installed_editable(self) -> None:
        self.assertEqual(setup_cfg()["options"].get("package_dir", "").split(), ["=", "."])

    def test_setup_cfg_is_the_only_description(self) -> None:
        self.assertNotIn("[project", (ROOT / "pyproject.toml").read_text("utf-8"))

    def test_the_top_level_is_small(self) -> None:
        if not (ROOT / ".git").exists() or not shutil.which("git"):
            raise SkipTest("not a git checkout, or no git here")
        command = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
        self.assert_tidy(check_top_level(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()))


class DistributionIsChecked(TidyTestCase):
    """The rules can fail."""

    def test_package_not_listed(self) -> None:
        self.assert_tidy(check_package_list(["txraft.core"], ["txraft/core/a.py", "txraft/docs/a.md"]))
        self.assert_rejected(check_package_list([], ["txraft/core/a.py"]), "txraft.core", "not in")

    def test_package_gone(self) -> None:
        self.assert_rejected(check_package_list(["txraft.old"], []), "txraft.old", "no Python file")

    def test_file_not_shipped(self) -> None:
        patterns = ["py.typed", "docs/*.md"]
        self.assert_tidy(check_package_data(patterns, ["txraft/a.py", "txraft/py.typed", "txraft/docs/a.md"]))
        self.assert_rejected(check_package_data(patterns, ["txraft/docs/deeper/a.md"]), "txraft/docs/deeper/a.md")
        self.assert_rejected(check_package_data(patterns, ["txraft/http/page.html"]), "txraft/http/page.html")

    def test_folder_without_front(self) -> None:
        self.assert_rejected(check_package_fronts(["tests/__init__.py", "tests/core/test_log.py"]), "tests/core")

    def test_plugin_folder_made_a_package(self) -> None:
        self.assert_rejected(check_plugin_folders(["twisted/plugins/__init__.py", "twisted/plugins/a.py"]), "belong to Twisted")

    def test_stray_at_the_top(self) -> None:
        self.assert_tidy(check_top_level(["setup.cfg", ".ci/run", "txraft/core/a.py"]))
        self.assert_rejected(check_top_level(["docs/a.md"]), "docs:")
