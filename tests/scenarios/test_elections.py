"""Elections under bad links: nobody who cannot lead disturbs who can."""

from __future__ import annotations

from tests.scenarios.scenario import BY_HAND, Scenario, watch
from tests.support.cluster import Cluster, Conditions
from txraft.core.messages import RequestVote
from txraft.core.roles import Candidate, Follower


class OneWayLinks(Scenario):
    def test_a_leader_that_hears_nobody_steps_down_and_another_takes_over(self) -> None:
        """Its heartbeats alone would keep all others quiet for ever."""
        cluster = Cluster("abc", seed=1)
        old = cluster.await_leader()
        cluster.commit(old, b"one")
        others = [name for name in "abc" if name != old]

        cluster.cut(" ".join(f"{other}>{old}" for other in others))
        cluster.run(2 * cluster.timing.election_s)
        self.assertFalse(cluster.leads(old))

        self.assert_serves(cluster, *others)

    def test_a_leader_that_nobody_hears_is_replaced_and_notices(self) -> None:
        cluster = Cluster("abc", seed=1)
        old = cluster.await_leader()
        others = [name for name in "abc" if name != old]

        cluster.cut(" ".join(f"{old}>{other}" for other in others))

        self.assert_serves(cluster, *others)
        self.assertFalse(cluster.leads(old))

    def test_a_follower_that_hears_nobody_disturbs_nobody(self) -> None:
        cluster = Cluster("abc", seed=1)
        leader = cluster.await_leader()
        term = cluster[leader].record.current_term
        deaf, other = (name for name in "abc" if name != leader)

        cluster.cut(f"{leader}>{deaf} {other}>{deaf}")
        cluster.run(60.0)

        self.assertEqual((cluster.leader(), cluster[leader].record.current_term), (leader, term))


class PartialConnectivity(Scenario):
    """Every server works, some links do not."""

    def assert_stable(self, cluster: Cluster) -> str:
        """For a minute one server leads the same term, and serves."""
        cluster.run(10.0)
        leader = self.assert_serves(cluster)
        term = cluster[leader].record.current_term
        for _ in range(60):
            cluster.run(1.0)
            self.assertEqual((cluster.leader(), cluster[leader].record.current_term), (leader, term))
        return self.assert_serves(cluster)

    def test_three_see_each_other_and_two_see_one_of_them_each(self) -> None:
        """Cloudflare, 2 November 2020: six hours without a stable leader."""
        for seed in range(4):
            cluster = Cluster("abcde", seed=seed)
            cluster.await_leader()

            cluster.only_links("ab ac bc bd ce")

            self.assertIn(self.assert_stable(cluster), "abc")

    def test_only_one_sees_all_others(self) -> None:
        """Nobody else has a majority, so nobody else may keep it from leading."""
        for seed in range(4):
            cluster = Cluster("abcde", seed=seed)
            cluster.await_leader()

            cluster.only_links("ab cb db eb")

            self.assertEqual(self.assert_stable(cluster), "b")

    def test_a_chain(self) -> None:
        """Whoever leads, the one in the middle hears it and does not help the other end, which hears nobody, to depose it."""
        leaders = set()
        for seed in range(6):
            cluster = Cluster("abc", seed=seed)
            leader = cluster.await_leader()
            term = cluster[leader].record.current_term
            leaders.add(leader)

            cluster.only_links("ab bc")
            cluster.run(30.0)

            self.assertEqual((self.assert_serves(cluster), cluster[leader].record.current_term), (leader, term))
        self.assertEqual(leaders, {"a", "b", "c"})

    def test_two_halves_with_a_bridge(self) -> None:
        cluster = Cluster("abcde", seed=2)
        cluster.await_leader()

        cluster.only_links("ab ac bc cd ce de")

        self.assert_stable(cluster)

    def test_a_minority_without_a_leader_gets_none_and_a_majority_keeps_its_own(self) -> None:
        cluster = Cluster("abcde", seed=3)
        cluster.await_leader()

        cluster.only_links("ab ac bc de")

        self.assertIn(self.assert_stable(cluster), "abc")
        self.assertEqual([type(cluster[name].record.role) for name in "de"], [Candidate, Candidate])


