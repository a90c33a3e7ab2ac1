"""Logs that begin later, and followers that are sent a snapshot because they need what is gone."""

from __future__ import annotations

from attrs import evolve

from tests.scenarios.scenario import BY_HAND, Scenario, carries, watch
from tests.support.cluster import Cluster, Conditions
from txraft.core.entry import EntryKind
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, AppendEntriesReply, InstallSnapshot, InstallSnapshotReply
from txraft.core.roles import Follower
from txraft.limits import Limits

SMALL_PIECES = Limits(snapshot_chunk_bytes=40)


def commands(count: int, first: int = 0) -> list[bytes]:
    return [b"command %d" % number for number in range(first, first + count)]


class SnapshotScenario(Scenario):
    def behind(self, *, conditions: Conditions = BY_HAND, limits: Limits = SMALL_PIECES, count: int = 8, voters: str = "abc") -> Cluster:
        """`a` leads and has forgotten the entries that `c`, which is down, needs."""
        cluster = Cluster(voters, conditions=conditions, limits=limits)
        cluster.elect("a")
        cluster.crash("c")
        cluster.commit("a", *commands(count))
        cluster.take_snapshot("a")
        return cluster

    def in_the_middle(self, cluster: Cluster) -> int:
        """Let `c` come back and receive part of the snapshot; how many bytes it has."""
        cluster.restart("c")

        def received() -> int:
            return sum(map(len, cluster["c"].snapshots.incoming.values()))

        cluster.run_until(lambda: received() > 2 * cluster.limits.snapshot_chunk_bytes, within_s=2.0, what="c has some of the snapshot")
        return received()


class FarBehind(SnapshotScenario):
    def test_a_server_that_was_down_for_long_is_sent_the_snapshot_and_then_the_rest(self) -> None:
        cluster = self.behind()
        self.assertEqual(cluster["a"].disk.entries, [])
        cluster.commit("a", b"after it")

        cluster.restart("c")

        self.assert_commands(cluster, *commands(8), b"after it")
        self.assertEqual(cluster["c"].disk.base[0], 10)

    def test_one_that_lags_a_little_needs_none(self) -> None:
        cluster = self.behind()
        cluster.commit("a", *commands(4, 8))
        cluster.take_snapshot("a", trailing=20)
        cluster.restart("c")
        cluster.await_level()
        cluster.crash("c")
        cluster.commit("a", *commands(3, 12))
        cluster.take_snapshot("a", trailing=5)
        sent = watch(cluster, InstallSnapshot)

        cluster.restart("c")

        self.assert_commands(cluster, *commands(15))
        self.assertEqual(sent, [])

    def test_all_begin_again_with_their_snapshots_and_what_came_after(self) -> None:
        cluster = self.behind()
        cluster.restart("c")
        cluster.await_level()
        cluster.take_snapshot("b", trailing=3)
        cluster.commit("a", b"after it")
        cluster.await_level()

        cluster.crash("a", "b", "c")
        cluster.restart("a", "b", "c")
        self.assertEqual([len(cluster[name].applied) for name in "abc"], [10, 10, 10])

        cluster.elect("b")
        self.assert_commands(cluster, *commands(8), b"after it")

    def test_a_transfer_holds_the_log_and_the_others_go_on(self) -> None:
        cluster = self.behind(conditions=evolve(BY_HAND, restore_s=2.0))
        self.in_the_middle(cluster)
        cluster.run(0.5)

        cluster.commit("a", *commands(5, 8))
        pinned = cluster["a"].module.pinned_index(cluster["a"].now) if cluster["a"].module else None

        self.assertEqual(pinned, 10)
        cluster.await_level()
        self.assertEqual(cluster.witness.marks["snapshot installed"], 1)


class ConflictingTail(SnapshotScenario):
    def test_row_74_a_tail_that_conflicts_beyond_the_snapshot_is_gone_and_there_is_no_second_transfer(self) -> None:
        """Kept in part, the next entries do not fit, and another snapshot is sent, and so on (hashicorp/raft #697, #704)."""
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("c")
        cluster.isolate("c")
        cluster.propose("c", *commands(20, 100))
        cluster.elect("a")
        cluster.commit("a", *commands(5))
        cluster.take_snapshot("a")
        self.assertGreater(cluster["c"].record.log.last_index, cluster["a"].record.log.base_index)

        cluster.heal()

        self.assert_commands(cluster, *commands(5))
        self.assertEqual(cluster.witness.marks["snapshot installed"], 1)


