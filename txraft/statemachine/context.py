"""What may differ from one command to the next: everything a machine is allowed to know besides its state and its arguments."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["Context"]


def _nobody(topic: str | bytes, fields: dict[str, Any] | None) -> None:
    """Takes the events of a context that no host made."""


class Context:
    """Passed to every command, and to `expire`, as `ctx`. The same on every server, because all of it comes out of the log.

    It is valid while the command runs and no longer: copy what you need.

    Attributes:
        index: of the entry that is being applied. It only grows, so it serves as a fencing token.
        term: of that entry.
        time_ms: log time in milliseconds since 1970: the leader's clock when the command was proposed, never going back.
        session: id of the client's session, 0 without one.
    """

    __slots__ = ("_random", "index", "session", "tell", "term", "time_ms")

    def __init__(self, index: int = 1, term: int = 1, time_ms: int = 0, session: int = 0) -> None:
        self.index, self.term, self.time_ms, self.session = index, term, time_ms, session
        self.tell: Callable[[str | bytes, dict[str, Any] | None], None] = _nobody
        self._random: Random | None = None

    def emit(self, topic: str, /, **fields: Any) -> None:
        """Tell whoever watches the machine that something happened: an event, kept in its bounded history.

        Raises:
            ValueError: the topic or an event is too long, or a field is not plain. A bug of the machine.
        """
        self.tell(topic, fields)

    def signal(self, topic: str | bytes) -> None:
        """Wake what waits for `topic` on this node, without an event: polls of a machine that has a history of its own, and commands
        that `waits_on` let wait.
        """
        self.tell(topic, None)

    @property
    def time(self) -> float:
        """Log time in seconds since 1970."""
        return self.time_ms / 1000

    @property
    def random(self) -> Random:
        """Random numbers that are the same on every server, seeded from the entry: not secret.

        Python promises the same numbers in all its versions for `random.random()` only. Servers that run different versions of Python
        must not draw with the other methods.
        """
        if self._random is None:
            self._random = Random((self.index << 64) | self.time_ms)
        return self._random

    def move_to(self, index: int, term: int, time_ms: int) -> None:
        """Begin the next entry (called by the host, which keeps one context for all)."""
        self.index, self.term, self.time_ms, self.session = index, term, time_ms, 0
        self._random = None