class TheIsolatedReturn(Scenario):
    def test_its_term_stays_where_it_was_and_its_return_deposes_nobody(self) -> None:
        cluster = Cluster("abc", seed=4)
        leader = cluster.await_leader()
        lonely = next(name for name in "abc" if name != leader)
        term = cluster[leader].record.current_term

        cluster.isolate(lonely)
        cluster.run(100.0)
        cluster.commit(leader, b"one")
        self.assertEqual(cluster[lonely].record.current_term, term)
        cluster.heal()

        self.assert_commands(cluster, b"one")
        self.assertEqual((cluster.leader(), cluster[leader].record.current_term), (leader, term))

    def test_a_leader_returns_as_a_follower_and_gives_up_what_it_could_not_commit(self) -> None:
        cluster = Cluster("abc", seed=4)
        old = cluster.await_leader()
        cluster.isolate(old)
        (lost,) = cluster.propose(old, b"lost")
        others = [name for name in "abc" if name != old]
        cluster.run(5.0)
        new = cluster.await_leader(*others)
        cluster.commit(new, b"one")

        cluster.heal()

        self.assert_commands(cluster, b"one")
        self.assertTrue(lost.overwritten)
        self.assertIsInstance(cluster[old].record.role, Follower)

    def test_a_server_with_a_far_later_term_is_absorbed(self) -> None:
        """It refuses the leader's entries; unless it says so with its term, and is heard, it stays outside for ever."""
        cluster = Cluster("abc", terms={"c": 50}, seed=4)

        self.assert_serves(cluster)

        cluster.await_level()
        self.assertGreater(cluster["a"].record.current_term, 50)

    def test_a_learner_with_a_far_later_term_is_absorbed(self) -> None:
        cluster = Cluster("abc", learners="x", terms={"x": 50}, seed=4)

        self.assert_serves(cluster)

        cluster.await_level()
        cluster.run(20.0)
        self.assertEqual({cluster[name].record.current_term for name in "abcx"}, {cluster["a"].record.current_term})

    def test_who_led_before_the_connections_broke_may_lead_again(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        cluster.isolate("a")
        cluster.run(2.0)
        self.assertFalse(cluster.leads("a"))

        cluster.heal()
        cluster.elect("a")

        self.assert_serves(cluster)


class WhoseVotesCount(Scenario):
    def test_a_vote_that_comes_twice_is_one(self) -> None:
        cluster = Cluster("abcde", conditions=Conditions(elections_by_chance=False, duplication=1.0))
        cluster.only_links("ab")

        for _ in range(3):
            cluster.campaign("a")
            cluster.run(1.0)

        self.assertEqual((cluster.leader(), cluster["a"].record.current_term), (None, 1))

    def test_learners_elect_nobody(self) -> None:
        cluster = Cluster("abc", learners="xyz", conditions=BY_HAND)
        cluster.only_links("ax ay az")

        cluster.campaign("a")
        cluster.run(1.0)

        self.assertIsNone(cluster.leader())

    def test_a_lonely_learner_never_campaigns(self) -> None:
        cluster = Cluster("abc", learners="x", seed=5)
        asked = watch(cluster, RequestVote, sender="x")

        cluster.isolate("x")
        cluster.run(100.0)

        self.assertEqual(asked, [])
        self.assertIsInstance(cluster["x"].record.role, Follower)

    def test_a_lost_vote_costs_one_election_not_the_cluster(self) -> None:
        cluster = Cluster("abc", seed=6)
        lost: list[object] = []

        def first_votes(by: str, to: str, message: object) -> bool:
            if getattr(message, "granted", False) and not getattr(message, "pre_vote", True) and len(lost) < 2:
                lost.append(message)
                return True
            return False

        cluster.network.drops.append(first_votes)

        self.assert_serves(cluster)
        self.assertEqual(len(lost), 2)

    def test_all_campaigning_at_once_still_come_to_a_leader(self) -> None:
        cluster = Cluster("abcde", seed=7)
        for name in "abcde":
            cluster.campaign(name)

        self.assert_serves(cluster)

    def test_servers_with_quicker_and_slower_clocks_agree(self) -> None:
        cluster = Cluster("abcde", seed=8, conditions=Conditions(clock_rates=(0.8, 1.2)))

        leader = self.assert_serves(cluster)
        cluster.run(60.0)

        self.assertEqual(cluster.leader(), leader)
