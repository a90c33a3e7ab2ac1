"""The record of a server: what may change how, and what a step leaves behind as effects."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer, vote
from txraft.core.configuration import Configuration
from txraft.core.effects import (
    Apply,
    Base,
    ConfigurationChanged,
    Metadata,
    Persist,
    ReadsLost,
    Receipt,
    ResetElectionTimer,
    Restore,
    RoleChanged,
    Send,
    StartHeartbeats,
    StopElectionTimer,
    StopHeartbeats,
)
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, ServerId, Term
from txraft.core.roles import Candidate, Follower, Leader
from txraft.core.server import Server
from txraft.errors import Halted
from txraft.limits import INDEX_MAX

A, B, C = ServerId("a"), ServerId("b"), ServerId("c")


def record(*log: int, term: int | None = None, voted_for: str | None = None) -> Server:
    server = OneServer(log=log or (1,), term=term, voted_for=voted_for).record
    server.finish_step()
    return server


class Terms(SynchronousTestCase):
    def test_a_term_never_goes_back(self) -> None:
        self.assertRaises(Halted, record(term=3).set_term, 2, None)

    def test_a_term_fits_its_field_on_disk(self) -> None:
        server = record(term=3)

        self.assertRaises(Halted, server.set_term, INDEX_MAX + 1, None)

    def test_a_second_vote_in_a_term_is_impossible(self) -> None:
        server = record(term=3, voted_for="b")

        self.assertRaises(Halted, server.set_term, 3, C)
        self.assertRaises(Halted, server.set_term, 3, None)

    def test_the_vote_may_be_repeated_and_changes_nothing(self) -> None:
        server = record(term=3, voted_for="b")

        server.set_term(3, B)

        self.assertEqual(server.finish_step(), [])

    def test_a_later_term_comes_with_a_free_vote(self) -> None:
        server = record(term=3, voted_for="b")

        server.become(Follower(), "a later term", term=4)

        self.assertEqual((server.current_term, server.voted_for), (4, None))

    def test_term_and_vote_are_persisted_together(self) -> None:
        server = record(term=3)

        server.set_term(4, B)

        self.assertEqual(
            server.finish_step(),
            [
                Persist(Metadata(Term(4), B), None, Index(0), [], Receipt(Term(4), Index(1), Term(1)), ()),
                RoleChanged("follower", Term(4), None, "start"),
            ],
        )

    def test_stepping_down_within_a_term_keeps_the_vote(self) -> None:
        server = OneServer().as_leader()

        server.step(lambda module: module.step_down("its disk hangs"))

        self.assertEqual((server.record.role, server.record.voted_for), (Follower(None), "a"))


class Roles(SynchronousTestCase):
    def test_a_way_that_figure_3_3_does_not_know_halts(self) -> None:
        server = record(term=3)

        self.assertRaises(Halted, server.become, Leader(Index(2), {}), "usurpation")
        self.assertRaises(Halted, server.become, Candidate(pre_vote=False), "no pre-vote", term=4, voted_for=A)

    def test_a_leader_stops_its_election_timer_and_starts_heartbeats(self) -> None:
        server = OneServer().as_candidate()
        server.disk_answers()

        effects = server.hears(vote(2, "b"))

        self.assertEqual(
            [effect for effect in effects if not isinstance(effect, Persist | Send)],
            [RoleChanged("leader", Term(2), A, "won the election"), StopElectionTimer(), StartHeartbeats()],
        )

    def test_a_deposed_leader_stops_heartbeats_gives_up_reads_and_waits_for_another(self) -> None:
        server = OneServer().as_leader()

        effects = server.step(lambda module: module.step_down("its disk hangs"))

        self.assertEqual(
            effects,
            [RoleChanged("follower", Term(2), None, "its disk hangs"), StopHeartbeats(), ReadsLost(), ResetElectionTimer()],
        )

    def test_a_later_term_forgets_when_the_leader_was_heard(self) -> None:
        server = OneServer().as_follower_of("b")
        self.assertEqual(server.record.leader_contact, 100.0)

        server.record.become(Follower(), "a later term", term=7)

        self.assertIsNone(server.record.leader_contact)

    def test_who_leads_is_known_to_the_leader_and_its_followers(self) -> None:
        known = [server.record.leader for server in (OneServer().as_leader(), OneServer().as_follower_of("b"), OneServer().as_candidate())]

        self.assertEqual(known, ["a", "b", None])

    def test_peers_are_all_other_members_learners_too(self) -> None:
        self.assertEqual(OneServer("bac", learners="x").record.peers, ["b", "c", "x"])

    def test_a_change_of_role_is_told_once(self) -> None:
        server = record(term=3)

        server.become(Follower(B), "b leads")

        self.assertEqual(server.finish_step(), [RoleChanged("follower", Term(3), B, "b leads")])
        self.assertEqual(server.finish_step(), [])


class Appending(SynchronousTestCase):
    def test_appended_entries_are_in_memory_at_once_and_on_disk_with_the_end_of_the_step(self) -> None:
        server = record(1, 1)
        new = commands_from(3, 1, 1)

        server.append(new)

        self.assertEqual((server.log.last_index, server.log.durable_index), (4, 2))
        self.assertEqual(server.finish_step(), [Persist(None, None, Index(3), new, Receipt(Term(1), Index(4), Term(1)), ())])
        self.assertEqual(server.finish_step(), [])

    def test_truncation_and_what_takes_its_place_are_one_write(self) -> None:
        server = record(1, 1, 1, term=2)
        new = commands_from(2, 2)

        server.truncate(Index(2))
        server.append(new)

        self.assertEqual(server.finish_step(), [Persist(None, Index(2), Index(2), new, Receipt(Term(2), Index(2), Term(2)), ())])

    def test_committed_entries_are_never_removed(self) -> None:
        server = record(1, 1, 1)
        server.commit_to(2)

        self.assertRaises(Halted, server.truncate, Index(2))
        server.truncate(Index(3))

    def test_a_leader_never_removes_an_entry_of_its_log(self) -> None:
        self.assertRaises(Halted, OneServer().as_new_leader().record.truncate, Index(2))

    def test_a_step_appends_once_and_truncates_before_it(self) -> None:
        server = record(1, 1)
        server.append(commands_from(3, 1))

        self.assertRaises(Halted, server.append, commands_from(4, 1))
        self.assertRaises(Halted, server.truncate, Index(3))

    def test_a_configuration_holds_as_soon_as_it_is_in_the_log_and_until_it_is_truncated(self) -> None:
        server, first = record(1, 1), Configuration.of({"a": "a", "b": "b", "c": "c"})
        second = Configuration.of({"a": "a", "b": "b"})

        server.append([Entry(1, EntryKind.CONFIGURATION, second.encode())])
        self.assertEqual(server.configuration, second)
        self.assertIn(ConfigurationChanged(second), server.finish_step())

        server.truncate(Index(3))
        self.assertEqual(server.configuration, first)
        self.assertIn(ConfigurationChanged(first), server.finish_step())


class Committing(SynchronousTestCase):
    def test_what_is_committed_and_durable_here_may_be_applied(self) -> None:
        server = record(1, 1, 1)

        server.commit_to(2)

        self.assertEqual(server.finish_step(), [Apply(Index(2))])

    def test_what_is_not_durable_here_waits_although_it_is_committed(self) -> None:
        server = record(1, 1)
        server.append(commands_from(3, 1))
        server.finish_step()

        server.commit_to(3)
        self.assertEqual(server.finish_step(), [Apply(Index(2))])

        server.log.durable_index = Index(3)
        server.apply_committed()
        self.assertEqual(server.finish_step(), [Apply(Index(3))])

    def test_the_commit_index_never_goes_back(self) -> None:
        server = record(1, 1, 1)
        server.commit_to(3)
        server.finish_step()

        server.commit_to(2)

        self.assertEqual(server.commit_index, 3)
        self.assertEqual(server.finish_step(), [])

    def test_the_commit_index_stays_within_the_log(self) -> None:
        self.assertRaises(Halted, record(1, 1).commit_to, 3)


class Beginning(SynchronousTestCase):
    """Where the log begins: behind a snapshot of its own, or behind one of a leader's."""

    def test_a_new_beginning_is_written_in_the_same_step_as_what_else_changed(self) -> None:
        server = record(1, 1, 1)
        server.commit_to(3)
        server.finish_step()
        server.last_applied = Index(3)
        server.set_term(4, None)

        server.compact(snapshot_at(3, 1), 2)

        base, receipt = Base(Index(2), Term(1), snapshot_at(3, 1), keeps_log=True), Receipt(Term(4), Index(3), Term(1))
        persist = server.finish_step()[0]
        self.assertEqual(persist, Persist(Metadata(Term(4), None), None, Index(0), [], receipt, (), base))
        self.assertEqual(server.finish_step(), [])

    def test_an_installation_is_known_by_its_receipt(self) -> None:
        server, snapshot = record(1, 1, 1, term=4), snapshot_at(9, 3)

        server.install(snapshot)

        base, receipt = Base(Index(9), Term(3), snapshot, keeps_log=False), Receipt(Term(4), Index(9), Term(3), installed=snapshot)
        self.assertEqual(server.finish_step(), [Persist(None, None, Index(0), [], receipt, (), base)])
        self.assertEqual((server.snapshot, server.commit_index, server.last_applied), (snapshot, 9, 0))

        server.installed(snapshot)
        self.assertEqual((server.finish_step(), server.last_applied), ([Restore(snapshot)], 9))

    def test_neither_by_a_leader_nor_behind_what_is_committed(self) -> None:
        self.assertRaises(Halted, OneServer().as_new_leader().record.install, snapshot_at(9, 2))
        server = record(1, 1, 1)
        server.commit_to(3)
        self.assertRaises(Halted, server.install, snapshot_at(3, 1))

    def test_the_end_of_a_repair_is_written_once(self) -> None:
        server = record(1, term=1)

        server.end_repair()

        receipt = Receipt(Term(1), Index(1), Term(1), repaired=True)
        self.assertEqual(server.finish_step(), [Persist(None, None, Index(0), [], receipt, (), None, repaired=True)])
        self.assertEqual(server.finish_step(), [])


