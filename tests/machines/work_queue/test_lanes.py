"""The ready messages of one priority."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.work_queue import lanes
from txraft.machines.work_queue.discards import DISCARDED_AT_ONCE, Discards
from txraft.machines.work_queue.lanes import PIECE, RANGE_BITS, Lane, smallest
from txraft.machines.work_queue.records import Message

STEPS = st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 60), st.integers(0, 2))), max_size=60)


def message(number: int, taken: int = 0) -> Message:
    return Message(number, b"", 5, 0, taken)


def ids(lane: Lane) -> list[int]:
    return [one.id for one in lane.all()]


class Lanes(SynchronousTestCase):
    def check(self, steps: list[tuple[int, int] | None]) -> None:
        """An id and: 0 for a new message, 1 for one that comes back, 2 to fork. None: take one."""
        lane, there = Lane(), set[int]()
        frozen: list[tuple[Lane, list[int]]] = []
        for step in steps:
            if step is not None and step[1] == 2:
                frozen.append((lane, sorted(there)))
                lane = lane.fork()
            elif step is not None and step[0] not in there:
                there.add(step[0])
                lane.add(message(*step))
            elif step is None and there:
                self.assertEqual(lane.head().id, min(there))
                self.assertEqual(lane.pop().id, min(there))
                there.remove(min(there))
            self.assertEqual((lane.length, bool(lane.front or lane.order)), (len(there), bool(there)))
            self.assertEqual(ids(lane), sorted(there))
            for count in (1, 3, 100):
                self.assertEqual([one.id for one in lane.first(count)], sorted(there)[:count])
        for one, expected in frozen:
            self.assertEqual(ids(one), expected)

    @settings(deadline=None, max_examples=200)
    @given(STEPS)
    def test_the_smallest_id_is_next_and_what_was_forked_stays_as_it_was(self, steps: list[tuple[int, int] | None]) -> None:
        self.check(steps)

    @settings(deadline=None, max_examples=200)
    @given(STEPS)
    def test_also_in_small_pieces(self, steps: list[tuple[int, int] | None]) -> None:
        self.patch(lanes, "PIECE", 2)
        self.patch(lanes, "RANGE_BITS", 1)
        self.check(steps)

    def test_what_comes_in_order_costs_one_place(self) -> None:
        lane = Lane()
        for number in (1, 2, 5, 4):
            lane.add(message(number))
        self.assertEqual((len(lane.front), lane.order, lane.back), (3, [4], {0: {4: message(4)}}))

    def test_most_of_it_is_not_copied(self) -> None:
        lane = Lane()
        for number in range(10 * PIECE):
            lane.add(message(number))
        other = lane.fork()
        self.assertGreater(len(lane.middle), 7)
        for mine, its in zip(lane.middle, other.middle, strict=True):
            self.assertIs(mine, its)

    def test_no_piece_that_a_frozen_lane_may_have_is_changed_to_free_it(self) -> None:
        lane = Lane()
        for number in range(3 << RANGE_BITS):
            lane.add(message(number, 1))
        frozen, lane = lane, lane.fork()
        discards = Discards()
        discards.add(lane.parts(), DISCARDED_AT_ONCE + 1, 0)
        for time_ms in (20, 40):
            discards.free(time_ms)
        self.assertEqual((discards.places, ids(frozen)), (0, list(range(3 << RANGE_BITS))))

    def test_the_smallest_of_a_heap_are_found_without_looking_at_all(self) -> None:
        class Counted(list[int]):
            looked = 0

            def __getitem__(self, place: int) -> int:  # type: ignore[override]
                self.looked += 1
                return super().__getitem__(place)

        heap = Counted(range(100_000))
        self.assertEqual(list(smallest(heap, 10)), list(range(10)))
        self.assertLess(heap.looked, 25)
        self.assertEqual(list(smallest([], 10)), [])
