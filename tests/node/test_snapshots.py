"""Snapshots of whole nodes: taken, started from, sent to those that are far behind; and what waits meanwhile."""

from __future__ import annotations

from msgspec import Raw

from tests.node.snapshots_case import SHORT, SnapshotsCase
from tests.statemachine.watched_machines import MODULE
from txraft.limits import Limits
from txraft.statemachine.values import encode_value
from txraft.wire.requests import InvokeRequest, OpenSessionRequest, PollRequest


class TakingTests(SnapshotsCase):
    def test_the_log_begins_later_and_a_restart_begins_with_the_snapshot(self) -> None:
        self.add(30)
        self.take()
        self.assertTrue(all(self.base(node) >= 20 for node in self.cluster.nodes.values()))
        self.add(5)
        self.cluster.advance(0.5)
        before = self.cluster.digests()
        self.cluster.crash(*self.cluster.configs)
        self.cluster.start()
        self.cluster.advance(0.02)
        self.assertTrue(all(node.host.applied_index >= 30 for node in self.cluster.nodes.values()))
        self.cluster.leader()
        self.level()
        self.assertEqual(self.add(1), 36)
        self.assertEqual(len(before), 1)

    def test_disk_and_memory_agree_on_where_the_log_begins(self) -> None:
        self.add(120)
        self.take()
        for node in self.cluster.nodes.values():
            assert node.storage is not None
            first, used = self.base(node) + 1, node.storage.usage()
            self.assertTrue(node.storage.read(first, 100))  # type: ignore[arg-type]
            self.assertLess(used["segments"], 3)

    def test_a_log_that_has_grown_brings_a_snapshot_by_itself(self) -> None:
        self.cluster.stop_all()
        limits = Limits(segment_bytes=4096, snapshot_log_bytes=2000, trailing_entries=3, reserve_bytes=1)
        self.cluster = self.cluster.__class__(self.mktemp(), 3, machines=self.machines, limits=limits)
        self.cluster.start()
        self.add(100)
        self.cluster.advance(1)
        statuses = [node.gate.status()["snapshot"] for node in self.cluster.nodes.values()]
        self.assertTrue(all(status["index"] > 20 and status["bytes"] > 0 for status in statuses), statuses)
        self.level()

    def test_row_83_commands_go_on_while_a_snapshot_is_written_and_are_not_in_it(self) -> None:
        leader = self.cluster.leader()
        self.add(10)
        taking = leader.gate.take_snapshot()
        index = leader.host.applied_index
        answer = self.cluster.invoke(leader, "add", name="a", amount=100)
        self.assertEqual(self.wait(taking)["index"], index)
        self.assertEqual(self.wait(answer).value(), 110)
        self.cluster.crash(*self.cluster.configs)
        self.cluster.start()
        self.assertEqual(self.wait(self.cluster.ask(self.cluster.leader(), "get", name="a")).value(), 110)

    def test_a_node_that_is_not_open_takes_none(self) -> None:
        name = self.cluster.followers()[0].config.name
        self.cluster.crash(name)
        self.cluster.start(name)
        self.failureResultOf(self.cluster.nodes[name].gate.take_snapshot())


