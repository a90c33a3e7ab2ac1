"""What comes back as it was, and what is named because it does not."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.values_given import PLAIN, UNPLAIN, Shelf, Spot
from txraft.statemachine import plain
from txraft.statemachine.plain import LEAVES, SAMPLE_COUNT, SAMPLE_WIDTH, require_plain, require_plain_sample
from txraft.statemachine.values import decode_value, encode_value


class PlainTests(SynchronousTestCase):
    def test_what_is_plain_passes_and_can_be_read_again(self) -> None:
        for value in PLAIN.values():
            require_plain(value)
            require_plain_sample(value)
            decode_value(encode_value(value))

    def test_everything_else_is_named_though_it_can_be_encoded(self) -> None:
        for value, named in UNPLAIN.values():
            encode_value(value)
            for require in (require_plain, require_plain_sample):
                error = self.assertRaises(TypeError, require, value)
                self.assertTrue(str(error).startswith(named), error)

    def test_all_of_a_result_is_looked_at(self) -> None:
        for large in ([0] * 100_000, [[0]] * 10_000, {str(number): [number] for number in range(10_000)}.values()):
            require_plain([*large])
            self.assertRaises(TypeError, require_plain, [*large, {1}])

    def test_some_of_a_state_is(self) -> None:
        require_plain_sample([*range(SAMPLE_WIDTH), {1}])
        self.assertRaises(TypeError, require_plain_sample, [*range(SAMPLE_WIDTH - 1), {1}])
        wide = [list(range(SAMPLE_WIDTH)) for _ in range(20)]
        self.assertRaises(TypeError, require_plain_sample, [*wide, {1}])
        cycle: list[Any] = []
        cycle.append(cycle)
        require_plain_sample(cycle)

    def test_looking_at_some_has_an_end(self) -> None:
        looked: list[int] = []
        contents = plain._contents

        def counted(one: Any, found: Any, width: int | None = None) -> Any:
            looked.append(width or 0)
            return contents(one, found, width)

        self.patch(plain, "_contents", counted)
        require_plain_sample([[{"a": [number]} for number in range(300)] for _ in range(300)])
        self.assertLess(sum(looked), (SAMPLE_COUNT + 1) * SAMPLE_WIDTH)
        self.assertLess(len(looked), 2 * SAMPLE_COUNT)

    def test_records_of_scalars_are_taken_at_their_word_and_others_are_not(self) -> None:
        require_plain([Spot(1), Shelf([])])
        self.assertIn(Spot, LEAVES)
        self.assertNotIn(Shelf, LEAVES)
        self.assertRaises(TypeError, require_plain, [Spot(1), Shelf([{1}])])
        self.assertRaises(TypeError, require_plain_sample, Spot({1}))  # type: ignore[arg-type]
