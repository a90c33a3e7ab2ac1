"""Snapshots of whole nodes when two things happen at once: an own one and a leader's, a leap and a tick, an error and another try."""

from __future__ import annotations

import errno
from dataclasses import replace
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred

from tests.node.mishaps_case import MishapsCase
from tests.node.snapshots_case import SHORT
from txraft import __version__
from txraft.core.ids import ServerId
from txraft.core.snapshot import Snapshot
from txraft.errors import DamagedSnapshot, DiskFailed, NotApplied
from txraft.node import snapshot_taking
from txraft.node.node import STOP_S
from txraft.node.snapshot_sending import IDLE_S
from txraft.wire.requests import PollRequest


class SameEntryTests(MishapsCase):
    """An own snapshot, and one of a leader, of the same entry: the same state, but the files differ."""

    def write_as(self, version: str) -> None:
        """What `away` writes from now on is of another version, so its bytes differ."""
        self.patch(snapshot_taking, "__version__", version)

    def meet_before_either_is_recorded(self, version: str) -> None:
        self.miss()
        snapshot = self.begin_to_restore()
        self.give_entries_instead(snapshot)
        self.write_as(version)
        self.cluster.hung.add(self.name)
        own = self.away.gate.take_snapshot()
        self.cluster.worker(self.name, "snapshot").flush()
        self.end_to_restore()  # before any tick: that would tell it that nobody needs it
        self.cluster.hung.clear()
        self.assertEqual(self.wait(own)["index"], snapshot.index)
        self.require_recorded(version)

    def test_one_of_the_same_size_takes_no_others_place(self) -> None:
        """Found by review: the file of one was there and the record of the other, and the server never started again."""
        self.meet_before_either_is_recorded("x" * len(__version__))

    def test_nor_does_one_of_another_size(self) -> None:
        """Found by review: the node halted."""
        self.meet_before_either_is_recorded("another version")

    def test_nor_when_the_own_one_is_recorded(self) -> None:
        """Found by review: the node halted."""
        self.miss()
        self.give_entries_instead(self.begin_to_restore())
        self.write_as("another version")
        own = self.away.gate.take_snapshot()
        for purpose in ("snapshot", "disk"):
            self.cluster.worker(self.name, purpose).flush()
        self.successResultOf(own)
        self.end_to_restore()
        self.cluster.advance(0.5)
        self.require_recorded("another version")


class LeapTests(MishapsCase):
    """Between the leap of the log, which the disk may keep waiting, and that of the machines."""

    limits = replace(SHORT, snapshot_chunk_bytes=5000, segment_bytes=65_536, append_bytes_max=10_000, log_cache_bytes_max=20_000)

    def leap_with_a_hung_disk(self) -> None:
        self.cluster.hung.add(self.name)
        self.end_to_restore()
        self.assertGreater(self.base(self.away), self.away.host.applied_index)

    def test_no_snapshot_is_taken(self) -> None:
        """Found by review: the log no longer knew the term of what is applied, and the node halted."""
        self.miss()
        self.begin_to_restore()
        self.leap_with_a_hung_disk()
        self.failureResultOf(self.away.gate.take_snapshot(), NotApplied)
        self.cluster.hung.clear()
        self.level()

    def test_one_that_comes_too_late_then_is_given_up_and_leaves_nothing(self) -> None:
        """Found by review: the next tick took another one, and the node halted."""
        thread = self.cluster.worker(self.name, "snapshot")
        thread.held = lambda: True
        own = self.away.gate.take_snapshot()
        self.miss()
        self.begin_to_restore()
        self.leap_with_a_hung_disk()
        thread.held = lambda: False
        thread.flush()
        self.failureResultOf(own, NotApplied)
        taking = self.driver(self.away).snapshots.taking
        taking._threshold_bytes = 0  # so that one more is due at each tick
        self.cluster.advance(0.3)
        self.assertFalse(taking.is_busy)
        self.cluster.hung.clear()
        self.level()
        self.assertEqual(self.left(), [f"{taking.newest.index}.snapshot"] if taking.newest else [])

    def test_the_events_of_the_leap_are_not_passed_over(self) -> None:
        """Found by review: what is right behind the leap was applied before those who wait were told of it, and only the next event was."""
        self.wait(self.cluster.invoke(self.first, "configure", name="w", watched=True))
        self.cluster.advance(0.5)
        poll = self.away.gate.call(PollRequest(0, "counter", b"w", False, self.away.host.applied_index, 0, 60_000))
        self.miss(name="w")
        snapshot = self.begin_to_restore()
        self.assertNoResult(poll)
        self.entries_behind_the_leap(snapshot)
        self.assertGreater(self.away.host.applied_index, snapshot.index)
        self.add(1, "w")
        self.cluster.advance(0.2)
        self.assertEqual([event["fields"]["value"] for event in self.successResultOf(poll).value()["events"]], list(range(1, 41)))
        self.level()

    def entries_behind_the_leap(self, snapshot: Snapshot) -> None:
        """The disk writes `away`'s new term, slowly; then at once the leap and what a new leader has sent to be behind it; then nothing is
        left to write, but answers wait. Nothing of it is an event.
        """
        disk, writes = self.cluster.worker(self.name, "disk"), self.driver(self.away).durability
        self.cluster.hung.add(self.name)
        self.lead_instead()
        self.campaign_until(lambda: not writes.idle)
        self.end_to_restore()
        self.campaign_until(lambda: self.other.view.serving)
        self.wait(self.cluster.invoke(self.other, "add", name="a", amount=1))
        self.driver(self.other).peer_unreachable(ServerId(self.name))  # its answers wait for its disk: send on without them
        self.cluster.invoke(self.other, "add", name="a", amount=1)
        self.until(lambda: self.driver(self.away).core.server.commit_index > snapshot.index + 1)
        disk.pump()
        self.cluster.advance(0.3)
        self.assertEqual((len(disk.jobs), self.away.host.applied_index < snapshot.index), (1, True))
        disk.pump()
        self.cluster.hung.clear()
        self.cluster.advance(0.1)


