"""Figure 3.7: why a leader does not commit entries of earlier terms by counting where they are."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, carries
from tests.support.cluster import Cluster
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, Message
from txraft.limits import Limits


class EntriesOfEarlierTerms(Scenario):
    """Servers a to e are S1 to S5 of the figure; the entries it shows at index 2 are those with which our leaders begin their terms."""

    def up_to_c(self) -> Cluster:
        """The figure's times (a), (b) and (c)."""
        cluster = Cluster("abcde", conditions=BY_HAND, limits=Limits(append_entries_max=1))
        to_b_only = carries()
        cluster.network.drops.append(lambda by, to, message: to != "b" and to_b_only(by, to, message))
        cluster.elect("a")
        cluster.run(0.1)
        self.assertEqual([cluster.terms(name) for name in "abcde"], [[1, 2], [1, 2], [1], [1], [1]])

        cluster.crash("a")
        cluster.network.drops.append(carries())
        cluster.elect("e")
        cluster.run(0.1)
        self.assertEqual([cluster.terms(name) for name in "bcde"], [[1, 2], [1], [1], [1, 3]])

        cluster.crash("e")
        cluster.restart("a")
        cluster.heal()
        cluster.network.drops.append(self._beyond_c)
        cluster.elect("a")
        cluster.run(0.3)
        self.assertEqual([cluster.terms(name) for name in "abcd"], [[1, 2, 4], [1, 2], [1, 2], [1]])
        return cluster

    @staticmethod
    def _beyond_c(by: ServerId, to: ServerId, message: Message) -> bool:
        entries = message.entries if isinstance(message, AppendEntries) else []
        return bool(entries) and (to == "d" or entries[0].term == 4)

    def test_on_most_servers_such_an_entry_is_not_committed_yet(self) -> None:
        cluster = self.up_to_c()

        self.assertEqual([cluster[name].record.commit_index for name in "abcd"], [0, 0, 0, 0])

    def test_and_may_still_be_overwritten(self) -> None:
        cluster = self.up_to_c()

        cluster.crash("a")
        cluster.heal()
        cluster.restart("e")
        cluster.elect("e")
        cluster.restart("a")
        cluster.await_level()

        self.assertEqual([cluster.terms(name) for name in "abcde"], [[1, 3, 5]] * 5)

    def test_but_not_once_an_entry_of_the_leaders_own_term_is_on_most_servers(self) -> None:
        cluster = self.up_to_c()

        cluster.heal()
        cluster.cut("a>d d>a")
        cluster.run(0.3)
        self.assertEqual(cluster["a"].record.commit_index, 3)
        cluster.crash("a")
        cluster.restart("e")
        for _ in range(3):
            cluster.run(1.0)
            cluster.campaign("e")
            self.assertFalse(cluster.leads("e"))

        cluster.heal()
        cluster.elect("b")
        cluster.restart("a")
        cluster.await_level()
        self.assertEqual([cluster.terms(name) for name in "abcde"], [[1, 2, 4, 5]] * 5)


class FollowersCommitIndex(Scenario):
    def test_a_follower_with_uncommitted_entries_of_another_leader_does_not_commit_them_by_a_heartbeat(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND, logs={"a": [1, 2], "b": [1, 2], "c": [1, 1, 1, 1, 1]}, terms=dict.fromkeys("abc", 2))
        cluster.network.drops.append(lambda by, to, message: to == "c" and carries()(by, to, message))

        cluster.elect("a")
        cluster.commit("a", b"one", b"two")
        cluster.run(0.5)
        self.assertEqual((cluster["a"].record.commit_index, cluster["c"].record.commit_index), (5, 1))

        cluster.heal()
        cluster.await_level()
        self.assertEqual(cluster.terms("c"), [1, 2, 3, 3, 3])