class LateSnapshots(SnapshotScenario):
    def test_row_75_one_that_is_ready_after_the_log_has_caught_up_does_not_take_the_logs_place(self) -> None:
        cluster = self.behind(conditions=evolve(BY_HAND, restore_s=4.0))
        self.in_the_middle(cluster)
        cluster.run(0.5)
        self.assertTrue(cluster["c"].snapshots.restoring)

        cluster.isolate("a")
        cluster.elect("b")
        cluster.await_level("b", "c")
        self.assertEqual(cluster["c"].disk.base[0], 0, "b had all entries")
        cluster.heal()
        cluster.run(5.0)

        self.assertEqual((cluster["c"].disk.base[0], cluster.witness.marks["snapshot superseded"]), (0, 1))
        self.assert_commands(cluster, *commands(8))

    def test_row_76_a_leader_that_dies_right_after_it_forgot_its_log_is_followed_by_one_that_can_help(self) -> None:
        cluster = self.behind()
        cluster.await_level("a", "b")
        cluster.take_snapshot("b")
        cluster.crash("a")
        cluster.restart("c")

        cluster.elect("b")

        self.assert_serves(cluster, "b", "c")
        cluster.restart("a")
        self.assert_commands(cluster, *commands(8), b"still serving")

    def test_row_77_an_installation_of_ten_election_timeouts_with_heartbeats_entries_and_a_new_term(self) -> None:
        cluster = self.behind(conditions=Conditions(restore_s=10.0, loss=0.05))
        leader = cluster.await_leader()
        cluster.take_snapshot("b")
        self.in_the_middle(cluster)
        campaigns = cluster.witness.marks["became candidate"]
        for number in range(8, 16):
            cluster.commit(leader, *commands(1, number))
            cluster.run(0.5)
        self.assertEqual(cluster.witness.marks["became candidate"], campaigns, "heartbeats keep it quiet")
        self.assertIsInstance(cluster["c"].record.role, Follower)

        cluster[leader].step_down("asked to")
        cluster.elect("b" if leader == "a" else "a")

        cluster.await_level(within_s=60.0)
        self.assertEqual(cluster.commands("c"), commands(16))

    def test_row_78_again_and_again_in_a_short_time_and_refused_now_and_then(self) -> None:
        cluster = self.behind(conditions=evolve(BY_HAND, refusal=0.4))
        for round in range(6):
            cluster.restart("c")
            cluster.await_level()
            cluster.crash("c")
            cluster.commit("a", *commands(4, 8 + 4 * round))
            cluster.take_snapshot("a")
        cluster.restart("c")

        self.assert_commands(cluster, *commands(32))
        self.assertGreater(cluster.witness.marks["snapshot refused"], 0)
        self.assertGreaterEqual(cluster.witness.marks["snapshot installed"], 4)


class Interrupted(SnapshotScenario):
    def pieces(self, sent: list[InstallSnapshot]) -> list[int]:
        """Offsets of the pieces."""
        return [message.offset for message in sent if message.content]

    def test_row_79_the_receiver_is_restarted_and_goes_on_where_its_disk_has_come_to(self) -> None:
        cluster = self.behind(count=30)
        self.in_the_middle(cluster)
        cluster.crash("c")
        (kept,) = map(len, cluster["c"].snapshots.incoming.values())
        sent = watch(cluster, InstallSnapshot)

        cluster.restart("c")

        self.assert_commands(cluster, *commands(30))
        self.assertGreater(kept, 0)
        self.assertEqual(self.pieces(sent)[0], kept)

    def test_row_79_the_sender_is_restarted_leads_again_and_goes_on_too(self) -> None:
        cluster = self.behind(count=30)
        self.in_the_middle(cluster)
        cluster.crash("a")
        cluster.run(0.1)
        (kept,) = map(len, cluster["c"].snapshots.incoming.values())
        cluster.restart("a")
        sent = watch(cluster, InstallSnapshot)

        cluster.elect("a")

        self.assert_commands(cluster, *commands(30))
        self.assertEqual(self.pieces(sent)[0], kept)

    def test_a_connection_that_breaks_costs_one_piece(self) -> None:
        cluster = self.behind(count=30)
        watched = [watch(cluster, InstallSnapshot)]
        self.in_the_middle(cluster)
        for _ in range(3):
            cluster.isolate("c")
            cluster.run(0.5)
            cluster.heal()
            watched.append(watch(cluster, InstallSnapshot))
            cluster.run(0.15)

        self.assert_commands(cluster, *commands(30))
        offsets = [offset for sent in watched for offset in self.pieces(sent)]
        self.assertLessEqual(len(offsets), len(set(offsets)) + 3)

    def test_row_80_a_new_leader_sends_its_own_and_late_pieces_of_the_old_one_do_no_harm(self) -> None:
        for seed in range(10):
            conditions = Conditions(elections_by_chance=False, duplication=0.5, straggling=0.2, delay_s=(0.001, 0.02))
            cluster = Cluster("abc", seed=seed, conditions=conditions, limits=SMALL_PIECES)
            cluster.elect("a")
            cluster.crash("c")
            cluster.commit("a", *commands(20))
            cluster.await_level("a", "b")
            cluster.take_snapshot("a")
            cluster.take_snapshot("b")
            self.in_the_middle(cluster)

            cluster.isolate("a")
            for _ in range(10):
                cluster.run(1.0)
                if not cluster.leads("b"):
                    cluster.campaign("b")
            self.assertTrue(cluster.leads("b"))
            cluster.heal()

            self.assert_commands(cluster, *commands(20))


