"""Linearizable reads: by a round of heartbeats begun after they were asked, and not before the term's first commit."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer, accepted, all_of, rejected, said
from txraft.core.effects import ReadsLost, ReadsReady
from txraft.core.ids import Index
from txraft.core.messages import AppendEntries


class Reads(SynchronousTestCase):
    """A leader of term 2 among five that has committed all there is, entry 2."""

    def setUp(self) -> None:
        self.server = OneServer("abcde", learners="x").as_leader()

    def ready(self) -> list[ReadsReady]:
        return all_of(self.server.effects, ReadsReady)

    def hears_round(self, follower: str, round: int, *, term: int = 2) -> list[ReadsReady]:
        self.server.hears(accepted(term, follower, 2, round=round))
        return self.ready()

    def test_a_read_begins_a_round_of_its_own_at_once(self) -> None:
        effects = self.server.reads(1)

        self.assertEqual([(to, message.round) for to, message in said(effects, AppendEntries)], [(peer, 1) for peer in "bcdex"])
        self.assertEqual(self.ready(), [])

    def test_it_is_ready_when_most_have_answered_that_round(self) -> None:
        self.server.reads(1)

        self.assertEqual(self.hears_round("b", 1), [])
        self.assertEqual(self.hears_round("c", 1), [ReadsReady(1, Index(2))])
        self.assertEqual(self.hears_round("d", 1), [])

    def test_answers_to_messages_sent_before_it_was_asked_confirm_nothing(self) -> None:
        self.server.beats()
        self.server.reads(1)

        for follower in "bcde":
            self.assertEqual(self.hears_round(follower, 0), [])

    def test_each_round_has_a_new_number_and_an_old_one_confirms_only_old_reads(self) -> None:
        self.server.reads(1)
        self.server.reads(2)

        self.hears_round("b", 1)
        self.assertEqual(self.hears_round("c", 1), [ReadsReady(1, Index(2))])
        self.hears_round("b", 2)
        self.assertEqual(self.hears_round("c", 2), [ReadsReady(2, Index(2))])

    def test_a_later_round_confirms_all_reads_before_it(self) -> None:
        self.server.reads(1)
        self.server.reads(2)

        self.hears_round("b", 2)

        self.assertEqual(self.hears_round("c", 2), [ReadsReady(2, Index(2))])

    def test_the_same_follower_answering_twice_is_one(self) -> None:
        self.server.reads(1)

        for _ in range(4):
            self.assertEqual(self.hears_round("b", 1), [])

    def test_a_follower_that_refuses_the_entries_still_confirms_the_leader(self) -> None:
        self.server.reads(1)
        self.hears_round("b", 1)

        self.server.hears(rejected(2, "c", 2, (1, 1), round=1))

        self.assertEqual(self.ready(), [ReadsReady(1, Index(2))])

    def test_learners_confirm_nothing(self) -> None:
        self.server.reads(1)
        self.hears_round("b", 1)

        self.assertEqual(self.hears_round("x", 1), [])

    def test_a_lost_round_is_made_up_for_by_that_of_the_next_heartbeat(self) -> None:
        self.server.reads(1)

        self.assertEqual({message.round for _, message in said(self.server.beats(), AppendEntries)}, {2})

        self.hears_round("b", 2)
        self.assertEqual(self.hears_round("c", 2), [ReadsReady(1, Index(2))])

    def test_it_sees_what_was_committed_when_it_was_asked(self) -> None:
        self.server.proposes(b"x")
        self.server.disk_answers()
        self.server.reads(1)
        for follower in "bc":
            self.server.hears(accepted(2, follower, 3, round=0))
        self.assertEqual(self.server.record.commit_index, 3)

        self.hears_round("b", 1)

        self.assertEqual(self.hears_round("c", 1), [ReadsReady(1, Index(2))])

    def test_what_is_not_committed_is_not_seen(self) -> None:
        self.server.proposes(b"x")
        self.server.disk_answers()

        self.server.reads(1)
        self.hears_round("b", 1)

        self.assertEqual(self.hears_round("c", 1), [ReadsReady(1, Index(2))])

    def test_with_leadership_all_open_reads_are_lost(self) -> None:
        self.server.reads(1)

        self.server.step(lambda module: module.step_down("its disk hangs"))

        self.assertEqual(all_of(self.server.effects, ReadsLost), [ReadsLost()])

    def test_answers_that_come_after_leadership_was_lost_release_nothing(self) -> None:
        self.server.reads(1)
        self.server.hears(accepted(7, "b", 0, round=1))

        for follower in "cde":
            self.assertEqual(self.hears_round(follower, 1), [])

    def test_who_does_not_lead_answers_no_reads(self) -> None:
        for server in (OneServer().as_follower_of("b"), OneServer().as_pre_candidate(), OneServer().as_candidate()):
            self.assertEqual(server.reads(1), [ReadsLost()])


class ReadsOfANewLeader(SynchronousTestCase):
    """Before the first entry of its term is committed, a leader does not know what is committed."""

    def setUp(self) -> None:
        self.server = OneServer("abc", log=(1, 1, 2)).as_new_leader()
        self.server.disk_answers()

    def test_they_wait_and_begin_no_round(self) -> None:
        self.assertEqual(self.server.reads(1), [])
        self.assertEqual(self.server.leading.round, 0)

    def test_with_the_first_commit_they_begin_together(self) -> None:
        self.server.reads(1)
        self.server.reads(2)

        effects = self.server.hears(accepted(3, "b", 4))

        self.assertEqual({message.round for _, message in said(effects, AppendEntries)}, {1})
        self.assertEqual(all_of(effects, ReadsReady), [])
        self.server.hears(accepted(3, "b", 4, round=1))
        self.assertEqual(all_of(self.server.effects, ReadsReady), [ReadsReady(2, Index(4))])

    def test_with_leadership_they_are_lost_too(self) -> None:
        self.server.reads(1)

        effects = self.server.step(lambda module: module.step_down("its disk hangs"))

        self.assertEqual(all_of(effects, ReadsLost), [ReadsLost()])


class ReadsOfASingleServer(SynchronousTestCase):
    def test_it_answers_itself_once_its_first_entry_is_committed(self) -> None:
        server = OneServer("a")
        server.disk_answers()
        self.assertEqual(server.reads(1), [])

        self.assertEqual(all_of(server.disk_answers(), ReadsReady), [ReadsReady(1, Index(2))])
        self.assertEqual(server.reads(2), [ReadsReady(2, Index(2))])
