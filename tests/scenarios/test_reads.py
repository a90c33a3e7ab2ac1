"""Reads: never older than what was known to be done when they were asked, and never of what is not yet decided."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, carries
from tests.support.cluster import Cluster
from tests.support.witness import Read
from txraft.core.messages import AppendEntriesReply


def asked(cluster: Cluster, name: str) -> Read:
    read = cluster.read(name)
    assert read is not None
    return read


class Reads(Scenario):
    def test_a_new_leader_answers_none_before_it_knows_what_is_committed(self) -> None:
        """etcd #7331."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"one")
        cluster.crash("a")
        cluster.network.drops.append(lambda by, to, message: isinstance(message, AppendEntriesReply))
        cluster.elect("b")
        self.assertLess(cluster["b"].record.commit_index, 3)

        read = asked(cluster, "b")
        cluster.run(0.3)
        self.assertIsNone(read.index)

        cluster.heal()
        cluster.run(0.3)
        self.assertEqual((read.index, read.answered), (4, True))

    def test_a_leader_that_was_paused_while_another_was_elected_answers_nothing_old(self) -> None:
        """Its first input after the pause is a read; answers to its old heartbeats are still waiting to be taken."""
        for pause_s in (0.05, 0.5, 1.5, 2.5, 5.0, 20.0):
            cluster = Cluster("abc", seed=1)
            old = cluster.await_leader()
            cluster.commit(old, b"one")
            before = asked(cluster, old)
            cluster[old].pause()
            cluster.run(pause_s)
            rest = [name for name in "abc" if name != old]
            new = cluster.leader(*rest)
            if new is not None:
                cluster.commit(new, b"two")

            after: list[Read] = []
            cluster[old].resume(first=lambda c=cluster, o=old, a=after: a.append(asked(c, o)))  # type: ignore[misc]
            cluster.run(1.0)

            for read in (before, *after):
                self.assertTrue(read.answered or read.lost, pause_s)
            self.assertTrue(new is None or all(read.lost or (read.index or 0) >= 5 for read in after), pause_s)

    def test_an_isolated_leader_answers_none(self) -> None:
        cluster = Cluster("abc", seed=2)
        old = cluster.await_leader()
        cluster.commit(old, b"one")

        cluster.isolate(old)
        read = asked(cluster, old)
        cluster.run(5.0)

        self.assertEqual((read.answered, read.lost), (False, True))

    def test_answers_to_heartbeats_sent_before_a_read_do_not_confirm_it(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.await_level()
        cluster["a"].pause()
        cluster.run(0.05)
        cluster["a"].resume()
        for name in "bc":
            cluster[name].disk.hang()
        cluster.run(0.15)

        cluster.cut("a>b a>c")
        read = asked(cluster, "a")
        for name in "bc":
            cluster[name].disk.resume()
        cluster.run(0.5)

        self.assertFalse(read.answered)

    def test_what_is_not_committed_is_not_seen(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"one")
        cluster.await_level()
        cluster.network.drops.append(carries())
        cluster.propose("a", b"two")

        read = asked(cluster, "a")
        cluster.run(0.05)

        self.assertEqual((read.answered, read.index), (True, 3))
        self.assertEqual([cluster.commands(name) for name in "abc"], [[b"one"]] * 3)

    def test_who_does_not_lead_answers_none(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")

        self.assertTrue(asked(cluster, "b").lost)

    def test_a_restarted_cluster_answers_with_everything_it_had_answered_before(self) -> None:
        cluster = Cluster("abc", seed=3)
        cluster.commit(cluster.await_leader(), b"one", b"two")
        cluster.crash("a", "b", "c")
        cluster.restart("a", "b", "c")

        leader = cluster.await_leader()
        read = asked(cluster, leader)
        cluster.run_until(lambda: read.answered, within_s=2.0, what="the read is answered")

        self.assertEqual(cluster.commands(leader), [b"one", b"two"])
