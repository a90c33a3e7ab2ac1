"""A plain queue in the config store: first in, first out, taken at once and for good."""

from __future__ import annotations

import secrets
from typing import Any

from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.line import Line, absent, path_bytes
from txraft.client.recipes.shared.patience import Patience
from txraft.client.recipes.shared.trouble import LockTimeout
from txraft.errors import Refused

__all__ = ["PlainQueue"]

_DIGITS = [b"%x" % digit for digit in range(16)]
"""The names of entries consist of these."""


class PlainQueue:
    """Values in the order they were put. What was got is gone, even if the one who got it fails then.

    Args:
        session: of the client.
        path: of the queue.
    """

    def __init__(self, session: Session, path: str | bytes) -> None:
        self.path = path_bytes(path)
        self._session = session
        self._line = Line(session, self.path)
        self._entries = self.path + b"/entries/"

    async def put(self, value: bytes) -> None:
        """Append a value. `Unknown`: it may be there or may come yet, once."""
        key = self._entries + secrets.token_hex(12).encode()
        await self._session.command("txn", compare=[absent(key)], success=[{"op": "put", "key": key, "value": value}])

    async def get(self, blocking: bool = False, timeout_s: float | None = None) -> bytes | None:
        """Take the first value; None if there is none (and none came within `timeout_s`, if `blocking`).

        Raises:
            Unknown: a value may have been taken, and nobody has it.
        """
        patience = Patience(self._session.store, timeout_s if blocking else 0.0)
        while True:
            answer = await self._oldest(self._entries)
            if not answer["kvs"]:
                try:
                    patience.check()
                except LockTimeout:
                    return None
                await self._line.wait_for_change(self._entries, answer["revision"], patience, prefix=True)
                continue
            (first,) = answer["kvs"]
            same = {"key": first["key"], "target": "create", "result": "=", "number": first["create_revision"]}
            take = {"op": "delete", "key": first["key"]}
            if (await self._session.command("txn", compare=[same], success=[take]))["succeeded"]:
                return bytes(first["value"])

    async def _oldest(self, prefix: bytes) -> dict[str, Any]:
        """The oldest entry among those whose keys begin so. When they are too many to be sorted at once, it is looked for part by part."""
        try:
            answer: dict[str, Any] = await self._session.query("range", key=prefix, prefix=True, sort="create", limit=1)
            return answer
        except Refused as refused:
            if refused.code != "too_large":
                raise
        parts = [await self._oldest(prefix + digit) for digit in _DIGITS]
        found = [kv for part in parts for kv in part["kvs"]]
        return {"kvs": sorted(found, key=lambda kv: int(kv["create_revision"]))[:1], "revision": parts[0]["revision"]}

    async def count(self) -> int:
        """How many values there are."""
        answer = await self._session.query("range", key=self._entries, prefix=True, count_only=True)
        return int(answer["count"])
