"""A server that has lost something: what it says and what it leaves unsaid until it has everything again, and whom a leader counts."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import commands_from, snapshot_at
from tests.support.one_server import OneServer, accepted, all_of, append, chunk, rejected, said, said_to, the, vote_request
from txraft.core.effects import Metadata, Persist, Repaired, ResetElectionTimer, RoleChanged, Send
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    InstallSnapshotReply,
    RequestTerm,
    RequestTermReply,
    RequestVote,
    RequestVoteReply,
)
from txraft.core.progress import ProgressState
from txraft.core.roles import Follower, Repair
from txraft.errors import Halted

LIFE = 7
"""The incarnation in which the server is repairing."""


def repairing(*log: int, term: int = 5, votes_lost: bool = False, voters: str = "abc") -> OneServer:
    return OneServer(voters, log=log or (1, 1, 2), term=term, incarnation=LIFE, repair=Repair(votes_lost=votes_lost))


def told(term: int, sender: str, incarnation: int = LIFE) -> RequestTermReply:
    return RequestTermReply(term, sender, incarnation)


def knowing(message: AppendEntries, incarnation: int = LIFE) -> AppendEntries:
    """A message of a leader that knows the follower to be repairing."""
    return msgspec.structs.replace(message, repairing=incarnation)


class Abstaining(SynchronousTestCase):
    def test_it_gives_no_vote_and_no_pre_vote_to_anybody(self) -> None:
        for pre_vote in (False, True):
            reply = said_to(repairing().hears(vote_request(6, "b", (9, 5), pre_vote=pre_vote)), "b", RequestVoteReply)
            self.assertFalse(reply.granted)

    def test_not_even_the_one_it_has_given_before(self) -> None:
        server = OneServer(log=(1, 1), term=5, voted_for="b", incarnation=LIFE, repair=Repair())

        self.assertFalse(said_to(server.hears(vote_request(5, "b", (9, 5))), "b", RequestVoteReply).granted)

    def test_it_does_not_campaign(self) -> None:
        server = repairing()

        self.assertEqual(server.times_out(), [ResetElectionTimer()])
        self.assertEqual(server.record.role, Follower())

    def test_it_says_so_in_every_answer_to_a_leader(self) -> None:
        server = repairing()

        for message in (append(5, "b", (3, 2)), append(5, "b", (9, 5)), append(4, "c", (3, 2))):
            reply = said_to(server.hears(message), message.sender, AppendEntriesReply)
            self.assertEqual((reply.repairing, reply.incarnation), (True, LIFE))

    def test_it_follows_and_takes_entries_and_snapshots(self) -> None:
        server = repairing().as_follower_of("b")

        server.hears(append(5, "b", (3, 2), commands_from(4, 5), commit=4))
        self.assertEqual((server.log_terms(), server.record.commit_index), ([1, 1, 2, 5], 4))

        server.has_received(snapshot_at(9, 5))
        self.assertEqual(server.record.log.base_index, 9)

    def test_its_role_has_a_name_of_its_own(self) -> None:
        self.assertIn(RoleChanged("repairing", Term(5), None, "start"), repairing().effects)

    def test_without_a_number_of_its_start_it_halts(self) -> None:
        self.assertRaises(Halted, OneServer, incarnation=0, repair=Repair())

    def test_one_that_has_lost_nothing_says_nothing_of_the_kind(self) -> None:
        reply = said_to(OneServer(incarnation=3).hears(append(1, "b", (1, 1))), "b", AppendEntriesReply)

        self.assertEqual((reply.repairing, reply.incarnation), (False, 3))


class Ending(SynchronousTestCase):
    """The server of term 5 has (1, 1, 2) left. Its leader `b` has begun its term with entry 4, and committed 5."""

    def setUp(self) -> None:
        self.server = repairing().as_follower_of("b")

    def ends(self, message: AppendEntries) -> bool:
        """Whether the end of repair is written after this message and the disk's answer to what it wrote."""
        effects = self.server.hears(message)
        effects += self.server.disk_answers()
        return any(persist.repaired for persist in all_of(effects, Persist))

    def test_with_all_that_the_leader_had_committed_when_it_had_forgotten_the_rest(self) -> None:
        self.assertFalse(self.ends(knowing(append(5, "b", (3, 2), commit=5))))
        self.assertFalse(self.ends(append(5, "b", (3, 2), commands_from(4, 5), commit=5)))
        self.assertTrue(self.ends(append(5, "b", (4, 5), commands_from(5, 5), commit=7)))

    def test_only_once_it_is_durable(self) -> None:
        effects = self.server.hears(knowing(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5)))
        self.assertFalse(the(effects, Persist).repaired)

        persist = the(self.server.disk_answers(), Persist)
        self.assertTrue(persist.repaired)
        self.assertTrue(persist.receipt.repaired)

    def test_the_server_takes_part_again_when_the_note_of_it_is_gone(self) -> None:
        self.ends(knowing(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5)))
        reply = said_to(self.server.hears(append(5, "b", (5, 5))), "b", AppendEntriesReply)
        self.assertTrue(reply.repairing)

        effects = self.server.disk_answers()

        self.assertEqual(all_of(effects, Repaired), [Repaired()])
        reply = said_to(self.server.hears(append(5, "b", (5, 5))), "b", AppendEntriesReply)
        self.assertEqual((reply.repairing, reply.incarnation), (False, LIFE))
        self.server.now += 5.0
        self.assertTrue(said_to(self.server.hears(vote_request(6, "c", (5, 5))), "c", RequestVoteReply).granted)

    def test_it_is_written_once(self) -> None:
        message = knowing(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5))
        self.assertTrue(self.ends(message))
        self.assertFalse(self.ends(message))

    def test_it_ends_in_whatever_term_that_is_written(self) -> None:
        self.ends(knowing(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5)))
        self.server.hears(append(8, "c", (5, 5)))

        self.assertEqual(all_of(self.server.disk_answers(), Repaired), [Repaired()])

    def test_not_before_the_leader_has_shown_that_it_knows(self) -> None:
        self.assertFalse(self.ends(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5)))

    def test_not_by_what_a_leader_knew_of_an_earlier_start(self) -> None:
        self.assertFalse(self.ends(knowing(append(5, "b", (3, 2), commands_from(4, 5, 5), commit=5), LIFE - 1)))

    def test_not_before_the_leader_has_committed_in_its_own_term(self) -> None:
        """A new leader does not know yet what earlier ones have committed by this server's word."""
        self.assertFalse(self.ends(knowing(append(5, "b", (3, 2), commit=2))))
        self.assertFalse(self.ends(append(5, "b", (3, 2), commands_from(4, 5), commit=3)))

        self.assertTrue(self.ends(append(5, "b", (4, 5), commit=4)))

    def test_a_new_term_begins_over(self) -> None:
        self.ends(knowing(append(5, "b", (3, 2), commit=5)))

        self.assertFalse(self.ends(append(6, "c", (3, 2), commands_from(4, 5, 6), commit=5)))
        self.assertTrue(self.ends(knowing(append(6, "c", (5, 6), commit=5))))

    def test_a_snapshot_may_bring_it_all(self) -> None:
        self.ends(knowing(append(5, "b", (8, 5), commit=8)))

        self.server.has_received(snapshot_at(8, 5))

        self.assertTrue(self.ends(append(5, "b", (8, 5), commit=8)))

    def test_one_that_stands_for_earlier_terms_only_does_not(self) -> None:
        self.ends(knowing(append(5, "b", (8, 4), commit=7)))

        self.server.has_received(snapshot_at(8, 4))

        self.assertFalse(self.ends(append(5, "b", (8, 4), commit=8)))
        self.assertTrue(self.ends(append(5, "b", (8, 4), commands_from(9, 5), commit=9)))


