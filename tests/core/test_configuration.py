"""Configurations: whose votes make a majority, and which configuration is in force."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import MsgspecError, msgpack
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from
from txraft.core.configuration import Configuration, ConfigurationHistory
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, ServerId


def of(voters: str, learners: str = "") -> Configuration:
    return Configuration.of({name: f"{name}:1" for name in voters}, {name: f"{name}:1" for name in learners})


def names(servers: str) -> list[ServerId]:
    return [ServerId(name) for name in servers]


class Majorities(SynchronousTestCase):
    def test_more_than_half_are_a_majority_and_half_are_not(self) -> None:
        needed = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4}

        for size, enough in needed.items():
            voters = "abcdefg"[:size]
            self.assertTrue(of(voters).has_majority(names(voters[:enough])), size)
            self.assertFalse(of(voters).has_majority(names(voters[: enough - 1])), size)

    def test_learners_strangers_and_repetitions_do_not_count(self) -> None:
        configuration = of("abcde", learners="xy")

        self.assertFalse(configuration.has_majority(names("abxyz")))
        self.assertFalse(configuration.has_majority(names("aabbb")))
        self.assertTrue(configuration.has_majority(names("abcxyz")))

    def test_without_voters_nobody_has_a_majority(self) -> None:
        self.assertFalse(of("").has_majority(names("abc")))
        self.assertEqual(of("").majority_reached({ServerId("a"): 7}), 0)

    def test_what_a_majority_has_reached(self) -> None:
        for voters, reached, expected in (
            ("a", "5", 5),
            ("ab", "53", 3),
            ("abc", "531", 3),
            ("abcd", "5331", 3),
            ("abcd", "5511", 1),
            ("abcde", "55111", 1),
            ("abcde", "99711", 7),
        ):
            values = {name: int(value) for name, value in zip(names(voters), reached, strict=True)}
            self.assertEqual(of(voters).majority_reached(values), expected, (voters, reached))

    def test_what_learners_have_reached_does_not_count(self) -> None:
        values = {ServerId("a"): 9, ServerId("x"): 9, ServerId("y"): 9}

        self.assertEqual(of("abc", learners="xy").majority_reached(values), 0)

    @given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9)), st.integers(1, 7))
    @settings(deadline=None, max_examples=60)
    def test_reached_means_that_a_majority_has_it_and_none_has_more(self, values: dict[str, int], size: int) -> None:
        configuration = of("abcdefg"[:size])
        reached = configuration.majority_reached({ServerId(name): value for name, value in values.items()})

        self.assertTrue(configuration.has_majority(ServerId(name) for name in configuration.voters if values.get(name, 0) >= reached))
        self.assertFalse(configuration.has_majority(ServerId(name) for name in configuration.voters if values.get(name, 0) > reached))


class Contents(SynchronousTestCase):
    def test_equal_configurations_have_equal_bytes_in_whatever_order_they_were_given(self) -> None:
        self.assertEqual(of("abc", "xy").encode(), of("cab", "yx").encode())

    def test_it_comes_back_from_its_entry(self) -> None:
        self.assertEqual(Configuration.decode(of("abc", "x").encode()), of("abc", "x"))

    def test_one_stored_before_there_were_learners_or_directories_can_be_read(self) -> None:
        self.assertEqual(Configuration.decode(msgpack.encode([{"a": "a:1"}])), of("a"))
        self.assertEqual(Configuration.decode(msgpack.encode([{"a": "a:1"}, {"x": "x:1"}])), of("a", "x"))

    def test_marks_of_directories_are_added_for_members_and_known_ones_stay(self) -> None:
        marked = of("ab", "x").with_directories({"b": "b1", "z": "z1", "a": ""})
        self.assertEqual(marked, Configuration.of({"a": "a:1", "b": "b:1"}, {"x": "x:1"}, {"b": "b1"}))

        again = marked.with_directories({"x": "x1", "b": "other", "a": "a1"})

        self.assertEqual(again.directories, {"a": "a1", "b": "b1", "x": "x1"})
        self.assertEqual(Configuration.decode(again.encode()), again)

    def test_other_bytes_are_refused(self) -> None:
        for payload in (b"", b"\xc1", msgpack.encode({"a": 1}), msgpack.encode([["a", "b"]])):
            self.assertRaises(MsgspecError, Configuration.decode, payload)

    def test_members_are_voters_and_learners(self) -> None:
        configuration = of("ab", "x")

        self.assertEqual(configuration.members, {"a": "a:1", "b": "b:1", "x": "x:1"})
        self.assertEqual([configuration.is_voter(name) for name in names("axz")], [True, False, False])


class History(SynchronousTestCase):
    """A server uses the newest configuration in its log, and goes back to the one before when that is truncated."""

    def setUp(self) -> None:
        self.history = ConfigurationHistory()

    def appended(self, index: int, configuration: Configuration) -> bool:
        entries = [*commands_from(index - 1, 1), Entry(1, EntryKind.CONFIGURATION, configuration.encode())]
        return self.history.appended(Index(index - 1), entries)

    def test_the_newest_is_in_force_at_once(self) -> None:
        self.assertTrue(self.appended(3, of("abc")))
        self.assertTrue(self.appended(7, of("abcd")))

        self.assertEqual((self.history.latest, self.history.latest_index), (of("abcd"), 7))

    def test_commands_change_nothing(self) -> None:
        self.appended(3, of("abc"))

        self.assertFalse(self.history.appended(Index(4), commands_from(4, 1, 1)))
        self.assertEqual(self.history.latest, of("abc"))

    def test_truncated_it_gives_way_to_the_one_before(self) -> None:
        self.appended(3, of("abc"))
        self.appended(7, of("abcd"))

        self.assertFalse(self.history.truncated(Index(8)))
        self.assertTrue(self.history.truncated(Index(7)))
        self.assertEqual((self.history.latest, self.history.latest_index), (of("abc"), 3))

    def test_which_was_in_force_where(self) -> None:
        self.appended(3, of("abc"))
        self.appended(7, of("abcd"))

        found = [self.history.in_force_at(index) for index in (2, 3, 6, 7, 99)]
        self.assertEqual(found, [(0, Configuration({})), (3, of("abc")), (3, of("abc")), (7, of("abcd")), (7, of("abcd"))])

    def test_those_before_the_one_in_force_at_a_snapshot_are_forgotten(self) -> None:
        for index, voters in ((3, "abc"), (7, "abcd"), (9, "abcde")):
            self.appended(index, of(voters))

        self.history.compacted(8)

        self.assertEqual([self.history.in_force_at(index)[0] for index in (6, 7, 9)], [0, 7, 9])
        self.assertTrue(self.history.truncated(Index(9)))
        self.assertEqual(self.history.latest, of("abcd"))

    def test_a_snapshots_configurations_take_the_place_of_all(self) -> None:
        self.appended(3, of("abc"))

        self.assertFalse(self.history.replaced([(2, of("abc").encode())]))
        self.assertTrue(self.history.replaced([(5, of("abcd").encode()), (8, of("abcde").encode())]))
        self.assertEqual((self.history.latest, self.history.latest_index), (of("abcde"), 8))

    def test_without_any_nobody_votes(self) -> None:
        self.appended(3, of("abc"))
        self.history.truncated(Index(1))

        self.assertEqual((self.history.latest, self.history.latest_index), (Configuration({}), 0))
