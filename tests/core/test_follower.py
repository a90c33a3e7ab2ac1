"""What happens when the election timer runs out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.one_server import OneServer, append, said, vote_request
from txraft.core.effects import ResetElectionTimer
from txraft.core.messages import RequestVote
from txraft.core.roles import Candidate, Follower, Leader


class ElectionTimeout(SynchronousTestCase):
    def test_a_follower_without_word_from_a_leader_asks_for_pre_votes(self) -> None:
        server = OneServer(term=5).as_follower_of("b")

        effects = server.times_out()

        self.assertIsInstance(server.record.role, Candidate)
        self.assertIn(ResetElectionTimer(), effects)
        self.assertIsNone(server.record.leader)

    def test_its_term_and_vote_stay_as_they_are(self) -> None:
        server = OneServer(term=5, voted_for="b")

        server.times_out()

        self.assertEqual((server.record.current_term, server.record.voted_for), (5, "b"))

    def test_a_pre_candidate_without_answers_asks_again_in_the_same_term(self) -> None:
        server = OneServer(term=5).as_pre_candidate()

        for _ in range(10):
            effects = server.times_out()
            request = vote_request(6, "a", (1, 1), pre_vote=True)
            self.assertEqual(said(effects, RequestVote), [("b", request), ("c", request)])

    def test_a_candidate_that_does_not_win_goes_back_to_the_pre_vote(self) -> None:
        server = OneServer(term=5).as_candidate()
        server.disk_answers()

        effects = server.times_out()

        request = vote_request(7, "a", (1, 1), pre_vote=True)
        self.assertEqual(said(effects, RequestVote), [("b", request), ("c", request)])
        self.assertEqual((server.record.current_term, server.standing.pre_vote, server.standing.votes), (6, True, {"a"}))

    def test_learners_and_strangers_never_campaign_but_keep_waiting(self) -> None:
        for server in (OneServer("bcd", learners="a"), OneServer("bcd")):
            effects = server.times_out()

            self.assertEqual((effects, server.record.role), ([ResetElectionTimer()], Follower(None)))

    def test_a_late_timeout_is_nothing_to_a_leader(self) -> None:
        server = OneServer().as_leader()

        self.assertEqual(server.times_out(), [])
        self.assertIsInstance(server.record.role, Leader)

    def test_heartbeats_keep_a_follower_quiet(self) -> None:
        server = OneServer(term=5).as_follower_of("b")

        self.assertIn(ResetElectionTimer(), server.hears(append(5, "b", (0, 0))))
