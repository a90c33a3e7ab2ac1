"""Every paper test says what it shows, and the documentation lists it."""

from __future__ import annotations

from tests.paper.listing import DOCUMENT, RULE, paper_sources, paper_tests, table, tests_of
from tests.tidy.sources import TidyTestCase

SECTIONS = ("3.3", "3.4", "3.5", "3.6.1", "3.6.2", "3.6.3", "3.7", "3.8", "4.2.3", "5.1", "6.2", "6.3", "6.4", "9.6", "10.2.1")


class Listing(TidyTestCase):
    def test_each_says_its_section_and_rule(self) -> None:
        self.assert_tidy(
            f"{test}: its docstring is not '§SECTION: rule'"
            for source in paper_sources()
            for test, text in tests_of(source)
            if not RULE.fullmatch(text)
        )

    def test_the_documentation_lists_them(self) -> None:
        self.assertEqual(DOCUMENT.read_text("utf-8"), table(), "write it anew: python -m tests.paper.listing")

    def test_no_section_on_what_is_built_is_missing(self) -> None:
        found = {".".join(map(str, test.section)) for test in paper_tests()}

        self.assert_tidy(f"no test of §{section}" for section in SECTIONS if section not in found)

    def test_no_two_say_the_same(self) -> None:
        rules = [test.rule for test in paper_tests()]

        self.assertEqual(len(rules), len(set(rules)))
