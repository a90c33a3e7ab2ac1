"""Votes and pre-votes: who gets one, whose count, and when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer, append, said, said_to, the, vote, vote_request
from txraft.core.effects import Metadata, Persist, ResetElectionTimer
from txraft.core.messages import AppendEntries, RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Leader

UP_TO_DATE = (3, 2)
"""The last entry of a log (1, 1, 2), as index and term."""


class Voting(SynchronousTestCase):
    """A voter of term 5 with the log (1, 1, 2)."""

    def voter(self, voted_for: str | None = None) -> OneServer:
        return OneServer(log=(1, 1, 2), term=5, voted_for=voted_for)

    def answer_to(self, server: OneServer, request: RequestVote) -> RequestVoteReply:
        return said_to(server.hears(request), request.sender, RequestVoteReply)

    def test_the_first_who_asks_gets_the_vote(self) -> None:
        server = self.voter()

        effects = server.hears(vote_request(6, "b", UP_TO_DATE))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(6, "a"))])
        self.assertEqual(the(effects, Persist).metadata, Metadata(server.record.current_term, server.record.voted_for))
        self.assertEqual((server.record.current_term, server.record.voted_for), (6, "b"))

    def test_the_answer_waits_until_the_vote_is_on_disk(self) -> None:
        effects = self.voter().hears(vote_request(6, "b", UP_TO_DATE))

        self.assertEqual([send.message for send in the(effects, Persist).then], [vote(6, "a")])

    def test_the_second_is_refused_in_the_same_term(self) -> None:
        server = self.voter()
        server.hears(vote_request(6, "b", UP_TO_DATE))

        effects = server.hears(vote_request(6, "c", (9, 5)))

        self.assertEqual(said(effects, RequestVoteReply), [("c", vote(6, "a", granted=False))])
        self.assertEqual(server.record.voted_for, "b")

    def test_the_vote_is_repeated_to_who_has_it_already(self) -> None:
        server = self.voter()
        server.hears(vote_request(6, "b", UP_TO_DATE))

        effects = server.hears(vote_request(6, "b", UP_TO_DATE))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(6, "a"))])
        self.assertIsNone(the(effects, Persist).metadata)

    def test_a_vote_given_before_a_restart_still_counts(self) -> None:
        server = self.voter(voted_for="b")

        self.assertEqual(self.answer_to(server, vote_request(5, "c", (9, 5))), vote(5, "a", granted=False))
        self.assertEqual(self.answer_to(server, vote_request(5, "b", UP_TO_DATE)), vote(5, "a"))

    def test_the_log_of_the_candidate_must_be_as_up_to_date_by_last_term_then_by_length(self) -> None:
        for last, granted in (
            ((3, 2), True),
            ((4, 2), True),
            ((1, 3), True),
            ((2, 2), False),
            ((9, 1), False),
            ((0, 0), False),
        ):
            answer = self.answer_to(self.voter(), vote_request(6, "b", last))
            self.assertEqual(answer, vote(6, "a", granted=granted), last)

    def test_it_is_the_term_of_the_last_entry_that_counts_not_the_current_one(self) -> None:
        server = OneServer(log=(1, 1), term=5)

        self.assertEqual(self.answer_to(server, vote_request(6, "b", (2, 1))), vote(6, "a"))

    def test_a_candidate_of_an_older_term_is_told_the_newer_one(self) -> None:
        server = self.voter()

        effects = server.hears(vote_request(4, "b", (9, 5)))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(5, "a", granted=False))])
        self.assertIsNone(the(effects, Persist).metadata)

    def test_refusing_too_raises_the_term_and_waits_for_the_disk(self) -> None:
        effects = self.voter().hears(vote_request(6, "b", (1, 1)))

        persist = the(effects, Persist)
        assert persist.metadata is not None
        self.assertEqual((persist.metadata.term, persist.metadata.voted_for), (6, None))
        self.assertEqual([send.message for send in persist.then], [vote(6, "a", granted=False)])

    def test_only_granting_starts_the_election_timer_anew(self) -> None:
        granted = self.voter().hears(vote_request(6, "b", UP_TO_DATE))
        refused = self.voter().hears(vote_request(6, "b", (1, 1)))
        rehearsed = self.voter().hears(vote_request(6, "b", UP_TO_DATE, pre_vote=True))

        self.assertEqual([ResetElectionTimer() in effects for effects in (granted, refused, rehearsed)], [True, False, False])

    def test_a_leader_known_for_the_term_is_not_voted_against(self) -> None:
        server = self.voter()
        server.hears(append(5, "b", (0, 0)))

        self.assertEqual(self.answer_to(server, vote_request(5, "c", (9, 5))), vote(5, "a", granted=False))

    def test_a_learner_votes_when_asked_for_it_may_be_a_voter_without_knowing(self) -> None:
        server = OneServer("bcd", learners="a", term=5)

        self.assertEqual(self.answer_to(server, vote_request(6, "b", UP_TO_DATE)), vote(6, "a"))

    def test_a_stranger_gets_the_vote_for_the_voter_may_not_know_it_yet(self) -> None:
        self.assertEqual(self.answer_to(self.voter(), vote_request(6, "z", UP_TO_DATE)), vote(6, "a"))


class Stickiness(SynchronousTestCase):
    """Who hears from a leader does not help to depose it."""

    def follower(self) -> OneServer:
        return OneServer(log=(1, 1, 2), term=5).as_follower_of("b")

    def test_a_follower_in_touch_with_its_leader_drops_requests_and_keeps_its_term(self) -> None:
        for pre_vote in (False, True):
            server = self.follower()
            server.now += server.record.timing.election_s - 0.01

            self.assertEqual(server.hears(vote_request(9, "c", (9, 8), pre_vote=pre_vote)), [])
            self.assertEqual(server.record.current_term, 5)

    def test_after_the_shortest_election_timeout_without_word_it_votes(self) -> None:
        server = self.follower()
        server.now += server.record.timing.election_s

        self.assertEqual(said(server.hears(vote_request(9, "c", (9, 8))), RequestVoteReply), [("c", vote(9, "a"))])

    def test_a_leader_is_in_touch_with_itself(self) -> None:
        server = OneServer().as_leader()
        server.now += 1_000

        self.assertEqual(server.hears(vote_request(9, "c", (9, 8))), [])
        self.assertIsInstance(server.record.role, Leader)

    def test_a_server_that_has_only_heard_of_the_term_is_not_held_back(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5)

        self.assertEqual(said(server.hears(vote_request(9, "c", (9, 8))), RequestVoteReply), [("c", vote(9, "a"))])

    def test_a_restarted_server_does_not_wait(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5, voted_for="b")

        self.assertEqual(said(server.hears(vote_request(6, "c", (9, 5))), RequestVoteReply), [("c", vote(6, "a"))])

    def test_a_leader_that_hands_over_lets_its_successor_through(self) -> None:
        server = self.follower()

        effects = server.hears(vote_request(6, "c", (9, 5), transfer=True))

        self.assertEqual(said(effects, RequestVoteReply), [("c", vote(6, "a"))])


class PreVoting(SynchronousTestCase):
    """A pre-vote promises nothing: neither side changes its term or vote."""

    def voter(self) -> OneServer:
        return OneServer(log=(1, 1, 2), term=5, voted_for="c")

    def test_granted_it_repeats_the_term_that_was_asked_for(self) -> None:
        server = self.voter()

        effects = server.hears(vote_request(6, "b", UP_TO_DATE, pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(6, "a", pre_vote=True))])
        self.assertIsNone(the(effects, Persist).metadata)
        self.assertEqual((server.record.current_term, server.record.voted_for), (5, "c"))

    def test_several_may_get_it(self) -> None:
        server = self.voter()

        for candidate in "bcd":
            effects = server.hears(vote_request(6, candidate, UP_TO_DATE, pre_vote=True))
            self.assertEqual(said(effects, RequestVoteReply), [(candidate, vote(6, "a", pre_vote=True))])

    def test_refused_it_tells_the_term_of_the_voter(self) -> None:
        effects = self.voter().hears(vote_request(6, "b", (2, 2), pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(5, "a", granted=False, pre_vote=True))])

    def test_who_would_campaign_in_a_term_where_the_vote_is_given_is_refused(self) -> None:
        effects = self.voter().hears(vote_request(5, "b", UP_TO_DATE, pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(5, "a", granted=False, pre_vote=True))])

    def test_who_would_campaign_in_a_term_long_over_is_told_so(self) -> None:
        effects = self.voter().hears(vote_request(3, "b", (9, 2), pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(5, "a", granted=False, pre_vote=True))])

    def test_candidates_grant_it_to_each_other(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5).as_candidate()

        effects = server.hears(vote_request(7, "b", UP_TO_DATE, pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(7, "a", pre_vote=True))])

    def test_a_deposed_leader_that_lost_touch_may_ask_like_anybody(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5).as_follower_of("b")
        server.now += server.record.timing.election_s

        effects = server.hears(vote_request(6, "b", UP_TO_DATE, pre_vote=True))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(6, "a", pre_vote=True))])


class Starts(SynchronousTestCase):
    """A server that has lost its vote may stand twice in a term, each time with another log: votes tell for which of them they are."""

    def test_who_asks_says_in_which_start(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5, incarnation=7)
        asked = [server.times_out(), server.hears(vote(6, "b", pre_vote=True, incarnation=7))]

        for effects, pre_vote in zip(asked, (True, False), strict=True):
            request = vote_request(6, "a", UP_TO_DATE, pre_vote=pre_vote, incarnation=7)
            self.assertEqual(said(effects, RequestVote), [(peer, request) for peer in "bc"])

    def test_every_answer_repeats_it(self) -> None:
        for term in (4, 5, 6):
            for last in ((2, 2), UP_TO_DATE):
                for pre_vote in (False, True):
                    server = OneServer(log=(1, 1, 2), term=5, incarnation=7)
                    request = vote_request(term, "b", last, pre_vote=pre_vote, incarnation=3)
                    self.assertEqual(said_to(server.hears(request), "b", RequestVoteReply).incarnation, 3)

    def test_a_repeated_request_of_a_later_start_is_judged_anew(self) -> None:
        server = OneServer(log=(1, 1, 2), term=5)
        self.assertTrue(said_to(server.hears(vote_request(6, "b", UP_TO_DATE, incarnation=3)), "b", RequestVoteReply).granted)

        effects = server.hears(vote_request(6, "b", (2, 2), incarnation=4))

        self.assertEqual(said(effects, RequestVoteReply), [("b", vote(6, "a", granted=False, incarnation=4))])

    def test_votes_for_another_start_do_not_count(self) -> None:
        server = OneServer(term=5, incarnation=7).as_candidate()
        server.disk_answers()

        for incarnation in (0, 6, 8):
            server.hears(vote(6, "b", incarnation=incarnation))
        self.assertEqual(server.standing.votes, {"a"})

        server.hears(vote(6, "b", incarnation=7))
        self.assertIsInstance(server.record.role, Leader)

    def test_nor_do_pre_votes(self) -> None:
        server = OneServer(term=5, incarnation=7).as_pre_candidate()

        for incarnation in (0, 6, 8):
            server.hears(vote(6, "b", pre_vote=True, incarnation=incarnation))

        self.assertEqual(server.standing, Candidate(pre_vote=True, votes={server.record.id}))

    def test_a_refusal_of_an_earlier_start_still_tells_of_a_later_term(self) -> None:
        server = OneServer(term=5, incarnation=7).as_candidate()

        server.hears(vote(9, "b", granted=False, incarnation=6))

        self.assertEqual((server.record.role, server.record.current_term), (Follower(None), 9))


class Counting(SynchronousTestCase):
    """A server of term 5 among five voters asks for votes."""

    def test_before_anything_else_it_asks_without_raising_its_term(self) -> None:
        server = OneServer("abcde", log=(1, 1, 2), term=5)

        effects = server.times_out()

        request = vote_request(6, "a", UP_TO_DATE, pre_vote=True)
        self.assertEqual(said(effects, RequestVote), [(peer, request) for peer in "bcde"])
        self.assertEqual((server.record.current_term, server.record.voted_for), (5, None))
        self.assertEqual(server.standing, Candidate(pre_vote=True, votes={server.record.id}))

    def test_with_most_pre_votes_it_raises_its_term_votes_for_itself_and_asks_in_earnest(self) -> None:
        server = OneServer("abcde", log=(1, 1, 2), term=5).as_pre_candidate()
        self.assertEqual(server.hears(vote(6, "b", pre_vote=True)), [])

        effects = server.hears(vote(6, "c", pre_vote=True))

        request = vote_request(6, "a", UP_TO_DATE)
        self.assertEqual(the(effects, Persist).metadata, Metadata(server.record.current_term, server.record.id))
        self.assertEqual([(send.to, send.message) for send in the(effects, Persist).then], [(peer, request) for peer in "bcde"])
        self.assertEqual((server.record.current_term, server.standing), (6, Candidate(pre_vote=False)))
        self.assertIn(ResetElectionTimer(), effects)

    def test_learners_are_not_asked(self) -> None:
        effects = OneServer("abc", learners="xy").times_out()

        self.assertEqual([to for to, _ in said(effects, RequestVote)], ["b", "c"])

    def test_its_own_vote_counts_when_it_is_on_disk(self) -> None:
        server = OneServer("abc", term=5).as_candidate()
        server.hears(vote(6, "b"))
        self.assertIsInstance(server.record.role, Candidate)

        server.disk_answers()

        self.assertIsInstance(server.record.role, Leader)

    def test_the_others_alone_may_be_enough(self) -> None:
        server = OneServer("abc", term=5).as_candidate()
        server.hears(vote(6, "b"))

        server.hears(vote(6, "c"))

        self.assertIsInstance(server.record.role, Leader)

    def test_a_vote_that_arrives_twice_counts_once(self) -> None:
        server = OneServer("abcde", term=5).as_candidate()
        server.disk_answers()

        for _ in range(5):
            server.hears(vote(6, "b"))

        self.assertEqual(server.standing.votes, {"a", "b"})

    def test_pre_votes_do_not_count_as_votes(self) -> None:
        server = OneServer("abcde", term=5).as_candidate()
        server.disk_answers()

        for voter in "bcde":
            server.hears(vote(6, voter, pre_vote=True))

        self.assertEqual(server.standing, Candidate(pre_vote=False, votes={server.record.id}))

    def test_votes_do_not_count_as_pre_votes(self) -> None:
        server = OneServer("abcde", term=5).as_candidate()
        server.disk_answers()
        server.times_out()

        for voter in "bcde":
            server.hears(vote(6, voter))

        self.assertEqual(server.standing, Candidate(pre_vote=True, votes={server.record.id}))

    def test_its_own_pre_vote_does_not_become_a_vote_by_a_late_answer_of_the_disk(self) -> None:
        server = OneServer("ab", term=5)
        server.times_out()
        server.hears(vote(6, "b", pre_vote=True))

        server.disk_answers(1)

        self.assertEqual(server.standing.votes, set())

    def test_pre_votes_for_another_term_do_not_count(self) -> None:
        server = OneServer("abcde", term=5).as_pre_candidate()

        for voter in "bcde":
            server.hears(vote(7, voter, pre_vote=True))
            server.hears(vote(5, voter, pre_vote=True))

        self.assertEqual(server.standing.votes, {"a"})

    def test_votes_of_an_older_term_do_not_count(self) -> None:
        server = OneServer("abcde", term=5).as_candidate()
        server.disk_answers()

        for voter in "bcde":
            server.hears(vote(5, voter))

        self.assertEqual(server.standing.votes, {"a"})

    def test_refusals_do_not_count(self) -> None:
        server = OneServer("abc", term=5).as_candidate()
        server.disk_answers()

        server.hears(vote(6, "b", granted=False))

        self.assertIsInstance(server.record.role, Candidate)

    def test_votes_of_learners_and_strangers_do_not_count(self) -> None:
        server = OneServer("abcde", learners="x", term=5).as_candidate()
        server.disk_answers()

        for voter in "xyz":
            server.hears(vote(6, voter))

        self.assertIsInstance(server.record.role, Candidate)

    def test_even_clusters_need_more_than_half(self) -> None:
        server = OneServer("abcd", term=5).as_candidate()
        server.disk_answers()

        server.hears(vote(6, "b"))
        self.assertIsInstance(server.record.role, Candidate)

        server.hears(vote(6, "c"))
        self.assertIsInstance(server.record.role, Leader)

    def test_a_refused_pre_vote_tells_of_a_later_term(self) -> None:
        server = OneServer("abc", term=5).as_pre_candidate()

        server.hears(vote(8, "b", granted=False, pre_vote=True))

        self.assertEqual((server.record.role, server.record.current_term), (Follower(None), 8))

    def test_a_late_vote_changes_nothing_for_a_leader_or_a_follower(self) -> None:
        for server in (OneServer().as_leader(), OneServer(term=2).as_follower_of("b")):
            role = type(server.record.role)

            self.assertEqual(server.hears(vote(2, "c")), [])
            self.assertIsInstance(server.record.role, role)

    def test_its_own_vote_that_becomes_durable_after_the_election_was_lost_changes_nothing(self) -> None:
        server = OneServer(term=5).as_candidate()
        server.hears(append(6, "b", (0, 0)))

        effects = server.disk_answers()

        self.assertEqual(server.record.role, Follower(server.record.leader))
        self.assertEqual(said(effects, AppendEntries), [])
