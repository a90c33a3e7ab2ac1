"""Polls for events: answered as soon as there is one, at the cost of those that match; never with one twice, never past one."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.callers import RecordingCaller
from tests.support.waits_world import WaitsWorld, told
from txraft.errors import NotApplied
from txraft.limits import Limits, Timing
from txraft.node.polls import GATHER_S
from txraft.statemachine import events
from txraft.statemachine.events import EventHistory


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = WaitsWorld()
        self.caller = RecordingCaller()

    def answered(self) -> dict[int, Any]:
        """Of each request: the topics of its events, or the code of what it was answered instead."""
        self.world.look()
        return {
            number: value if isinstance(value, str) else [event["topic"] for event in value["events"]]
            for number, value in told(self.caller).items()
        }

    def place(self, number: int = 1) -> tuple[int, int]:
        value = told(self.caller)[number]
        return value["next"], value["skip"]

    def ring(self, *topics: str) -> int:
        index: int = self.world.call("bell", "ring_all", topics=list(topics))
        return index

    def count_reads(self) -> list[bytes]:
        """What is looked for from now on."""
        read, reads = EventHistory.read, []

        def counted(history: EventHistory, topic: bytes, *where: Any) -> Any:
            reads.append(topic)
            return read(history, topic, *where)

        self.patch(EventHistory, "read", counted)
        return reads


class Answering(Case):
    def test_what_has_happened_is_answered_at_once(self) -> None:
        index = self.ring("a", "b")
        self.world.poll(self.caller, first=index, wait_ms=5_000)
        self.assertEqual(self.answered(), {1: ["a", "b"]})
        self.assertEqual((self.place(), self.world.waits.count), ((index + 1, 0), 0))

    def test_what_happens_later_is_waited_for(self) -> None:
        self.world.poll(self.caller, first=1, topic=b"a", prefix=False, wait_ms=5_000)
        self.ring("b")
        self.assertEqual((self.answered(), self.world.waits.count), ({}, 1))
        index = self.ring("b", "a")
        self.assertEqual(self.answered(), {1: ["a"]})
        self.assertEqual(self.place(), (index + 1, 0))

    def test_what_happens_in_the_turn_of_the_poll_is_seen(self) -> None:
        self.world.poll(self.caller, wait_ms=5_000)
        self.ring("a")
        self.assertEqual(self.answered(), {1: ["a"]})

    def test_a_prefix(self) -> None:
        for number, topic in enumerate((b"", b"order/", b"order/7", b"orders")):
            self.world.poll(self.caller, number, topic=topic, first=1, wait_ms=5_000)
        self.world.look()
        self.ring("order/7")
        self.assertEqual(self.answered(), {0: ["order/7"], 1: ["order/7"], 2: ["order/7"]})

    def test_when_its_wait_is_over_it_learns_where_to_go_on(self) -> None:
        self.world.poll(self.caller, topic=b"a", first=1, wait_ms=2_000)
        self.world.look()
        index = self.ring("b")
        self.world.pass_time(1.8)
        self.assertEqual(self.answered(), {})
        self.world.pass_time(0.4)
        self.assertEqual(self.answered(), {1: []})
        self.assertEqual(self.place(), (index + 1, 0))

    def test_without_a_wait_the_answer_comes_at_once(self) -> None:
        self.world.poll(self.caller, first=1)
        self.assertEqual(self.answered(), {1: []})
        self.assertEqual((self.place(), self.world.waits.count), ((1, 0), 0))

    def test_a_machine_that_is_not_there(self) -> None:
        error = self.assertRaises(NotApplied, self.world.poll, self.caller, machine="nothing")
        self.assertEqual((error.code, self.world.waits.count), ("unknown_machine", 0))


class Places(Case):
    def test_from_the_next_one_on(self) -> None:
        index = self.ring("a")
        self.world.poll(self.caller, 1)
        self.world.poll(self.caller, 2, wait_ms=5_000)
        self.assertEqual(self.answered(), {1: []})
        self.assertEqual(self.place(), (index + 1, 0))
        self.ring("b")
        self.assertEqual(self.answered()[2], ["b"])

    def test_what_comes_next_is_not_known_to_one_that_is_still_catching_up(self) -> None:
        self.world.unready = True
        self.assertEqual(self.assertRaises(NotApplied, self.world.poll, self.caller).code, "not_ready")
        self.world.poll(self.caller, 2, first=1)
        self.assertEqual(self.answered(), {2: []})

    def test_a_place_in_the_future_is_waited_for_and_kept_whole(self) -> None:
        coming = self.ring("a") + 1
        self.world.poll(self.caller, 1, first=coming, skip=1, wait_ms=5_000)
        self.world.poll(self.caller, 2, first=coming + 1, wait_ms=5_000)
        self.world.poll(self.caller, 3, first=coming + 7, skip=3)
        self.assertEqual((self.answered(), self.place(3)), ({3: []}, (coming + 7, 3)))
        self.world.waits.applied()
        self.assertEqual(self.ring("b", "c"), coming)
        self.assertEqual(self.answered(), {1: ["c"], 3: []})
        self.ring("d")
        self.assertEqual(self.answered(), {1: ["c"], 2: ["d"], 3: []})

    def test_a_place_that_is_gone(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 2)
        oldest = [self.ring("a") for _ in range(4)][2]
        self.world.poll(self.caller, first=oldest - 1, wait_ms=5_000)
        self.assertEqual(self.answered(), {1: "compacted"})

    def test_a_quiet_watch_of_a_busy_machine_does_not_lose_its_place(self) -> None:
        """Found by review: when its wait was over it was looked for from where it began, which was no longer kept."""
        self.patch(events, "EVENTS_KEPT_MAX", 3)
        self.world.poll(self.caller, topic=b"quiet", first=1, wait_ms=1_000)
        self.world.look()
        index = [self.ring("loud") for _ in range(20)][-1]
        self.world.pass_time(1.2)
        self.assertEqual(self.answered(), {1: []})
        self.assertEqual(self.place(), (index + 1, 0))

    def test_and_sees_what_it_waits_for(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 3)
        self.world.poll(self.caller, topic=b"quiet", first=1, wait_ms=5_000)
        self.world.look()
        for _ in range(20):
            self.ring("loud")
        self.ring("loud", "quiet")
        self.assertEqual(self.answered(), {1: ["quiet"]})


class OwnHistories(Case):
    def poll(self, number: int, **fields: Any) -> None:
        self.world.poll(self.caller, number, machine="chronicle", **fields)

    def test_a_signal_wakes_those_who_wait_for_a_version(self) -> None:
        self.poll(1, topic=b"k", prefix=False, first=1, wait_ms=5_000)
        self.poll(2, topic=b"other", first=1, wait_ms=5_000)
        self.world.look()
        self.world.call("chronicle", "write", key=b"k")
        self.assertEqual((self.answered(), self.world.waits.count), ({1: [b"k"]}, 1))
        self.assertEqual(self.place(), (2, 0))

    def test_so_does_what_the_machine_does_by_itself(self) -> None:
        self.world.call("chronicle", "write_later", seconds=5)
        self.poll(1, topic=b"late", first=1, wait_ms=5_000)
        self.world.look()
        self.world.driver.clock(self.world.driver.time_ms + 6_000)
        self.world.waits.applied()
        self.assertEqual(self.answered(), {1: [b"late"]})

    def test_compacted(self) -> None:
        self.world.call("chronicle", "write", key=b"k")
        self.world.call("chronicle", "forget_before", revision=2)
        self.poll(1, first=1)
        self.poll(2, first=2)
        self.assertEqual(self.answered(), {1: "compacted", 2: []})

    def test_whatever_is_wrong_with_one_is_answered_and_halts_nobody(self) -> None:
        self.world.call("chronicle", "write", key=b"k")
        for number, how in enumerate(("events", "newest", "read", "page", "unplain")):
            self.world.call("chronicle", "break_it", how="")
            self.poll(number, topic=b"k", first=number + 2, wait_ms=5_000)
            self.world.look()
            self.world.call("chronicle", "break_it", how=how)
            self.world.call("chronicle", "write", key=b"k")
            self.assertEqual(self.answered()[number], "machine_error", how)
            self.world.pass_time(0.2)


class Costs(Case):
    def test_only_those_that_match_are_looked_at(self) -> None:
        for number in range(500):
            self.world.poll(self.caller, number, topic=b"t%d" % number, prefix=bool(number % 2), first=1, wait_ms=60_000)
        self.world.look()
        reads = self.count_reads()
        for _ in range(10):
            self.ring("none of them")
        self.assertEqual(reads, [])
        self.ring("t7", "t8")
        self.assertEqual((self.answered(), sorted(reads)), ({7: ["t7"], 8: ["t8"]}, [b"t7", b"t8"]))
        self.world.pass_time(1.0)
        self.assertEqual((len(reads), self.world.waits.count), (2, 498))

    def test_thousands_that_match_are_answered_in_slices(self) -> None:
        self.world = WaitsWorld(Limits(waits_per_connection_max=10_000), Timing(apply_slice_s=-1.0))
        for number in range(5_000):
            self.world.poll(self.caller, number, first=1, wait_ms=60_000)
        self.world.look()
        self.ring("a")
        self.assertEqual((len(self.answered()), self.caller.flushes, self.world.waits.count), (5_000, 5_000, 0))

    def test_what_is_answered_together_is_flushed_together(self) -> None:
        for number in range(100):
            self.world.poll(self.caller, number, first=1, wait_ms=60_000)
        self.world.look()
        self.ring("a")
        self.assertEqual((len(self.answered()), self.caller.flushes), (100, 1))

    def test_those_who_watch_are_told_of_several_writes_at_once(self) -> None:
        self.world.poll(self.caller, 1, first=1, wait_ms=60_000)
        self.world.poll(self.caller, 2, first=1, topic=b"b", prefix=False, wait_ms=60_000)
        self.world.look()
        self.ring("a")
        self.world.clock.advance(GATHER_S / 2)
        self.ring("b")
        self.assertEqual(self.caller.answers, [])
        self.assertEqual((self.answered(), self.caller.flushes), ({1: ["a", "b"], 2: ["b"]}, 1))

    def test_nothing_is_left_behind(self) -> None:
        for number in range(20):
            self.world.poll(self.caller, number, topic=b"t%d" % number, prefix=bool(number % 2), first=1, wait_ms=1_000)
        self.ring("t1", "t2")
        self.world.look()
        self.world.pass_time(1.2)
        self.world.look()
        [waiting] = self.world.waits.polls._waiting.values()
        self.assertEqual((waiting.exact, waiting.prefixed, waiting.lengths, waiting.in_order), ({}, {}, {}, []))
        self.assertEqual(self.world.waits.count, 0)

    def test_a_short_topic_is_not_held_against_prefixes_of_all_greater_lengths(self) -> None:
        """Found by review: with 2,048 of them waiting, a delete of 32,768 keys took a second and a half on each server that had them."""
        lengths = [*range(300, 1, -1), 5, 5]
        for number, length in enumerate(lengths):
            self.world.poll(self.caller, number, topic=b"t" * length, prefix=True, first=1, wait_ms=60_000)
        self.world.look()
        [waiting] = self.world.waits.polls._waiting.values()
        self.assertEqual((waiting.lengths_up_to(1), waiting.lengths_up_to(5), len(waiting.lengths_up_to(999))), ([], [2, 3, 4, 5], 299))
        self.ring("ttttt")
        self.assertEqual(sorted(lengths[number] for number in self.answered()), [2, 3, 4, 5, 5, 5])
        self.assertEqual(waiting.lengths_up_to(7), [6, 7])

    def test_there_is_no_room_for_more_than_may_wait_looked_at_or_not(self) -> None:
        self.world = WaitsWorld(Limits(waits_max=3))
        for number in range(3):
            self.world.poll(self.caller, number, first=1, wait_ms=1_000)
        error = self.assertRaises(NotApplied, self.world.poll, self.caller, 9, first=1)
        self.assertEqual(error.code, "too_many_waits")


class Gone(Case):
    def test_whoever_has_gone_is_not_answered_looked_at_or_not(self) -> None:
        """Found by review: of a poll not looked at yet nothing was known, and it waited on for nobody."""
        self.world.poll(self.caller, 1, first=1, wait_ms=5_000)
        self.world.look()
        self.world.poll(self.caller, 2, first=1, wait_ms=5_000)
        self.world.waits.forget(self.caller)
        self.ring("a")
        self.world.look()
        self.assertEqual((self.caller.answers, self.world.waits.count), ([], 0))

    def test_at_the_end_all_are_told_looked_at_or_not(self) -> None:
        """Found by review: polls that had been woken were never answered."""
        for number in range(3):
            self.world.poll(self.caller, number, first=1, wait_ms=5_000)
        self.world.look()
        self.world.driver.call("bell", "ring", topic="a")
        self.world.poll(self.caller, 7, first=1, wait_ms=5_000)
        self.world.waits.stop("for the test")
        self.assertEqual(self.answered(), dict.fromkeys((0, 1, 2, 7), "shutting_down"))
        self.world.pass_time(6)
        self.assertEqual(self.world.waits.count, 0)


class AtRandom(SynchronousTestCase):
    def test_chains_of_polls_see_every_event_once_and_in_order(self) -> None:
        for seed in range(40):
            self.run_chains(seed)

    def run_chains(self, seed: int) -> None:
        random, world = Random(seed), WaitsWorld()
        watches = [(topic, prefix) for topic in ("", "a", "ab", "b") for prefix in (True, False)]
        places: list[tuple[int, int]] = [(1, 0)] * len(watches)
        seen: list[list[tuple[int, int]]] = [[] for _ in watches]
        asking: dict[int, tuple[RecordingCaller, int]] = {}
        happened: list[tuple[int, int, str]] = []
        for step in range(150):
            for number, (topic, prefix) in enumerate(watches):
                if number not in asking and random.random() < 0.7:
                    caller, (first, skip) = RecordingCaller(), places[number]
                    asking[number] = caller, step
                    wait_ms = random.choice([0, 100, 3_000])
                    world.poll(caller, step, topic=topic.encode(), prefix=prefix, first=first, skip=skip, wait_ms=wait_ms)
            if random.random() < 0.6:
                topics = [random.choice(["a", "ab", "abc", "b", "c"]) for _ in range(random.randrange(4))]
                index = world.driver.call("bell", "ring_all", topics=topics)
                happened += [(index, order, topic) for order, topic in enumerate(topics)]
            match random.randrange(3):
                case 0:
                    world.waits.applied()
                case 1:
                    world.look()
                case 2:
                    world.pass_time(0.1)
            for number, (caller, request_id) in list(asking.items()):
                if caller.flushed:
                    value = told(caller)[request_id]
                    places[number] = value["next"], value["skip"]
                    seen[number] += [(event["index"], event["fields"]["number"]) for event in value["events"]]
                    del asking[number]
        world.pass_time(4.0)
        world.look()
        for number, (caller, request_id) in asking.items():
            seen[number] += [(event["index"], event["fields"]["number"]) for event in told(caller)[request_id]["events"]]
        for (topic, prefix), found, place in zip(watches, seen, places, strict=True):
            matching = [(index, order) for index, order, name in happened if (name.startswith(topic) if prefix else name == topic)]
            self.assertEqual(found, matching[: len(found)], f"seed {seed}, {topic!r}")
            self.assertEqual([event for event in matching[len(found) :] if event < place], [], f"seed {seed}: passed over")
        self.assertEqual(world.waits.count, 0)
