"""Every document has one title, and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tidy.sources import ROOT, TidyTestCase

FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def documents() -> list[Path]:
    """README, the documentation, and what explains tests."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "txraft").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])


def check_title(name: str, text: str) -> Iterator[str]:
    """A document without exactly one heading of the first rank, at its beginning."""
    headings = HEADING.findall(FENCED.sub("", text))
    titles = [title for rank, title in headings if rank == "#"]
    if len(titles) != 1:
        yield f"{name}: {len(titles)} titles (lines that begin with one #), not exactly one"
    elif headings[0][0] != "#":
        yield f"{name}: its title comes after another heading"


def check_links(path: Path, root: Path) -> Iterator[str]:
    """Links of the document to files that are not there, that lie outside of `root`, or to headings that they do not have."""
    prose = CODE.sub("", FENCED.sub("", path.read_text("utf-8")))
    for link in (inline or reference for inline, reference in LINK.findall(prose)):
        if ELSEWHERE.match(link):
            continue
        file, _, heading = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or not target.is_relative_to(root):
            yield f"{path.relative_to(root)}: {link} leads nowhere"
        elif heading and heading not in anchors(target.read_text("utf-8")):
            yield f"{path.relative_to(root)}: {link}: there is no such heading"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = [heading for _, heading in HEADING.findall(FENCED.sub("", text))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class TheHouse(TidyTestCase):
    """The rules hold in the repository."""

    def test_each_document_has_one_title(self) -> None:
        found = documents()
        self.assertTrue(found, "no documents found")
        self.assert_tidy(problem for path in found for problem in check_title(str(path.relative_to(ROOT)), path.read_text("utf-8")))

    def test_links_lead_somewhere(self) -> None:
        self.assert_tidy(problem for path in documents() for problem in check_links(path, ROOT))


class DocumentsAreChecked(TidyTestCase):
    """The rules can fail."""

    def test_titles(self) -> None:
        self.assert_tidy(check_title("a.md", "# A\n\n## B\n```sh\n# a comment\n```\n"))
        self.assert_rejected(check_title("a.md", "## B\n"), "0 titles")
        self.assert_rejected(check_title("a.md", "# A\n# B\n"), "2 titles")
        self.assert_rejected(check_title("a.md", "## B\n# A\n"), "after")

    def links(self, text: str) -> list[str]:
        with TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            (root / "there.md").write_text("# What's there\n\n## The `code` of it\n")
            (root / "here.md").write_text(text)
            return list(check_links(root / "here.md", root))

    def test_links_that_lead_somewhere(self) -> None:
        self.assert_tidy(self.links("# A\n[a](there.md) [b](https://example.com/x) [c](#a) [d](there.md#the-code-of-it) `[e](f)`"))

    def test_links_that_do_not(self) -> None:
        self.assert_rejected(self.links("[a](gone.md)"), "gone.md", "nowhere")
        self.assert_rejected(self.links("[a]: gone.md"), "gone.md", "nowhere")
        self.assert_rejected(self.links("[a](../)"), "nowhere")
        self.assert_rejected(self.links("[a](there.md#gone)"), "no such heading")
