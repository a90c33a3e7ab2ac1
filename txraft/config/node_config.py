"""What the operator configures: defaults < file < `TXRAFT_*` < flags, every key checked, and where it came from remembered.

Nothing here touches the data directory or the network: `NodeConfig.load` only reads the YAML file. It runs before twistd forks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from attrs import field, frozen

from txraft import addresses
from txraft.config import values
from txraft.config.layers import Given, read_environment, read_file, read_flags
from txraft.errors import ConfigurationError
from txraft.limits import Limits, Timing

__all__ = ["STOCK_MACHINES", "NodeConfig"]

STOCK_MACHINES = ("counter", "queue", "config")
"""The plug-ins that come with txraft: a node hosts them, under these names, unless it is told which machines to host."""

_DERIVED = "derived"
_DEFAULT = "default"


@frozen(kw_only=True)
class NodeConfig:
    """One node's configuration, whole and checked. Made by `load` (a service) or `of` (an embedding program).

    Attributes:
        name: of this server within its cluster.
        cluster: name of the cluster; with `bootstrap` it makes the cluster id.
        data_dir: absolute; not created or looked at here.
        peer: Twisted server endpoint string where other servers connect.
        client: server endpoint strings where clients connect; empty for a node that only its own program calls.
        advertise_peer: how other servers reach this one (`HOST:PORT` or client endpoint string); "" if alone and not derivable.
        advertise_client: how clients reach it; "" likewise.
        bootstrap: address by server, of the first voters; it counts on the first start only.
        machines: plug-in (or dotted class) by machine name.
        origins: dotted key -> `default`, `derived`, file, environment variable or flag.
    """

    name: str
    cluster: str
    data_dir: Path
    peer: str
    client: tuple[str, ...]
    advertise_peer: str
    advertise_client: str
    bootstrap: Mapping[str, str]
    machines: Mapping[str, str]
    timing: Timing = field(factory=Timing)
    limits: Limits = field(factory=Limits)
    origins: Mapping[str, str] = field(factory=dict)

    @classmethod
    def load(
        cls, file: str | Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
    ) -> NodeConfig:
        """Put the layers together and check the whole.

        Args:
            file: a YAML file; None for none.
            environ: only names that begin with `TXRAFT_` are looked at.
            flags: by dotted key (`data_dir`, `timing.election_s`); texts are read as in the environment, repeated flags come
                as lists, anything else as in the file. A value of None was not given.

        Raises:
            ConfigurationError: naming file, variable or flag, key and remedy.
        """
        layers = [
            read_file(Path(file)) if file is not None else {},
            read_environment(environ or {}),
            read_flags(flags or {}, lambda key: "--" + key.replace("_", "-")),
        ]
        return _assemble({key: given for layer in layers for key, given in layer.items()})

    @classmethod
    def of(cls, **settings: Any) -> NodeConfig:
        """A configuration out of keywords, for a program that embeds a node: the keys of the file, `timing` and `limits` also whole.

        Raises:
            ConfigurationError: naming keyword and remedy.
        """
        flat: dict[str, Any] = {}
        for key, value in settings.items():
            if isinstance(value, (Timing, Limits)):
                value = {entry.name: given for entry in fields(value) if (given := getattr(value, entry.name)) != entry.default}
            if key in ("timing", "limits") and isinstance(value, Mapping):
                flat |= {f"{key}.{inner}": item for inner, item in value.items()}
            else:
                flat[key] = value
        return _assemble(read_flags(flat, lambda key: f"argument {key}"))

    @property
    def cluster_id(self) -> str:
        """32 hexadecimal digits out of the cluster's name and its first voters.

        A server that bootstraps itself alone counts without its address, so that it may move to another port.
        """
        voters = self.bootstrap if self.origins.get("bootstrap", "") not in ("", _DERIVED) else dict.fromkeys(self.bootstrap, "")
        told = "\n".join([self.cluster, *(f"{name}={voters[name]}" for name in sorted(voters))])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def describe(self) -> list[str]:
        """Lines `key = value (origin)`, for `--check`. Endpoint strings name key files but never hold their contents."""
        shown: dict[str, str] = {}
        for key in ("name", "cluster", "data_dir", "peer", "advertise_peer", "advertise_client"):
            shown[key] = str(getattr(self, key))
        shown["client"] = ", ".join(self.client)
        shown["bootstrap"] = ", ".join(f"{name}={address}" for name, address in self.bootstrap.items())
        shown["machines"] = ", ".join(f"{name}={plugin}" for name, plugin in self.machines.items())
        for group in ("timing", "limits"):
            record = getattr(self, group)
            shown |= {f"{group}.{entry.name}": f"{getattr(record, entry.name)}" for entry in fields(record)}
        return [f"{key} = {shown[key]} ({self.origins.get(key, _DEFAULT)})" for key in values.KEYS if key in shown]


class _Settings:
    """The merged layers while the whole is put together: a value with its origin, or the default."""

    def __init__(self, given: Mapping[str, Given]) -> None:
        self.given = given
        self.origins = dict.fromkeys(values.KEYS, _DEFAULT)
        self.origins |= {key: item.origin for key, item in given.items()}

    def get(self, key: str, default: Any) -> Any:
        """The value of `key`, or `default`."""
        return self.given[key].value if key in self.given else default

    def derived(self, key: str, value: Any) -> Any:
        """The value of `key` if it was given; else `value`, noted as derived from other keys."""
        if key in self.given:
            return self.given[key].value
        self.origins[key] = _DERIVED
        return value

    def error(self, key: str, problem: str, remedy: str) -> ConfigurationError:
        """An error about `key`, with its origin."""
        item = self.given.get(key)
        return ConfigurationError(problem, origin=item.origin if item else "", key=key, remedy=remedy)


def _assemble(given: Mapping[str, Given]) -> NodeConfig:
    settings = _Settings(given)
    name = settings.get("name", "n1")
    bootstrap = settings.get("bootstrap", None)
    if bootstrap is not None:
        _check_bootstrap(settings, name, bootstrap)
    own = bootstrap[name] if bootstrap else ""
    peer = _peer_endpoint(settings, name, own)
    client = settings.get("client", ("tcp:2379:interface=127.0.0.1",))
    _check_listening(settings, peer, client)
    advertise_peer = settings.derived("advertise_peer", own or _reached_at(peer, ""))
    _check_advertised(settings, name, advertise_peer, bootstrap or {})
    advertise_client = _advertise_client(settings, client, advertise_peer, alone=len(bootstrap or "1") == 1)
    return NodeConfig(
        name=name,
        cluster=settings.get("cluster", "txraft"),
        data_dir=Path(settings.get("data_dir", f"txraft-data/{name}")).expanduser().absolute(),
        peer=peer,
        client=client,
        advertise_peer=advertise_peer,
        advertise_client=advertise_client,
        bootstrap=settings.derived("bootstrap", {name: advertise_peer}),
        machines=settings.get("machines", {name: name for name in STOCK_MACHINES}),
        timing=_timing(settings),
        limits=_limits(settings),
        origins=settings.origins,
    )


def _check_bootstrap(settings: _Settings, name: str, bootstrap: Mapping[str, str]) -> None:
    if name not in bootstrap:
        known = ", ".join(bootstrap)
        raise settings.error(
            "bootstrap",
            f"this server's own name {name!r} is not among its servers ({known})",
            f"Set name to one of these, or add {name}=HOST:PORT",
        )
    seen: dict[object, str] = {}
    for server, address in bootstrap.items():
        place = values.normal_address(address)
        if place in seen:
            raise settings.error(
                "bootstrap",
                f"{seen[place]!r} and {server!r} have the same address {address}",
                "Give every server its own address",
            )
        seen[place] = server


def _peer_endpoint(settings: _Settings, name: str, own: str) -> str:
    """Where to listen for peers: as given, else where `bootstrap` says this server is reached, else loopback."""
    if "peer" in settings.given or not own:
        return str(settings.get("peer", "tcp:2380:interface=127.0.0.1"))
    place = addresses.host_and_port(own)
    interface = values.interface_of(place[0]) if place else None
    if place is None or interface is None:
        port = place[1] if place else 2380
        raise ConfigurationError(
            f"bootstrap says that {name} is reached at {own}, but not on which interface it is to listen",
            origin=settings.origins["bootstrap"],
            key="peer",
            remedy=f"Write peer: tcp:{port}:interface=ADDRESS, or peer: tcp:{port} for all interfaces",
        )
    return str(settings.derived("peer", f"tcp:{place[1]}:interface={interface}"))


def _check_listening(settings: _Settings, peer: str, client: tuple[str, ...]) -> None:
    seen: dict[object, str] = {values.listening_place(peer): "peer"}
    for endpoint in client:
        place = values.listening_place(endpoint)
        if place is not None and place in seen:
            problem = f"{endpoint} is where this server listens already (key {seen[place]!r})"
            raise settings.error("client", problem, "Peers and clients each need a port of their own")
        seen[place] = "client"


def _reached_at(endpoint: str, host: str) -> str:
    """`HOST:PORT` for a `tcp` server endpoint: by its interface, or by `host` if it listens on all; "" if it cannot be told."""
    listening = values.listening(endpoint)
    if listening is None or listening[1] == 0:
        return ""
    interface = listening[0] if listening[0] not in values.ALL_INTERFACES else host
    if not interface:
        return ""
    return f"[{interface}]:{listening[1]}" if ":" in interface else f"{interface}:{listening[1]}"


def _check_advertised(settings: _Settings, name: str, advertise_peer: str, bootstrap: Mapping[str, str]) -> None:
    for server, address in bootstrap.items():
        if server != name and values.normal_address(address) == values.normal_address(advertise_peer):
            raise settings.error(
                "advertise_peer", f"{advertise_peer} is the address of {server!r} in bootstrap", "Give this server's own address"
            )


def _advertise_client(settings: _Settings, client: tuple[str, ...], advertise_peer: str, *, alone: bool) -> str:
    """As given; else the first client endpoint that tells its address; on all interfaces, the host that peers use."""
    place = addresses.host_and_port(advertise_peer) if advertise_peer else None
    reached = next((found for endpoint in client if (found := _reached_at(endpoint, place[0] if place else ""))), "")
    if client and not reached and not alone and "advertise_client" not in settings.given:
        raise ConfigurationError(
            f"cannot tell from the client endpoints ({', '.join(client)}) where clients reach this server",
            origin=settings.origins["client"],
            key="advertise_client",
            remedy="Write advertise_client: HOST:PORT",
        )
    return str(settings.derived("advertise_client", reached))


def _timing(settings: _Settings) -> Timing:
    timing = Timing(**{entry.name: settings.get(f"timing.{entry.name}", entry.default) for entry in fields(Timing)})
    if timing.heartbeat_s * 2 > timing.election_s:
        key = "timing.heartbeat_s" if "timing.heartbeat_s" in settings.given else "timing.election_s"
        raise settings.error(
            key,
            f"a heartbeat every {timing.heartbeat_s:g} s is too seldom for an election timeout of {timing.election_s:g} s: "
            "one lost heartbeat would end a leader",
            f"Write timing.election_s: {timing.heartbeat_s * 10:g}, or at least twice timing.heartbeat_s",
        )
    return timing


def _limits(settings: _Settings) -> Limits:
    limits = Limits(**{entry.name: settings.get(f"limits.{entry.name}", entry.default) for entry in fields(Limits)})
    envelope = 65_536
    for frame, content in (
        ("peer_frame_bytes_max", "append_bytes_max"),
        ("peer_frame_bytes_max", "command_bytes_max"),
        ("peer_frame_bytes_max", "snapshot_chunk_bytes"),
        ("client_frame_bytes_max", "command_bytes_max"),
    ):
        least = getattr(limits, content) + envelope
        if getattr(limits, frame) < least:
            key = f"limits.{frame}" if f"limits.{frame}" in settings.given else f"limits.{content}"
            problem = f"limits.{frame} ({getattr(limits, frame)}) has no room for limits.{content} ({getattr(limits, content)})"
            raise settings.error(key, problem, f"Write limits.{frame}: {least} or more")
    return limits