class SupersededTests(MishapsCase):
    """What `away` is sent as a snapshot comes another way."""

    def test_machines_that_nobody_needs_are_let_go(self) -> None:
        """Found by review: they stayed in memory, and their file on the disk."""
        self.miss()
        self.give_entries_instead(self.begin_to_restore())
        self.end_to_restore()
        self.cluster.advance(0.1)
        self.require_nothing_left()
        self.take(self.away)
        self.cluster.cut.clear()
        self.level()

    def test_a_transfer_that_nobody_goes_on_with_is_forgotten(self) -> None:
        """Found by review: the status showed it, and its file stayed, for as long as the node ran."""
        self.miss()
        self.cluster.cut.clear()
        receiving = self.driver(self.away).snapshots.receiving
        self.until(lambda: (receiving.progress or {}).get("received", 0), step=0.001)
        self.lead_instead()
        self.cluster.isolate(self.first.config.name)
        self.campaign_until(lambda: self.other.view.serving)
        self.cluster.cut.clear()
        self.level()
        self.require_nothing_left()

    def require_nothing_left(self) -> None:
        receiving = self.driver(self.away).snapshots.receiving
        self.assertEqual((receiving.progress, receiving._ready, self.left()), (None, {}, []))
        self.assertEqual(self.cluster.halted, {})


class ThrottledTests(MishapsCase):
    limits = replace(SHORT, snapshot_chunk_bytes=200, snapshot_bytes_per_s=5)

    def test_a_piece_whose_turn_comes_late_is_sent_nevertheless(self) -> None:
        """Found by review: the transfer was taken for ended while it waited, and it stood still for ever."""
        self.assertGreater(self.limits.snapshot_chunk_bytes / self.limits.snapshot_bytes_per_s, IDLE_S)
        self.miss()
        self.cluster.cut.clear()
        snapshot = self.driver(self.first).core.server.snapshot
        assert snapshot is not None and snapshot.size > self.limits.snapshot_chunk_bytes
        self.until(lambda: self.away.host.applied_index >= snapshot.index, step=0.1, steps=1000)
        self.level()


