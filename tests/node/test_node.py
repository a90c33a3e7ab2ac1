"""Whole nodes: elections, proposals, forwarding, reads, hung and failing disks, restarts, stops."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.node_cluster import HOUR_MS, NodeCluster
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries
from txraft.errors import DiskFailed, Halted, NotApplied, Unknown
from txraft.limits import Limits
from txraft.node import applier
from txraft.node.view import Stage
from txraft.statemachine.results import Answer
from txraft.statemachine.values import encode_value
from txraft.wire.requests import InvokeRequest, OpenSessionRequest, StatusRequest


class NodeTests(SynchronousTestCase):
    size = 3

    def setUp(self) -> None:
        self.cluster = NodeCluster(self.mktemp(), self.size)
        self.cluster.start()

    def tearDown(self) -> None:
        self.cluster.stop_all()
        self.assertEqual(self.cluster.clock.getDelayedCalls(), [])

    def wait(self, answer: Deferred[Answer], seconds: float = 5) -> Any:
        for _ in range(round(seconds / 0.05)):
            if answer.called:
                break
            self.cluster.advance(0.05)
        return self.successResultOf(answer).value()


class ClusterTests(NodeTests):
    def test_one_leader_is_elected_and_hosts_the_configured_machine(self) -> None:
        leader = self.cluster.leader()
        self.cluster.advance(0.5)
        self.assertEqual([node.view.leader for node in self.cluster.nodes.values()], [leader.server_id] * 3)
        self.assertEqual({*leader.gate.describe_machines()}, {"counter"})
        self.assertEqual([node.gate.ready() for node in self.cluster.nodes.values()], [(True, "ok")] * 3)

    def test_a_command_is_applied_on_every_server_alike(self) -> None:
        self.assertEqual(self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=2)), 2)
        self.cluster.advance(0.5)
        self.assertEqual(len(self.cluster.digests()), 1)

    def test_a_follower_forwards_and_the_answer_comes_back(self) -> None:
        follower = self.cluster.followers()[0]
        self.assertEqual(self.wait(self.cluster.invoke(follower, "add", name="a", amount=3)), 3)
        self.assertEqual(self.wait(self.cluster.ask(follower, "get", name="a")), 3)
        self.assertEqual(follower.gate.forwarding.count, 0)

    def test_a_local_query_is_answered_by_a_follower_without_anybody(self) -> None:
        self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=3))
        self.cluster.advance(0.5)
        follower = self.cluster.followers()[0]
        self.cluster.isolate(follower.config.name)
        self.assertEqual(self.wait(self.cluster.ask(follower, "get", name="a", consistency="local")), 3)

    def test_after_the_leader_crashes_another_leads_and_nothing_is_lost(self) -> None:
        first = self.cluster.leader()
        self.wait(self.cluster.invoke(first, "add", name="a", amount=2))
        self.cluster.crash(first.config.name)
        self.assertIsNot(self.cluster.leader(), first)
        self.assertEqual(self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=1)), 3)
        self.cluster.start(first.config.name)
        self.cluster.advance(3)
        self.assertEqual(len(self.cluster.digests()), 1)

    def test_a_cold_restart_of_all_remembers_everything(self) -> None:
        for amount in range(1, 6):
            self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=amount))
        term = self.cluster.leader().view.term
        self.cluster.crash("n1", "n2", "n3")
        self.cluster.start()
        self.assertEqual(self.wait(self.cluster.ask(self.cluster.leader(), "get", name="a")), 15)
        self.assertGreater(self.cluster.leader().view.term, term)

    def test_a_node_tells_its_peers_whose_directory_it_has_and_how_often_it_was_opened(self) -> None:
        self.cluster.advance(0.5)
        node = self.cluster.nodes["n1"]
        assert node.storage is not None
        mark = node.storage.identity.mark
        self.assertEqual((node.identity.incarnation, node.identity.directory), (1, mark))
        self.cluster.crash("n1")
        self.cluster.start("n1")
        self.cluster.advance(0.5)
        restarted = self.cluster.nodes["n1"].identity
        self.assertEqual((restarted.incarnation, restarted.directory), (2, mark))

    def test_a_command_pending_when_leadership_is_lost_is_unknown(self) -> None:
        leader = self.cluster.leader()
        self.cluster.isolate(leader.config.name)
        answer = self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(3)
        self.assertFalse(leader.view.serving)
        problem = self.successResultOf(answer).problem()
        self.assertIsInstance(problem, Unknown)
        self.assertEqual(problem.code, "leadership_lost")

    def test_a_query_pending_when_leadership_is_lost_may_be_asked_again(self) -> None:
        leader = self.cluster.leader()
        self.cluster.isolate(leader.config.name)
        answer = self.cluster.ask(leader, "list")
        self.cluster.advance(3)
        problem = self.successResultOf(answer).problem()
        self.assertIsInstance(problem, NotApplied)
        self.assertTrue(isinstance(problem, NotApplied) and problem.retryable)

    def test_a_leader_without_a_majority_answers_no_query(self) -> None:
        leader = self.cluster.leader()
        self.wait(self.cluster.invoke(leader, "add", name="a", amount=1))
        self.cluster.isolate(leader.config.name)
        answer = self.cluster.ask(leader, "get", name="a")
        self.cluster.advance(0.5)
        self.assertNoResult(answer)
        self.cluster.advance(3)
        self.successResultOf(answer)

    def test_what_was_forwarded_to_a_leader_that_dies_is_unknown(self) -> None:
        leader, follower = self.cluster.leader(), self.cluster.followers()[0]
        self.cluster.hung.add(leader.config.name)
        answer = self.cluster.invoke(follower, "add", name="a", amount=1)
        self.cluster.hung.update(self.cluster.configs)
        self.cluster.advance(0.2)
        self.cluster.crash(leader.config.name)
        self.cluster.hung.clear()
        self.cluster.advance(3)
        self.assertIsInstance(self.successResultOf(answer).problem(), Unknown)

    def test_without_a_leader_a_command_is_not_applied_at_once(self) -> None:
        leader = self.cluster.leader()
        self.cluster.isolate(leader.config.name)
        self.cluster.advance(3)
        problem = self.successResultOf(self.cluster.invoke(leader, "add", name="a", amount=1)).problem()
        self.assertIsInstance(problem, NotApplied)
        self.assertEqual(problem.code, "no_leader")

    def test_an_answer_that_never_comes_is_unknown_at_the_deadline(self) -> None:
        follower, leader = self.cluster.followers()[0], self.cluster.leader()
        self.cluster.advance(0.5)
        lost = (leader.config.name, follower.config.name)

        request = InvokeRequest(0, 0, "counter", "add", Raw(encode_value({"name": "a"})))
        answer = follower.gate.call(request, timeout_s=0.5)
        self.cluster.cut.add(lost)
        self.cluster.advance(0.6)
        problem = self.successResultOf(answer).problem()
        self.assertIsInstance(problem, Unknown)
        self.assertEqual(problem.code, "timeout")

    def test_a_retried_command_of_a_session_is_applied_once(self) -> None:
        leader = self.cluster.leader()
        session = self.wait(leader.gate.call(OpenSessionRequest(0, 60_000)))
        first = self.wait(self.cluster.invoke(leader, "add", name="a", amount=5, session=session, serial=1))
        again = self.wait(self.cluster.invoke(self.cluster.followers()[0], "add", name="a", amount=5, session=session, serial=1))
        self.assertEqual((first, again), (5, 5))
        self.assertEqual(self.wait(self.cluster.ask(leader, "get", name="a")), 5)

    def test_a_quiet_cluster_expires_sessions_by_log_time(self) -> None:
        leader = self.cluster.leader()
        self.wait(leader.gate.call(OpenSessionRequest(0, 2_000)))
        self.assertEqual(leader.host.status()["sessions"], 1)
        self.cluster.advance(3)
        self.assertEqual([node.host.status()["sessions"] for node in self.cluster.nodes.values()], [0, 0, 0])
        self.assertEqual(len(self.cluster.digests()), 1)

    def test_log_time_goes_on_under_a_leader_whose_clock_is_an_hour_behind_the_one_before(self) -> None:
        self.cluster.wall_offset_ms += HOUR_MS
        first = self.cluster.leader()
        first.leadership._log_clock.set(not_before_ms=0)
        self.wait(first.gate.call(OpenSessionRequest(0, 2_000)))
        self.cluster.wall_offset_ms -= HOUR_MS
        self.cluster.crash(first.config.name)
        self.cluster.leader()
        self.cluster.advance(4)
        self.assertEqual([node.host.status()["sessions"] for node in self.cluster.nodes.values()], [0, 0])

    def test_a_number_that_fits_no_log_is_refused_where_a_program_calls(self) -> None:
        """Found by review: such a command was applied by the leader and halted all others."""
        for node in self.cluster.nodes.values():
            wrong: list[dict[str, Any]] = [{"serial": -1}, {"session": 2**64}, {"session": -1, "serial": 1}, {"serial": 2**63}]
            for numbers in wrong:
                problem = self.successResultOf(self.cluster.invoke(node, "add", name="a", **numbers)).problem()
                self.assertEqual((problem.outcome, problem.code), ("not_applied", "invalid_arguments"))
            problem = self.successResultOf(node.gate.call(OpenSessionRequest(0, -5))).problem()
            self.assertEqual(problem.code, "invalid_arguments")
            problem = self.successResultOf(self.cluster.invoke(node, "add", name="x" * 2_000_000)).problem()
            self.assertEqual(problem.code, "too_large")
        self.assertEqual(self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a")), 1)
        self.cluster.advance(0.5)
        self.assertEqual((self.cluster.halted, len(self.cluster.digests())), ({}, 1))

    def test_a_jump_of_the_wall_clock_by_two_days_ends_no_session(self) -> None:
        leader = self.cluster.leader()
        session = self.wait(leader.gate.call(OpenSessionRequest(0, 60_000)))
        self.cluster.wall_offset_ms += 48 * HOUR_MS
        self.cluster.advance(1)
        self.assertEqual(self.wait(self.cluster.invoke(leader, "add", name="a", session=session, serial=1)), 1)

    def test_a_jump_of_the_wall_clock_by_an_hour_changes_no_leader(self) -> None:
        leader = self.cluster.leader()
        term = leader.view.term
        for hours in (1, -2):
            self.cluster.wall_offset_ms += hours * HOUR_MS
            self.cluster.advance(3)
            self.wait(self.cluster.invoke(leader, "add", name="a", amount=1))
        self.assertEqual((self.cluster.leader(), leader.view.term), (leader, term))
        self.cluster.advance(0.5)
        self.assertEqual(len(self.cluster.digests()), 1)

    def test_a_follower_that_was_away_catches_up_from_disk_when_memory_no_longer_has_it(self) -> None:
        self.cluster.stop_all()
        self.cluster = NodeCluster(self.mktemp(), 3, limits=Limits(segment_bytes=65_536, log_cache_bytes_max=2_000, append_bytes_max=1_000))
        self.cluster.start()
        away = self.cluster.followers()[0].config.name
        self.cluster.crash(away)
        for _ in range(100):
            self.wait(self.cluster.invoke(self.cluster.leader(), "add", name="a", amount=1))
        driver = self.cluster.leader().driver
        assert driver is not None
        self.assertGreater(driver.core.server.log.first_cached, 20)
        self.cluster.start(away)
        self.cluster.advance(5)
        self.assertEqual(len(self.cluster.digests()), 1)
        self.assertEqual(self.cluster.halted, {})

    def test_status_tells_what_an_operator_asks(self) -> None:
        self.cluster.leader()
        self.cluster.advance(0.5)
        status = self.cluster.leader().gate.status(digest=True)
        self.assertEqual((status["role"], status["stage"], status["ready"]), ("leader", "running", True))
        self.assertEqual({member["connected"] for member in status["members"].values()}, {True})
        matches = {member.get("match_index", status["last_index"]) for member in status["members"].values()}
        self.assertEqual(matches, {status["commit_index"]})
        self.assertEqual((len(status["digest"]), status["wall_ms"]), (64, self.cluster.wall_ms()))
        told = self.wait(self.cluster.followers()[0].gate.call(StatusRequest(0)))
        self.assertEqual(told["leader_client_address"], f"{status['name']}.example:2379")


class DiskTests(NodeTests):
    def test_a_leader_whose_disk_hangs_steps_down_and_another_leads_within_three_election_timeouts(self) -> None:
        leader = self.cluster.leader()
        self.cluster.hung.add(leader.config.name)
        self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(3)
        self.assertFalse(leader.view.serving)
        self.assertNotEqual(self.cluster.leader(), leader)
        self.cluster.hung.clear()
        self.cluster.advance(3)
        self.assertEqual(len(self.cluster.digests()), 1)

    def test_a_follower_whose_disk_hangs_grants_no_vote(self) -> None:
        leader, (one, other) = self.cluster.leader(), self.cluster.followers()
        self.cluster.hung.add(one.config.name)
        self.cluster.crash(leader.config.name)
        self.cluster.advance(10)
        self.assertFalse(other.view.serving)
        self.cluster.hung.clear()
        self.cluster.leader()

    def test_a_failed_fsync_halts_the_node_which_acknowledges_nothing_and_the_cluster_goes_on(self) -> None:
        leader = self.cluster.leader()
        assert leader.storage is not None

        def failing(persists: object) -> None:
            raise DiskFailed("fdatasync: EIO")

        assert leader.driver is not None
        leader.driver.durability._write = failing
        answer = self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(0.2)
        self.assertIsInstance(self.cluster.halted[leader.config.name], DiskFailed)
        self.assertEqual(leader.view.stage, Stage.HALTED)
        self.assertIsInstance(self.successResultOf(answer).problem(), Unknown)
        self.assertEqual(leader.gate.alive()[0], False)
        before = leader.view.term
        self.cluster.advance(4)
        self.assertGreater(self.cluster.leader().view.term, before)

    def test_nothing_is_acknowledged_before_a_majority_has_it_on_disk(self) -> None:
        leader = self.cluster.leader()
        self.cluster.hung.update(node.config.name for node in self.cluster.followers())
        answer = self.cluster.invoke(leader, "add", name="a", amount=1)
        self.cluster.advance(0.5)
        self.assertNoResult(answer)
        self.cluster.hung.clear()
        self.cluster.advance(0.5)
        self.assertEqual(self.successResultOf(answer).value(), 1)


class HaltTests(NodeTests):
    def test_two_leaders_in_one_term_halt_the_server_that_sees_it(self) -> None:
        leader, follower = self.cluster.leader(), self.cluster.followers()[0]
        self.cluster.advance(0.3)
        impostor = AppendEntries(leader.view.term, "n9", 1, 1, 1, 0)
        follower.message_received(ServerId("n9"), impostor)
        self.assertIsInstance(self.cluster.halted[follower.config.name], Halted)
        self.assertEqual(len(self.flushLoggedErrors(Halted)), 1)
        self.wait(self.cluster.invoke(leader, "add", name="a", amount=1))

    def test_a_failure_in_a_later_slice_halts_like_one_in_the_first(self) -> None:
        """Found by review: the reactor only logged it, and the node led on without applying anything."""
        leader = self.cluster.leader()
        assert leader.driver is not None
        self.patch(applier, "ENTRIES_A_SLICE", 3)
        self.patch(leader.host, "apply", self.failing_from(leader.host.applied_index + 8, leader.host.apply))
        for _ in range(10):
            self.cluster.invoke(leader, "add", name="a")
        self.cluster.advance(0.5)
        why = str(self.cluster.halted[leader.config.name])
        self.assertIn("command add of machine counter, ended in MemoryError", why)
        self.assertEqual(len(self.flushLoggedErrors(Halted)), 1)

    def failing_from(self, index: int, apply: Callable[..., bytes]) -> Callable[..., bytes]:
        def failing(at: int, term: int, command: Any) -> bytes:
            if at >= index:
                raise MemoryError("for the test")
            return apply(at, term, command)

        return failing

    def test_whatever_is_raised_halts(self) -> None:
        leader = self.cluster.leader()
        self.patch(leader.leadership, "applied", self.cancelled)
        self.cluster.invoke(leader, "add", name="a")
        self.cluster.advance(0.5)
        self.assertIsInstance(self.cluster.halted[leader.config.name], CancelledError)
        self.flushLoggedErrors()

    def cancelled(self, through: int) -> None:
        raise CancelledError

    def test_a_command_of_a_later_version_in_the_log_is_never_skipped(self) -> None:
        leader = self.cluster.leader()
        assert leader.driver is not None
        leader.driver.propose([b"\x92\xa1?\x01"])
        self.cluster.advance(0.2)
        self.assertIn("upgraded", str(self.cluster.halted[leader.config.name]))
        self.assertEqual(leader.host.applied_index, leader.driver.applier.target - 1)
        self.cluster.advance(5)
        self.flushLoggedErrors(Halted)

    def test_a_halted_node_says_nothing_more(self) -> None:
        leader = self.cluster.leader()
        leader.halt(Failure(Halted("for the test")))
        leader.halt(Failure(Halted("once is enough")))
        self.assertEqual(str(self.cluster.halted[leader.config.name]), "for the test")
        self.assertEqual(len(self.flushLoggedErrors(Halted)), 1)
        problem = self.successResultOf(self.cluster.invoke(leader, "add", name="a")).problem()
        self.assertEqual((problem.outcome, problem.code), ("not_applied", "shutting_down"))


class StopTests(NodeTests):
    size = 1

    def test_a_single_server_leads_at_once(self) -> None:
        self.cluster.advance(0.1)
        self.assertTrue(self.cluster.nodes["n1"].view.serving)

    def test_stopping_answers_what_has_begun_and_frees_the_directory(self) -> None:
        node = self.cluster.leader()
        answer = self.cluster.invoke(node, "add", name="a", amount=4)
        stopped = node.stopService()
        self.cluster.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.successResultOf(answer).value(), 4)
        self.cluster.nodes.pop("n1")
        self.cluster.start()
        self.assertEqual(self.wait(self.cluster.ask(self.cluster.leader(), "get", name="a")), 4)

    def test_stopping_while_the_directory_is_being_opened_frees_it(self) -> None:
        self.cluster.stop_all()
        self.cluster.nodes.clear()
        self.cluster.start()
        stopped = self.cluster.nodes["n1"].stopService()
        self.cluster.advance(1)
        self.successResultOf(stopped)
        self.assertIsNone(self.cluster.nodes["n1"].driver)
        self.cluster.nodes.clear()
        self.cluster.start()
        self.cluster.leader()

    def test_a_directory_whose_opening_outlasts_the_stop_is_freed(self) -> None:
        self.cluster.stop_all()
        self.cluster.nodes.clear()
        self.cluster.hung.add("n1")
        self.cluster.start()
        stopped = self.cluster.nodes.pop("n1").stopService()
        self.cluster.advance(20)
        self.successResultOf(stopped)
        self.flushLoggedErrors()
        self.cluster.hung.clear()
        self.cluster.advance(0.2)
        self.cluster.start()
        self.cluster.leader()

    def test_a_hung_disk_does_not_keep_a_node_from_ending(self) -> None:
        node = self.cluster.leader()
        self.cluster.hung.add("n1")
        self.cluster.invoke(node, "add", name="a")
        stopped = node.stopService()
        self.cluster.advance(25)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.cluster.nodes.clear()
        self.cluster.hung.clear()
        self.cluster.advance(0.1)

    def test_a_directory_in_use_halts_the_second_node_only(self) -> None:
        self.cluster.leader()
        first = self.cluster.nodes.pop("n1")
        disk = self.cluster._workers.pop("n1")
        self.cluster.start()
        self.cluster.advance(0.1)
        self.assertEqual(self.cluster.halted["n1"].exit_code, 73)  # type: ignore[attr-defined]
        self.cluster.nodes["n1"], self.cluster._workers["n1"] = first, disk
        self.assertEqual(first.view.stage, Stage.RUNNING)
