"""The keys of the configuration, one by one: what each may be, and the sentence for what it may not.

What concerns several keys at once is in `node_config`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from txraft import addresses
from txraft.limits import SAME_ON_ALL_SERVERS, Limits, Timing

__all__ = [
    "ALL_INTERFACES",
    "KEYS",
    "Invalid",
    "interface_of",
    "kind_of",
    "listening",
    "listening_place",
    "normal_address",
]

ALL_INTERFACES = frozenset({"", "0.0.0.0", "::"})
RESERVED_MACHINE_NAMES = frozenset(
    {
        *("bench", "demo", "dev", "doctor", "log", "machines", "members", "new-machine", "node", "proxy"),
        *("sessions", "snapshot", "status", "watch"),
    }
)
"""Taken by the HTTP interface under /v1/, or by the `txraft` command."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PLUGIN = re.compile(r"[A-Za-z_][A-Za-z0-9._:-]{0,127}")
_SECONDS_MAX = 31_622_400.0
_COUNT_MAX = 2**40


class Invalid(Exception):
    """A value that cannot be; caught in `layers`, where origin and key are known."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def kind_of(value: Any) -> str:
    """What a person would call `value`."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__}") if value is not None else "nothing"


def _text(value: Any) -> str:
    remedy = "Write a text of one line"
    if not isinstance(value, str):
        quoted = f'Write it in quotes: "{value}"'
        raise Invalid(f"is {kind_of(value)}, not text", remedy if isinstance(value, (list, tuple, dict)) else quoted)
    if not value or not value.isprintable():
        raise Invalid("is empty" if not value else "holds characters that cannot be printed", remedy)
    return value


def _name(value: Any) -> str:
    name = _text(value)
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise Invalid(f"{name[:200]!r} is not a name", "Use 1 to 128 letters, digits, dots, underscores or hyphens, e.g. n1")
    return name


def _address(value: Any) -> str:
    try:
        address = _text(value)
        addresses.host_and_port(address)
    except ValueError as error:
        raise Invalid(str(error), "Write HOST:PORT or a client endpoint string") from None
    return address


def _server_endpoint(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        raise Invalid(f"{value} is not an endpoint", f"Write tcp:{value}:interface=127.0.0.1")
    endpoint = _text(value)
    kind, positional, named = addresses.split_endpoint(endpoint)
    if kind == "tcp":
        port = named.get("port", positional[0] if positional else "")
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise Invalid(f"{endpoint!r}: {port!r} is not a port", "A port is 0 to 65535: write tcp:2380:interface=127.0.0.1")
    elif ":" not in endpoint or re.fullmatch(r".*:[0-9]{1,5}", endpoint):
        host, _, port = endpoint.rpartition(":")
        interface = interface_of(host.strip("[]")) or "127.0.0.1"
        remedy = f"Write tcp:{port if port.isdigit() else 2380}:interface={interface}, or tcp:PORT for all interfaces"
        raise Invalid(f"{endpoint!r} is not a server endpoint", remedy)
    return endpoint


def _server_endpoints(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_server_endpoint(item) for item in items)


def _bootstrap(value: Any) -> dict[str, str]:
    example = "Write n1: HOST:PORT, one line for each server"
    if not isinstance(value, Mapping) or not value:
        raise Invalid(f"is {kind_of(value)}, not a mapping of servers" if value else "names no server", example)
    servers: dict[str, str] = {}
    for server, address in value.items():
        try:
            if address is None:
                raise Invalid("has no address", example)
            servers[_name(server)] = _address(address)
        except Invalid as invalid:
            raise Invalid(f"server {server!r}: {invalid.problem}", invalid.remedy) from None
    return servers


def _machines(value: Any) -> dict[str, str]:
    example = "Write counter: counter, one line for each machine"
    if isinstance(value, (list, tuple)):
        if len(set(map(str, value))) < len(value):
            raise Invalid("names a machine twice", example)
        value = dict.fromkeys((_name(item) for item in value), None)
    if not isinstance(value, Mapping) or not value:
        raise Invalid(f"is {kind_of(value)}, not a mapping of machines" if value else "names no machine", example)
    machines: dict[str, str] = {}
    for machine, plugin in value.items():
        name = _name(machine)
        if name in RESERVED_MACHINE_NAMES:
            raise Invalid(f"{name!r} cannot name a machine: /v1/{name} is taken", "Choose another name")
        plugin = plugin if plugin is not None else name
        if not isinstance(plugin, str) or not _PLUGIN.fullmatch(plugin):
            raise Invalid(f"machine {name!r}: {plugin!r} is not a plug-in", "Write a plug-in's name, or package.module.Class")
        machines[name] = plugin
    return machines


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Invalid(f"is {kind_of(value)}, not a number of seconds", "Write a number such as 0.5")
    if not math.isfinite(value) or not 0 < value <= _SECONDS_MAX:
        raise Invalid(f"{value:g} is out of range", f"Write more than 0 and at most {_SECONDS_MAX:g} seconds")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"is {kind_of(value)}, not a whole number", "Write a number such as 1048576")
    if not 1 <= value <= _COUNT_MAX:
        raise Invalid("is out of range", f"Write 1 to {_COUNT_MAX}")
    return value


KEYS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "cluster": _name,
    "data_dir": _text,
    "peer": _server_endpoint,
    "client": _server_endpoints,
    "advertise_peer": _address,
    "advertise_client": _address,
    "bootstrap": _bootstrap,
    "machines": _machines,
    **{f"timing.{entry.name}": _seconds for entry in fields(Timing)},
    **{f"limits.{entry.name}": _count for entry in fields(Limits) if entry.name not in SAME_ON_ALL_SERVERS},
}
"""Every dotted key, with what checks it."""


def listening(endpoint: str) -> tuple[str, int] | None:
    """Interface ("" for all) and port of a `tcp` server endpoint; None for another kind."""
    kind, positional, named = addresses.split_endpoint(endpoint)
    if kind != "tcp":
        return None
    at = 0 if "port" in named else 1
    return named.get("interface", positional[at] if len(positional) > at else ""), int(named.get("port") or positional[0])


def listening_place(endpoint: str) -> object:
    """What two server endpoints cannot share; None for a port that the system chooses."""
    place = listening(endpoint)
    if place is None:
        return endpoint
    return place if place[1] else None


def normal_address(address: str) -> object:
    """Equal for addresses that are the same in different words."""
    place = addresses.host_and_port(address) if address else None
    return (place[0].lower(), place[1]) if place else address


def interface_of(host: str) -> str | None:
    """The interface, escaped for an endpoint string, of a host given as an IP address or `localhost`; None for other names."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host)).replace(":", "\\:")
    except ValueError:
        return None
