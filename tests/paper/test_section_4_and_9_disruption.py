"""§4.2.3, §6.2 and §9.6: who may depose a leader, and when it resigns."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import Cluster
from tests.support.one_server import OneServer, accepted, said_to, the, vote, vote_request
from txraft.core.effects import Proposed
from txraft.core.messages import RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Leader


class DisruptiveServers(SynchronousTestCase):
    def test_a_leader_heard_lately(self) -> None:
        """§4.2.3: Who heard from a leader within the shortest election timeout neither votes nor takes over the candidate's term."""
        server = OneServer(term=3).as_follower_of("b")
        server.now += 0.99

        self.assertEqual(server.hears(vote_request(9, "c", (9, 8))), [])
        self.assertEqual(server.record.current_term, 3)

    def test_a_leader_not_heard_lately(self) -> None:
        """§4.2.3: After that time it votes as always."""
        server = OneServer(term=3).as_follower_of("b")
        server.now += 1.0

        self.assertTrue(said_to(server.hears(vote_request(9, "c", (9, 8))), "c", RequestVoteReply).granted)

    def test_a_chosen_successor(self) -> None:
        """§4.2.3: A candidate whom the leader itself has told to campaign is let through."""
        server = OneServer(term=3).as_follower_of("b")

        self.assertTrue(said_to(server.hears(vote_request(4, "c", (9, 3), transfer=True)), "c", RequestVoteReply).granted)

    def test_a_leader_that_reaches_most_stays(self) -> None:
        """§4.2.3: A leader that gets heartbeats through to its cluster is not deposed by later terms of others."""
        cluster = Cluster("abc", seed=2)
        leader = cluster.await_leader()
        cluster.run(1.0)
        term = cluster[leader].record.current_term
        outsider = next(name for name in "abc" if name != leader)

        for _ in range(20):
            cluster[leader].receive(cluster[outsider].id, RequestVote(term + 5, outsider, 99, 99))
            cluster.run(0.2)

        self.assertEqual((cluster.leader(), cluster[leader].record.current_term), (leader, term))


class Resigning(SynchronousTestCase):
    def test_without_a_majority(self) -> None:
        """§6.2: A leader steps down when an election timeout passes without a round of heartbeats answered by most of its cluster."""
        server = OneServer("abc").as_leader()
        server.now += 1.0

        server.beats()

        self.assertEqual(server.record.role, Follower(None))

    def test_with_one(self) -> None:
        """§6.2: While most answer, it stays."""
        server = OneServer("abc").as_leader()
        for _ in range(50):
            server.now += 0.5
            server.hears(accepted(2, "b", 2))
            server.beats()

        self.assertIsInstance(server.record.role, Leader)

    def test_who_does_not_lead_refuses(self) -> None:
        """§6.2: Who does not lead takes no commands, and knows whom to name instead."""
        server = OneServer().as_follower_of("b")

        self.assertEqual(the(server.proposes(b"x"), Proposed).accepted, 0)
        self.assertEqual(server.record.leader, "b")


class PreVote(SynchronousTestCase):
    def test_no_higher_term(self) -> None:
        """§9.6: A candidate raises its term only after most servers have said that they would vote for it."""
        server = OneServer("abcde").as_pre_candidate()
        server.hears(vote(2, "b", pre_vote=True))
        self.assertEqual(server.record.current_term, 1)

        server.hears(vote(2, "c", pre_vote=True))

        self.assertEqual((server.record.current_term, server.record.role), (2, Candidate(pre_vote=False)))

    def test_whom_it_would_vote_for(self) -> None:
        """§9.6: A server would vote for whose log is up to date enough, unless it has heard from a leader lately."""
        self.assertTrue(said_to(OneServer().hears(vote_request(2, "b", (1, 1), pre_vote=True)), "b", RequestVoteReply).granted)
        self.assertFalse(said_to(OneServer().hears(vote_request(2, "b", (0, 0), pre_vote=True)), "b", RequestVoteReply).granted)

        follower = OneServer().as_follower_of("c")
        self.assertEqual(follower.hears(vote_request(2, "b", (9, 1), pre_vote=True)), [])

    def test_nothing_is_promised(self) -> None:
        """§9.6: Saying so changes neither term nor vote."""
        server = OneServer()
        server.hears(vote_request(2, "b", (1, 1), pre_vote=True))

        self.assertEqual((server.record.current_term, server.record.voted_for), (1, None))

    def test_a_return(self) -> None:
        """§9.6: A server that was cut off comes back with the term it left with, and disturbs nobody."""
        cluster = Cluster("abc", seed=6)
        leader = cluster.await_leader()
        term = cluster[leader].record.current_term
        lonely = next(name for name in "abc" if name != leader)
        cluster.isolate(lonely)
        cluster.run(60.0)
        self.assertEqual(cluster[lonely].record.current_term, term)

        cluster.heal()
        cluster.await_level()

        self.assertEqual((cluster.leader(), cluster[leader].record.current_term), (leader, term))
