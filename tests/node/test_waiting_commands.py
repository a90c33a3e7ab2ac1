"""Commands that wait: first come, first served; as many as there is something for; answered once, whatever happens."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.support.callers import RecordingCaller
from tests.support.waits_world import WaitsWorld, told
from txraft.errors import NotApplied, Unknown
from txraft.limits import Limits
from txraft.statemachine.results import answer_of_problem


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = WaitsWorld(Limits(waits_max=6, waits_per_connection_max=4))
        self.caller = RecordingCaller()

    def put(self, *parcels: str, place: str = "here") -> None:
        for parcel in parcels:
            self.world.driver.call("parcels", "put", place=place, parcel=parcel)
        self.world.waits.applied()

    def ids(self) -> list[int]:
        """Requests that are proposed."""
        return [command.request.id for command, _ in self.world.proposed]

    def tearDown(self) -> None:
        commands = self.world.waits.commands
        if not self.world.waits.count and not self.world.proposed:
            self.world.waits.applied()
            self.assertEqual((commands._lines, commands._in_sessions), ({}, {}), "nothing waits, yet something is kept")


class Waiting(Case):
    def test_where_there_is_something_nobody_waits(self) -> None:
        self.put("a")
        self.world.take(self.caller)
        self.assertEqual(self.ids(), [1])
        self.world.settle()
        self.assertEqual(told(self.caller), {1: ["a"]})

    def test_without_wait_s_nobody_waits(self) -> None:
        self.world.take(self.caller, wait_s=0.0)
        self.assertEqual(self.world.settle(), [1])
        self.assertEqual(told(self.caller), {1: []})

    def test_it_goes_into_the_log_when_there_is_something(self) -> None:
        self.world.take(self.caller)
        self.put("x", place="elsewhere")
        self.assertEqual((self.ids(), self.world.waits.count), ([], 1))
        self.put("a")
        self.assertEqual((self.ids(), self.world.waits.count), ([1], 0))
        self.world.settle()
        self.assertEqual(told(self.caller), {1: ["a"]})

    def test_when_its_wait_is_over_its_answer_is_what_it_finds(self) -> None:
        self.world.take(self.caller, wait_s=2.0)
        self.world.pass_time(1.9)
        self.assertEqual(self.ids(), [])
        self.world.pass_time(0.3)
        self.assertEqual(self.world.settle(), [1])
        self.assertEqual(told(self.caller), {1: []})

    def test_nobody_waits_longer_than_a_minute(self) -> None:
        self.world.take(self.caller, wait_s=1e9)
        self.world.pass_time(60.3)
        self.assertEqual(self.ids(), [1])
        self.world.settle()


class FirstComeFirstServed(Case):
    def test_in_the_order_in_which_they_came(self) -> None:
        for number in (1, 2, 3):
            self.world.take(self.caller, number)
        self.put("a", "b")
        self.assertEqual(self.ids(), [1, 2])
        self.world.settle()
        self.put("c")
        self.world.settle()
        self.assertEqual(told(self.caller), {1: ["a"], 2: ["b"], 3: ["c"]})

    def test_nobody_overtakes_those_who_wait(self) -> None:
        self.world.take(self.caller, 1)
        self.world.driver.call("parcels", "put", place="here", parcel="a")
        self.world.take(self.caller, 2)
        self.world.waits.applied()
        self.assertEqual(self.ids(), [1])
        self.put("b")
        self.assertEqual(self.ids(), [1, 2])
        self.world.settle()

    def test_one_under_way_has_one_for_itself(self) -> None:
        self.put("a")
        self.world.take(self.caller, 1)
        self.world.take(self.caller, 2)
        self.assertEqual((self.ids(), self.world.waits.count), ([1], 1))
        self.world.settle()
        self.assertEqual(self.ids(), [])
        self.put("b")
        self.world.settle()
        self.assertEqual(told(self.caller), {1: ["a"], 2: ["b"]})

    def test_what_one_leaves_behind_the_next_gets(self) -> None:
        self.world.take(self.caller, 1)
        self.world.take(self.caller, 2)
        self.put("a")
        [(_, served)] = self.world.proposed
        self.world.proposed.clear()
        served.answer(1, answer_of_problem(Unknown("timeout")))
        served.flush()
        self.world.waits.applied()
        self.assertEqual((self.ids(), told(self.caller)), ([2], {1: "timeout"}))
        self.world.settle()
        self.assertEqual(told(self.caller)[2], ["a"])

    def test_four_who_would_take_ten_each_do_not_all_come_back_empty_because_of_ten(self) -> None:
        for number in range(1, 5):
            self.world.take(self.caller, number, count=10)
        self.put(*"abcdefghij")
        self.world.settle()
        self.assertEqual(told(self.caller), {1: list("abcdefghij")})
        self.put("k")
        self.world.settle()
        self.assertEqual(told(self.caller)[2], ["k"])
        self.assertNotIn(3, told(self.caller))

    def test_at_random_every_parcel_goes_to_one_and_every_command_is_answered_once(self) -> None:
        for seed in range(30):
            random, world, callers = Random(seed), WaitsWorld(), [RecordingCaller() for _ in range(3)]
            asked = put = 0
            for _ in range(120):
                match random.randrange(5):
                    case 0 | 1:
                        asked += 1
                        world.take(
                            random.choice(callers), asked, random.choice("ab"), random.choice([0.0, 0.5, 3.0]), count=random.choice([1, 2])
                        )
                    case 2:
                        put += 1
                        world.call("parcels", "put", place=random.choice("ab"), parcel=str(put))
                    case 3:
                        world.settle()
                    case 4:
                        world.pass_time(random.choice([0.1, 1.0]))
            world.pass_time(5.0)
            world.settle()
            answers = [value for caller in callers for value in told(caller).values()]
            self.assertEqual((len(answers), world.waits.count, world.waits.commands._lines), (asked, 0, {}), f"seed {seed}")
            left = world.driver.ask("parcels", "there", place="a") + world.driver.ask("parcels", "there", place="b")
            self.assertEqual(
                sorted([parcel for value in answers for parcel in value] + left, key=int), [str(n + 1) for n in range(put)], seed
            )


class Bounds(Case):
    def test_too_many(self) -> None:
        for number in range(4):
            self.world.take(self.caller, number)
        error = self.assertRaises(NotApplied, self.world.take, self.caller, 5, "there")
        self.assertEqual(error.code, "too_many_waits")
        self.assertEqual(len(self.world.waits.commands._lines), 1)
        self.world.waits.forget(self.caller)

    def test_when_nothing_more_can_be_proposed_they_keep_their_places(self) -> None:
        """Found by review: all that waited were answered `overloaded`, one after the other, for one parcel."""
        for number in (1, 2, 3):
            self.world.take(self.caller, number)
        self.world.full = True
        self.put("a")
        self.world.pass_time(0.5)
        self.assertEqual((told(self.caller), self.world.waits.count), ({}, 3))
        self.world.full = False
        self.world.pass_time(0.1)
        self.assertEqual(self.ids(), [1])
        self.world.settle()
        self.world.waits.forget(self.caller)

    def test_a_line_that_is_gone_does_not_take_the_next_one_of_its_topic_with_it(self) -> None:
        """Found by review: what the next one had promised was forgotten, and whoever waited in it was not told of anything any more."""
        self.world.take(self.caller, 1)
        self.world.full = True
        self.put("a")
        self.world.waits.forget(self.caller)
        self.world.full = False
        self.world.take(self.caller, 2)
        self.world.waits.applied()
        self.world.take(self.caller, 3)
        self.assertEqual((self.ids(), self.world.waits.count), ([2], 1))
        self.world.settle()
        self.put("b")
        self.world.settle()
        self.assertEqual(told(self.caller), {2: ["a"], 3: ["b"]})

    def test_one_whose_wait_is_over_then_is_told_so(self) -> None:
        self.world.take(self.caller, wait_s=1.0)
        self.world.full = True
        self.world.pass_time(1.2)
        self.assertEqual(told(self.caller), {1: "overloaded"})

    def test_one_that_need_not_wait_is_told_so(self) -> None:
        self.put("a")
        self.world.full = True
        self.assertEqual(self.assertRaises(NotApplied, self.world.take, self.caller).code, "overloaded")
        self.world.full = False
        self.world.take(self.caller, 2)
        self.assertEqual(self.ids(), [2])
        self.world.settle()

    def test_lines_are_forgotten(self) -> None:
        """Found by review: each name that anybody ever waited on was kept."""
        for number in range(100):
            self.world.take(self.caller, number, place=f"place {number}", wait_s=1.0)
            self.world.waits.forget(self.caller)
            self.world.take(self.caller, 1_000 + number, place=f"place {number}", wait_s=0.1)
            self.world.pass_time(0.3)
            self.world.settle()
        self.assertEqual((len(self.world.waits.commands._lines), self.world.waits.count), (0, 0))


class Gone(Case):
    def test_of_one_that_has_gone_nothing_is_proposed(self) -> None:
        other = RecordingCaller()
        self.world.take(other, 7)
        self.world.take(self.caller, 1)
        self.world.waits.forget(other)
        self.put("a")
        self.assertEqual(self.world.settle(), [1])
        self.assertEqual((told(self.caller), told(other)), ({1: ["a"]}, {}))

    def test_with_leadership_all_may_be_sent_again(self) -> None:
        self.world.take(self.caller, 1)
        self.world.take(self.caller, 2, place="there")
        self.world.waits.commands.lost("n1 leads no more")
        self.assertEqual(told(self.caller), {1: "leadership_lost", 2: "leadership_lost"})
        self.put("a")
        self.assertEqual(self.ids(), [])

    def test_whoever_is_told_may_withdraw_others(self) -> None:
        caller, other = RecordingCaller(), RecordingCaller()
        self.patch(caller, "flush", lambda: self.world.waits.forget(other))
        self.world.take(caller, 1)
        self.world.take(other, 2)
        self.world.waits.commands.lost("for the test")
        self.assertEqual((len(caller.answers), other.answers, self.world.waits.count), (1, [], 0))

    def test_at_the_end_all_are_told(self) -> None:
        self.world.take(self.caller, 1)
        self.world.take(self.caller, 2, place="there")
        self.world.waits.stop("for the test")
        self.assertEqual(told(self.caller), {1: "shutting_down", 2: "shutting_down"})


class Sessions(Case):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.world.driver.open_session()
        self.again = RecordingCaller()

    def test_sent_again_while_under_way_it_does_not_wait(self) -> None:
        self.put("a")
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.world.take(self.again, 9, session=self.session, serial=1)
        self.assertEqual(self.ids(), [1, 9])
        self.world.settle()
        self.assertEqual((told(self.caller), told(self.again)), ({1: ["a"]}, {9: ["a"]}))

    def test_sent_again_when_answered_it_does_not_wait(self) -> None:
        self.put("a")
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.world.settle()
        self.world.take(self.again, 9, session=self.session, serial=1)
        self.world.settle()
        self.assertEqual(told(self.again), {9: ["a"]})

    def test_sent_again_while_it_waits_it_keeps_its_place(self) -> None:
        """Found by review: both waited, and the one nobody listened to any more was served first."""
        other = RecordingCaller()
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.world.take(other, 5)
        self.world.take(self.again, 9, session=self.session, serial=1)
        self.assertEqual((told(self.caller), self.world.waits.count), ({1: "sent_again"}, 2))
        self.put("a")
        self.assertEqual(self.ids(), [9])
        self.world.settle()
        self.put("b")
        self.world.settle()
        self.assertEqual((told(self.again), told(other)), ({9: ["a"]}, {5: ["b"]}))

    def test_overtaken_by_a_try_of_itself_it_is_not_said_to_be_not_applied(self) -> None:
        """Found by review: the earlier of two tries came late, the later one was told `not_applied`, and then the command was applied."""
        self.world.take(self.again, 9, session=self.session, serial=1)
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.put("a")
        self.world.settle()
        self.assertEqual(told(self.caller), {1: ["a"]})
        self.assertEqual([problem[1:3] for problem in self.again.problems()], [("unknown", "sent_again")])

    def test_sent_again_over_a_connection_with_too_many_both_are_told(self) -> None:
        self.world.take(self.caller, 1, session=self.session, serial=1)
        for number in range(4):
            self.world.take(self.again, number, place="there")
        error = self.assertRaises(NotApplied, self.world.take, self.again, 9, session=self.session, serial=1)
        self.assertEqual((error.code, told(self.caller)), ("too_many_waits", {1: "sent_again"}))
        self.put("a")
        self.assertEqual(self.ids(), [])
        self.world.waits.forget(self.again)

    def test_when_the_connection_that_was_replaced_closes_nothing_happens(self) -> None:
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.world.take(self.again, 9, session=self.session, serial=1)
        self.world.waits.forget(self.caller)
        self.put("a")
        self.world.settle()
        self.assertEqual(told(self.again), {9: ["a"]})

    def test_of_a_session_that_is_gone_nothing_waits(self) -> None:
        self.world.take(self.caller, 1, session=999, serial=1)
        self.world.settle()
        self.assertEqual(told(self.caller), {1: "session_expired"})

    def test_a_session_that_expires_meanwhile(self) -> None:
        self.world.take(self.caller, 1, session=self.session, serial=1)
        self.world.driver.clock(self.world.driver.time_ms + 3_600_000)
        self.put("a")
        self.world.settle()
        self.assertEqual(told(self.caller), {1: "session_expired"})
        self.assertEqual(self.world.driver.ask("parcels", "there", place="here"), ["a"])


class BadMachines(Case):
    def test_a_machine_that_cannot_say_on_what_does_not_let_wait(self) -> None:
        self.world.call("parcels", "break_it", how="waits_on")
        self.world.take(self.caller)
        self.world.settle()
        self.assertEqual(told(self.caller), {1: []})
        self.assertEqual([failure[1] for failure in self.world.driver.failures], ["waits_on"])

    def test_one_that_cannot_say_how_many_has_nothing(self) -> None:
        for how in ("supply", "text"):
            self.world.call("parcels", "break_it", how=how)
            self.world.take(self.caller, wait_s=1.0)
            self.put("a")
            self.assertEqual(self.ids(), [])
            self.world.pass_time(1.2)
            self.world.settle()
            self.assertEqual(told(self.caller), {1: ["a"]})
            self.caller = RecordingCaller()
