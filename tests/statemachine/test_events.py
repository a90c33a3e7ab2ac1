"""The history of what a machine's commands emitted: bounded, read by pages, part of the state."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from tests.statemachine.watched_machines import BAD_FIELDS, BAD_TOPICS, MODULE, WRONG_EVENTS
from txraft.errors import NotApplied, Refused, Unknown
from txraft.limits import EVENTS_BYTES_MAX, EVENTS_KEPT_BYTES_MAX, EVENTS_KEPT_MAX, TOPIC_BYTES_MAX
from txraft.statemachine import events
from txraft.statemachine.events import EventHistory, History, Page, encode_event, topic_bytes
from txraft.statemachine.values import decode_value

Seen = tuple[int, str, int]
"""Index, topic, number."""


def filled(*happened: tuple[int, str], size: int = 0) -> EventHistory:
    history = EventHistory()
    for number, (index, topic) in enumerate(happened):
        history.append(index, topic.encode(), encode_event({"n": number, "text": "x" * size}))
    return history


def seen(page: Page) -> list[Seen]:
    return [(event["index"], event["topic"], decode_value(event["fields"])["n"]) for event in page.events]


def read_all(history: History, topic: bytes, prefix: bool, first: int, skip: int = 0, *, pages_max: int = 10_000) -> tuple[list[Seen], int]:
    """All pages from a place on, and how many there were."""
    found: list[Seen] = []
    for pages in range(pages_max):
        page = history.read(topic, prefix, first, skip)
        found += seen(page)
        if (page.next, page.skip) == (first, skip):
            return found, pages
        first, skip = page.next, page.skip
    raise AssertionError(f"no end after {pages_max} pages")


class Reading(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = filled((3, "a"), (3, "ab"), (3, "b"), (5, "a"), (8, "ab"))

    def test_one_topic(self) -> None:
        page = self.history.read(b"a", False, 1, 0)
        self.assertEqual(seen(page), [(3, "a", 0), (5, "a", 3)])
        self.assertEqual((page.next, page.skip), (9, 0))

    def test_a_prefix_and_all(self) -> None:
        self.assertEqual(seen(self.history.read(b"a", True, 1, 0)), [(3, "a", 0), (3, "ab", 1), (5, "a", 3), (8, "ab", 4)])
        self.assertEqual(len(self.history.read(b"", True, 1, 0).events), 5)
        self.assertEqual(self.history.read(b"", False, 1, 0).events, [])

    def test_from_a_place_within_an_index_on(self) -> None:
        numbers = {skip: [n for _, _, n in seen(self.history.read(b"", True, 3, skip))] for skip in (1, 2, 3, 9, 1 << 60)}
        self.assertEqual(numbers, {1: [1, 2, 3, 4], 2: [2, 3, 4], 3: [3, 4], 9: [3, 4], 1 << 60: [3, 4]})

    def test_an_index_without_events_passes_over_none(self) -> None:
        self.assertEqual(seen(self.history.read(b"", True, 4, 1)), [(5, "a", 3), (8, "ab", 4)])

    def test_a_place_in_the_future_is_kept_whole(self) -> None:
        """Found by review: a server behind gave back another place, and the watch saw the events of that index a second time."""
        for place in ((9, 0), (9, 2), (20, 5)):
            page = self.history.read(b"", True, *place)
            self.assertEqual((page.events, page.next, page.skip), ([], *place))

    def test_nothing_yet(self) -> None:
        history = EventHistory()
        self.assertEqual((history.newest, history.oldest), (0, 1))
        self.assertEqual(history.read(b"", True, 1, 0), Page([], 1, 0))


class Pages(SynchronousTestCase):
    def test_a_page_is_bounded_in_bytes_and_goes_on_within_an_index(self) -> None:
        history = filled(*[(7, "big")] * 12, size=100_000)
        page = history.read(b"", True, 1, 0)
        self.assertEqual([n for _, _, n in seen(page)], [0, 1, 2, 3, 4])
        self.assertEqual((page.next, page.skip), (7, 5))
        self.assertEqual([n for _, _, n in read_all(history, b"", True, 1)[0]], list(range(12)))

    def test_the_first_event_fits_always(self) -> None:
        history = EventHistory()
        history.append(4, b"t" * TOPIC_BYTES_MAX, encode_event({"n": 0, "text": "x" * (EVENTS_BYTES_MAX - 20)}))
        self.assertEqual(len(history.read(b"", True, 1, 0).events), 1)

    def test_a_rare_topic_is_looked_for_in_steps(self) -> None:
        self.patch(events, "SCANNED_MAX", 10)
        history = filled(*[(index, "often") for index in range(1, 36)], (36, "rare"), (36, "often"))
        pages = [history.read(b"rare", False, first, 0) for first in (1, 11, 21, 31)]
        self.assertEqual([(seen(page), page.next, page.skip) for page in pages[:3]], [([], 11, 0), ([], 21, 0), ([], 31, 0)])
        self.assertEqual((seen(pages[3]), pages[3].next), ([(36, "rare", 35)], 37))

    def test_a_scan_may_end_within_an_index(self) -> None:
        self.patch(events, "SCANNED_MAX", 2)
        history = filled((1, "x"), (2, "x"), (2, "x"), (2, "x"), (2, "rare"))
        page = history.read(b"rare", False, 1, 0)
        self.assertEqual((page.events, page.next, page.skip), ([], 2, 1))
        self.assertEqual(read_all(history, b"rare", False, 1)[0], [(2, "rare", 4)])

    @settings(deadline=None, max_examples=200)
    @given(
        groups=st.lists(st.lists(st.sampled_from(["", "a", "ab", "abc", "b"]), max_size=5), max_size=12),
        gaps=st.integers(1, 3),
        topic=st.sampled_from([b"", b"a", b"ab", b"b", b"c"]),
        prefix=st.booleans(),
        first=st.integers(1, 40),
        skip=st.integers(0, 6),
        scanned_max=st.integers(1, 7),
        bytes_max=st.integers(1, 600),
    )
    def test_chained_pages_give_every_event_once(
        self, groups: list[list[str]], gaps: int, topic: bytes, prefix: bool, first: int, skip: int, scanned_max: int, bytes_max: int
    ) -> None:
        happened = [(gaps * number, name) for number, group in enumerate(groups, 1) for name in group]
        history = filled(*happened)
        with mock.patch.multiple(events, SCANNED_MAX=scanned_max, EVENTS_BYTES_MAX=bytes_max):
            found, _ = read_all(history, topic, prefix, first, skip)
        passed = {number for number, (index, _) in enumerate(happened) if index == first}
        passed = set(sorted(passed)[:skip])
        expected = [
            (index, name, number)
            for number, (index, name) in enumerate(happened)
            if index >= first and number not in passed and (name.encode().startswith(topic) if prefix else name.encode() == topic)
        ]
        self.assertEqual(found, expected)


class Bounds(SynchronousTestCase):
    def test_by_count(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 10)
        history = filled(*[(index, "t") for index in range(1, 36)])
        self.assertEqual((history.oldest, history.newest), (26, 35))
        self.assertEqual([index for index, _, _ in read_all(history, b"", True, 26)[0]], list(range(26, 36)))

    def test_by_bytes_and_what_is_dropped_is_free_at_once(self) -> None:
        """Found by review: dropped events stayed in memory until 65,536 of them were, each of up to half a megabyte."""
        history = EventHistory()
        fields = encode_event({"text": "x" * 500_000})
        for index in range(1, 201):
            history.append(index, b"t", bytes(fields))
        kept = history.newest - history.oldest + 1
        self.assertLessEqual(kept * len(fields), EVENTS_KEPT_BYTES_MAX)
        self.assertGreater((kept + 1) * (len(fields) + 1_000), EVENTS_KEPT_BYTES_MAX)
        self.assertLessEqual(sum(len(held) for _, _, held in history._events), EVENTS_KEPT_BYTES_MAX)

    def test_an_index_of_which_an_event_was_dropped_is_gone_as_a_whole(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 3)
        history = filled((1, "a"), (1, "b"), (2, "a"), (2, "b"))
        self.assertEqual(history.oldest, 2)
        history = filled(*[(4, "a")] * 5)
        self.assertEqual((history.oldest, history.newest), (5, 4))
        self.assertEqual(history.read(b"", True, 5, 0), Page([], 5, 0))

    def test_the_list_does_not_grow_for_ever(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 10)
        history = filled(*[(index, "t") for index in range(1, 1_000)])
        self.assertLess(len(history._events), 25)

    def test_the_bounds_are_those_of_the_house(self) -> None:
        self.assertGreater(EVENTS_KEPT_MAX, events.SCANNED_MAX)
        self.assertRaises(ValueError, topic_bytes, "ä" * (TOPIC_BYTES_MAX // 2 + 1))
        self.assertEqual(topic_bytes("ä" * (TOPIC_BYTES_MAX // 2)), topic_bytes(b"\xc3\xa4" * (TOPIC_BYTES_MAX // 2)))
        self.assertRaises(ValueError, encode_event, {"text": "x" * EVENTS_BYTES_MAX})
        self.assertRaises(ValueError, encode_event, {"it": BAD_FIELDS["cycle"]})

    def test_a_set_among_the_fields_was_kept_in_another_order_on_each_server(self) -> None:
        error = self.assertRaises(TypeError, encode_event, {"names": {"a", "b"}})
        self.assertIn("a value in a dict is a set", str(error))
        self.assertEqual(encode_event({"names": {"b": 1, "a": 2}}), encode_event({"names": {"a": 2, "b": 1}}))


class OfAMachine(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(bell=MODULE + "Bell")
        self.first = self.driver.host.applied_index + 1

    def told(self, topic: bytes = b"", first: int = 1, skip: int = 0) -> list[tuple[int, str, Any]]:
        page = self.driver.host.hosted("bell").read_events(topic, True, first, skip)
        return [(event["index"], event["topic"], decode_value(event["fields"])) for event in page.events]

    def test_events_have_the_index_of_their_entry(self) -> None:
        index = self.driver.call("bell", "ring", topic="a", times=2)
        self.assertEqual(self.told(), [(index, "a", {"number": 0, "text": ""}), (index, "a", {"number": 1, "text": ""})])

    def test_a_refused_command_has_told_nothing(self) -> None:
        self.assertRaises(Refused, self.driver.call, "bell", "ring_and_refuse", topic="a")
        self.driver.call("bell", "ring", topic="b")
        self.assertEqual([topic for _, topic, _ in self.told()], ["b"])

    def test_what_a_buggy_command_told_is_told_like_what_it_changed(self) -> None:
        self.assertRaises(Unknown, self.driver.call, "bell", "ring_and_break", topic="a")
        self.assertEqual([(index, topic) for index, topic, _ in self.told()], [(self.first, "a")])

    def test_what_cannot_be_told_is_a_bug_of_the_machine_and_halts_nobody(self) -> None:
        for how in (*BAD_TOPICS, *BAD_FIELDS):
            error = self.assertRaises(Unknown, self.driver.call, "bell", "ring_badly", how=how)
            self.assertEqual(error.code, "machine_error", how)
        self.assertEqual([topic for _, topic, _ in self.told()], ["before"] * (len(BAD_TOPICS) + len(BAD_FIELDS)))
        self.assertEqual(self.driver.replayed().digest(), self.driver.host.digest())

    def test_an_event_is_what_it_was_when_it_was_told(self) -> None:
        self.driver.call("bell", "ring_changing", topic="a")
        self.assertEqual(self.told()[0][2], {"state": ["as it was"]})

    def test_what_runs_by_itself_tells_too_before_the_command_of_the_same_entry(self) -> None:
        self.driver.call("bell", "ring_later", topic="late", seconds=5)
        self.driver.time_ms += 6_000
        index = self.driver.call("bell", "ring", topic="now")
        self.assertEqual([(at, topic) for at, topic, _ in self.told()], [(index, "late"), (index, "now")])
        self.assertEqual([topic for _, topic, _ in self.told(first=index, skip=1)], ["now"])

    def test_signals_come_with_each_topic_as_it_happens(self) -> None:
        signals: list[tuple[str, bytes]] = []
        self.driver.host.on_signal = lambda machine, topic: signals.append((machine, topic))
        self.driver.call("bell", "ring_all", topics=["b", "a", "b"])
        self.assertRaises(Refused, self.driver.call, "bell", "ring_and_refuse", topic="c")
        self.assertEqual(signals, [("bell", b"b"), ("bell", b"a"), ("bell", b"b")])

    def test_a_restored_machine_has_the_same_history(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 8)
        for number in range(7):
            self.driver.call("bell", "ring", topic=f"t{number % 2}", times=2)
        restored = self.driver.restored()
        self.assertEqual(restored.digest(), self.driver.host.digest())
        other, own = (host.hosted("bell").history for host in (restored, self.driver.host))
        self.assertEqual((other.oldest, other.newest), (own.oldest, own.newest))
        self.assertEqual(other.read(b"t1", False, own.oldest, 1), own.read(b"t1", False, own.oldest, 1))
        for number in range(5):
            self.driver.call("bell", "ring", topic=f"u{number}")
        self.assertEqual(self.driver.replayed(restored).digest(), self.driver.host.digest())

    def test_the_history_is_part_of_the_digest(self) -> None:
        other = Driver(bell=MODULE + "Bell")
        self.driver.call("bell", "ring", topic="a")
        other.call("bell", "ring", topic="b")
        self.assertNotEqual(other.host.digest(), self.driver.host.digest())

    def test_a_place_that_is_gone_is_named_with_the_oldest_there_is(self) -> None:
        self.patch(events, "EVENTS_KEPT_MAX", 2)
        for _ in range(3):
            self.driver.call("bell", "ring", topic="a")
        hosted = self.driver.host.hosted("bell")
        error = self.assertRaises(NotApplied, hosted.read_events, b"", True, self.first, 0)
        self.assertEqual((error.code, error.details, error.retryable), ("compacted", {"oldest": self.first + 1}, False))
        self.assertEqual(len(hosted.read_events(b"", True, self.first + 1, 0).events), 2)


class OfAHistoryOfItsOwn(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(chronicle=MODULE + "Chronicle")
        self.driver.call("chronicle", "write", key=b"k", value="v")
        self.hosted = self.driver.host.hosted("chronicle")

    def test_it_is_read_instead_of_the_hosts(self) -> None:
        page = self.hosted.read_events(b"k", False, 1, 0)
        self.assertEqual(page, Page([{"index": 1, "topic": b"k", "fields": {"value": "v"}}], 2))
        self.assertEqual(self.hosted.read_events(b"", True, 0, 0), Page([], 2))

    def test_whatever_is_wrong_with_it_is_a_bug_of_the_machine(self) -> None:
        for how in ("events", "newest", "read", "page"):
            self.driver.call("chronicle", "break_it", how=how)
            first = 0 if how == "newest" else 1
            error = self.assertRaises(NotApplied, self.hosted.read_events, b"", True, first, 0)
            self.assertEqual(error.code, "machine_error", how)
        self.driver.call("chronicle", "break_it", how="newest")
        self.assertEqual(self.hosted.newest_event(), 0)

    def test_events_that_were_none_failed_the_server_instead_of_the_machine(self) -> None:
        for how in WRONG_EVENTS:
            self.driver.call("chronicle", "break_it", how=how)
            error = self.assertRaises(NotApplied, self.hosted.read_events, b"", True, 1, 0)
            self.assertEqual(error.code, "machine_error", how)

    def test_a_history_that_did_not_go_on_kept_the_node_busy(self) -> None:
        self.driver.call("chronicle", "break_it", how="stuck")
        error = self.assertRaises(NotApplied, self.hosted.read_events, b"", True, 1, 0)
        self.assertEqual(error.code, "machine_error")
        self.assertEqual(self.hosted.read_events(b"", True, 2, 0), Page([], 2), "there is nothing yet")

    def test_a_page_longer_than_an_answer_was_sent(self) -> None:
        self.driver.call("chronicle", "write", key=b"k", value="v" * 800_000)
        self.driver.call("chronicle", "write", key=b"k", value="v" * 800_000)
        page = self.hosted.read_events(b"", True, 1, 0)
        error = self.assertRaises(NotApplied, self.hosted.answer_of_page, page, 1, 1)
        self.assertEqual(error.code, "machine_error")

    def test_events_that_are_not_plain_are_one_too(self) -> None:
        """Found by review: they halted the node that was asked."""
        self.driver.call("chronicle", "break_it", how="unplain")
        page = self.hosted.read_events(b"", True, 1, 0)
        error = self.assertRaises(NotApplied, self.hosted.answer_of_page, page, 1, 1)
        self.assertEqual(error.code, "machine_error")
