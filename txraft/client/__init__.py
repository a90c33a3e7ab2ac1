"""Clients of a txraft cluster: `Client` for Twisted programs, `BlockingClient` for all others.

Imported on demand: `BlockingClient` needs nothing but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txraft.client.blocking import BlockingClient
    from txraft.client.client import Client

__all__ = ["BlockingClient", "Client"]


def __getattr__(name: str) -> Any:
    if name == "BlockingClient":
        from txraft.client.blocking import BlockingClient

        return BlockingClient
    if name == "Client":
        from txraft.client.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
