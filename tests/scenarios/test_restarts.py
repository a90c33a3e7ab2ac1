"""Servers crash and come back: alone, all at once, and in the middle of a write."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, watch
from tests.support.cluster import Cluster
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntriesReply, RequestVoteReply


class ColdRestart(Scenario):
    """All servers lose power at once. (Without durable terms an old, long log then beats newly committed entries: PySyncObj #201.)"""

    def test_a_server_that_missed_the_last_commits_cannot_overwrite_them(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("b")
        cluster.commit("b", b"one")
        cluster.isolate("b")
        cluster.propose("b", b"never", b"committed", b"but long")
        cluster.elect("a")
        cluster.commit("a", b"two")

        cluster.crash("a", "b", "c")
        cluster.heal()
        cluster.restart("a", "b", "c")
        for _ in range(3):
            cluster.campaign("b")
            cluster.run(1.0)
            self.assertFalse(cluster.leads("b"))

        cluster.elect("c")
        self.assert_commands(cluster, b"one", b"two")

    def test_terms_go_on_from_where_they_were(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        for name in "abcabc":
            cluster.elect(name)
            cluster.await_level()
            cluster.crash("a", "b", "c")
            cluster.restart("a", "b", "c")

        self.assertEqual([cluster[name].record.current_term for name in "abc"], [7, 7, 7])

    def test_everything_committed_is_committed_again_without_a_stored_commit_index(self) -> None:
        cluster = Cluster("abc")
        leader = cluster.await_leader()
        cluster.commit(leader, b"one", b"two")
        cluster.await_level()

        cluster.crash("a", "b", "c")
        cluster.restart("a", "b", "c")
        self.assertEqual([cluster[name].record.commit_index for name in "abc"], [0, 0, 0])

        self.assert_commands(cluster, b"one", b"two")

    def test_whenever_it_happens_no_answered_command_is_lost(self) -> None:
        for moment in range(30):
            cluster = Cluster("abc", seed=moment)
            leader = cluster.await_leader()
            proposals = cluster.propose(leader, b"one", b"two")
            cluster.run(moment * 0.0005)

            cluster.crash("a", "b", "c")
            cluster.restart("a", "b", "c")
            cluster.await_level()

            for proposal in proposals:
                self.assertLessEqual(proposal.answered, proposal.command in cluster.commands("a"), moment)

    def test_again_and_again(self) -> None:
        cluster, answered = Cluster("abc", seed=7), list[bytes]()
        for number in range(20):
            leader = cluster.await_leader()
            proposals = cluster.propose(leader, b"%d" % number)
            cluster.run(0.015)
            answered += [proposal.command for proposal in proposals if proposal.answered]
            cluster.crash("a", "b", "c")
            cluster.restart("a", "b", "c")
        cluster.await_level()

        self.assertGreater(len(answered), 3)
        self.assertEqual([command for command in cluster.commands("a") if command in answered], answered)


class SingleServer(Scenario):
    def test_what_it_has_answered_is_on_its_disk_whenever_it_crashes(self) -> None:
        """etcd #14370: a cluster of one acknowledged before its fsync."""
        answers = 0
        for moment in range(30):
            cluster = Cluster("a", seed=moment)
            cluster.await_leader()
            cluster.run(0.1)
            (proposal,) = cluster.propose("a", b"one")
            cluster.run(moment * 0.00015)
            answers += proposal.answered

            cluster.crash("a")

            self.assertLessEqual(proposal.answered, b"one" in [entry.payload for entry in cluster["a"].disk.entries])
        self.assertTrue(0 < answers < 30, "the moments lie on both sides of the answer")

    def test_it_knows_again_what_it_had_committed(self) -> None:
        cluster = Cluster("a")
        cluster.await_leader()
        cluster.commit("a", b"one")

        cluster.crash("a")
        cluster.restart("a")

        self.assert_serves(cluster)
        self.assert_commands(cluster, b"one", b"still serving")


class DuringAWrite(Scenario):
    def test_a_vote_is_not_told_before_it_is_on_disk_so_a_crash_cannot_give_it_twice(self) -> None:
        for seed in range(20):
            cluster = Cluster("abc", seed=seed, conditions=BY_HAND)
            votes = watch(cluster, RequestVoteReply, sender="c")
            cluster.cut("a>b b>a")
            cluster.campaign("a")
            cluster.run_until(lambda c=cluster: c["c"].record.voted_for == "a", within_s=1.0, what="c votes for a")  # type: ignore[misc]

            cluster.crash("c")
            self.assertEqual([reply for reply in votes if not reply.pre_vote], [])
            cluster.restart("c")
            cluster.campaign("b")
            cluster.run(1.0)

            self.assertFalse(cluster.leads("a"), "its vote was never told")
            granted = [reply for reply in votes if reply.granted and not reply.pre_vote and reply.term == 2]
            self.assertLessEqual(len(granted), 1)

    def test_entries_that_followers_had_only_in_memory_were_never_counted(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"one")
        accepted = watch(cluster, AppendEntriesReply)
        for name in "bc":
            cluster[name].disk.hang()
        (proposal,) = cluster.propose("a", b"two")
        cluster.run(0.3)
        self.assertEqual([cluster[name].record.log.last_index for name in "abc"], [4, 4, 4])
        self.assertEqual(accepted, [])

        cluster.crash("a", "b", "c")
        self.assertFalse(proposal.answered)
        cluster.restart("b", "c")
        cluster.elect("b")
        cluster.commit("b", b"three")
        cluster.restart("a")

        self.assertLessEqual(set(cluster.commands("b")), {b"one", b"two", b"three"})
        cluster.await_level()

    def test_a_leader_whose_disk_fails_takes_nothing_answered_with_it(self) -> None:
        """A failed write ends the server, at whichever write it happens; the others go on."""
        for moment in range(15):
            cluster = Cluster("abc", seed=moment)
            leader = cluster.await_leader()
            proposals = [*cluster.propose(leader, b"one"), *cluster.propose(leader, b"two")]
            cluster.run(moment * 0.001)

            cluster.crash(leader)
            rest = [name for name in "abc" if name != leader]
            self.assert_serves(cluster, *rest)

            for proposal in proposals:
                self.assertLessEqual(proposal.answered, proposal.command in cluster.commands(rest[0]))


class SlowDisks(Scenario):
    def test_a_leader_commits_by_its_followers_disks_but_answers_only_after_its_own(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster["a"].disk.hang()

        (proposal,) = cluster.propose("a", b"one")
        cluster.run(0.3)

        self.assertEqual(cluster["a"].record.commit_index, 3)
        self.assertEqual(cluster.commands("b"), [b"one"])
        self.assertEqual((cluster.commands("a"), proposal.answered), ([], False))

        cluster["a"].disk.resume()
        cluster.run(0.1)
        self.assertTrue(proposal.answered)

    def test_what_a_leader_committed_without_its_own_disk_survives_its_crash(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster["a"].disk.hang()
        cluster.propose("a", b"one")
        cluster.run(0.3)

        cluster.crash("a")
        cluster.elect("b")
        cluster.restart("a")

        self.assert_commands(cluster, b"one")

    def test_a_follower_that_hears_two_leaders_while_its_disk_hangs_is_not_fooled_by_a_late_receipt(self) -> None:
        """Written, overwritten, and written again: the first write says nothing about the third."""
        cluster = Cluster("abcde", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster.cut("a>b a>d a>e")
        cluster.propose("a", b"one")
        cluster.run_until(lambda: cluster["c"].record.log.last_index == 3, within_s=1.0, what="c has the command in memory")
        cluster["c"].disk.hang()

        cluster.heal()
        cluster.isolate("a")
        cluster.run(1.0)
        cluster.network.drops.append(lambda by, to, message: by == "b" and to in "de" and bool(getattr(message, "entries", ())))
        cluster.campaign("b")
        cluster.run_until(lambda: cluster.leads("b") and cluster["c"].record.log.last_term == 3, within_s=1.0, what="b overwrites c")

        cluster.heal()
        cluster.isolate("b")
        cluster.elect("a")
        cluster["a"].peer_unreachable(ServerId("c"))
        cluster.propose("a", b"two")
        cluster.run_until(lambda: cluster["c"].record.log.last_term == 4, within_s=1.0, what="a overwrites c")
        self.assertEqual(cluster["c"].record.log.term_at(3), 2)

        cluster["c"].disk.resume()
        cluster.run_until(lambda: len(cluster["c"].disk.entries) == 3, within_s=1.0, what="the first write is done")
        self.assertEqual(cluster["c"].record.log.durable_index, 2)
        cluster.heal()
        self.assert_commands(cluster, b"one", b"two")
