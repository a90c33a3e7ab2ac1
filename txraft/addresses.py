"""Addresses as people write them: `HOST:PORT`, `[::1]:2380`, or a Twisted client endpoint string such as `tls:host=a:port=1`.

Standard library only: the configuration, both clients and the network read addresses alike. Pure functions, any thread.
"""

from __future__ import annotations

import re

__all__ = ["endpoint_string", "host_and_port", "split_endpoint", "split_pairs"]

_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]=\\]+)):([0-9]{1,5})")
_IPV6_WITHOUT_BRACKETS = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_ENDPOINT_KINDS = frozenset({"tcp", "tcp6", "ssl", "tls", "unix", "systemd", "fd", "haproxy", "stdio"})


def endpoint_string(address: str) -> str:
    r"""The Twisted client endpoint string for `address`: `HOST:PORT` becomes `tcp:host=HOST:port=PORT`, escaped; others pass.

    `[::1]:2380` becomes `tcp:host=\:\:1:port=2380`.

    Raises:
        ValueError: `address` is neither; the sentence says what to write.
    """
    match = _check(address)
    if match is None:
        return address
    host = re.sub(r"([\\:=])", r"\\\1", match[1] or match[2])
    return f"tcp:host={host}:port={int(match[3])}"


def host_and_port(address: str) -> tuple[str, int] | None:
    """Host (without brackets) and port of `HOST:PORT` or of a `tcp:` client endpoint; None for endpoints of another kind.

    Raises:
        ValueError: `address` is neither; the sentence says what to write.
    """
    match = _check(address)
    if match is not None:
        return match[1] or match[2], int(match[3])
    kind, positional, named = split_endpoint(address)
    host = named.get("host", positional[0] if positional else "")
    port = named.get("port", positional[1] if len(positional) > 1 else positional[0] if "host" in named and positional else "")
    if kind != "tcp" or not host or not re.fullmatch("[0-9]{1,5}", port):
        return None
    return host, int(port)


def split_endpoint(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """Kind, positional and named arguments of a Twisted endpoint string, unescaped."""
    kind, *arguments = _split(endpoint, ":")
    positional: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments:
        key, *rest = _split(argument, "=")
        if rest:
            named[_unescape(key)] = _unescape("=".join(rest))
        else:
            positional.append(_unescape(key))
    return kind.lower(), positional, named


def split_pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping, in order. A part without `=` maps to ""; a value may hold further `=`; blanks around are cut.

    Raises:
        ValueError: an empty part, name or value after `=`, or a name given twice.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or (equals and not value):
            raise ValueError(f"{part.strip()!r} is not NAME=VALUE")
        if name in pairs:
            raise ValueError(f"{name!r} is given twice")
        pairs[name] = value
    return pairs


def _check(address: str) -> re.Match[str] | None:
    """The match of a `HOST:PORT`, None for what may be an endpoint string; raises `ValueError` for anything else."""
    if not address or not address.isprintable() or " " in address:
        raise ValueError(f"{address!r} is not an address: write HOST:PORT, e.g. 10.0.0.1:2380")
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        _check_endpoint(address)
        return None
    if not 1 <= int(match[3]) <= 65535:
        raise ValueError(f"port {match[3]} in {address!r} is out of range: a port is 1 to 65535")
    if match[2] is not None and match[2].lower() in _ENDPOINT_KINDS:
        raise ValueError(f"{address!r} lacks the host: write HOST:PORT, or {match[2]}:host=HOST:port={match[3]}")
    return match


def _check_endpoint(address: str) -> None:
    if _IPV6_WITHOUT_BRACKETS.fullmatch(address):
        raise ValueError(f"{address!r}: write an IPv6 address in brackets, e.g. [::1]:2380")
    kind, *arguments = _split(address, ":")
    if not arguments:
        raise ValueError(f"{address!r} lacks the port: write {address}:PORT")
    if not kind or "[" in kind or (len(arguments) == 1 and kind.lower() not in _ENDPOINT_KINDS and "=" not in arguments[0]):
        raise ValueError(f"{address!r} is neither HOST:PORT with a number for the port nor an endpoint string")


def _split(text: str, separator: str) -> list[str]:
    """Split at every `separator` that no backslash escapes."""
    parts = [""]
    pieces = re.findall(r"\\.|.", text, re.DOTALL)
    for piece in pieces:
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
