"""The applier: how much it does in one go."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.entry import Entry, EntryKind
from txraft.core.ids import Index, Term
from txraft.core.log import Log
from txraft.node.applier import Applier
from txraft.node.ports import Caller
from txraft.statemachine.log_commands import Clock as ClockCommand
from txraft.statemachine.log_commands import LogCommand, encode_log_command

SLICE_S = 0.005


class SlowMachines:
    """Each command takes its time, in seconds, while which nothing else happens."""

    def __init__(self, clock: Clock, costs_s: list[float]) -> None:
        self.clock, self.costs_s, self.applied_index = clock, costs_s, 0

    def apply(self, index: int, term: int, command: LogCommand) -> bytes:
        assert index == self.applied_index + 1
        self.applied_index = index
        self.clock.rightNow += self.costs_s[index - 1]
        return b""

    def skip(self, index: int) -> None:
        raise AssertionError(index)


class Nobody:
    """Waits for no answer."""

    def command_at(self, index: int) -> LogCommand | None:
        return None

    def applied(self, index: int, answer: bytes, touched: set[Caller]) -> None:
        """See `Answering`."""


class SliceTests(SynchronousTestCase):
    def slices(self, costs_s: list[float]) -> list[int]:
        """How far it has got after each slice."""
        clock = Clock()
        after: list[Index] = []
        payload = encode_log_command(ClockCommand(1))
        log = Log(cache_bytes_max=1_000_000)
        log.append([Entry(Term(1), EntryKind.COMMAND, payload) for _ in costs_s])

        def read(first: Index) -> Deferred[list[Entry]]:
            raise AssertionError(first)

        def failed(failure: object) -> None:
            raise AssertionError(failure)

        applier = Applier(clock, SLICE_S, log, read, SlowMachines(clock, costs_s), Nobody(), after.append, failed)
        applier.apply_through(Index(len(costs_s)))
        while clock.getDelayedCalls():
            clock.advance(0)
        return [int(index) for index in after]

    def test_what_is_quick_is_done_in_one(self) -> None:
        self.assertEqual(self.slices([0.0] * 100), [100])

    def test_what_is_slow_is_done_alone(self) -> None:
        """Found by review: the clock was looked at after 32 entries; so many deletions, of one frame, were four seconds in one go."""
        self.assertEqual(self.slices([0.1, 0.1, 0.1]), [1, 2, 3])
        self.assertEqual(self.slices([0.0, 0.0, 0.1, 0.0, 0.003, 0.003, 0.0]), [3, 6, 7])


class LeapTests(SynchronousTestCase):
    """The machines leap by a snapshot while entries are on their way to them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.machines = SlowMachines(self.clock, [2 * SLICE_S] * 20)
        self.log = Log(cache_bytes_max=1_000_000)
        self.entries = [Entry(Term(1), EntryKind.COMMAND, encode_log_command(ClockCommand(1))) for _ in range(20)]
        self.reads: list[tuple[Index, Deferred[list[Entry]]]] = []
        self.after: list[Index] = []
        self.failures: list[object] = []

    def applier(self) -> Applier:
        applier = Applier(self.clock, SLICE_S, self.log, self.read, self.machines, Nobody(), self.after.append, self.failures.append)
        self.addCleanup(lambda: self.assertEqual(self.failures, []))
        return applier

    def read(self, first: Index) -> Deferred[list[Entry]]:
        self.reads.append((first, Deferred()))
        return self.reads[-1][1]

    def leap(self, applier: Applier, index: int) -> None:
        applier.rest()
        self.machines.applied_index = index
        applier.restored()

    def run_out(self) -> None:
        while self.clock.getDelayedCalls():
            self.clock.advance(0)

    def test_it_begins_where_the_machines_are(self) -> None:
        self.log.append(self.entries)
        self.machines.applied_index = 10
        applier = self.applier()
        applier.apply_through(Index(12))
        self.run_out()
        self.assertEqual(self.after, [11, 12])

    def test_what_was_read_is_not_read_again_for_the_next_slice(self) -> None:
        self.log.append(self.entries)
        self.log.first_cached = Index(21)
        self.log._entries.clear()
        applier = self.applier()
        applier.apply_through(Index(3))
        self.assertEqual([first for first, _ in self.reads], [1])
        self.reads[0][1].callback(self.entries)
        self.run_out()
        self.assertEqual(self.after, [1, 2, 3])
        self.assertEqual(len(self.reads), 1)
        applier.apply_through(Index(4))
        self.assertEqual([first for first, _ in self.reads], [1, 4], "what was not committed may have changed since")

    def test_the_slice_that_was_to_follow_is_forgotten(self) -> None:
        self.log.append(self.entries)
        applier = self.applier()
        applier.apply_through(Index(8))
        self.leap(applier, 10)
        applier.apply_through(Index(12))
        self.run_out()
        self.assertEqual(self.after, [1, 11, 12])

    def test_entries_that_come_from_disk_too_late_are_forgotten(self) -> None:
        self.log.append(self.entries)
        self.log.first_cached = Index(21)
        self.log._entries.clear()
        applier = self.applier()
        applier.apply_through(Index(8))
        self.leap(applier, 10)
        applier.apply_through(Index(12))
        self.assertEqual([first for first, _ in self.reads], [1, 11])
        self.reads[0][1].callback(self.entries[:8])
        self.reads[1][1].callback(self.entries[10:11])
        self.run_out()
        self.assertEqual((self.after, self.reads[2][0]), ([11], 12))

    def test_between_the_leap_of_the_log_and_that_of_the_machines_nothing_is_applied(self) -> None:
        self.log.append(self.entries)
        applier = self.applier()
        applier.apply_through(Index(2))
        applier.rest()
        applier.apply_through(Index(12))
        self.run_out()
        self.assertEqual(self.after, [1])
        self.machines.applied_index = 10
        applier.restored()
        self.run_out()
        self.assertEqual(self.after, [1, 11, 12])
