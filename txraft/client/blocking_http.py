"""One request and its answer over the HTTP API, for `BlockingClient`. Standard library only; blocks; not thread-safe by itself."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from txraft.addresses import host_and_port
from txraft.errors import ConfigurationError, NotApplied, Outcome, Refused, Unknown

__all__ = ["JsonApi", "encode_arguments", "members_of", "open_connection", "parse_endpoint"]

RESPONSE_BYTES_MAX = 16_777_216
_OUTCOMES: dict[str, type[Outcome]] = {kind.outcome: kind for kind in (Refused, NotApplied, Unknown)}
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "outcome"})

Connect = Callable[[str, str, int, float], http.client.HTTPConnection]


def open_connection(scheme: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
    """An open connection; raises `OSError` when there is no reaching the server."""
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout_s)
    connection.connect()
    return connection


def encode_arguments(machine: str, operation: str, arguments: Mapping[str, Any], *, text_bytes: bool) -> bytes:
    """The body of a request: JSON, with bytes at any depth in base64; with `text_bytes`, those that are UTF-8 as text.

    Raises:
        NotApplied: `invalid_arguments`.
    """
    try:
        return json.dumps(arguments, allow_nan=False, default=_text_of_bytes if text_bytes else _base64_of_bytes).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotApplied("invalid_arguments", f"{machine} {operation}: {error}") from None


def _base64_of_bytes(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is not plain")


def _text_of_bytes(value: Any) -> str | dict[str, str]:
    encoded = _base64_of_bytes(value)
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return {"base64": encoded}


def _readable(sock: socket.socket) -> bool:
    """Whether there is something to read, or the end. Not by `select`, which takes no descriptor from 1024 on."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def parse_endpoint(endpoint: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises `ConfigurationError`."""
    scheme, _, address = endpoint.rpartition("://")
    try:
        host_port = host_and_port(address.rstrip("/"))
    except ValueError as error:
        raise ConfigurationError(str(error), key="endpoints") from None
    if host_port is None or scheme not in ("", "http", "https"):
        raise ConfigurationError(f"{endpoint!r} is no HOST:PORT", key="endpoints", remedy="Write e.g. 127.0.0.1:2379")
    return scheme or "http", *host_port


class JsonApi:
    """The endpoints, one of which is used until it fails, and the connection to it, which is kept.

    Raises:
        ConfigurationError: an endpoint is not ``HOST:PORT`` (or ``http://HOST:PORT``), or there is none.
    """

    def __init__(self, endpoints: Sequence[str], connect: Connect) -> None:
        if isinstance(endpoints, str):
            raise ConfigurationError(f"{endpoints!r} is no list", key="endpoints", remedy="Give a list of HOST:PORT")
        self._endpoints = [parse_endpoint(endpoint) for endpoint in endpoints]
        if not self._endpoints:
            raise ConfigurationError("there is no endpoint", key="endpoints", remedy="Give at least one HOST:PORT")
        self._connect = connect
        self._current = 0
        self._connection: http.client.HTTPConnection | None = None
        self._interrupted = False

    def exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Any:
        """Send one request to the current endpoint and wait for its answer.

        Returns:
            The JSON of the answer; None if it has no body.

        Raises:
            NotApplied: `unreachable` when no connection could be opened: nothing was sent. Or the server said so.
            Unknown: `connection_lost` or `unexpected_answer` when it was sent and no usable answer came. Or the server said so.
            Refused: the server said so.
        """
        connection = self._connected(timeout_s)
        if self._interrupted:
            self.close()
            raise NotApplied("interrupted", "this connection is not wanted any more")
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            content = response.read(RESPONSE_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unknown("connection_lost", f"{self._name()}: {error or type(error).__name__}") from error
        if len(content) > RESPONSE_BYTES_MAX:
            self.close()
            raise Unknown("unexpected_answer", f"{self._name()} answered with more than {RESPONSE_BYTES_MAX} bytes")
        return members_of(self._name(), response.status, content)

    def next_endpoint(self) -> None:
        """Use the next endpoint from now on."""
        if len(self._endpoints) > 1:
            self.close()
            self._current = (self._current + 1) % len(self._endpoints)

    def interrupt(self) -> None:
        """End the exchange that another thread waits in, if there is one, and take no more. It fails."""
        self._interrupted = True
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # It has ended by itself.
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Drop the connection; a later exchange opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None:
            sock = connection.sock
            # Anything to read on an idle connection is its end: the server has closed it, so nothing must be sent on it.
            if sock is not None and not _readable(sock):
                sock.settimeout(timeout_s)
                return connection
            self.close()
        try:
            self._connection = self._connect(*self._endpoints[self._current], timeout_s)
        except OSError as error:
            raise NotApplied("unreachable", f"{self._name()}: {error}") from error
        return self._connection

    def _name(self) -> str:
        _, host, port = self._endpoints[self._current]
        return f"{host}:{port}"


def members_of(name: str, status: int, content: bytes) -> Any:
    """The JSON of an answer, None if it has no body. Raises the `Outcome` that it is. `name`: of who answered."""
    try:
        members = json.loads(content) if content else None
    except (ValueError, RecursionError):
        raise Unknown("unexpected_answer", f"{name} answered {status} with something that is not JSON") from None
    if 200 <= status < 300:
        return members
    if not isinstance(members, dict) or members.get("outcome") not in _OUTCOMES:
        raise Unknown("unexpected_answer", f"{name} answered {status} without an outcome: is it a txraft node?")
    problem = _OUTCOMES[members["outcome"]](str(members.get("code", "")), str(members.get("detail", "")))
    problem.details = {name: value for name, value in members.items() if name not in _PROBLEM_MEMBERS}
    raise problem
