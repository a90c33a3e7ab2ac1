from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pumped_worker import PumpedWorker
from txraft.core.configuration import Configuration
from txraft.core.ids import Index, Term
from txraft.core.snapshot import Snapshot
from txraft.errors import DiskFailed, NotApplied, SnapshotSuperseded
from txraft.limits import Limits
from txraft.node.snapshot_taking import RETRY_S, STAGGER, SnapshotTaking

ENTRY_BYTES = 100
CONFIGURATION = Configuration.of({"n1": "a"})


class Shelf:
    """What the taking asks of `Storage` and `SnapshotFiles`: a log whose entries are all equally long."""

    def __init__(self) -> None:
        self.last_index = 50
        self.recovered = SimpleNamespace(snapshot=None)
        self.written: list[Any] = []
        self.kept: list[int] = []
        self.dropped: list[int] = []
        self.problem: BaseException | None = None

    def bytes_behind(self, index: int) -> int:
        return max(0, self.last_index - index) * ENTRY_BYTES

    def write(self, head: Any, parts: Iterable[bytes], *, progress: Callable[[int], None], pause: Callable[[], None]) -> Snapshot:
        content = b""
        for part in parts:
            content += part
            progress(len(content))
            pause()
        if self.problem is not None:
            raise self.problem
        self.written.append((head, content))
        self.kept.append(head.index)
        return Snapshot(head.index, head.term, len(content), b"s" * 32, head.configurations)

    def drop(self, one: Snapshot) -> None:
        self.dropped.append(one.index)