class Saying(SynchronousTestCase):
    def test_an_answer_waits_for_everything_changed_so_far(self) -> None:
        server = record(1, term=1)
        server.set_term(2, B)

        server.reply(B, vote(2, "a"))

        persist = server.finish_step()[0]
        assert isinstance(persist, Persist)
        self.assertEqual((persist.metadata, persist.then), (Metadata(Term(2), B), (Send(B, vote(2, "a")),)))

    def test_even_an_answer_that_changes_nothing_waits_for_the_writes_before_it(self) -> None:
        server = record(1, term=1)

        server.reply(B, vote(1, "a", granted=False))

        receipt = Receipt(Term(1), Index(1), Term(1))
        self.assertEqual(server.finish_step(), [Persist(None, None, Index(0), [], receipt, (Send(B, vote(1, "a", granted=False)),))])

    def test_a_leaders_request_leaves_at_once(self) -> None:
        server = record(1, term=1)

        server.send(B, vote(1, "a"))

        self.assertEqual(server.finish_step(), [Send(B, vote(1, "a"))])

    def test_what_must_become_durable_comes_first(self) -> None:
        effects = OneServer().as_leader().proposes(b"x")

        self.assertIsInstance(effects[0], Persist)
        self.assertEqual([type(effect) for effect in effects].count(Persist), 1)