class Members(SnapshotScenario):
    def test_row_81_a_server_that_has_only_the_snapshot_knows_the_members(self) -> None:
        cluster = self.behind()
        cluster.restart("c")
        cluster.await_level()
        self.assertNotIn(EntryKind.CONFIGURATION, [entry.kind for entry in cluster["c"].disk.entries])

        cluster.crash("c")
        cluster.restart("c")
        self.assertEqual(cluster["c"].record.configuration, cluster.configuration)

        cluster.crash("a")
        cluster.elect("c")
        self.assert_serves(cluster, "b", "c")

    def test_row_81_one_taken_right_behind_a_new_configuration_holds_that(self) -> None:
        cluster = Cluster("abc", conditions=evolve(BY_HAND, marks_are_told=True))
        cluster.elect("a")
        cluster.crash("c")
        cluster.commit("a", b"one")
        cluster.run(0.5)
        index = cluster["a"].record.configurations.latest_index
        self.assertGreater(index, 1)
        cluster.take_snapshot("a")

        cluster.restart("c")
        cluster.await_level()

        self.assertGreaterEqual(cluster["c"].disk.base[0], index)
        self.assertEqual(cluster["c"].record.configuration, cluster["a"].record.configuration)

    def test_row_82_a_learner_stays_a_learner(self) -> None:
        cluster = Cluster("ab", learners="c", limits=SMALL_PIECES)
        cluster.await_leader()
        cluster.crash("c")
        leader = cluster.await_leader()
        cluster.commit(leader, *commands(8))
        cluster.take_snapshot(leader)
        cluster.restart("c")
        cluster.await_level()
        self.assertGreater(cluster["c"].disk.base[0], 0)

        cluster.crash("a", "b")
        cluster.run(10.0)

        self.assertIsInstance(cluster["c"].record.role, Follower)


class LateAppends(SnapshotScenario):
    """Messages about entries that are in the log no longer, with those who sent them and those they reach."""

    def test_row_23_no_request_stands_behind_an_entry_whose_term_is_unknown(self) -> None:
        """A heartbeat behind a compacted entry once carried term 0, and was accepted (etcd raft 76f1249)."""
        cluster = self.behind(limits=Limits(snapshot_chunk_bytes=40, in_flight_messages_max=1))
        requests = watch(cluster, AppendEntries)
        cluster.network.drops.append(lambda by, to, message: isinstance(message, InstallSnapshotReply))
        cluster.restart("c")
        cluster.propose("a", *commands(4, 8))
        cluster.run(1.0)
        cluster.heal()

        self.assert_commands(cluster, *commands(12))
        self.assertGreater(len(requests), 5)
        self.assertNotIn(0, [request.prev_log_term for request in requests])

    def test_rows_24_and_28_requests_from_before_the_snapshot_come_again_after_it(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        requests = watch(cluster, AppendEntries, sender="a")
        cluster.elect("a")
        cluster.commit("a", *commands(5))
        cluster.await_level()
        old = list(requests)
        cluster.network.drops.clear()
        cluster.take_snapshot("c")
        cluster.take_snapshot("a")

        for request in old:
            cluster["c"].receive(ServerId("a"), request)
            cluster["c"].receive(ServerId("a"), request)
        cluster.run(0.1)

        self.assertEqual((cluster["c"].disk.base[0], cluster["c"].disk.entries), (7, []))
        cluster.commit("a", b"after it")
        self.assert_commands(cluster, *commands(5), b"after it")

    def test_row_37_answers_from_before_the_leaders_snapshot_come_again_after_it(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND)
        cluster.elect("a")
        answers = watch(cluster, AppendEntriesReply)
        cluster.network.drops.append(lambda by, to, message: carries()(by, to, message) and to == "c")
        cluster.commit("a", *commands(5))
        cluster.run(0.3)
        cluster.take_snapshot("a")
        self.assertTrue(any(not answer.success for answer in answers))

        for answer in list(answers):
            cluster["a"].receive(ServerId(answer.sender), answer)
        cluster.heal()

        self.assert_commands(cluster, *commands(5))

    def test_a_request_read_from_disk_while_its_entries_are_dropped_is_not_sent(self) -> None:
        cluster = Cluster("abc", conditions=BY_HAND, limits=Limits(log_cache_bytes_max=100, append_bytes_max=40))
        cluster.elect("a")
        cluster.isolate("c")
        cluster.commit("a", *commands(30))
        cluster["a"].disk.latency_s = lambda: 0.05
        cluster.heal()
        cluster.run_until(
            lambda: cluster["a"].record.role.progress[ServerId("c")].reading,  # type: ignore[union-attr]
            within_s=2.0,
            what="entries are read for c",
        )

        cluster.take_snapshot("a")

        self.assert_commands(cluster, *commands(30))
