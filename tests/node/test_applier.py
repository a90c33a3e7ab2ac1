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
        self.clock, self.costs_s = clock, costs_s

    def apply(self, index: int, term: int, command: LogCommand) -> bytes:
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
