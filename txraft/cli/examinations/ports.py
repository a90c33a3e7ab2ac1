"""Whether the node can listen where it is to, and who does if it cannot."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

from attrs import frozen

from txraft.addresses import split_endpoint
from txraft.cli.examinations.findings import Finding, advice, ok, problem
from txraft.config.values import listening

__all__ = ["Listener", "Place", "examine_ports", "places_of", "try_to_bind"]

ABOUT = "port"


@frozen
class Place:
    """Where a node is to listen.

    Attributes:
        key: of the configuration: `peer` or `client`.
        endpoint: as configured.
    """

    key: str
    endpoint: str


@frozen
class Listener:
    """A process that listens on a port.

    Attributes:
        pid: its number.
        command: its command line.
    """

    pid: int
    command: str


def places_of(peer: str, client: Sequence[str]) -> list[Place]:
    """All places of a configuration."""
    return [Place("peer", peer), *(Place("client", endpoint) for endpoint in client)]


def try_to_bind(interface: str, port: int) -> None:
    """Take the port as a node would, and let it go at once. Raises `OSError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        candidate.bind((interface, port))
        candidate.listen(1)


def examine_ports(
    places: Sequence[Place], bind: Callable[[str, int], None], listener: Callable[[int], Listener | None], own_pid: int | None
) -> list[Finding]:
    """Try each place.

    Args:
        places: where the node is to listen.
        bind: takes a port for a moment; raises the `OSError` that says why it cannot be had.
        listener: who listens on a port, as far as the system tells us.
        own_pid: the process that has the data directory; None when nobody has.
    """
    return [_examine(place, bind, listener, own_pid) for place in places]


def _examine(place: Place, bind: Callable[[str, int], None], listener: Callable[[int], Listener | None], own_pid: int | None) -> Finding:
    told = f"{place.key} {place.endpoint}"
    where = listening(place.endpoint)
    figures = {"key": place.key, "endpoint": place.endpoint}
    if where is None:
        return ok(ABOUT, f"{told}: is no TCP port ({split_endpoint(place.endpoint)[0]}), and was not tried", **figures)
    interface, port = where
    if port == 0:
        return ok(ABOUT, f"{told}: any free port", **figures)
    try:
        bind(interface, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _taken(told, listener(port), own_pid, figures)
        return problem(ABOUT, f"{told}: {error.strerror or error}", _remedy(error, place.key), **figures)
    if own_pid is not None:
        found = f"{told}: nobody listens there, but process {own_pid} has the data directory"
        return advice(ABOUT, found, "Is it the node of another configuration, or has it only just begun?", **figures)
    return ok(ABOUT, f"{told}: free", **figures)


def _taken(told: str, listener: Listener | None, own_pid: int | None, figures: dict[str, str]) -> Finding:
    if listener is None:
        found = f"{told}: somebody listens there; who it is can be seen by its owner and by root only"
        if own_pid is not None:
            return advice(ABOUT, found, f"If it is process {own_pid}, which has the data directory, all is well.", **figures)
        return problem(ABOUT, found, "Stop it, or choose another port.", **figures)
    if listener.pid == own_pid:
        return ok(ABOUT, f"{told}: this node listens there (process {own_pid})", **figures, pid=own_pid)
    found = f"{told}: process {listener.pid} listens there: {listener.command}"
    return problem(ABOUT, found, "Stop it, or choose another port.", **figures, pid=listener.pid)


def _remedy(error: OSError, key: str) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This computer does not have that address: correct it, or listen on all with {key}: tcp:PORT."
    if error.errno in (errno.EACCES, errno.EPERM):
        return "Ports below 1024 are for root, or for who has the capability CAP_NET_BIND_SERVICE: choose another port."
    return "Choose another port or interface."
