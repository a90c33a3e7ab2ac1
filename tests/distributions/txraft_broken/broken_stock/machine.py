"""Fails on import."""

import a_library_that_is_not_installed

from txraft.statemachine import StateMachine


class BrokenStock(StateMachine):
    """Never seen."""

    shelf = a_library_that_is_not_installed.Shelf()
