"""The ready messages of one priority."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txraft.machines.work_queue.lanes import Lane, smallest
from txraft.machines.work_queue.records import Message


def message(number: int, taken: int = 0) -> Message:
    return Message(number, b"", 5, 0, taken)


class Lanes(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 60), st.booleans())), max_size=60))
    def test_the_smallest_id_is_next(self, steps: list[tuple[int, bool] | None]) -> None:
        lane, there = Lane(), set[int]()
        for step in steps:
            if step is not None and step[0] not in there:
                there.add(step[0])
                lane.add(message(step[0], int(step[1])))
            elif step is None and there:
                self.assertEqual(lane.head().id, min(there))
                self.assertEqual(lane.pop().id, min(there))
                there.remove(min(there))
            self.assertEqual(lane.length, len(there))
            self.assertEqual([one.id for one in lane.all()], sorted(there))
            for count in (1, 3, 100):
                self.assertEqual([one.id for one in lane.first(count)], sorted(there)[:count])

    def test_what_comes_in_order_costs_one_place(self) -> None:
        lane = Lane()
        for number in (1, 2, 5, 4):
            lane.add(message(number))
        self.assertEqual((len(lane.front), lane.order, list(lane.back.values())), (3, [4], [message(4)]))

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
