"""The assertion that stays on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txraft.core.require import require
from txraft.errors import Halted


class Require(SynchronousTestCase):
    def test_what_holds_passes(self) -> None:
        require(True, "never said")

    def test_what_does_not_hold_halts_the_server_and_says_why(self) -> None:
        error: Halted = self.assertRaises(Halted, require, False, "two leaders in term 7")

        self.assertEqual(str(error), "two leaders in term 7")
