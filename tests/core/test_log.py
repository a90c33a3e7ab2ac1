"""The log in memory: what it holds, what it still has cached, and how far the disk has come."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logs import command_at, commands_from, term_runs
from txraft.core.entry import Entry, entry_bytes
from txraft.core.ids import Index, Term
from txraft.core.log import Log, within_bytes
from txraft.errors import Halted

ALL: dict[str, int] = {"entries_max": 1_000, "bytes_max": 1_000_000}


def log_of(*terms: int, cache_bytes_max: int = 1_000_000) -> Log:
    log = Log(cache_bytes_max)
    log.append(commands_from(1, *terms))
    return log


class Terms(SynchronousTestCase):
    def test_an_empty_log_ends_before_the_first_entry(self) -> None:
        log = Log(1_000)

        self.assertEqual((log.last_index, log.last_term, log.term_at(0), log.term_at(1)), (0, 0, 0, None))

    def test_the_term_of_every_entry_is_known(self) -> None:
        log = log_of(1, 1, 3, 3, 3, 7)

        self.assertEqual([log.term_at(index) for index in range(8)], [0, 1, 1, 3, 3, 3, 7, None])
        self.assertEqual((log.last_index, log.last_term), (6, 7))

    def test_terms_never_decrease(self) -> None:
        log = log_of(1, 3)

        self.assertRaises(Halted, log.append, commands_from(3, 2))
        self.assertRaises(Halted, log.append, commands_from(3, 4, 3))

    def test_the_terms_of_what_memory_has_lost_are_still_known(self) -> None:
        entries = commands_from(1, 1, 1, 2, 2)
        log = Log.recovered(cache_bytes_max=1_000, last_index=Index(4), term_runs=term_runs(entries), tail_first=Index(4), tail=entries[3:])

        self.assertEqual([log.term_at(index) for index in range(6)], [0, 1, 1, 2, 2, None])
        self.assertEqual((log.last_index, log.last_term, log.durable_index), (4, 2, 4))

    def test_a_recovered_tail_must_reach_the_end(self) -> None:
        self.assertRaises(
            Halted, Log.recovered, cache_bytes_max=1_000, last_index=Index(4), term_runs=[(Index(1), 1)], tail_first=Index(3), tail=[]
        )


class Truncation(SynchronousTestCase):
    def test_everything_from_the_first_removed_on_is_gone(self) -> None:
        log = log_of(1, 1, 2, 2, 3)

        log.truncate(Index(4))

        self.assertEqual([log.term_at(index) for index in range(1, 6)], [1, 1, 2, None, None])
        self.assertEqual((log.last_index, log.last_term), (3, 2))

    def test_what_is_removed_is_durable_no_longer(self) -> None:
        log = log_of(1, 1, 2)
        log.durable_index = Index(3)

        log.truncate(Index(2))

        self.assertEqual(log.durable_index, 1)

    def test_what_was_not_durable_does_not_become_so(self) -> None:
        log = log_of(1, 1, 2)
        log.durable_index = Index(1)

        log.truncate(Index(3))

        self.assertEqual(log.durable_index, 1)

    def test_other_entries_may_take_the_place(self) -> None:
        log = log_of(1, 1, 1)

        log.truncate(Index(2))
        log.append(commands_from(2, 2, 2, 2))

        self.assertEqual(log.slice(1, **ALL), commands_from(1, 1, 2, 2, 2))

    def test_it_may_reach_below_what_memory_holds(self) -> None:
        entries = commands_from(1, 1, 1, 2, 2)
        log = Log.recovered(cache_bytes_max=1_000, last_index=Index(4), term_runs=term_runs(entries), tail_first=Index(4), tail=entries[3:])

        log.truncate(Index(3))
        log.append(commands_from(3, 3))

        self.assertEqual((log.last_index, log.last_term, log.durable_index), (3, 3, 2))
        self.assertIsNone(log.slice(2, **ALL))
        self.assertEqual(log.slice(3, **ALL), commands_from(3, 3))

    def test_a_slice_taken_before_is_not_given_again(self) -> None:
        log = log_of(1, 1, 1)
        log.slice(2, **ALL)

        log.truncate(Index(2))
        log.append(commands_from(2, 2, 2))

        self.assertEqual(log.slice(2, **ALL), commands_from(2, 2, 2))


class Slices(SynchronousTestCase):
    """Batches are limited but never empty, or an entry larger than the limit would never be sent."""

    def test_entries_follow_each_other_without_a_hole(self) -> None:
        log = log_of(*[1] * 20)
        size = entry_bytes(command_at(1, 1))

        for bytes_max in range(0, 10 * size, 7):
            at, found = 1, list[Entry]()
            while at <= 20:
                part = log.slice(at, entries_max=4, bytes_max=bytes_max) or []
                found += part
                at += len(part)
            self.assertEqual(found, commands_from(1, *[1] * 20))

    def test_at_least_one_at_most_as_many_as_fit(self) -> None:
        log = log_of(*[1] * 9)
        size = entry_bytes(command_at(1, 1))

        for bytes_max, expected in ((0, 1), (size - 1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (100 * size, 9)):
            found = log.slice(1, entries_max=100, bytes_max=bytes_max)
            self.assertEqual(found, commands_from(1, *[1] * expected), bytes_max)

    def test_a_limit_on_their_number(self) -> None:
        self.assertEqual(log_of(1, 1, 1).slice(2, entries_max=1, bytes_max=1_000), commands_from(2, 1))

    def test_behind_the_end_there_are_none(self) -> None:
        self.assertEqual(log_of(1).slice(2, **ALL), [])

    def test_the_same_question_gets_the_same_list_so_that_it_is_encoded_once(self) -> None:
        log = log_of(1, 1, 1)

        self.assertIs(log.slice(2, **ALL), log.slice(2, **ALL))
        self.assertIsNot(log.slice(2, **ALL), log.slice(1, **ALL))

    def test_after_more_was_appended_it_is_another_question(self) -> None:
        log = log_of(1, 1)
        before = log.slice(2, **ALL)

        log.append(commands_from(3, 1))

        self.assertEqual(before, commands_from(2, 1))
        self.assertEqual(log.slice(2, **ALL), commands_from(2, 1, 1))

    def test_within_bytes_counts_the_first_always(self) -> None:
        self.assertEqual(within_bytes([], 0), 0)
        self.assertEqual(within_bytes(commands_from(1, 1, 1), 0), 1)


class Beginning(SynchronousTestCase):
    """A log whose first entries are gone: (1, 1, 3, 3, 3, 7), from behind entry 4 on."""

    def setUp(self) -> None:
        self.log = log_of(1, 1, 3, 3, 3, 7)
        self.log.durable_index = Index(6)
        self.log.compact(Index(4))

    def test_the_term_of_the_last_entry_that_is_gone_is_known_and_none_before_it(self) -> None:
        self.assertEqual([self.log.term_at(index) for index in range(8)], [None, None, None, None, 3, 3, 7, None])
        self.assertEqual((self.log.base_index, self.log.base_term, self.log.last_index, self.log.last_term), (4, 3, 6, 7))

    def test_what_is_gone_is_not_in_memory_either(self) -> None:
        self.assertIsNone(self.log.slice(4, **ALL))
        self.assertEqual(self.log.slice(5, **ALL), commands_from(5, 3, 7))

    def test_the_whole_log_may_go(self) -> None:
        self.log.compact(Index(6))

        self.assertEqual((self.log.last_index, self.log.last_term, self.log.slice(7, **ALL)), (6, 7, []))
        self.log.append(commands_from(7, 7, 8))
        self.assertEqual([self.log.term_at(index) for index in range(5, 10)], [None, 7, 7, 8, None])

    def test_terms_do_not_decrease_behind_it_either(self) -> None:
        self.log.compact(Index(6))

        self.assertRaises(Halted, self.log.append, commands_from(7, 6))

    def test_truncated_to_its_beginning_it_ends_with_the_entry_before(self) -> None:
        self.log.truncate(Index(5))

        self.assertEqual((self.log.last_index, self.log.last_term, self.log.durable_index), (4, 3, 4))
        self.log.append(commands_from(5, 3))
        self.assertEqual(self.log.term_at(5), 3)

    def test_only_what_is_durable_goes(self) -> None:
        log = log_of(1, 1, 1)
        log.durable_index = Index(1)

        for index in (2, 3, 4):
            self.assertRaises(Halted, log.compact, Index(index))

    def test_it_does_not_begin_earlier_again(self) -> None:
        self.assertRaises(Halted, self.log.compact, Index(3))

    def test_reset_it_is_empty_behind_another_entry(self) -> None:
        self.log.reset(Index(20), Term(5))

        self.assertEqual((self.log.last_index, self.log.last_term, self.log.durable_index, self.log.first_cached), (20, 5, 20, 21))
        self.assertEqual([self.log.term_at(index) for index in (4, 6, 19, 20, 21)], [None, None, None, 5, None])
        self.log.append(commands_from(21, 5, 9))
        self.assertEqual(self.log.slice(21, **ALL), commands_from(21, 5, 9))

    def test_reset_to_an_earlier_entry_it_keeps_nothing_behind_it(self) -> None:
        self.log.reset(Index(5), Term(4))

        self.assertEqual((self.log.last_index, self.log.slice(6, **ALL)), (5, []))

    def test_a_recovered_log_begins_where_it_did(self) -> None:
        tail = commands_from(5, 3, 7)
        runs = term_runs(tail, 5)
        base = (Index(4), Term(3))
        log = Log.recovered(cache_bytes_max=1_000, last_index=Index(6), term_runs=runs, tail_first=Index(5), tail=tail, base=base)

        self.assertEqual([log.term_at(index) for index in range(3, 8)], [None, 3, 3, 7, None])
        empty = Log.recovered(cache_bytes_max=1_000, last_index=Index(4), term_runs=[], tail_first=Index(5), tail=[], base=base)
        self.assertEqual((empty.last_index, empty.last_term), (4, 3))

    def test_a_recovered_tail_does_not_begin_before_the_log(self) -> None:
        tail, base = commands_from(4, 3, 7), (Index(4), Term(3))

        self.assertRaises(
            Halted,
            Log.recovered,
            cache_bytes_max=1_000,
            last_index=Index(5),
            term_runs=[(Index(4), Term(3))],
            tail_first=Index(4),
            tail=tail,
            base=base,
        )

    def test_hints_end_at_the_beginning(self) -> None:
        for index, term, expected in (
            (6, 7, (6, 7)),
            (6, 5, (5, 3)),
            (5, 3, (5, 3)),
            (4, 3, (4, 3)),
            (6, 2, (2, 0)),
            (4, 2, (3, 0)),
            (3, 9, (3, 0)),
            (0, 0, (0, 0)),
        ):
            self.assertEqual(self.log.latest_fit(index, term), expected, (index, term))


class Cache(SynchronousTestCase):
    def test_entries_that_are_not_durable_are_never_dropped(self) -> None:
        log = Log(cache_bytes_max=10)

        log.append(commands_from(1, *[1] * 50))

        self.assertEqual(log.first_cached, 1)

    def test_durable_ones_are_dropped_oldest_first_when_memory_is_full(self) -> None:
        log = log_of(*[1] * 50, cache_bytes_max=200)
        log.durable_index = Index(50)

        log.append(commands_from(51, 1))

        self.assertEqual(log.last_index, 51)
        self.assertGreater(log.first_cached, 40)
        self.assertIsNone(log.slice(log.first_cached - 1, **ALL))
        self.assertEqual(log.slice(51, **ALL), commands_from(51, 1))


class Hints(SynchronousTestCase):
    """Where two logs may still agree: one question a term instead of one an entry."""

    def test_the_newest_entry_whose_term_is_not_too_late(self) -> None:
        log = log_of(1, 1, 4, 4, 6)

        for index, term, expected in (
            (5, 6, (5, 6)),
            (5, 5, (4, 4)),
            (4, 6, (4, 4)),
            (5, 3, (2, 1)),
            (1, 9, (1, 1)),
            (99, 9, (5, 6)),
            (5, 0, (0, 0)),
            (0, 9, (0, 0)),
        ):
            self.assertEqual(log.latest_fit(index, term), expected, (index, term))


class LogAgainstAList(RuleBasedStateMachine):
    """After any appends and truncations the log is what a plain list of entries would be."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.durable = self.base = 0

    @initialize(cache_bytes_max=st.sampled_from((0, 60, 500)))
    def start(self, cache_bytes_max: int) -> None:
        self.log = Log(cache_bytes_max)

    @rule(steps=st.lists(st.integers(0, 2), max_size=6))
    def append(self, steps: list[int]) -> None:
        terms, term = [], self.entries[-1].term if self.entries else 1
        for step in steps:
            term += step
            terms.append(term)
        new = commands_from(len(self.entries) + 1, *terms)
        self.log.append(new)
        self.entries += new

    @rule(where=st.floats(0, 1))
    def truncate(self, where: float) -> None:
        first_removed = self.base + 1 + int(where * (len(self.entries) - self.base))
        if first_removed <= len(self.entries):
            self.log.truncate(Index(first_removed))
            del self.entries[first_removed - 1 :]
            self.durable = min(self.durable, first_removed - 1)

    @rule(where=st.floats(0, 1))
    def reach_the_disk(self, where: float) -> None:
        self.durable = max(self.durable, int(where * len(self.entries)))
        self.log.durable_index = Index(self.durable)

    @rule(where=st.floats(0, 1))
    def compact(self, where: float) -> None:
        self.base += int(where * (self.durable - self.base))
        self.log.compact(Index(self.base))

    @rule(further=st.integers(1, 9), later=st.integers(0, 2))
    def be_reset(self, further: int, later: int) -> None:
        term = (self.entries[-1].term if self.entries else 1) + later
        self.durable = self.base = self.base + further
        self.entries = commands_from(1, *[term] * self.base)
        self.log.reset(Index(self.base), Term(term))

    @invariant()
    def same(self) -> None:
        last, known = len(self.entries), [entry.term for entry in self.entries][max(self.base - 1, 0) :]
        assert (self.log.last_index, self.log.durable_index) == (last, self.durable)
        assert [self.log.term_at(index) for index in range(max(self.base, 1), last + 2)] == [*known, None]
        assert self.log.last_term == (known[-1] if known else 0)
        assert self.base < self.log.first_cached <= self.durable + 1
        assert self.log.slice(self.log.first_cached, **ALL) == self.entries[self.log.first_cached - 1 :]


class AnyHistory(SynchronousTestCase):
    def test_the_log_is_what_a_list_would_be(self) -> None:
        machine: Any = LogAgainstAList
        run_state_machine_as_test(machine, settings=settings(deadline=None, max_examples=30, stateful_step_count=20))
