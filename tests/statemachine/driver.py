"""A host and the log that feeds it, for tests: `Driver.call` is one entry."""

from __future__ import annotations

from typing import Any

from txraft.limits import Limits
from txraft.statemachine.host import Host
from txraft.statemachine.log_commands import (
    Clock,
    CloseSession,
    HostMachine,
    Invoke,
    KeepSession,
    LogCommand,
    OpenSession,
    decode_log_command,
    encode_log_command,
)
from txraft.statemachine.results import Answer, decode_answer
from txraft.statemachine.values import encode_value

SAMPLES = "tests.statemachine.machines:"


class Driver:
    """Proposes to, and applies at, one host; remembers the log, so that another host can be led the same way.

    Attributes:
        log: all entries, encoded.
        answers: of all entries.
        failures: what the host reported: machine, operation, traceback.
        time_ms: stamped into the next entry.
    """

    def __init__(self, *, limits: Limits | None = None, time_ms: int = 1_000, **machines: str) -> None:
        self.configured = {name: plugin if "." in plugin or ":" in plugin else SAMPLES + plugin for name, plugin in machines.items()}
        self.limits = limits or Limits()
        self.time_ms = time_ms
        self.log: list[bytes] = []
        self.answers: list[bytes] = []
        self.failures: list[tuple[str, str, str]] = []
        self.host = self.fresh_host()
        for name, plugin, version in self.host.unhosted():
            self.apply(HostMachine(time_ms, name, plugin, version))

    def fresh_host(self) -> Host:
        host = Host(self.configured, limits=self.limits)
        host.on_machine_error = lambda *failure: self.failures.append(failure)
        return host

    def apply(self, command: LogCommand) -> Answer:
        encoded = encode_log_command(command)
        self.answers.append(self.host.apply(self.host.applied_index + 1, 1, decode_log_command(encoded)))
        self.log.append(encoded)
        return decode_answer(self.answers[-1])

    def call(self, machine: str, command: str, *, session: int = 0, serial: int = 0, first: int = 0, **arguments: Any) -> Any:
        """Propose and apply a command; its value, or the `Outcome` it came to."""
        prepared = self.host.prepare(machine, command, encode_value(arguments))
        return self.apply(Invoke(self.time_ms, session, serial, first, machine, command, prepared)).value()

    def ask(self, machine: str, query: str, **arguments: Any) -> Any:
        """Ask a query; its value, or the `Outcome` it came to."""
        prepared = self.host.prepare_query(machine, query, encode_value(arguments))
        return decode_answer(self.host.query(machine, query, prepared, 1)).value()

    def open_session(self, timeout_ms: int = 60_000) -> int:
        opened: int = self.apply(OpenSession(self.time_ms, timeout_ms)).value()
        return opened

    def keep_session(self, session: int) -> None:
        self.apply(KeepSession(self.time_ms, session)).value()

    def close_session(self, session: int) -> None:
        self.apply(CloseSession(self.time_ms, session)).value()

    def clock(self, time_ms: int) -> None:
        self.time_ms = time_ms
        self.apply(Clock(time_ms)).value()

    def replayed(self, host: Host | None = None) -> Host:
        """Another host (or the given one) led through the rest of the same log."""
        host = host or self.fresh_host()
        for index, encoded in enumerate(self.log, 1):
            if index > host.applied_index:
                host.apply(index, 1, decode_log_command(encoded))
        return host

    def replayed_answers(self) -> list[bytes]:
        """What another host answers to the same log."""
        host = self.fresh_host()
        return [host.apply(index, 1, decode_log_command(encoded)) for index, encoded in enumerate(self.log, 1)]

    def restored(self) -> Host:
        """Another host, restored from what a snapshot would hold."""
        host = self.fresh_host()
        host.adopt(host.restored(self.host.capture().parts()))
        return host
