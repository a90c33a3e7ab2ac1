"""§3.5: log replication."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import BY_HAND, Cluster
from tests.support.logs import commands_from
from tests.support.one_server import OneServer, accepted, all_of, append, rejected, said, said_to, the
from txraft.core.effects import Apply, Persist
from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index
from txraft.core.messages import AppendEntries, AppendEntriesReply
from txraft.errors import Halted


class Leaders(SynchronousTestCase):
    def test_append_and_send(self) -> None:
        """§3.5: The leader appends a client's command to its log as an entry of its term, and sends it to all others side by side."""
        effects = OneServer("abcde").as_leader().proposes(b"x")

        entry = Entry(2, EntryKind.COMMAND, b"x")
        self.assertEqual(the(effects, Persist).entries, [entry])
        self.assertEqual([(to, message.entries) for to, message in said(effects, AppendEntries)], [(peer, [entry]) for peer in "bcde"])

    def test_commitment(self) -> None:
        """§3.5: An entry is committed once the leader that created it has it on most of the servers; then the leader applies it."""
        server = OneServer("abc").as_leader()
        server.proposes(b"x")
        self.assertEqual(all_of(server.disk_answers(), Apply), [])

        self.assertEqual(all_of(server.hears(accepted(2, "b", 3)), Apply), [Apply(Index(3))])

    def test_all_before_it(self) -> None:
        """§3.5: Committing an entry commits all entries before it, those of earlier leaders too."""
        server = OneServer("abc", log=(1, 1, 2)).as_new_leader()
        server.disk_answers()

        self.assertEqual(all_of(server.hears(accepted(3, "b", 4)), Apply), [Apply(Index(4))])

    def test_answers_after_applying(self) -> None:
        """§3.5: A client has its answer only after the command was applied."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        (proposal,) = cluster.propose("a", b"x")
        self.assertFalse(proposal.answered)

        cluster.run_until(lambda: proposal.answered, within_s=1.0, what="an answer")

        self.assertEqual(cluster.commands("a"), [b"x"])

    def test_without_end(self) -> None:
        """§3.5: The leader goes on sending until every follower has every entry, even long after the client has its answer."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.crash("c")
        cluster.commit("a", b"x")
        cluster.run(60.0)

        cluster.restart("c")
        cluster.await_level()

        self.assertEqual(cluster.commands("c"), [b"x"])

    def test_append_only(self) -> None:
        """§3.5: A leader never overwrites or removes an entry of its own log."""
        self.assertRaises(Halted, OneServer().as_leader().record.truncate, Index(2))

    def test_next_index(self) -> None:
        """§3.5: A new leader begins by sending each follower what comes behind its own last entry."""
        server = OneServer(log=(1, 1, 2)).as_new_leader()

        self.assertEqual([server.progress(peer).next_index for peer in "bc"], [4, 4])

    def test_going_back(self) -> None:
        """§3.5: After a refusal the leader goes back in its log and tries again, until the logs agree."""
        server = OneServer(log=(1, 2, 3, 4)).as_new_leader()

        tried = [said_to(server.hears(rejected(5, "b", prev, (prev - 1, 4))), "b", AppendEntries).prev_log_index for prev in (4, 3, 2)]

        self.assertEqual(tried, [3, 2, 1])

    def test_a_term_at_a_time(self) -> None:
        """§3.5: A follower can say where the conflicting term begins, so that the leader passes over all of it in one step."""
        leader, follower = OneServer(log=(1, 1, 5, 5, 5, 5)).as_new_leader(), OneServer(log=(1, 1, 3, 3, 3, 3), term=6)

        refusal = said_to(follower.hears(append(6, "b", (6, 5))), "b", AppendEntriesReply)
        retried = said_to(leader.hears(rejected(6, "b", 6, (refusal.hint_index, refusal.hint_term))), "b", AppendEntries)

        self.assertEqual(retried.prev_log_index, 2)

    def test_slow_followers(self) -> None:
        """§3.5: One round to most of the servers is enough; a slow follower does not slow a command down."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster["c"].disk.hang()

        (proposal,) = cluster.commit("a", b"x")

        self.assertTrue(proposal.answered)

    def test_nothing_special_for_a_new_leader(self) -> None:
        """§3.5: A new leader does nothing special to bring logs into line: they become its own by ordinary replication."""
        cluster = Cluster("abc", conditions=BY_HAND, logs={"a": (1, 2, 2, 4), "b": (1, 3, 3, 3, 3), "c": (1,)}, terms={"b": 4})
        cluster.elect("a")
        cluster.await_level()

        self.assertEqual([cluster.terms(name) for name in "abc"], [[1, 2, 2, 4, 5]] * 3)


class Followers(SynchronousTestCase):
    def test_learning_what_is_committed(self) -> None:
        """§3.5: The leader's messages, heartbeats too, say what is committed; a follower applies it, in the order of the log."""
        server = OneServer(log=(1, 1, 1), term=1).as_follower_of("b")

        effects = server.hears(append(1, "b", (3, 1), commit=2))

        self.assertEqual(all_of(effects, Apply), [Apply(Index(2))])

    def test_consistency(self) -> None:
        """§3.5: A follower that has no entry like the one before the new ones refuses them."""
        server = OneServer(log=(1, 1, 2), term=3)

        for prev in ((3, 3), (4, 3)):
            answer = said_to(server.hears(append(3, "b", prev, commands_from(prev[0] + 1, 3))), "b", AppendEntriesReply)
            self.assertFalse(answer.success)
        self.assertEqual(server.log_terms(), [1, 1, 2])

    def test_conflicts(self) -> None:
        """§3.5: Entries that conflict with the leader's are replaced by the leader's."""
        server = OneServer(log=(1, 1, 2, 2), term=3)

        server.hears(append(3, "b", (2, 1), commands_from(3, 3)))

        self.assertEqual(server.log_terms(), [1, 1, 3])

    def test_log_matching(self) -> None:
        """§3.5: Entries with the same index and term hold the same command, and so do all entries before them."""
        cluster = Cluster("abcde", seed=3)
        for number in range(12):
            leader = cluster.await_leader()
            cluster.propose(leader, b"%d" % number, b"%d more" % number)
            cluster.run(0.003)
            cluster.isolate(leader)
            cluster.propose(leader, b"%d alone" % number)
            cluster.run(2.5)
            cluster.heal()
        logs = [server.disk.entries for server in cluster.servers.values()]

        for one in logs:
            for other in logs:
                same = [index for index in range(min(len(one), len(other))) if one[index].term == other[index].term]
                if same:
                    self.assertEqual(one[: same[-1] + 1], other[: same[-1] + 1])
