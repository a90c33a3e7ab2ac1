"""The vocabulary of effects is closed, immutable, and the simulated world knows all of it."""

from __future__ import annotations

import inspect
from typing import get_args

from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.simulated_server import CARRY_OUT
from txraft.core import effects
from txraft.core.effects import Base, Effect, Metadata, Receipt

PARTS = {Base, Metadata, Receipt}
"""Of which effects are made."""


class Vocabulary(SynchronousTestCase):
    def test_every_class_of_the_module_is_an_effect_or_part_of_one(self) -> None:
        defined = {found for _, found in inspect.getmembers(effects, inspect.isclass) if found.__module__ == effects.__name__}

        self.assertEqual(defined, set(get_args(Effect)) | PARTS)

    def test_effects_cannot_be_changed_on_their_way(self) -> None:
        for kind in {*get_args(Effect), *PARTS}:
            self.assertRaises(FrozenInstanceError, setattr, kind.__new__(kind), "anything", 1)

    def test_the_simulated_world_carries_out_each_of_them(self) -> None:
        self.assertEqual(set(CARRY_OUT), set(get_args(Effect)))
