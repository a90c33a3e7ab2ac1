"""What the errors say to people, where the order of it matters."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import DamagedLog, DamagedSnapshot, LostFiles, LostVotes, NoSnapshot


class Damage(SynchronousTestCase):
    """Most servers that find damage have others beside them."""

    def test_first_that_a_server_with_others_is_to_be_started_then_what_one_alone_needs(self) -> None:
        for damage in (
            DamagedLog("d/log/1.segment", 8, 16, "record 3"),
            DamagedSnapshot("d/snapshots/1.snapshot", 0, "it is too short"),
            LostFiles("d/log is empty"),
            LostVotes("d/metadata-0: nothing"),
        ):
            told = str(damage)
            self.assertTrue(told.startswith(f"{damage.found}. "))
            started, alone = told.index("with other voters repairs itself when it is started"), told.index("One that is alone needs")
            self.assertLess(started, alone)
            self.assertTrue(told.endswith(damage.needed))
            self.assertIn("a new cluster made from a backup", damage.needed)
            self.assertNotIn("down", told)

    def test_what_is_no_snapshot_is_not_called_a_damaged_one(self) -> None:
        self.assertEqual(str(NoSnapshot("n1.yaml", "is no snapshot of txraft")), "n1.yaml is no snapshot of txraft")
