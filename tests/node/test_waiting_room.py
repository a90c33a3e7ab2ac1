"""Who waits: how many, on whose behalf, until when."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.support.callers import RecordingCaller
from txraft.errors import NotApplied
from txraft.limits import Limits
from txraft.node import waiting_room
from txraft.node.waiting_room import WaitingRoom


class Guest:
    """A `Waiter` that remembers what becomes of it, and may do something when it is told."""

    def __init__(self, room: WaitingRoom, caller: RecordingCaller, then: Callable[[], None] = lambda: None) -> None:
        self.room, self.caller, self.then = room, caller, then
        self.heard: list[str] = []
        self.size_bytes = 10

    def overdue(self) -> None:
        self.room.leave(self)
        self.heard.append("overdue")
        self.then()

    def dismissed(self, problem: NotApplied | None) -> None:
        self.heard.append("dismissed" if problem is None else problem.code)
        self.then()


class WaitingRoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = WaitingRoom(Limits(waits_max=5, waits_per_connection_max=3))
        self.one, self.other = RecordingCaller(), RecordingCaller()

    def enter(self, caller: RecordingCaller, until_s: float, then: Callable[[], None] = lambda: None) -> Guest:
        guest = Guest(self.room, caller, then)
        self.room.enter(guest, until_s)
        return guest

    def test_waits_end_when_they_are_over_and_not_before(self) -> None:
        guests = [self.enter(caller, until_s) for caller, until_s in ((self.one, 1.0), (self.one, 2.0), (self.other, 2.04))]
        self.room.expire(0.99)
        self.assertEqual([guest.heard for guest in guests], [[], [], []])
        self.room.expire(1.11)
        self.assertEqual([guest.heard for guest in guests], [["overdue"], [], []])
        self.room.expire(5.0)
        self.assertEqual(([guest.heard for guest in guests], len(self.room)), ([["overdue"]] * 3, 0))

    def test_what_they_keep_is_bounded_too(self) -> None:
        self.room = WaitingRoom(Limits(waits_bytes_max=35, waits_per_connection_bytes_max=25))
        first, _ = self.enter(self.one, 1.0), self.enter(self.one, 1.0)
        self.assertIn("connection", self.assertRaises(NotApplied, self.enter, self.one, 1.0).message)
        self.enter(self.other, 1.0)
        error = self.assertRaises(NotApplied, self.enter, self.other, 1.0)
        self.assertEqual((error.code, "node" in error.message), ("too_many_waits", True))
        self.room.leave(first)
        self.enter(self.one, 1.0)
        self.room.expire(5.0)
        self.assertEqual((self.room._bytes, len(self.room._bytes_of)), (0, 0))

    def test_nobody_waits_beyond_the_bounds(self) -> None:
        for _ in range(3):
            self.enter(self.one, 1.0)
        error = self.assertRaises(NotApplied, self.enter, self.one, 1.0)
        self.assertEqual(error.code, "too_many_waits")
        self.assertIn("connection", error.message)
        leaving, _ = [self.enter(self.other, 1.0) for _ in range(2)]
        error = self.assertRaises(NotApplied, self.enter, self.other, 1.0)
        self.assertIn("node", error.message)
        self.room.leave(leaving)
        self.enter(self.other, 1.0)
        self.assertEqual(len(self.room), 5)

    def test_who_leaves_is_told_nothing_more_and_leaves_once(self) -> None:
        guest = self.enter(self.one, 1.0)
        self.assertEqual([self.room.leave(guest), self.room.leave(guest)], [True, False])
        self.room.expire(5.0)
        self.room.forget(self.one)
        self.assertEqual(guest.heard, [])

    def test_a_caller_that_has_gone_takes_its_own_along(self) -> None:
        gone, stays = self.enter(self.one, 1.0), self.enter(self.other, 1.0)
        self.room.forget(self.one)
        self.room.forget(self.one)
        self.assertEqual((gone.heard, stays.heard, len(self.room)), (["dismissed"], [], 1))

    def test_some_callers_are_dismissed(self) -> None:
        gone, stays = self.enter(self.one, 1.0), self.enter(self.other, 1.0)
        self.room.dismiss(NotApplied("unreachable"), lambda caller: caller is self.one)
        self.assertEqual((gone.heard, stays.heard), (["unreachable"], []))

    def test_whoever_is_told_may_take_others_along(self) -> None:
        """Found by review: the second was looked for again, and the node halted."""
        ends: list[Callable[[], None]] = [
            lambda: self.room.expire(5.0),
            lambda: self.room.dismiss(NotApplied("x"), lambda caller: True),
        ]
        for end in ends:
            first = self.enter(self.one, 1.0, lambda: self.room.forget(self.other))
            others = [self.enter(self.other, until_s) for until_s in (1.0, 1.0, 2.0)]
            end()
            self.assertEqual(len(first.heard), 1)
            self.assertEqual([guest.heard for guest in others], [["dismissed"]] * 3)
            self.assertEqual(len(self.room), 0)

    def test_many_that_are_over_at_once_end_one_portion_after_the_other(self) -> None:
        self.patch(waiting_room, "ENDED_AT_ONCE_MAX", 2)
        guests = [self.enter(caller, 1.0) for caller in (self.one, self.other, self.one, self.other, self.one)]
        ended = []
        for _ in range(3):
            self.room.expire(5.0)
            ended.append(sum(bool(guest.heard) for guest in guests))
        self.assertEqual(ended, [2, 4, 5])

    def test_nothing_is_left_behind(self) -> None:
        guests = [self.enter(self.one, 1.0), self.enter(self.other, 1.0)]
        self.room.expire(5.0)
        for guest in guests:
            self.room.enter(guest, 7.0)
            self.room.leave(guest)
        self.assertEqual((self.room._slots, self.room._slot_of, self.room._by_caller), ({}, {}, {}))