class Machines:
    """What the taking asks of `Host`."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.problem: NotApplied | None = None
        self.during = during
        self.noted: list[NotApplied] = []

    def note_snapshot_failure(self, problem: NotApplied) -> None:
        self.noted.append(problem)

    def capture(self) -> Any:
        if self.problem is not None:
            raise self.problem
        return SimpleNamespace(log_time_ms=5, machines=[("counter", "counter", 1)], parts=self.parts)

    def parts(self) -> Iterator[bytes]:
        yield b"one"
        self.during()
        yield b"two"


class TakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.worker, self.shelf, self.machines = Clock(), PumpedWorker(), Shelf(), Machines()
        self.applied = 40
        self.taken: list[tuple[Snapshot, int]] = []
        self.failures: list[Failure] = []
        self.log = SimpleNamespace(base_index=0, term_at=lambda index: Term(3))
        self.pinned: Index | None = None
        self.core = SimpleNamespace(
            server=SimpleNamespace(log=self.log),
            pinned_index=lambda now: self.pinned,
            configurations_at=lambda index: [(1, CONFIGURATION.encode())],
        )
        self.taking = self.make(Limits(snapshot_log_bytes=4000, trailing_entries=10, trailing_bytes=10_000))

    def make(self, limits: Limits, seed: int = 0) -> SnapshotTaking:
        return SnapshotTaking(
            "n1",
            self.clock,
            limits,
            cluster_id="c",
            worker=self.worker,
            storage=self.shelf,  # type: ignore[arg-type]
            files=self.shelf,  # type: ignore[arg-type]
            host=self.machines,  # type: ignore[arg-type]
            core=self.core,  # type: ignore[arg-type]
            applied=lambda: Index(self.applied),
            taken=lambda snapshot, beginning: self.taken.append((snapshot, beginning)),
            random=Random(seed),
            rest=lambda seconds: None,
            on_failure=self.failures.append,
        )

    def snapshot(self, index: int = 40, size: int = 6) -> Snapshot:
        return Snapshot(index, 3, size, b"s" * 32, [(1, CONFIGURATION.encode())])

    def test_it_says_what_it_holds_and_the_log_is_told_where_it_may_begin(self) -> None:
        self.taking.take()
        self.worker.flush()
        [(head, content)] = self.shelf.written
        self.assertEqual((head.cluster_id, head.index, head.term, head.log_time_ms, content), ("c", 40, 3, 5, b"onetwo"))
        self.assertEqual(head.configurations, [(1, CONFIGURATION.encode())])
        self.assertEqual((self.taken, self.shelf.kept), ([(self.snapshot(), 30)], [40]))

    def test_it_is_done_when_the_log_has_recorded_it(self) -> None:
        taking = self.taking.take()
        self.worker.flush()
        self.assertNoResult(taking)
        self.taking.recorded(self.snapshot())
        self.assertEqual(self.successResultOf(taking), self.snapshot())
        self.assertEqual(self.taking.newest, self.snapshot())

    def test_whoever_asks_while_one_is_in_the_making_waits_for_that(self) -> None:
        first, second = self.taking.take(), self.taking.take()
        self.worker.flush()
        self.taking.recorded(self.snapshot())
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(self.shelf.written), 1)

    def test_nothing_new_needs_no_new_one(self) -> None:
        self.taking.recorded(self.snapshot())
        self.assertEqual(self.successResultOf(self.taking.take()), self.snapshot())
        self.assertEqual(self.shelf.written, [])

    def test_before_anything_is_applied_there_is_nothing_to_take(self) -> None:
        self.applied = 0
        self.failureResultOf(self.taking.take(), NotApplied)

    def test_a_log_that_has_grown_enough_begins_one(self) -> None:
        for entries, begun in ((40, False), (int(40 * (1 + STAGGER)) + 1, True)):
            self.shelf.last_index = entries
            self.taking.look()
            self.assertEqual(self.taking.is_busy, begun)

    def test_a_large_snapshot_waits_for_a_log_of_four_times_its_size(self) -> None:
        self.taking.recorded(self.snapshot(size=2000))
        self.applied = 45
        self.shelf.last_index = 40 + 79
        self.taking.look()
        self.assertFalse(self.taking.is_busy)
        self.shelf.last_index = 40 + 121
        self.taking.look()
        self.assertTrue(self.taking.is_busy)

    def test_servers_draw_different_thresholds(self) -> None:
        thresholds = {self.make(Limits(snapshot_log_bytes=4000), seed)._threshold_bytes for seed in range(20)}
        self.assertGreater(len(thresholds), 15)
        self.assertTrue(all(4000 <= threshold <= 6000 for threshold in thresholds))

    def test_trailing_entries_are_kept_by_count_and_by_bytes(self) -> None:
        self.assertEqual(self.taking.beginning_for(self.snapshot()), 30)
        few = self.make(Limits(trailing_entries=1000, trailing_bytes=500))
        self.assertLessEqual(self.shelf.bytes_behind(few.beginning_for(self.snapshot())) - self.shelf.bytes_behind(40), 500)
        self.assertEqual(self.make(Limits(trailing_entries=0)).beginning_for(self.snapshot()), 40)

    def test_the_beginning_never_goes_back(self) -> None:
        self.log.base_index = 35
        self.assertEqual(self.taking.beginning_for(self.snapshot()), 35)

    def test_what_a_transfer_under_way_needs_is_kept_unless_it_becomes_too_much(self) -> None:
        self.pinned = Index(12)
        self.assertEqual(self.taking.beginning_for(self.snapshot()), 12)
        bounded = self.make(Limits(trailing_entries=10, pinned_log_bytes_max=1000))
        self.assertEqual(bounded.beginning_for(self.snapshot()), 30)

    def test_a_machine_that_cannot_give_its_state_is_an_alarm_and_tried_again_later(self) -> None:
        self.shelf.last_index = 1000
        self.machines.problem = NotApplied("machine_error", "a bug")
        self.failureResultOf(self.taking.take(), NotApplied)
        self.assertIn("a bug", self.taking.problem)
        self.machines.problem = None
        self.taking.look()
        self.assertFalse(self.taking.is_busy)
        self.clock.advance(RETRY_S)
        self.taking.look()
        self.worker.flush()
        self.taking.recorded(self.snapshot())
        self.assertEqual((self.taking.problem, self.failures), ("", []))

    def test_a_machine_that_fails_while_its_state_is_written_is_the_same(self) -> None:
        def fails() -> None:
            raise NotApplied("machine_error", "a bug in the thread")

        self.machines.during = fails
        taking = self.taking.take()
        self.worker.flush()
        self.failureResultOf(taking, NotApplied)
        self.assertIn("a bug in the thread", self.taking.problem)
        self.assertEqual(len(self.machines.noted), 1)
        self.assertEqual(self.failures, [])

    def test_without_room_on_the_disk_it_is_tried_again_later(self) -> None:
        self.shelf.problem = OSError(28, "No space left on device")
        taking = self.taking.take()
        self.worker.flush()
        self.assertEqual(self.failureResultOf(taking, NotApplied).value.code, "disk_full")
        self.assertEqual(self.failures, [])

    def test_a_disk_that_fails_is_not_trusted_again(self) -> None:
        self.shelf.problem = OSError(5, "Input/output error")
        self.taking.take()
        self.worker.flush()
        self.assertEqual([type(failure.value) for failure in self.failures], [DiskFailed])
        self.assertEqual(self.taken, [])

    def test_a_newer_state_or_the_end_of_the_node_abandons_the_one_in_the_making(self) -> None:
        taking = self.taking.take()
        self.taking.superseded()
        self.worker.flush()
        self.failureResultOf(taking, NotApplied)
        self.assertFalse(self.taking.is_busy)
        self.assertEqual((self.taken, self.taking.problem), ([], ""))
        self.taking.stop()
        self.failureResultOf(self.taking.take(), NotApplied)

    def test_one_that_the_log_has_no_use_for_any_more_is_given_up(self) -> None:
        taking = self.taking.take()
        self.worker.flush()
        self.taking.came_too_late(self.snapshot())
        self.failureResultOf(taking, NotApplied)
        self.worker.flush()
        self.assertEqual((self.taking.is_busy, self.shelf.dropped), (False, [40]))

    def test_while_the_log_has_leapt_and_the_machines_have_not_there_is_nothing_to_take(self) -> None:
        """Found by review: the log no longer knows the term of what is applied, and the node halted."""
        self.log.base_index = 45
        self.failureResultOf(self.taking.take(), NotApplied)
        self.shelf.last_index = 1000
        self.taking.look()
        self.assertEqual((self.taking.is_busy, self.failures, self.taking.problem), (False, [], ""))

    def test_one_of_the_same_entry_that_a_leader_has_sent_meanwhile_is_no_failure(self) -> None:
        self.shelf.problem = SnapshotSuperseded("there is one already")
        taking = self.taking.take()
        self.worker.flush()
        self.failureResultOf(taking, NotApplied)
        self.assertEqual((self.taking.is_busy, self.failures), (False, []))

    def test_status_tells_how_far_it_is(self) -> None:
        seen: list[Any] = []
        self.machines.during = lambda: seen.append(self.taking.progress)
        self.taking.take()
        self.worker.flush()
        self.assertEqual(seen, [{"index": 40, "written": 3}])
