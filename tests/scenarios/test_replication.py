"""Replication to followers that differ, lag, or are badly connected: in the end all have the leader's log."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, carries, watch
from tests.support.cluster import Cluster, Conditions
from tests.support.one_server import append
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntriesReply
from txraft.limits import Limits


class FollowerLogs(Scenario):
    """Figure 3.6: whatever a new leader finds, it becomes a copy of its own log."""

    LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    FOLLOWERS = {
        "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
        "b": (1, 1, 1, 4),
        "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
        "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
        "e": (1, 1, 1, 4, 4, 4, 4),
        "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
    }

    def test_missing_and_extraneous_entries_and_both(self) -> None:
        cluster = Cluster("abcdefg", conditions=BY_HAND, logs={**self.FOLLOWERS, "g": self.LEADER}, terms=dict.fromkeys("abcdefg", 7))

        cluster.elect("g")
        cluster.await_level()

        for name in "abcdefg":
            self.assertEqual(cluster.terms(name), [*self.LEADER, 8], name)

    def test_finding_where_the_logs_agree_costs_a_refusal_a_term_not_one_an_entry(self) -> None:
        long = [1] * 10 + [2] * 200
        cluster = Cluster("abc", conditions=BY_HAND, logs={"a": [*[1] * 10, *[3] * 100], "b": long, "c": [1]})
        answers = watch(cluster, AppendEntriesReply)

        cluster.elect("a")
        cluster.await_level()

        self.assertLessEqual(len([answer for answer in answers if not answer.success]), 4)


class BadLinks(Scenario):
    def test_lost_answers_only_delay(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.network.drops.append(lambda by, to, message: isinstance(message, AppendEntriesReply) and message.success)
        (proposal,) = cluster.propose("a", b"one")
        cluster.run(0.5)
        self.assertFalse(proposal.answered)

        cluster.heal()
        cluster.run(0.3)

        self.assertTrue(proposal.answered)
        self.assert_commands(cluster, b"one")

    def test_lost_entries_are_found_missing_by_the_next_heartbeat_even_with_a_full_window(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND, limits=Limits(in_flight_messages_max=1))
        cluster.elect("a")
        cluster.await_level()
        cluster.network.drops.append(carries())
        proposals = [*cluster.propose("a", b"one"), *cluster.propose("a", b"two")]
        cluster.run(0.05)

        cluster.heal()
        cluster.run(0.3)

        self.assertTrue(all(proposal.answered for proposal in proposals))
        self.assert_commands(cluster, b"one", b"two")

    def test_every_message_doubled_and_reordered_changes_nothing(self) -> None:
        conditions = Conditions(delay_s=(0.001, 0.08), duplication=1.0)
        cluster = Cluster("abc", seed=1, conditions=conditions, limits=Limits(append_entries_max=2))
        leader = cluster.await_leader()
        commands = [b"%d" % number for number in range(50)]

        for command in commands:
            cluster.propose(leader, command)
            cluster.run(0.01)

        self.assert_commands(cluster, *commands)

    def test_a_third_of_all_messages_lost_and_entries_too_large_for_the_limit(self) -> None:
        limits = Limits(append_bytes_max=100, in_flight_messages_max=2, in_flight_bytes_max=300)
        cluster = Cluster("abc", seed=2, conditions=Conditions(loss=0.3), limits=limits)
        sizes = [0, 50, 83, 84, 85, 99, 100, 101, 300, 5_000]
        for number, size in enumerate(sizes * 3):
            leader = cluster.await_leader()
            cluster.propose(leader, b"%d:" % number + b"x" * size)
            cluster.run(0.05)

        cluster.calm()

        cluster.await_level()
        self.assertGreater(len(cluster.commands("a")), 20)

    def test_links_that_come_and_go_do_not_use_the_window_up(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND, limits=Limits(in_flight_messages_max=2, in_flight_bytes_max=200))
        cluster.elect("a")
        for number in range(30):
            cluster.network.drops.append(carries())
            cluster.propose("a", b"%d:" % number + b"x" * 150)
            cluster.run(0.12)
            cluster.heal()
            cluster.run(0.12)

        cluster.await_level()
        self.assertEqual(len(cluster.commands("b")), 30)


class LaggingFollowers(Scenario):
    def test_a_follower_whose_disk_hung_catches_up_when_it_answers_again(self) -> None:
        """hashicorp/raft #612: heartbeats went on, replication did not."""
        cluster = Cluster("abc", seed=3)
        leader = cluster.await_leader()
        slow = next(name for name in "abc" if name != leader)

        cluster[slow].disk.hang()
        for number in range(100):
            cluster.commit(leader, b"%d" % number)
        cluster.run(20.0)
        self.assertEqual(cluster.leader(), leader)
        cluster[slow].disk.resume()
        cluster.run(1.0)

        self.assertEqual(len(cluster[slow].disk.entries), len(cluster[leader].disk.entries))
        cluster.await_level()

    def test_a_server_that_was_down_gets_what_memory_no_longer_holds_from_the_leaders_disk(self) -> None:
        cluster = Cluster("abc", seed=4, limits=Limits(log_cache_bytes_max=500, append_bytes_max=200))
        leader = cluster.await_leader()
        down = next(name for name in "abc" if name != leader)
        cluster.crash(down)
        commands = [b"%d" % number for number in range(200)]
        for command in commands:
            cluster.commit(leader, command)

        cluster.restart(down)

        self.assert_commands(cluster, *commands)
        self.assertGreater(cluster.witness.marks["read from disk"], 5)

    def test_it_comes_level_although_its_answers_overtake_the_leaders_disk(self) -> None:
        """Late answers move the leader's idea of the follower while entries for it are being read."""
        limits = Limits(log_cache_bytes_max=500, append_bytes_max=60, in_flight_messages_max=4)
        for seed in range(10):
            conditions = Conditions(disk_s=(0.02, 0.15), delay_s=(0.001, 0.1), duplication=0.3)
            cluster = Cluster("abc", seed=seed, conditions=conditions, limits=limits)
            leader = cluster.await_leader()
            down = next(name for name in "abc" if name != leader)
            cluster.crash(down)
            cluster.propose(leader, *[b"%d" % number for number in range(60)])
            cluster.run(3.0)
            cluster.restart(down)
            cluster.run(3.0)

            cluster.calm()

            cluster.await_level()

    def test_the_first_entries_sent_once_more_change_nothing(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.commit("a", b"one", b"two")
        cluster.await_level()

        cluster["b"].receive(ServerId("a"), append(2, "a", (0, 0), cluster["a"].disk.entries[:2], commit=1))
        cluster.run(0.1)

        self.assert_commands(cluster, b"one", b"two")

    def test_learners_receive_everything_and_hold_nothing_up(self) -> None:
        cluster = Cluster("abc", learners="x", seed=5)
        leader = cluster.await_leader()
        cluster.crash("x")
        cluster.commit(leader, b"one")

        cluster.restart("x")

        self.assert_commands(cluster, b"one")
