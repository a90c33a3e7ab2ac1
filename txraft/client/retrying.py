"""When to send a request again, and what may be said of it when there is no time left. Standard library only: both clients judge by it.

A command in a session may be sent as often as one likes: it carries the same session and serial number each time, and the servers apply it
once. What remains is to tell the truth about a command whose answer never came.

Source: §6.3.
"""

from __future__ import annotations

import random
from enum import Enum

from txraft.errors import NotApplied, Outcome, Unknown

__all__ = ["BackOff", "Fate", "judge", "overdue", "told"]


class Fate(Enum):
    """What becomes of a request whose answer was no value."""

    FINAL = "tell the caller"
    RETRY = "send it again as it is"
    NEW_SESSION = "its session is gone and it was certainly not applied: send it again in a new session, with a new serial number"


_FINAL_UNKNOWNS = frozenset({"session_expired", "serial_forgotten", "machine_error", "answer_too_large"})
"""Unknown outcomes that no repetition can make known: the servers have forgotten the result, or cannot give another."""


def judge(problem: Outcome, *, repeatable: bool, maybe_taken: bool) -> Fate:
    """Decide what follows an answer that is no value.

    Args:
        problem: what the answer said, or what stands for a lost connection.
        repeatable: the request is a query or has a session: sending it twice applies nothing twice.
        maybe_taken: an *earlier* try of the same request may have been applied.
    """
    if isinstance(problem, NotApplied):
        return Fate.RETRY if problem.retryable else Fate.FINAL
    if problem.code == "serial_out_of_window":  # smaller serial numbers are still unanswered: it fits when they are
        return Fate.RETRY
    if not isinstance(problem, Unknown) or not repeatable:
        return Fate.FINAL
    if problem.code == "session_expired":
        return Fate.FINAL if maybe_taken else Fate.NEW_SESSION
    return Fate.FINAL if problem.code in _FINAL_UNKNOWNS else Fate.RETRY


def told(problem: Outcome, *, maybe_taken: bool) -> Outcome:
    """The final `problem` as the caller may hear it: *not applied* only if that holds for every earlier try, too."""
    if maybe_taken and isinstance(problem, NotApplied):
        return Unknown(problem.code, f"{problem.message or problem.code}; an earlier try may have been applied", **problem.details)
    return problem


def overdue(timeout_s: float, trouble: Outcome | None, *, maybe_taken: bool) -> Outcome:
    """What to tell when the time for a request is up.

    Args:
        timeout_s: how long was tried.
        trouble: the latest reason why it did not succeed, if there was one.
        maybe_taken: some try may have been applied, or may yet be.
    """
    why = f"; last trouble: {trouble.message or trouble.code}" if trouble is not None else ""
    if maybe_taken:
        return Unknown("timeout", f"no answer within {timeout_s:g} s: it may have been applied or may yet be{why}")
    code = trouble.code if isinstance(trouble, NotApplied) else "timeout"
    return NotApplied(code, f"not done within {timeout_s:g} s{why}")


class BackOff:
    """Growing pauses between tries, with jitter, so that clients that failed together do not return together."""

    def __init__(self, rng: random.Random, *, first_s: float = 0.02, longest_s: float = 1.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._longest_s = longest_s
        self._tries = 0

    def next_s(self) -> float:
        """The pause before the next try: from half of `first_s` to `longest_s` seconds."""
        ceiling_s = min(self._longest_s, self._first_s * 2.0 ** min(self._tries, 16))
        self._tries += 1
        return ceiling_s * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """Something succeeded: begin with short pauses again."""
        self._tries = 0
