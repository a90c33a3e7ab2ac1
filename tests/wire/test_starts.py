"""Which starts of a directory may be those of one and the same server."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.wire.hello import PeerWelcome
from txraft.wire.starts import Start, contradiction

OLD, NEW = "0d" * 16, "ae" * 16


def greeting(incarnation: int, *processes: str, directory: str = OLD) -> PeerWelcome:
    """Of a directory whose last starts were made by these processes, the last first."""
    process, *previous = processes or ("",)
    return PeerWelcome(1, "c", "n1", incarnation, "", directory, process, previous)


class Contradictions(SynchronousTestCase):
    known = Start(OLD, 5, "p5")

    def code(self, incarnation: int, *processes: str, directory: str = OLD, known: Start | None = None) -> str | None:
        return contradiction(greeting(incarnation, *processes, directory=directory), known or self.known)

    def test_the_same_start_again(self) -> None:
        self.assertIsNone(self.code(5, "p5", "p4"))

    def test_the_next_start_of_the_same_directory(self) -> None:
        self.assertIsNone(self.code(6, "p6", "p5", "p4"))
        self.assertIsNone(self.code(8, "p8", "p7", "p6", "p5"))

    def test_row_32_a_wiped_directory_whatever_its_incarnation(self) -> None:
        for incarnation in (1, 5, 6):
            self.assertEqual(self.code(incarnation, "p", directory=NEW), "directory")

    def test_row_32_an_older_copy(self) -> None:
        self.assertEqual(self.code(4, "p4", "p3"), "incarnation")

    def test_row_32_an_older_copy_that_was_started_as_often_since(self) -> None:
        self.assertEqual(self.code(5, "q5", "p4"), "copied")

    def test_row_32_an_older_copy_that_was_started_more_often_since(self) -> None:
        self.assertEqual(self.code(6, "q6", "q5", "p4"), "copied")
        self.assertEqual(self.code(9, "q9", "q8", "q7", "q6", "q5", "p4"), "copied")

    def test_row_72_a_copy_that_runs_beside_it(self) -> None:
        self.assertEqual(self.code(5, "q5", "p4", "p3"), "copied")

    def test_of_starts_beyond_what_a_directory_remembers_nothing_can_be_said(self) -> None:
        self.assertIsNone(self.code(7, "q7", "q6"))

    def test_what_is_not_known_or_not_said_contradicts_nothing(self) -> None:
        self.assertIsNone(self.code(1, "p1", known=Start()))
        self.assertIsNone(self.code(1, "p1", known=Start(OLD)))
        self.assertIsNone(self.code(5, "q5", known=Start(OLD, 5)))
        self.assertIsNone(self.code(5))
        self.assertIsNone(self.code(5, "p5", directory=""))
        self.assertEqual(self.code(4, directory=""), "incarnation")

    @given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 32))
    @settings(deadline=None, max_examples=100)
    def test_a_directory_never_contradicts_itself(self, seen: int, more: int, remembered: int) -> None:
        def start(incarnation: int) -> PeerWelcome:
            return greeting(incarnation, *[f"p{number}" for number in range(incarnation, max(0, incarnation - remembered - 1), -1)])

        known = Start().followed_by(start(seen))

        self.assertIsNone(contradiction(start(seen + more), known))
        self.assertEqual(known.followed_by(start(seen + more)), Start(OLD, seen + more, f"p{seen + more}"))


class Knowledge(SynchronousTestCase):
    def test_what_a_later_greeting_does_not_say_is_not_forgotten(self) -> None:
        known = Start(OLD, 5, "p5")

        self.assertEqual(known.followed_by(greeting(5, directory="")), known)
        self.assertEqual(known.followed_by(greeting(6, directory="")), Start(OLD, 6, ""))

    def test_the_directory_of_the_configuration_outweighs_one_that_was_seen(self) -> None:
        seen = Start(NEW, 5, "p5")

        self.assertEqual(seen.of_directory(OLD), Start(OLD))
        self.assertEqual(seen.of_directory(NEW), seen)
        self.assertEqual(seen.of_directory(""), seen)
        self.assertEqual(Start("", 5, "p5").of_directory(OLD), Start(OLD, 5, "p5"))