class TheVoteIsLost(SynchronousTestCase):
    def test_all_other_voters_are_asked_in_which_term_they_are(self) -> None:
        asked = [(peer, RequestTerm(5, "a", LIFE)) for peer in "bc"]

        self.assertEqual(said(repairing(votes_lost=True).effects, RequestTerm), asked)

    def test_those_that_have_not_told_are_asked_again(self) -> None:
        server = repairing(votes_lost=True)
        server.hears(told(4, "b"))

        self.assertEqual([to for to, _ in said(server.times_out(), RequestTerm)], ["c"])

    def test_until_then_it_says_nothing_else(self) -> None:
        """An answer to a heartbeat would confirm reads of a leader that it may have helped to depose."""
        server = repairing(votes_lost=True)
        server.hears(told(4, "b"))

        for message in (
            append(9, "b", (3, 2)),
            append(1, "b", (3, 2)),
            vote_request(9, "b", (9, 9)),
            vote_request(1, "b", (9, 9)),
            chunk(9, "b", snapshot_at(3, 2)),
            RequestTerm(9, "b", 1),
        ):
            self.assertEqual(server.hears(message), [])

    def test_when_all_have_told_it_is_in_the_latest_of_their_terms_and_has_no_vote_there(self) -> None:
        server = repairing(votes_lost=True)
        self.assertEqual(server.hears(told(9, "b")), [])

        effects = server.hears(told(4, "c"))

        self.assertEqual(the(effects, Persist).metadata, Metadata(Term(9), ServerId("a")))
        self.assertEqual((server.record.current_term, server.record.voted_for), (9, "a"))
        self.assertFalse(said_to(server.hears(vote_request(9, "c", (9, 9))), "c", RequestVoteReply).granted)

    def test_if_its_own_is_the_latest_it_stays_and_has_no_vote_either(self) -> None:
        server = repairing(votes_lost=True)
        for peer in "bc":
            server.hears(told(2, peer))

        self.assertEqual((server.record.current_term, server.record.voted_for), (5, "a"))

    def test_a_vote_that_is_still_there_stays_given(self) -> None:
        """Only the note of repair was unreadable: `a second vote in term 5: b, then a`, at every start."""
        server = OneServer(log=(1, 1, 2), term=5, voted_for="b", incarnation=LIFE, repair=Repair(votes_lost=True))
        for peer in "bc":
            server.hears(told(5, peer))

        self.assertEqual((server.record.current_term, server.record.voted_for), (5, "b"))

    def test_in_a_later_term_it_is_of_no_use(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5, voted_for="b", incarnation=LIFE, repair=Repair(votes_lost=True))
        server.hears(told(6, "b"))
        server.hears(told(5, "c"))

        self.assertEqual((server.record.current_term, server.record.voted_for), (6, "a"))

    def test_nor_is_one_of_an_earlier_term_than_the_log_reaches(self) -> None:
        server = OneServer(log=(1, 1, 2), term=1, voted_for="b", incarnation=LIFE, repair=Repair(votes_lost=True))
        self.assertEqual((server.record.current_term, server.record.voted_for), (2, None))
        for peer in "bc":
            server.hears(told(2, peer))

        self.assertEqual((server.record.current_term, server.record.voted_for), (2, "a"))

    def test_then_it_goes_on_as_others_do_that_have_lost_entries(self) -> None:
        server = repairing(votes_lost=True)
        for peer in "bc":
            server.hears(told(5, peer))

        reply = said_to(server.hears(append(5, "b", (3, 2))), "b", AppendEntriesReply)
        self.assertTrue(reply.repairing)
        server.hears(knowing(append(5, "b", (3, 2), commands_from(4, 5), commit=4)))
        self.assertTrue(any(persist.repaired for persist in all_of(server.disk_answers(), Persist)))

    def test_answers_to_an_earlier_start_are_from_before_the_loss(self) -> None:
        server = repairing(votes_lost=True)
        for peer in "bc":
            server.hears(told(9, peer, LIFE - 1))

        self.assertEqual(server.record.current_term, 5)

    def test_one_that_tells_twice_is_one(self) -> None:
        server = repairing(votes_lost=True)
        server.hears(told(9, "b"))
        server.hears(told(9, "b"))

        self.assertEqual(server.record.current_term, 5)

    def test_its_term_is_at_least_that_of_what_is_left_of_the_log(self) -> None:
        self.assertEqual(repairing(1, 1, 2, term=0, votes_lost=True).record.current_term, 2)


