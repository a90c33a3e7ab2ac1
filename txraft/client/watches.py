"""All watches of one client, or of a program that embeds a node: begun, bounded in number, and ended together."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txraft.client.events import Pages, Place
from txraft.client.retrying import BackOff
from txraft.client.watch import Watch
from txraft.errors import NotApplied
from txraft.limits import NAME_LENGTH_MAX, TOPIC_BYTES_MAX
from txraft.wire.requests import PollRequest

__all__ = ["PAUSE_S_MAX", "WATCHES_MAX", "Watches", "no_machine"]

WATCHES_MAX = 1_024
"""Watches of one client; beyond it one fails as `too_many_waits`."""

PAUSE_S_MAX = 5.0
"""The longest pause of a watch between polls that the servers turn away."""


class Watches:
    """Those that have not ended.

    Args:
        reactor: for pauses. All calls are on its thread.
        monotonic: seconds.
        rng: for the length of pauses.
        poll: asks the servers; fires with the value of the answer, or fails with an `Outcome`.
    """

    def __init__(
        self, reactor: IReactorTime, monotonic: Callable[[], float], rng: random.Random, poll: Callable[[PollRequest], Deferred[Any]]
    ) -> None:
        self._reactor, self._monotonic, self._rng, self._poll = reactor, monotonic, rng, poll
        self._watches: set[Watch] = set()
        self._closed: NotApplied | None = None

    def __len__(self) -> int:
        return len(self._watches)

    def begin(self, machine: str, topic: str | bytes | None, prefix: str | bytes | None, from_index: int | Place | None) -> Watch:
        """One more; see `Client.watch`. What is wrong with it is told by the watch."""
        problem: NotApplied | None = None
        pages = Pages()
        wanted = b""
        try:
            pages = Pages(from_index)
            wanted = _topic_of(topic, prefix)
            if not (0 < len(machine) <= NAME_LENGTH_MAX and machine.isprintable()):
                raise no_machine(machine)
            if self._closed is not None:
                raise self._closed
            if len(self._watches) >= WATCHES_MAX:
                raise NotApplied("too_many_waits", f"there are {WATCHES_MAX} watches already: stop some, or use another client")
        except NotApplied as wrong:
            problem = wrong

        def poll(first: int, skip: int, wait_ms: int) -> Deferred[Any]:
            return self._poll(PollRequest(0, machine, wanted, topic is None, first, skip, wait_ms))

        back_off = BackOff(self._rng, longest_s=PAUSE_S_MAX)
        watch = Watch(self._reactor, poll, pages, back_off=back_off, monotonic=self._monotonic, ended=self._watches.discard)
        if problem is not None:
            watch.end(problem)
        else:
            self._watches.add(watch)
            watch.begin()
        return watch

    def close(self, why: NotApplied) -> None:
        """End all, and those that are still to come."""
        self._closed = why
        for watch in list(self._watches):
            watch.end(why)


def no_machine(machine: str) -> NotApplied:
    """What to say of a name that servers could not even read."""
    return NotApplied("unknown_machine", f"{machine[:NAME_LENGTH_MAX]!r} cannot be the name of a machine")


def _topic_of(topic: str | bytes | None, prefix: str | bytes | None) -> bytes:
    """What stands in the request. Raises `NotApplied` `invalid_arguments`."""
    if topic is not None and prefix is not None:
        raise NotApplied("invalid_arguments", "a watch is of a topic or of a prefix, not of both")
    text = prefix if topic is None else topic
    try:
        wanted = b"" if text is None else text.encode() if isinstance(text, str) else bytes(memoryview(text))
    except (TypeError, UnicodeEncodeError) as error:
        raise NotApplied("invalid_arguments", f"a topic is text or bytes: {error}") from None
    if len(wanted) > TOPIC_BYTES_MAX:
        raise NotApplied("invalid_arguments", f"a topic of {len(wanted)} bytes; {TOPIC_BYTES_MAX} are allowed")
    return wanted
