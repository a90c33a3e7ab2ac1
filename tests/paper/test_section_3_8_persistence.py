"""§3.8 and §10.2.1: what is on disk, and when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import BY_HAND, Cluster
from tests.support.logs import commands_from
from tests.support.one_server import OneServer, accepted, all_of, append, said, said_to, the, vote, vote_request
from txraft.core.effects import Apply, Metadata, Persist, Send
from txraft.core.ids import Index, ServerId, Term
from txraft.core.messages import AppendEntries, AppendEntriesReply, RequestVoteReply


class PersistedState(SynchronousTestCase):
    def test_term_and_vote(self) -> None:
        """§3.8: Term and vote are on disk before the vote is told."""
        effects = OneServer(term=1).hears(vote_request(2, "b", (1, 1)))

        persist = the(effects, Persist)
        self.assertEqual((persist.metadata, persist.then), (Metadata(Term(2), ServerId("b")), (Send(ServerId("b"), vote(2, "a")),)))
        self.assertEqual(all_of(effects, Send), [])

    def test_no_second_vote(self) -> None:
        """§3.8: A restarted server does not vote again in a term in which it has voted."""
        server = OneServer(term=2, voted_for="b")

        self.assertFalse(said_to(server.hears(vote_request(2, "c", (9, 1))), "c", RequestVoteReply).granted)

    def test_no_deposed_leader(self) -> None:
        """§3.8: A restarted server does not let a deposed leader replace entries of a later one."""
        server = OneServer(log=(1, 3), term=3)

        self.assertFalse(said_to(server.hears(append(2, "b", (1, 1), commands_from(2, 2))), "b", AppendEntriesReply).success)
        self.assertEqual(server.log_terms(), [1, 3])

    def test_entries(self) -> None:
        """§3.8: A follower has entries on disk before it accepts them, and thus before they count."""
        effects = OneServer(term=1).hears(append(1, "b", (1, 1), commands_from(2, 1)))

        persist = the(effects, Persist)
        self.assertEqual((persist.entries, persist.then), (commands_from(2, 1), (Send(ServerId("b"), accepted(1, "a", 2)),)))
        self.assertEqual(all_of(effects, Send), [])

    def test_refusals_too(self) -> None:
        """§3.8: Nothing is answered that rests on what could be forgotten, refusals included."""
        for message in (vote_request(5, "b", (0, 0)), append(5, "b", (9, 9)), vote_request(0, "b", (0, 0)), append(0, "b", (0, 0))):
            self.assertEqual(all_of(OneServer(term=1).hears(message), Send), [])

    def test_commit_index(self) -> None:
        """§3.8: The commit index may be lost: it begins again at zero and is found out anew."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"x")
        cluster.crash("a", "b", "c")
        cluster.restart("a", "b", "c")
        self.assertEqual([cluster[name].record.commit_index for name in "abc"], [0, 0, 0])

        cluster.elect("b")
        cluster.await_level()

        self.assertEqual([cluster[name].record.commit_index for name in "abc"], [4, 4, 4])

    def test_state_machine(self) -> None:
        """§3.8: A state machine kept in memory is made again by applying the log."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"x", b"y")
        cluster.crash("b")
        cluster.restart("b")
        self.assertEqual(cluster.commands("b"), [])

        cluster.await_level()

        self.assertEqual(cluster.commands("b"), [b"x", b"y"])


class TheLeadersDisk(SynchronousTestCase):
    def test_in_parallel(self) -> None:
        """§10.2.1: The leader sends entries while its own disk still writes them."""
        effects = OneServer().as_leader().proposes(b"x")

        self.assertEqual((the(effects, Persist).then, len(said(effects, AppendEntries))), ((), 2))

    def test_its_own_match_index(self) -> None:
        """§10.2.1: The leader counts itself only as far as its own disk has come."""
        server = OneServer("abc").as_leader()
        server.proposes(b"x")
        server.hears(accepted(2, "b", 3))
        self.assertEqual(server.record.commit_index, 2)

        server.disk_answers()

        self.assertEqual(server.record.commit_index, 3)

    def test_without_itself(self) -> None:
        """§10.2.1: An entry may be committed before it is on the leader's disk, if most servers have it without the leader."""
        server = OneServer("abc").as_leader()
        server.proposes(b"x")

        effects = [effect for peer in "bc" for effect in server.hears(accepted(2, peer, 3))]

        self.assertEqual((server.record.commit_index, all_of(effects, Apply)), (3, []))
        self.assertEqual(all_of(server.disk_answers(), Apply), [Apply(Index(3))])
