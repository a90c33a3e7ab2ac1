"""The marks of the members' data directories: a leader adds those it learns of to the configuration, and changes none."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer, accepted, all_of, append, said
from txraft.core.configuration import Configuration
from txraft.core.effects import ConfigurationChanged, Effect, Persist, Send
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


def sees(server: OneServer, marks: Mapping[str, str]) -> list[Effect]:
    named = {ServerId(name): mark for name, mark in marks.items()}
    return server.step(lambda module: module.directories_seen(server.now, named))


def agree(server: OneServer) -> None:
    """All others and its own disk have its whole log."""
    server.disk_answers()
    for peer in server.record.peers:
        server.hears(accepted(server.record.current_term, peer, server.record.log.last_index))


class ALeader(SynchronousTestCase):
    def test_adds_the_marks_it_learns_of_with_one_entry_of_the_same_members(self) -> None:
        leader = OneServer("abc", learners="x").as_leader()

        effects = sees(leader, {"a": A, "b": B})

        entry = leader.entries()[-1]
        self.assertEqual((entry.term, entry.kind), (leader.record.current_term, EntryKind.CONFIGURATION))
        self.assertEqual(Configuration.decode(entry.payload), Configuration.of(leader.configuration.voters, {"x": "x"}, {"a": A, "b": B}))
        self.assertEqual([changed.configuration.directories for changed in all_of(effects, ConfigurationChanged)], [{"a": A, "b": B}])
        self.assertEqual([persist.entries for persist in all_of(effects, Persist)], [[entry]])
        self.assertEqual({to for to, message in said(effects, AppendEntries) if message.entries == [entry]}, {"b", "c", "x"})
        self.assertTrue(all(isinstance(effect, Send | Persist | ConfigurationChanged) for effect in effects))

    def test_adds_later_ones_when_the_first_are_committed_and_not_before(self) -> None:
        leader = OneServer("abc").as_leader()
        sees(leader, {"a": A})

        self.assertEqual(sees(leader, {"a": A, "b": B}), [])
        agree(leader)
        sees(leader, {"a": A, "b": B})

        self.assertEqual(leader.record.configuration.directories, {"a": A, "b": B})

    def test_never_changes_one_that_is_there(self) -> None:
        leader = OneServer("abc").as_leader()
        sees(leader, {"b": B})
        agree(leader)

        self.assertEqual(sees(leader, {"b": C}), [])
        sees(leader, {"b": C, "a": A})

        self.assertEqual(leader.record.configuration.directories, {"a": A, "b": B})

    def test_adds_nothing_for_those_who_are_no_members_or_do_not_say(self) -> None:
        leader = OneServer("abc").as_leader()

        self.assertEqual(sees(leader, {"z": A, "b": ""}), [])

    def test_waits_for_an_entry_of_its_own_term(self) -> None:
        leader = OneServer("abc").as_new_leader()

        self.assertEqual(sees(leader, {"a": A}), [])
        agree(leader)

        self.assertEqual(len(all_of(sees(leader, {"a": A}), Persist)), 1)

    def test_alone_needs_no_mark(self) -> None:
        self.assertEqual(sees(OneServer("a").as_leader(), {"a": A}), [])

    def test_commits_it_as_any_entry(self) -> None:
        leader = OneServer("abc").as_leader()
        sees(leader, {"a": A})

        agree(leader)

        self.assertEqual(leader.record.commit_index, leader.record.log.last_index)


class OtherServers(SynchronousTestCase):
    def test_add_nothing(self) -> None:
        self.assertEqual(sees(OneServer("abc").as_follower_of("b"), {"a": A, "b": B}), [])
        self.assertEqual(sees(OneServer("abc").as_candidate(), {"a": A}), [])

    def test_have_the_marks_when_they_have_the_entry_and_lose_them_with_it(self) -> None:
        follower = OneServer("abc").as_follower_of("b")
        marked = follower.configuration.with_directories({"a": A, "c": C})
        follower.hears(append(1, "b", (1, 1), [Entry(1, EntryKind.CONFIGURATION, marked.encode())]))
        self.assertEqual(follower.record.configuration.directories, {"a": A, "c": C})

        follower.hears(append(2, "c", (1, 1), [Entry(2, EntryKind.NOOP, b"")]))

        self.assertEqual(follower.record.configuration.directories, {})
