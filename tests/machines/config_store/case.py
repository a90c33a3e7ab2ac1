"""A config store behind a host, for tests."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.statemachine.driver import Driver
from txraft.errors import NotApplied, Outcome, Refused
from txraft.statemachine.log_commands import LogCommand, decode_log_command, encode_log_command
from txraft.statemachine.results import Answer, decode_answer

__all__ = ["CONFIG_STORE", "ConfigStoreCase", "TermDriver", "version"]

CONFIG_STORE = "txraft.machines.config_store.ConfigStore"


class TermDriver(Driver):
    """A `Driver` whose leader may change.

    Attributes:
        term: of the next entry.
        told: topics that were signalled, in order.
    """

    term = 1

    def apply(self, command: LogCommand) -> Answer:
        encoded = encode_log_command(command)
        return decode_answer(self.host.apply(self.host.applied_index + 1, self.term, decode_log_command(encoded)))

    def swap_in_restored(self) -> None:
        """Go on as a server that was restored from a snapshot; it must be the same."""
        restored = self.restored()
        assert restored.digest() == self.host.digest()
        assert restored.deadline_ms() == self.host.deadline_ms()
        self.host = restored


class ConfigStoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = TermDriver(config=CONFIG_STORE)

    def call(self, command: str, *key: bytes, **arguments: Any) -> Any:
        named: dict[str, Any] = dict(zip(["key"], key, strict=False))
        return self.driver.call("config", command, **named, **arguments)

    def ask(self, query: str, *key: bytes, **arguments: Any) -> Any:
        return self.driver.ask("config", query, **dict(zip(["key"], key, strict=False)), **arguments)

    def put(self, *keys: bytes, **arguments: Any) -> int:
        for key in keys:
            revision: int = self.call("put", key, **arguments)["revision"]
        return revision

    def keys(self, **arguments: Any) -> list[bytes]:
        return [kv["key"] for kv in self.ask("range", **arguments)["kvs"]]

    def versions(self) -> list[Any]:
        """All that is in the state but leases and times."""
        return [item for item in self.driver.host.hosted("config").machine.snapshot() if item[0] not in ("times", "leases")]

    def code(self, ask: bool, name: str, *key: bytes, **arguments: Any) -> str:
        """Of the refusal that a command or query comes to, which changes nothing."""
        before = self.versions()
        try:
            result = self.ask(name, *key, **arguments) if ask else self.call(name, *key, **arguments)
        except (Refused, NotApplied) as problem:
            self.problem: Outcome = problem
        else:
            self.fail(f"{name}: {result}")
        self.assertEqual(self.versions(), before)
        self.assertEqual(self.driver.failures, [])
        return self.problem.code

    def refused(self, command: str, *key: bytes, **arguments: Any) -> str:
        return self.code(False, command, *key, **arguments)

    def unanswered(self, query: str, *key: bytes, **arguments: Any) -> str:
        return self.code(True, query, *key, **arguments)


def version(key: bytes, value: bytes, create: int, mod: int, number: int, lease: int = 0) -> dict[str, Any]:
    """A version as results show it."""
    return {"key": key, "value": value, "create_revision": create, "mod_revision": mod, "version": number, "lease": lease}
