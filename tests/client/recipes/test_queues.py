from __future__ import annotations

from tests.client.recipes.recipe_case import RecipeCase
from tests.support.recipe_world import Chances
from txraft.client.recipes.shared.queues import PlainQueue
from txraft.errors import Unknown
from txraft.machines.config_store import key_values

PATH = "/tests/queue"


class QueueTests(RecipeCase):
    def queue(self) -> PlainQueue:
        return PlainQueue(self.session()[1], PATH)

    def test_first_in_first_out(self) -> None:
        queue = self.queue()
        for value in (b"3", b"1", b"2"):
            self.result(queue.put(value))
        self.assertEqual(self.result(queue.count()), 3)
        self.assertEqual([self.result(self.queue().get()) for _ in range(4)], [b"3", b"1", b"2", None])

    def test_one_that_has_grown_beyond_what_can_be_sorted_at_once_can_be_emptied(self) -> None:
        """Found by review: with more than 131,072 values in it, every get was refused for ever."""
        self.patch(key_values, "KEYS_AT_ONCE_MAX", 3)
        queue = self.queue()
        for number in range(40):
            self.result(queue.put(b"%d" % number))
        self.assertEqual([self.result(queue.get()) for _ in range(41)], [*(b"%d" % number for number in range(40)), None])

    def test_a_get_can_wait(self) -> None:
        waiting = [self.start(self.queue().get(blocking=True)) for _ in range(2)]
        self.pass_time(30)
        self.result(self.queue().put(b"a"))
        self.pass_time(1)
        self.assertEqual([one.called for one in waiting].count(True), 1)
        self.result(self.queue().put(b"b"))
        self.assertEqual({self.result(one) for one in waiting}, {b"a", b"b"})

    def test_a_wait_that_is_too_long_is_none(self) -> None:
        self.assertIsNone(self.result(self.queue().get(blocking=True, timeout_s=1.0)))

    def test_nothing_is_got_twice(self) -> None:
        queue = self.queue()
        for number in range(30):
            self.result(queue.put(b"%d" % number))
        got: list[bytes] = []

        async def get_all(queue: PlainQueue) -> None:
            while (value := await queue.get()) is not None:
                got.append(value)

        getting = [self.start(get_all(self.queue())) for _ in range(4)]
        for one in getting:
            self.result(one, 30)
        self.assertEqual(sorted(got), sorted(b"%d" % number for number in range(30)))

    def test_an_unknown_outcome_is_told(self) -> None:
        _, session = self.session(Chances(unknown=1.0))
        self.failure_of(PlainQueue(session, PATH).put(b"a"), Unknown)
        self.assertEqual(self.result(self.queue().count()), 1)
