"""What a write comes to, before it is written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.disk import base, commands, persist
from txraft.core.effects import Persist
from txraft.core.snapshot import Snapshot
from txraft.errors import Halted
from txraft.storage.records import Run
from txraft.storage.runs import Runs

EIGHT = Snapshot(8, 2, 5, bytes(32), [(1, b"")])
TWENTY = Snapshot(20, 3, 5, bytes(32), [(1, b"")])


def runs(*persists: Persist, last_index: int = 10, base_index: int = 4, snapshot_index: int = 6, term: int = 3) -> list[Run]:
    return Runs.of(persists, last_index=last_index, base_index=base_index, snapshot_index=snapshot_index, term=term)


class RunsTests(SynchronousTestCase):
    def test_consecutive_appends_are_one_and_a_truncation_begins_another(self) -> None:
        found = runs(persist(11, commands("a")), persist(12, commands("b")), persist(12, commands("c"), truncate=True), persist())
        self.assertEqual(found, [Run(11, commands("a", "b")), Run(12, commands("c"))])

    def test_a_base_begins_a_record_of_its_own_that_later_entries_join(self) -> None:
        found = runs(persist(11, commands("a")), persist(base=base(EIGHT, 5)), persist(12, commands("b")), persist(13, commands("c")))
        self.assertEqual(found, [Run(11, commands("a")), Run(12, commands("b", "c"), base(EIGHT, 5))])

    def test_entries_behind_an_installed_snapshot_follow_it(self) -> None:
        installed = base(TWENTY, keeps_log=False)
        self.assertEqual(runs(persist(21, commands("a"), base=installed)), [Run(21, commands("a"), installed)])
        self.assertEqual(runs(persist(base=installed)), [Run(21, [], installed)])
        self.assertRaises(Halted, runs, persist(base=installed), persist(11, commands("a")))
        self.assertRaises(Halted, runs, persist(base=installed), persist(20, [], truncate=True))

    def test_a_base_neither_goes_back_nor_beyond_its_snapshot_or_the_log(self) -> None:
        self.assertEqual(len(runs(persist(base=base(EIGHT, 4)), persist(base=base(EIGHT, 8)))), 2)
        for wrong in (
            [persist(base=base(EIGHT, 3))],
            [persist(base=base(EIGHT, 9))],
            [persist(base=base(TWENTY, 5))],
            [persist(base=base(EIGHT, 6)), persist(base=base(EIGHT, 5))],
        ):
            self.assertRaises(Halted, runs, *wrong)
        self.assertRaises(Halted, runs, persist(base=base(EIGHT, 5)), snapshot_index=9)
        self.assertRaises(Halted, runs, persist(base=base(EIGHT, 5)), term=1)

    def test_what_a_snapshot_includes_is_not_replaced(self) -> None:
        self.assertEqual(runs(persist(7, [], truncate=True)), [Run(7, [])])
        self.assertRaises(Halted, runs, persist(6, [], truncate=True))
        self.assertRaises(Halted, runs, persist(base=base(EIGHT, 5)), persist(8, [], truncate=True))

    def test_the_lists_of_the_caller_are_left_alone(self) -> None:
        persists = [persist(11, commands("a")), persist(12, commands("b")), persist(13, commands("c"))]
        runs(*persists)
        self.assertEqual([one.entries for one in persists], [commands("a"), commands("b"), commands("c")])