class Telling(SynchronousTestCase):
    def test_every_role_tells_its_term_once_that_is_durable(self) -> None:
        for server in (OneServer(term=5), OneServer(term=5).as_pre_candidate(), OneServer(term=4).as_leader(), repairing()):
            for asking in (0, 5, 9):
                effects = server.hears(RequestTerm(asking, "b", 3))

                self.assertEqual(all_of(effects, Send), [])
                self.assertEqual(said(effects, RequestTermReply), [("b", RequestTermReply(5, "a", 3))])

    def test_being_asked_raises_nobodys_term(self) -> None:
        server = OneServer(term=4).as_leader()

        server.hears(RequestTerm(99, "b", 3))

        self.assertEqual((server.record.current_term, server.record.leader), (5, "a"))

    def test_being_told_means_nothing_to_who_knows_its_term(self) -> None:
        for server in (OneServer(term=5), OneServer(term=5).as_pre_candidate(), OneServer(term=4).as_leader(), repairing()):
            self.assertEqual(server.hears(told(99, "b")), [])


class Counting(SynchronousTestCase):
    """A leader of term 6 with the log (1, 1, 2, 2) and its own first entry, 5; `b` is repairing."""

    def setUp(self) -> None:
        self.server = OneServer(log=(1, 1, 2, 2), term=5).as_new_leader()
        self.server.disk_answers()

    def answers(self, match: int, *, repairing: bool = True, incarnation: int = LIFE, success: bool = True, round: int = 0) -> None:
        reply = accepted(6, "b", match, round=round) if success else rejected(6, "b", match, (1, 1), round=round)
        self.server.hears(msgspec.structs.replace(reply, repairing=repairing, incarnation=incarnation))

    def test_what_it_acknowledges_is_not_committed_by_it(self) -> None:
        self.answers(5)

        self.assertEqual(self.server.record.commit_index, 0)

    def test_but_it_is_sent_on_what_it_lacks(self) -> None:
        self.answers(5)

        effects = self.server.proposes(b"x")

        self.assertEqual(said_to(effects, "b", AppendEntries).prev_log_index, 5)

    def test_it_is_told_that_it_is_known_and_others_are_not(self) -> None:
        self.answers(5)

        heartbeats = dict(said(self.server.beats(), AppendEntries))

        self.assertEqual((heartbeats["b"].repairing, heartbeats["c"].repairing), (LIFE, 0))

    def test_when_it_is_whole_again_it_counts_with_all_it_has(self) -> None:
        self.answers(5)

        self.answers(1, repairing=False)

        self.assertEqual(self.server.record.commit_index, 5)
        self.assertEqual(dict(said(self.server.beats(), AppendEntries))["b"].repairing, 0)

    def test_everything_that_it_had_acknowledged_before_is_forgotten(self) -> None:
        self.answers(4, repairing=False, incarnation=LIFE - 1)
        self.assertEqual(self.server.progress("b").match_index, 4)

        self.answers(2, success=False)

        progress = self.server.progress("b")
        self.assertEqual((progress.match_index, progress.next_index, progress.state), (0, 2, ProgressState.PROBE))

    def test_an_answer_of_before_the_loss_that_comes_late_counts_for_nothing(self) -> None:
        self.answers(2)

        self.answers(5, repairing=False, incarnation=LIFE - 1, round=9)

        self.assertEqual((self.server.progress("b").match_index, self.server.record.commit_index), (2, 0))

    def test_a_flagged_answer_that_comes_after_it_was_whole_again_changes_nothing(self) -> None:
        self.answers(2)
        self.answers(3, repairing=False)

        self.answers(4)

        self.assertFalse(self.server.progress("b").repairing)
        self.assertEqual(self.server.progress("b").match_index, 4)

    def test_a_second_loss_begins_over(self) -> None:
        self.answers(4)
        self.answers(4, repairing=False)

        self.answers(1, incarnation=LIFE + 1)

        self.assertEqual((self.server.progress("b").match_index, self.server.progress("b").repairing), (1, True))

    def test_a_restart_without_a_loss_takes_nothing_back(self) -> None:
        self.answers(4, repairing=False)

        self.answers(2, repairing=False, incarnation=LIFE + 1)

        self.assertEqual(self.server.progress("b").match_index, 4)

    def test_it_is_in_touch_and_confirms_reads(self) -> None:
        self.server.hears(accepted(6, "c", 5))
        self.server.reads(1)
        self.answers(5, round=1)

        self.assertEqual(self.server.leading.reads, type(self.server.leading.reads)())
        self.assertEqual(Index(5), self.server.record.commit_index)


class Silence(SynchronousTestCase):
    def test_nobody_is_asked_for_anything_when_nothing_is_lost(self) -> None:
        server = OneServer(incarnation=3)

        for kind in (RequestTerm, RequestVote, InstallSnapshotReply):
            self.assertEqual(said(server.effects, kind), [])
