"""The nodes at the endpoints, asked once each for their status, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import frozen

from txraft.cli.examinations.findings import Finding, advice
from txraft.client.blocking_http import parse_endpoint
from txraft.config.values import ALL_INTERFACES, listening, normal_address
from txraft.errors import Outcome

__all__ = ["Neighbour", "ask_neighbours", "examine_reach", "is_own"]

ASKED_AT_ONCE_MAX = 32

LOOPBACK = frozenset({"127.0.0.1", "::1"})


@frozen
class Neighbour:
    """What a node said of itself.

    Attributes:
        endpoint: where it was asked.
        status: its answer; None without one.
        why: why there is none.
        asked_at, answered_at: by our wall clock, in seconds.
    """

    endpoint: str
    status: dict[str, Any] | None
    why: str = ""
    asked_at: float = 0.0
    answered_at: float = 0.0

    @property
    def name(self) -> str:
        """Of the server; where it was asked if it did not say."""
        return str((self.status or {}).get("name", self.endpoint))

    def clock_offset_s(self) -> tuple[float, float] | None:
        """How far its clock is ahead of ours, and how far that may be wrong, in seconds; None when it does not tell."""
        wall_ms = (self.status or {}).get("wall_ms")
        if not isinstance(wall_ms, (int, float)) or isinstance(wall_ms, bool):
            return None
        return wall_ms / 1000 - (self.asked_at + self.answered_at) / 2, (self.answered_at - self.asked_at) / 2 + 0.001


def ask_neighbours(endpoints: Sequence[str], ask: Callable[[str], dict[str, Any]], wall: Callable[[], float]) -> list[Neighbour]:
    """Ask all. `ask` raises the `Outcome` of a node that does not answer."""
    if not endpoints:
        return []

    def asked(endpoint: str) -> Neighbour:
        began = wall()
        try:
            return Neighbour(endpoint, ask(endpoint), "", began, wall())
        except Outcome as why:
            return Neighbour(endpoint, None, why.message or why.code)

    with ThreadPoolExecutor(min(len(endpoints), ASKED_AT_ONCE_MAX)) as pool:
        return list(pool.map(asked, endpoints))


def examine_reach(neighbours: Sequence[Neighbour]) -> list[Finding]:
    """Those that did not answer, for who asked that they be compared."""
    remedy = "Its clock and version were not compared: see with txraft status whether it runs, and that its client port can be reached."
    return [advice("nodes", _told_of_silence(one), remedy, endpoint=one.endpoint) for one in neighbours if one.status is None]


def _told_of_silence(one: Neighbour) -> str:
    """Where it was asked, once, and why there is no answer."""
    place = one.endpoint.rpartition("://")[2].rstrip("/")
    rest = one.why.removeprefix(place)
    if rest != one.why and not rest.startswith(": "):
        return one.why
    return f"{one.endpoint} does not answer: {rest.removeprefix(': ')}"


def is_own(endpoint: str, advertised: str, client: Sequence[str]) -> bool:
    """Whether an endpoint is where the node itself serves clients, as far as its configuration tells.

    Args:
        endpoint: that was named to be asked.
        advertised: what the node tells others.
        client: where it listens.
    """
    _, host, port = parse_endpoint(endpoint)
    if advertised and normal_address(advertised) == (host.lower(), port):
        return True
    numeric = "127.0.0.1" if host.lower() == "localhost" else host.lower()
    for place in filter(None, map(listening, client)):
        interface, listens = place
        if port == listens and (interface == numeric or (interface in ALL_INTERFACES and numeric in LOOPBACK)):
            return True
    return False
