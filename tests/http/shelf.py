"""A machine with parameters of all kinds, and operations that fail in all ways."""

from __future__ import annotations

from typing import Any

from txraft.statemachine import Context, Refused, StateMachine, command, query


class Shelf(StateMachine):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: Any = None

    @command
    def keep(self, ctx: Context, value: Any) -> Any:
        self.kept = value
        return value

    @command
    def refuse(self, ctx: Context) -> None:
        raise Refused("out_of_stock", "only 3 left", left=3, status="empty")

    @command
    def fail(self, ctx: Context) -> None:
        raise ZeroDivisionError("a secret of the inside")

    @command
    def raw(self, ctx: Context, content: bytes) -> bytes:
        return content

    @command
    def happen(self, ctx: Context, topic: str = "t", count: int = 1, content: bytes = b"") -> int:
        """Something happens.

        Events of one topic, numbered.
        """
        for number in range(count):
            ctx.emit(topic, number=number, content=content)
        return ctx.index

    @command
    def take(self, ctx: Context, name: str = "", wait_s: float = 0.0) -> Any:
        return self.kept

    @command
    def take_patiently(self, ctx: Context, wait_s: float = 20.0) -> Any:
        return self.kept

    @command
    def refuse_bytes(self, ctx: Context, key: bytes) -> None:
        raise Refused("not_there", "no such key", key=key)

    @query
    def fetch(self, key: bytes, end: bytes | None = None, more: list[bytes] = []) -> Any:  # noqa: B006
        return {"key": key, "end": end, "more": more, key: [(key,)]}

    @query
    def kept_now(self) -> Any:
        return self.kept

    @query
    def echo(
        self,
        text: str = "",
        number: int = 0,
        ratio: float = 0.0,
        wanted: bool = False,
        names: list[str] = [],  # noqa: B006
        numbers: list[int] = [],  # noqa: B006
        limit: int | None = 5,
        content: bytes = b"",
        table: dict[str, int] = {},  # noqa: B006
    ) -> list[Any]:
        return [text, number, ratio, wanted, names, numbers, limit, content, table]

    @query
    def keyed(self) -> Any:
        return {1: "a", b"k": "b", None: float("inf"), "t": b"\xff", "large": [2**70]}

    @query
    def timed(self, timeout: int, consistency: str) -> list[Any]:
        return [timeout, consistency]

    def waits_on(self, name: str, arguments: Any) -> str | None:
        return None if self.kept else name

    def supply(self, topic: bytes) -> int:
        return 1

    def snapshot(self) -> Any:
        return self.kept

    def restore(self, state: Any) -> None:
        self.kept = state
