"""What goes wrong with recipes, besides the outcomes of the calls below them."""

from __future__ import annotations

from txraft.errors import TxraftError

__all__ = ["AcquireCancelled", "AlreadyHeld", "LockLost", "LockTimeout", "NotHeld", "RecipeTrouble", "WrongSize"]


class RecipeTrouble(TxraftError):
    """The root of what recipes raise by themselves."""

    exit_code = 75


class LockLost(RecipeTrouble):
    """It was held, and is not any more: the lease could not be kept, so the next in line may hold it by now."""


class LockTimeout(RecipeTrouble):
    """It could not be had within the time that was given; the place in the line has been given up."""


class AcquireCancelled(RecipeTrouble):
    """Somebody called `cancel` while it was being waited for; the place in the line has been given up."""


class AlreadyHeld(RecipeTrouble):
    """This object holds it, or waits for it, already. It is not reentrant; give each thread or task an object of its own."""


class NotHeld(RecipeTrouble):
    """This object does not hold it."""


class WrongSize(RecipeTrouble):
    """Another client uses the same path with another number, so that together they would keep neither."""
