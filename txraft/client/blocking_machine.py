"""A machine as an object, for `BlockingClient`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txraft.client.blocking import BlockingClient

__all__ = ["BlockingMachine"]


class BlockingMachine:
    """The commands and queries of one machine as methods; the server is asked once which there are."""

    def __init__(self, client: BlockingClient, name: str) -> None:
        self._client = client
        self._name = name

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            kind = self._client._kind_of(self._name, operation)
            return getattr(self._client, "query" if kind == "queries" else "command")(self._name, operation, *args, **kwargs)

        call.__name__ = operation
        return call
