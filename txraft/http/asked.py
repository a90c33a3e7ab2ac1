"""An HTTP request, free of the connection it came by."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

__all__ = ["Asked"]


@frozen
class Asked:
    """An HTTP request as it arrived.

    Attributes:
        method: GET also stands for HEAD.
        path: percent-encoded, without the query string.
        query: the query string, percent-encoded.
        body: not longer than `Limits.http_body_bytes_max`.
        header: all values of a header, by its name in capitals as usual (`Idempotency-Key`).
    """

    method: str
    path: bytes
    query: bytes
    body: bytes
    header: Callable[[str], list[str]]
