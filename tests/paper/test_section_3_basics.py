"""§3.3 and §3.4: terms, leaders, elections."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.scenarios.scenario import watch
from tests.support.cluster import BY_HAND, Cluster
from tests.support.one_server import OneServer, accepted, all_of, append, rejected, said, said_to, the, vote, vote_request
from txraft.core.effects import Metadata, Persist, ResetElectionTimer, StartHeartbeats, StopElectionTimer
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, AppendEntriesReply, RequestVote, RequestVoteReply
from txraft.core.roles import Candidate, Follower, Leader


class Terms(SynchronousTestCase):
    def test_terms_grow_and_are_exchanged(self) -> None:
        """§3.3: Servers tell each other their terms; one that is behind takes over the later term."""
        server = OneServer(term=3)

        server.hears(append(8, "b", (0, 0)))

        self.assertEqual(server.record.current_term, 8)

    def test_deposed_by_a_later_term(self) -> None:
        """§3.3: A candidate or leader that finds its term out of date becomes a follower at once."""
        for server in (OneServer().as_candidate(), OneServer().as_leader()):
            server.hears(accepted(9, "b", 0))

            self.assertEqual((server.record.role, server.record.current_term), (Follower(None), 9))

    def test_stale_requests(self) -> None:
        """§3.3: A request with a stale term is refused."""
        server = OneServer(term=5)

        self.assertEqual(said_to(server.hears(append(4, "b", (0, 0))), "b", AppendEntriesReply), rejected(5, "a", 0))
        self.assertEqual(said_to(server.hears(vote_request(4, "c", (9, 4))), "c", RequestVoteReply), vote(5, "a", granted=False))

    def test_one_leader_a_term(self) -> None:
        """§3.3: A term has at most one leader, however elections collide."""
        cluster = Cluster("abcde", seed=1)
        messages = watch(cluster, AppendEntries)
        for _ in range(10):
            cluster[cluster.await_leader()].step_down("to see who follows")
            cluster.run(cluster.timing.election_s)
            for name in "abcde":
                cluster.campaign(name)
            cluster.run(0.5)

        leaders = {(message.term, message.sender) for message in messages}
        self.assertGreater(len(leaders), 3)
        self.assertEqual(len({term for term, _ in leaders}), len(leaders))

    def test_terms_without_a_leader(self) -> None:
        """§3.3: A term in which the votes are split ends without a leader, and another begins."""
        cluster = Cluster("abcd", conditions=BY_HAND)
        cluster.network.drops.append(
            lambda by, to, message: isinstance(message, RequestVote) and not message.pre_vote and by + to not in ("ab", "cd")
        )
        cluster.campaign("a")
        cluster.campaign("c")
        cluster.run(1.0)
        self.assertEqual([cluster[name].record.voted_for for name in "abcd"], ["a", "a", "c", "c"])
        self.assertIsNone(cluster.leader())

        cluster.heal()
        cluster.elect("c")

        self.assertEqual(cluster["c"].record.current_term, 3)

    def test_requests_are_repeated(self) -> None:
        """§3.3: Requests that stay unanswered are sent again."""
        server = OneServer().as_new_leader()

        for _ in range(3):
            self.assertEqual([to for to, _ in said(server.beats(), AppendEntries)], ["b", "c"])


class Elections(SynchronousTestCase):
    def test_start(self) -> None:
        """§3.4: A server begins as a follower, and stays one while it hears from a leader or candidate that is valid."""
        server = OneServer()
        self.assertEqual(server.record.role, Follower(None))

        self.assertIn(ResetElectionTimer(), server.hears(append(1, "b", (0, 0))))
        self.assertEqual(server.record.role, Follower(ServerId("b")))

    def test_timeout(self) -> None:
        """§3.4: A follower that hears nothing for an election timeout raises its term, votes for itself and asks all others for votes."""
        server = OneServer("abc", term=5)
        server.times_out()
        effects = server.hears(vote(6, "b", pre_vote=True))

        self.assertEqual(the(effects, Persist).metadata, Metadata(server.record.current_term, ServerId("a")))
        self.assertEqual(said(effects, RequestVote), [(peer, vote_request(6, "a", (1, 1))) for peer in "bc"])
        self.assertEqual((server.record.current_term, server.record.role), (6, Candidate(pre_vote=False)))

    def test_majority(self) -> None:
        """§3.4: A candidate leads once most servers of the whole cluster have voted for it in the same term."""
        server = OneServer("abcde").as_candidate()
        server.disk_answers()
        server.hears(vote(2, "b"))
        self.assertIsInstance(server.record.role, Candidate)

        server.hears(vote(2, "c"))

        self.assertIsInstance(server.record.role, Leader)

    def test_first_come_first_served(self) -> None:
        """§3.4: A server votes for at most one candidate a term, the first that asks."""
        server = OneServer(term=1)

        answers = [said_to(server.hears(vote_request(2, peer, (1, 1))), peer, RequestVoteReply) for peer in "bcb"]

        self.assertEqual([answer.granted for answer in answers], [True, False, True])

    def test_a_winner_makes_itself_known(self) -> None:
        """§3.4: Who wins sends messages to all others at once, and goes on with heartbeats, so that nobody else campaigns."""
        server = OneServer().as_candidate()
        server.disk_answers()

        effects = server.hears(vote(2, "b"))

        self.assertEqual([to for to, _ in said(effects, AppendEntries)], ["b", "c"])
        self.assertEqual(
            (all_of(effects, StartHeartbeats), all_of(effects, StopElectionTimer)), ([StartHeartbeats()], [StopElectionTimer()])
        )

    def test_another_wins(self) -> None:
        """§3.4: A candidate that hears from a leader of its own term or a later one follows it."""
        for term in (2, 3):
            server = OneServer().as_candidate()

            server.hears(append(term, "b", (0, 0)))

            self.assertEqual((server.record.role, server.record.current_term), (Follower(ServerId("b")), term))

    def test_a_leader_of_the_past(self) -> None:
        """§3.4: A candidate refuses a leader of an earlier term, and goes on as a candidate."""
        server = OneServer().as_candidate()

        effects = server.hears(append(1, "b", (0, 0)))

        self.assertEqual(said_to(effects, "b", AppendEntriesReply), rejected(2, "a", 0))
        self.assertIsInstance(server.record.role, Candidate)

    def test_nobody_wins(self) -> None:
        """§3.4: A candidate that neither wins nor loses within an election timeout begins another election, in a later term."""
        server = OneServer().as_candidate()
        server.disk_answers()

        server.times_out()
        server.hears(vote(3, "b", pre_vote=True))

        self.assertEqual((server.record.current_term, server.record.role), (3, Candidate(pre_vote=False)))

    def test_random_timeouts(self) -> None:
        """§3.4: Election timeouts are drawn at random, anew for each election, so that votes are rarely split."""
        elections = [elections_needed(seed) for seed in range(20)]

        self.assertLessEqual(sum(elections) / len(elections), 1.5)


def elections_needed(seed: int) -> int:
    """How many terms five servers need for their first leader."""
    cluster = Cluster("abcde", seed=seed)
    leader = cluster.await_leader()
    return cluster[leader].record.current_term - 1
