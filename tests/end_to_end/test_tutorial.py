"""The tutorial, followed to the letter in a fresh environment: a new machine is written, tested, changed, packaged and hosted by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.end_to_end import test_installs
from tests.support.processes import ROOT, ProcessTestCase, taken
from tests.support.walkthrough import Walk, WentAstray

PAGE = Path(ROOT) / "txraft" / "docs" / "tutorial.md"


def walk_in(folder: Path, **environment: str) -> Walk:
    """A walk that begins in `folder`, which is also the home directory, and sees nothing of our own environment."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    # curl shows how far it is when its output is no terminal.
    (folder / ".curlrc").write_text("silent\nshow-error\n")
    return Walk(folder, {"HOME": str(folder), "PATH": path, "LANG": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp"), **environment})


class Tutorial(ProcessTestCase):
    """Everything on the page is so."""

    def test_it_can_be_followed(self) -> None:
        made = test_installs.prepared()
        if made.unreachable:
            raise SkipTest(f"pip reaches no package registry: {made.unreachable}")
        if port := taken(2379, 2380, 2381):
            raise SkipTest(f"somebody listens on port {port}, which the page uses")
        (wheel,) = made.wheels.glob("txraft-*.whl")
        (self.folder / wheel.name).symlink_to(wheel)
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(made.wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COMPILE": "1"}
        walk = walk_in(self.folder, **offline)
        self.addCleanup(walk.close)
        self.assertGreater(walk.follow(PAGE), 15)


class FollowingAPage(SynchronousTestCase):
    """A page that is wrong is not passed."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.walk = walk_in(self.folder)
        self.walk.timeout_s = 5.0
        self.addCleanup(self.walk.close)

    def follow(self, *blocks: str) -> int:
        page = self.folder / "page.md"
        page.write_text("# Page\n\n" + "\n\n".join(f"```{block}\n```" for block in blocks) + "\n")
        return self.walk.follow(page)

    def astray(self, *blocks: str) -> str:
        return str(self.assertRaises(WentAstray, self.follow, *blocks))

    def test_commands_share_a_shell_and_output_is_compared(self) -> None:
        self.follow(
            "console\n$ export A=1 && mkdir -p b && cd b\n$ echo $A; pwd\n1\n.../b",
            "console\n$ seq 9\n1\n...\n9\n$ cat <<END\n> x y\n> END\nx y\n$ printf z\nz",
        )

    def test_files_are_written_and_appended_to(self) -> None:
        self.follow("console\n$ mkdir b && cd b", "python\n# c/d.py\nprint(1)", "python\n# at the end of c/d.py\nprint(2)")
        self.assertEqual((self.folder / "b" / "c" / "d.py").read_text(), "# c/d.py\nprint(1)\nprint(2)\n")

    def test_another_terminal_goes_on_until_it_is_interrupted(self) -> None:
        self.follow(
            "console terminal=2\n$ touch a; echo begun; while [ -e a ]; do sleep 0.02; done; echo gone; exec sleep 9\nbegun",
            "console\n$ rm a",
            "console terminal=2\ngone\n^C\n$ echo after\nafter",
        )

    def test_wrong_output(self) -> None:
        said = self.astray("console\n$ true", "console\n$ echo b\na")
        self.assertIn("page.md:7", said)
        self.assertIn("should print\na\nbut has ended and printed\nb", said)
        for block in ("$ echo a; echo b\na", "$ echo a", "$ echo b; echo a\na", "$ true\na", "$ echo ab\na", "$ echo a.b\na.*"):
            self.astray(f"console\n{block}")

    def test_a_failure_that_is_not_shown(self) -> None:
        self.assertIn("exited with 3", self.astray("console\n$ exit 3"))
        self.follow("console\n$ echo no; exit 3\nno")

    def test_what_does_not_end_and_what_does_not_run(self) -> None:
        self.walk.timeout_s = 0.2
        self.assertIn("does not end within 0.2 s", self.astray("console\n$ exec sleep 9"))
        self.assertIn("nothing runs", self.astray("console terminal=2\n^C"))
        self.assertIn("goes on after 0.2 s", self.astray("console terminal=3\n$ exec sleep 9\nword"))

    def test_what_nobody_would_check(self) -> None:
        self.assertIn("ruby", self.astray("ruby\nputs 1"))
        self.assertIn("no language", self.astray("\nword"))
        self.assertIn("which file", self.astray("python\nprint(1)"))