class InstallingTests(SnapshotsCase):
    def fall_behind(self) -> str:
        """A follower is away while the others' logs move beyond what it has; its name."""
        away = self.cluster.followers()[0].config.name
        self.cluster.crash(away)
        self.add(40)
        self.take()
        self.add(5)
        return away

    def test_a_follower_far_behind_is_sent_the_state(self) -> None:
        away = self.fall_behind()
        self.cluster.start(away)
        self.level()
        self.assertGreaterEqual(self.base(self.node(away)), 40)
        self.assertEqual(self.add(1), 46)

    def test_after_the_installation_a_restart_begins_with_it(self) -> None:
        away = self.fall_behind()
        self.cluster.start(away)
        self.level()
        self.cluster.crash(away)
        self.cluster.start(away)
        self.cluster.advance(0.02)
        self.assertGreaterEqual(self.node(away).host.applied_index, 40)
        self.level()

    def test_a_receiver_that_is_killed_midway_goes_on_where_it_was(self) -> None:
        away = self.fall_behind()
        self.cluster.start(away)
        received = []
        for _ in range(200):
            self.cluster.advance(0.01)
            progress = self.driver(self.node(away)).snapshots.receiving.progress if self.node(away).driver else None
            if progress is not None and progress["received"]:
                received.append(progress["received"])
                break
        self.cluster.crash(away)
        self.cluster.start(away)
        again = None
        for _ in range(300):
            self.cluster.advance(0.01)
            progress = self.driver(self.node(away)).snapshots.receiving.progress if self.node(away).driver else None
            if progress is not None:
                again = progress["received"]
                if again:
                    break
        assert received and isinstance(again, int)
        self.assertGreaterEqual(again, int(str(received[0])))
        self.level()

    def test_a_leader_that_dies_midway_is_followed_by_one_that_sends_its_own(self) -> None:
        away = self.fall_behind()
        self.cluster.start(away)
        self.cluster.advance(0.35)
        leader = self.cluster.leader().config.name
        self.cluster.crash(leader)
        self.cluster.advance(6)
        self.cluster.start(leader)
        self.level(20)

    def test_watches_on_the_follower_miss_nothing_by_the_leap(self) -> None:
        away = self.fall_behind()
        self.cluster.start(away)
        self.cluster.advance(0.02)
        self.wait(self.cluster.invoke(self.cluster.leader(), "configure", name="w", watched=True))
        self.level()
        self.cluster.isolate(away)
        answer = self.node(away).gate.call(PollRequest(0, "counter", b"w", False, self.node(away).host.applied_index, 0, 30_000))
        self.cluster.advance(0.2)
        self.assertNoResult(answer)
        self.add(40, "w")
        self.take(*[node for name, node in self.cluster.nodes.items() if name != away])
        self.cluster.cut.clear()
        events = self.wait(answer, 20).value()["events"]
        self.assertEqual(events[0]["fields"]["value"], 1)
        self.level()

    def test_what_was_answered_before_the_snapshot_is_answered_the_same_after_it(self) -> None:
        session = self.wait(self.cluster.leader().gate.call(OpenSessionRequest(0, 0))).value()
        request = InvokeRequest(0, 1, "counter", "add", Raw(encode_value({"name": "once", "amount": 1})))
        first = self.wait(self.cluster.leader().gate.call(request, session=session, first_outstanding=1)).value()
        away = self.fall_behind()
        self.cluster.start(away)
        self.level()
        others = [name for name in self.cluster.configs if name != away]
        self.cluster.crash(*self.cluster.configs)
        self.cluster.start(away, others[0])
        again = self.wait(self.cluster.leader().gate.call(request, session=session, first_outstanding=1)).value()
        self.assertEqual((first, again), (1, 1))
        self.cluster.start(others[1])
        self.level()


class WatchedTests(SnapshotsCase):
    machines = {"bell": MODULE + "Bell"}

    def test_events_that_the_host_keeps_are_in_the_snapshot(self) -> None:
        for _ in range(5):
            self.wait(self.cluster.invoke(self.cluster.leader(), "ring_all", machine="bell", topics=["a"]))
        self.take()
        self.cluster.crash(*self.cluster.configs)
        self.cluster.start()
        poll = PollRequest(0, "bell", b"a", False, 1, 0, 0)
        self.assertEqual(len(self.wait(self.cluster.leader().gate.call(poll)).value()["events"]), 5)


class BackupTests(SnapshotsCase):
    size = 1
    limits = SHORT

    def test_the_newest_snapshot_can_be_read_while_a_newer_one_is_taken(self) -> None:
        self.add(10)
        node = self.cluster.leader()
        self.failureResultOf(node.gate.open_snapshot())
        self.take()
        snapshot, read, close = self.wait(node.gate.open_snapshot())
        self.add(10)
        self.take()
        content = b""
        while len(content) < snapshot.size:
            content += self.wait(read(len(content), min(100, snapshot.size - len(content))))
        close()
        self.assertEqual(len(content), snapshot.size)
        self.cluster.advance(0.1)
