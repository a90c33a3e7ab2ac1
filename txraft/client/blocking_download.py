"""A file of a node, read over HTTP piece by piece. Standard library only; blocks."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

from txraft.client.blocking_http import Connect, members_of, open_connection, parse_endpoint
from txraft.errors import NotApplied, Unknown

__all__ = ["Download"]

PROBLEM_BYTES_MAX = 1_048_576


class Download:
    """An answer whose body is read while it comes. To be closed.

    Args:
        endpoint: whom to ask.
        path: for what.
        timeout_s: how long nothing may come.
        connect: opens the connection.

    Raises:
        NotApplied: `unreachable`, or what the server said.
        Unknown: the server answered something else, or no more.

    Attributes:
        length: of the body, in bytes.
    """

    def __init__(self, endpoint: str, path: str, timeout_s: float, connect: Connect = open_connection) -> None:
        scheme, host, port = parse_endpoint(endpoint)
        self._name = f"{host}:{port}"
        try:
            self._connection = connect(scheme, host, port, timeout_s)
        except OSError as error:
            raise NotApplied("unreachable", f"{self._name}: {error}") from error
        try:
            self._response = self._ask(path)
            self.length = self._length()
        except BaseException:
            self.close()
            raise

    def header(self, name: str) -> str | None:
        """A header of the answer, by its name in any case; None without it."""
        return self._response.headers.get(name)

    def pieces(self, bytes_max: int) -> Iterator[bytes]:
        """The body, at most `bytes_max` at a time. Raises `Unknown` when it ends too early."""
        left = self.length
        while left:
            piece = self._attempt(self._response.read, min(left, bytes_max))
            if not piece:
                raise Unknown("connection_lost", f"{self._name} sent {self.length - left} of {self.length} bytes, then no more")
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """Want no more of it."""
        self._connection.close()

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._attempt(self._connection.request, "GET", path)
        response: http.client.HTTPResponse = self._attempt(self._connection.getresponse)
        if response.status != 200:
            members_of(self._name, response.status, self._attempt(response.read, PROBLEM_BYTES_MAX))
            raise Unknown("unexpected_answer", f"{self._name} answered {response.status}: is it a txraft node?")
        return response

    def _length(self) -> int:
        length = self.header("Content-Length") or ""
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Unknown("unexpected_answer", f"{self._name} does not say how long its answer is: is it a txraft node?")
        return int(length)

    def _attempt(self, step: Any, *arguments: Any) -> Any:
        try:
            return step(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise Unknown("connection_lost", f"{self._name}: {error or type(error).__name__}") from error
