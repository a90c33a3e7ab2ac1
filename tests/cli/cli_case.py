"""The `txraft` command without a cluster: what it prints, and what it would have asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from txraft.cli import machines, watch
from txraft.cli.main import main
from txraft.client.events import Event

__all__ = ["CliTestCase", "FakeClient", "Terminal", "Told"]


@frozen
class Told:
    """The end of a command."""

    exit_code: int
    stdout: str
    stderr: str


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class FakeClient:
    """Stands for a `BlockingClient`.

    Attributes:
        called: what was asked for, of all clients.
        result: of every call; an exception is raised.
        events: of every watch.
    """

    called: list[tuple[Any, ...]] = []
    result: Any = None
    events: list[Event] = []

    def __init__(self, endpoints: tuple[str, ...], timeout_s: float, *, text_bytes: bool) -> None:
        assert text_bytes, "bytes are typed and read as text"
        self.called.append(("connect", endpoints, timeout_s))

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.called.append(("close",))

    def command(self, machine: str, command: str, /, **arguments: Any) -> Any:
        self.called.append(("command", machine, command, arguments))
        return self._answer()

    def query(
        self,
        machine: str,
        query: str,
        /,
        consistency: str,
        at_least: int | None = None,
        max_staleness_s: float | None = None,
        **arguments: Any,
    ) -> Any:
        freshness = [one for one in (at_least, max_staleness_s) if one is not None]
        self.called.append(("query", machine, query, " ".join(map(str, [consistency, *freshness])), arguments))
        return self._answer()

    def watch(self, machine: str, topic: Any, *, prefix: Any, from_index: Any) -> Any:
        self.called.append(("watch", machine, topic, prefix, from_index))
        return nullcontext(self._told())

    def _told(self) -> Iterator[Event]:
        yield from self.events
        if isinstance(self.result, BaseException):
            raise self.result

    def _answer(self) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def parameter(name: str, kind: str, *default: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "required": not default, "default": default[0] if default else None}


def operation(doc: str, returns: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"doc": doc, "parameters": list(parameters), "returns": returns}


MACHINES: dict[str, Any] = {
    "stock": {
        "plugin": "stock",
        "version": 2,
        "doc": "Units on the shelf, by article.\nAnd more.",
        "commands": {
            "add": operation("Put units on the shelf.", "int", parameter("sku", "str"), parameter("n", "int", 1)),
            "take_all": operation("Take everything.", "None"),
            "label": operation("Stick labels.", "bytes", parameter("sku", "str"), parameter("labels", "list[str]", [])),
        },
        "queries": {"left": operation("100% of what is left.", "int | None", parameter("sku", "str"))},
    }
}


class CliTestCase(SynchronousTestCase):
    """Runs commands with a fake client."""

    def setUp(self) -> None:
        self.called: list[tuple[Any, ...]] = []
        self.patch(FakeClient, "called", self.called)
        self.patch(FakeClient, "result", None)
        self.patch(FakeClient, "events", [])
        self.patch(machines, "BlockingClient", FakeClient)
        self.patch(watch, "BlockingClient", FakeClient)
        self.patch(machines, "_describe", lambda settings: MACHINES)

    def run_command(self, *arguments: str, **environ: str) -> Told:
        """Run it to the end."""
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                exit_code = main(arguments, environ)
            except SystemExit as exited:  # --help and --version
                exit_code = exited.code  # type: ignore[assignment]
        raw = stdout.buffer
        assert isinstance(raw, io.BytesIO)
        return Told(exit_code, raw.getvalue().decode(), stderr.getvalue())
