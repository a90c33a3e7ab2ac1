"""§3.6 and §3.7: why nothing committed is ever lost."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import BY_HAND, Cluster
from tests.support.logs import commands_from
from tests.support.one_server import OneServer, accepted, append, said_to, vote, vote_request
from txraft.core.messages import AppendEntriesReply, RequestVoteReply


class ElectionRestriction(SynchronousTestCase):
    def granted(self, log: tuple[int, ...], last: tuple[int, int]) -> bool:
        server = OneServer(log=log, term=8)
        return said_to(server.hears(vote_request(9, "b", last)), "b", RequestVoteReply).granted

    def test_up_to_date(self) -> None:
        """§3.6.1: A voter refuses a candidate whose log is less up to date than its own."""
        self.assertEqual([self.granted((1, 1, 2), last) for last in ((3, 2), (2, 1), (2, 2))], [True, False, False])

    def test_later_term(self) -> None:
        """§3.6.1: Of two logs with different last terms, that with the later one is more up to date, however short."""
        self.assertTrue(self.granted((1, 1, 2, 2, 2), (2, 3)))
        self.assertFalse(self.granted((1, 3), (9, 2)))

    def test_longer(self) -> None:
        """§3.6.1: Of two logs with the same last term, the longer one is more up to date."""
        self.assertTrue(self.granted((1, 2, 2), (4, 2)))
        self.assertFalse(self.granted((1, 2, 2), (2, 2)))

    def test_committed_entries_decide(self) -> None:
        """§3.6.1: Who lacks a committed entry cannot win: some voter of every majority has it."""
        cluster = Cluster("abcde", conditions=BY_HAND)
        cluster.elect("a")
        for name in "de":
            cluster.isolate(name)
        cluster.commit("a", b"x")
        cluster.crash("a")
        cluster.heal()
        cluster.run(1.0)

        for name in "dede":
            cluster.campaign(name)
            cluster.run(1.0)
            self.assertFalse(cluster.leads(name))

        cluster.elect("b")


class EarlierTerms(SynchronousTestCase):
    def test_no_counting(self) -> None:
        """§3.6.2: An entry of an earlier term is not committed by being on most servers."""
        server = OneServer("abc", log=(1, 1, 2)).as_new_leader()
        server.disk_answers()

        for peer in "bc":
            server.hears(accepted(3, peer, 3))

        self.assertEqual(server.record.commit_index, 0)

    def test_indirectly(self) -> None:
        """§3.6.2: It is committed by an entry of the leader's own term behind it."""
        server = OneServer("abc", log=(1, 1, 2)).as_new_leader()
        server.disk_answers()

        server.hears(accepted(3, "b", 4))

        self.assertEqual(server.record.commit_index, 4)

    def test_terms_stay(self) -> None:
        """§3.6.2: Entries keep their term when a later leader replicates them."""
        cluster = Cluster("abc", conditions=BY_HAND, logs={"a": (1, 2, 2), "b": (1,), "c": (1,)})
        cluster.elect("a")
        cluster.await_level()

        self.assertEqual(cluster.terms("c"), [1, 2, 2, 3])


class Safety(SynchronousTestCase):
    def test_leader_completeness(self) -> None:
        """§3.6.3: What is committed in a term is in the logs of the leaders of all later terms."""
        cluster = Cluster("abcde", seed=4)
        for number in range(8):
            leader = cluster.await_leader()
            cluster.commit(leader, b"%d" % number)
            committed = list(cluster[leader].applied)
            cluster.crash(leader)
            successor = cluster.await_leader()
            self.assertEqual(cluster[successor].record.log.slice(1, entries_max=len(committed), bytes_max=10**6), committed)
            cluster.restart(leader)

    def test_state_machine_safety(self) -> None:
        """§3.6.3: No two servers apply different commands at the same index."""
        cluster = Cluster("abcde", seed=5)
        for number in range(8):
            leader = cluster.await_leader()
            cluster.propose(leader, b"%d" % number)
            cluster.run(0.006)
            cluster.isolate(leader)
            cluster.propose(leader, b"%d alone" % number)
            cluster.run(2.5)
            cluster.heal()
            longest = max((server.applied for server in cluster.servers.values()), key=len)
            for server in cluster.servers.values():
                self.assertEqual(server.applied, longest[: len(server.applied)])


class Crashes(SynchronousTestCase):
    def test_retries(self) -> None:
        """§3.7: Requests to a crashed server are repeated for ever, and succeed once it is back."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.crash("b")
        cluster.commit("a", b"x")
        cluster.run(30.0)

        cluster.restart("b")
        cluster.await_level()

        self.assertEqual(cluster.commands("b"), [b"x"])

    def test_idempotence(self) -> None:
        """§3.7: A request that arrives a second time, because the answer was lost, does no harm and gets the same answer."""
        server = OneServer(log=(1, 1), term=3)
        request = append(3, "b", (2, 1), commands_from(3, 3, 3))
        first = said_to(server.hears(request), "b", AppendEntriesReply)
        server.disk_answers()
        log = server.entries()

        self.assertEqual(said_to(server.hears(request), "b", AppendEntriesReply), first)
        self.assertEqual(server.entries(), log)

    def test_votes_again(self) -> None:
        """§3.7: The same holds of a request for a vote."""
        server = OneServer(term=3)

        answers = [said_to(server.hears(vote_request(4, "b", (1, 1))), "b", RequestVoteReply) for _ in range(2)]

        self.assertEqual(answers, [vote(4, "a"), vote(4, "a")])