class FailedSyncTests(MishapsCase):
    """A sync that fails is not tried again, not even one that fails for want of room: nobody knows what it has left on the disk."""

    def miss_and_come_back(self) -> Snapshot:
        """Everything that `away` misses is about to be sent."""
        self.miss()
        self.cluster.cut.clear()
        snapshot = self.driver(self.first).core.server.snapshot
        assert snapshot is not None
        self.incoming = self.first.storage.incoming_path(snapshot).name  # type: ignore[union-attr]
        return snapshot

    def require_durable(self, snapshot: Snapshot) -> None:
        path = self.away.storage.snapshot_path(snapshot.index)  # type: ignore[union-attr]
        self.assertEqual(sha256(self.files.lost().content(path)).digest(), snapshot.sha256)

    def test_what_was_received_is_gone_and_the_transfer_begins_anew(self) -> None:
        """Found by review: the next sync of the same file succeeded, and a power cut left nothing of what the log had a record of."""
        snapshot = self.miss_and_come_back()
        failure = self.files.fail("sync_content", errno.ENOSPC, name=self.incoming)
        self.until(lambda: failure.happened)
        self.assertEqual(self.left(), [])
        self.assertIn("no room", self.away.gate.status()["snapshot"]["problem"])
        self.level()
        self.assertEqual(self.files.calls.count(("create", self.incoming)), 2)
        self.require_durable(snapshot)
        self.assertEqual(self.left(), [f"{snapshot.index}.snapshot"])

    def test_if_it_cannot_be_removed_the_node_stops(self) -> None:
        """Found by review: the same file was tried again."""
        self.miss_and_come_back()
        self.files.fail("sync_content", errno.ENOSPC, name=self.incoming)
        self.files.fail("remove", name=self.incoming)
        self.until(lambda: self.cluster.halted)
        self.require_stopped_and_start()

    def test_if_its_name_could_not_be_synced_the_node_stops(self) -> None:
        """Found by review: the name was taken when it was tried again, and each time after that."""
        snapshot = self.miss_and_come_back()
        self.files.fail("sync_directory", errno.ENOSPC, name="snapshots")
        self.until(lambda: self.cluster.halted)
        self.require_stopped_and_start()
        self.require_durable(snapshot)

    def require_stopped_and_start(self) -> None:
        self.assertIsInstance(self.cluster.halted.pop(self.name), DiskFailed)
        self.assertEqual(self.cluster.halted, {})
        self.cluster.crash(self.name)
        self.cluster.start(self.name)
        self.away = self.node(self.name)
        self.level()

    def test_an_own_one_is_written_anew(self) -> None:
        self.files.fail("sync", errno.ENOSPC, name="new")
        refusal = self.failure_of(self.away.gate.take_snapshot())
        self.assertEqual(refusal.code, "disk_full")
        self.assertEqual(self.left(), [])
        self.take(self.away)
        snapshot = self.driver(self.away).core.server.snapshot
        assert snapshot is not None
        self.require_durable(snapshot)

    def failure_of(self, taking: Deferred[Any]) -> NotApplied:
        self.cluster.advance(0.1)
        refusal = self.failureResultOf(taking, NotApplied).value
        assert isinstance(refusal, NotApplied)
        return refusal


class DamagedTests(MishapsCase):
    def test_a_leader_whose_snapshot_has_gone_bad_finds_out_and_mends_itself(self) -> None:
        """Found by review: it sent it again and again to one that could make nothing of it, and led on."""
        self.miss()
        storage, name = self.first.storage, self.first.config.name
        assert storage is not None and storage.snapshot is not None
        self.files.flip_bit(storage.snapshot_path(storage.snapshot.index), 120)
        self.cluster.cut.clear()
        self.until(lambda: self.cluster.halted)
        self.assertIsInstance(self.cluster.halted.pop(name), DamagedSnapshot)
        self.until(lambda: self.away.host.applied_index >= self.other.host.applied_index)
        self.cluster.crash(name)
        self.cluster.start(name)
        self.level()


class StopTests(MishapsCase):
    size = 1

    def test_a_thread_that_outlasts_the_stop_does_not_keep_the_directory(self) -> None:
        """Found by review: it stayed locked, and a start in the same process was refused."""
        thread = self.cluster.worker("n1", "snapshot")
        thread.held = lambda: True
        own = self.first.gate.take_snapshot()
        stopping: Deferred[None] = self.first.stopService()
        self.cluster.advance(2 * STOP_S)
        self.successResultOf(stopping)
        self.cluster.start("n1")
        self.assertEqual(self.add(1), 6)
        thread.held = lambda: False
        thread.flush()
        self.failureResultOf(own, NotApplied)
        self.assertEqual(self.cluster.halted, {})
