"""What the host asks of a state machine, and what a plug-in offers. Most authors inherit from `StateMachine`, which provides the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from zope.interface import Attribute, Interface

from txraft.statemachine.context import Context
from txraft.statemachine.events import History
from txraft.statemachine.operations import Declaration

__all__ = ["IStateMachine", "IStateMachinePlugin", "ISupplier", "IWatched"]


class IStateMachine(Interface):
    """A deterministic state machine. All calls but `restore` come from one thread, one at a time, and must return soon.

    The same commands in the same order must lead to the same state and the same results on every server: no clock, no I/O, no
    randomness but `ctx`'s, no iteration over sets.
    """

    version: int = Attribute("int: raised when the same commands would lead to another state or another result than before.")

    def declaration() -> Declaration:
        """A `Declaration`: all commands and queries. Asked once, of a fresh machine."""

    def apply_command(ctx: Context, name: str, arguments: msgspec.Struct) -> Any:
        """Run the command `name`; `arguments` is an instance of its `Operation.arguments`.

        Returns:
            Plain data. It is encoded before anything else happens.

        Raises:
            Refused: a result like any other, the same on every server; the state must not have changed.
            MemoryError, OSError, RecursionError: may differ from server to server, so this server halts without counting the
                command as applied.
            Exception: a bug. The caller is told `machine_error`, and the machine is shown as degraded.
        """

    def run_query(name: str, arguments: msgspec.Struct) -> Any:
        """Answer the query `name` from the state, without changing it. `Refused` as in commands."""

    def snapshot() -> Any:
        """The whole state, in one of two ways.

        Returns:
            Plain data, for small states. It is encoded before the next command runs, so it may be the live state itself; that takes time,
            in which the server does nothing else.

            Or an iterator of plain items, in whatever order, for large ones. It is read later, in another thread, while commands change the
            state: so it must read nothing but frozen views (`SnapshotDict.frozen()`), copies, and what never changes; taken now, in this
            call, which therefore is no generator itself.
        """

    def restore(state: Any) -> None:
        """Become the state that `snapshot` gave: plain data, or an iterator of the items, in the order they were given in, to be read
        to its end.

        Called once, on a fresh machine that nobody uses yet, perhaps in another thread. Tuples come back as lists. Whatever it raises is
        taken to mean that the state is damaged.
        """

    def deadline() -> float | None:
        """The log time, in seconds as in `ctx.time`, at which this machine next wants to run; None for never.

        It may depend on the state only. Asked after each command and each `expire`, so it must be cheap.
        """

    def expire(ctx: Context) -> None:
        """Log time has reached `deadline()`: do all that is due at `ctx.time`. Called again while the deadline is still past."""


class IWatched(IStateMachine):
    """A machine with versions of its own, which watches read instead of the events that the host keeps."""

    def events() -> History | None:
        """The `History` that watches of this machine read. None: what its commands emit with `ctx.emit`, kept by the host."""


class ISupplier(IStateMachine):
    """A machine with commands that may wait: those that have a parameter `wait_s`, in seconds."""

    def waits_on(name: str, arguments: msgspec.Struct) -> str | bytes | None:
        """The topic from whose supply such a command takes; None: it never waits.

        While there is nothing for it, the leader lets it wait up to `wait_s` seconds before it proposes it, first come, first served. It
        looks again when the machine has said `ctx.signal(topic)`. Asked outside the log, on the leader and on whoever passes a command on
        to it; it changes nothing.
        """

    def demand(name: str, arguments: msgspec.Struct) -> int:
        """How much of that supply the command takes at the most, 1 or more."""

    def supply(topic: bytes) -> int:
        """How much there is on `topic` for the commands that wait on it. It must be cheap."""


class IStateMachinePlugin(Interface):
    """A kind of state machine that can be hosted by name. Provide `twisted.plugin.IPlugin` as well: see `StateMachinePlugin`."""

    name: str = Attribute("str: what a configuration calls it.")

    def load() -> Callable[[], IStateMachine]:
        """A callable without arguments that makes an empty `IStateMachine`. Import the machine here, not before."""
