"""A machine under development: its package is written, imported and changed by tests."""

from __future__ import annotations

import sys
from pathlib import Path

from txraft.core.entry import Entry, EntryKind
from txraft.limits import Limits
from txraft.statemachine import Host
from txraft.statemachine.log_commands import HostMachine, Invoke, encode_log_command

__all__ = ["SHOP", "Shop", "log_of"]

SHOP = """
from txraft.statemachine import StateMachine, command, query

class Shop(StateMachine):
    version = 1
    def __init__(self):
        self.sold = 0
    def snapshot(self):
        return self.sold
    def restore(self, state):
        self.sold = state
    @command
    def sell(self, ctx, n: int = 1) -> int:
        self.sold += n
        return self.sold
    @query
    def total(self) -> int:
        return self.sold
"""


class Shop:
    """The package in its folder, importable under a name that no other test has.

    Attributes:
        name: of the package.
        machines: as they are configured.
        file: of the machine.
    """

    count = 0

    def __init__(self, folder: Path) -> None:
        Shop.count += 1
        self.name = f"shop_under_development_{Shop.count}"
        self.machines = {"shop": f"{self.name}.machine:Shop"}
        self.file = folder / self.name / "machine.py"
        self.file.parent.mkdir(parents=True)
        (self.file.parent / "__init__.py").touch()
        self.write(SHOP)
        self._folder, self._bytecode = str(folder.absolute()), sys.dont_write_bytecode
        sys.path.insert(0, self._folder)
        sys.dont_write_bytecode = True

    def write(self, text: str) -> None:
        """Replace the machine's source."""
        self.file.write_text(text)

    def close(self) -> None:
        """Leave nothing of it in this process."""
        sys.path.remove(self._folder)
        sys.dont_write_bytecode = self._bytecode
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]


def log_of(shop: Shop, *sales: int) -> list[Entry]:
    """A log in which the machine begins and sells."""
    host = Host(shop.machines, limits=Limits())
    (hosted,) = host.unhosted()
    commands: list[HostMachine | Invoke] = [HostMachine(0, *hosted)]
    for n in sales:
        arguments = (
            host._loaded["shop"].declaration.commands["sell"].prepare(host.arguments_of_json("shop", "sell", b'{"n": %d}' % n), 1_000)
        )
        commands.append(Invoke(0, 0, 0, 0, "shop", "sell", arguments))
    noop = Entry(1, EntryKind.NOOP, b"")
    return [noop, *(Entry(1, EntryKind.COMMAND, encode_log_command(command)) for command in commands)]
