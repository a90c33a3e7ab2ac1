"""What a machine may know besides its state and arguments."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.statemachine.context import Context


class TheContext(SynchronousTestCase):
    def test_time_is_log_time_in_seconds(self) -> None:
        self.assertEqual(Context(time_ms=1_234_567).time, 1234.567)

    def test_random_numbers_follow_from_index_and_time(self) -> None:
        def draw(context: Context) -> list[float]:
            return [context.random.random() for _ in range(3)]

        self.assertEqual(draw(Context(5, 1, 9)), draw(Context(5, 2, 9)))
        others = [Context(6, 1, 9), Context(5, 1, 10), Context(9, 1, 5)]
        self.assertEqual(len({tuple(draw(context)) for context in [*others, Context(5, 1, 9)]}), 4)

    def test_random_numbers_are_those_of_every_version(self) -> None:
        self.assertEqual(Context(1, 1, 0).random.random(), 0.9776462743838505)

    def test_moving_on_leaves_nothing_of_the_entry_before(self) -> None:
        context = Context(5, 1, 9, session=4)
        first = context.random.random()
        context.move_to(6, 2, 10)
        self.assertEqual((context.index, context.term, context.time_ms, context.session), (6, 2, 10, 0))
        context.move_to(5, 1, 9)
        self.assertEqual(context.random.random(), first)
