"""A config store and its clients in virtual time: the real machine, and calls that get lost, come late, or die with their client."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from tests.statemachine.driver import Driver
from tests.support.virtual_time import VirtualTime
from txraft.client.recipes.deferred_store import Background
from txraft.client.recipes.shared.store import Task, Work
from txraft.errors import NotApplied, Outcome, Unknown
from txraft.statemachine.log_commands import LogCommand, decode_log_command, encode_log_command
from txraft.statemachine.results import Answer, decode_answer

__all__ = ["CERTAIN", "Chances", "Crashed", "World", "WorldStore"]

CLOCK_S = 0.1


@frozen
class Chances:
    """How likely it is, for each call, that something happens to it.

    Attributes:
        not_applied: it is turned away.
        unknown: it is applied, but the answer is lost.
        late: the answer is lost, and it is applied up to `late_s` seconds later.
        longest_s: each way takes at most so long.
    """

    not_applied: float = 0.0
    unknown: float = 0.0
    late: float = 0.0
    late_s: float = 5.0
    longest_s: float = 0.05


CERTAIN = Chances(longest_s=0.01)


class Crashed(CancelledError):
    """Ends the coroutines of a client that is no more; whatever they still try does not reach the world."""


class TermDriver(Driver):
    """A driver whose leader changes."""

    term = 1

    def apply(self, command: LogCommand) -> Answer:
        encoded = encode_log_command(command)
        self.answers.append(self.host.apply(self.host.applied_index + 1, self.term, decode_log_command(encoded)))
        return decode_answer(self.answers[-1])


@define(eq=False)
class _Waiter:
    machine: str
    key: bytes
    prefix: bool
    after: int
    deferred: Deferred[None]


@define
class World:
    """The cluster, seen from its clients.

    Attributes:
        seed: of everything that is left to chance.
        after_each: called after every entry and every turn of a client.
    """

    seed: int = 0
    time: VirtualTime = field(factory=VirtualTime)
    driver: TermDriver = field(init=False)
    rng: random.Random = field(init=False)
    after_each: list[Callable[[], None]] = field(factory=list)
    leaderless: bool = False
    clients: list[WorldStore] = field(factory=list)
    _waiters: list[_Waiter] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.driver = TermDriver(config="txraft.machines.config_store.ConfigStore", counter="txraft.machines.counter.Counter")
        self.time.call_later(CLOCK_S, self._tick)

    def client(self, chances: Chances = CERTAIN, *, clock_rate: float = 1.0) -> WorldStore:
        """One more client."""
        self.clients.append(WorldStore(self, chances, clock_rate))
        return self.clients[-1]

    def end(self) -> None:
        """Leave no coroutine behind."""
        for client in self.clients:
            client.crash()

    def ask(self, query: str, **arguments: Any) -> Any:
        """What a client without any delay would be told."""
        return self.driver.ask("config", query, **arguments)

    def call(self, command: str, **arguments: Any) -> Any:
        """The same of a command."""
        value = self.perform("config", command, arguments)
        self.settle()
        return value

    def keys(self, prefix: bytes = b"") -> list[bytes]:
        """All keys."""
        return [kv["key"] for kv in self.ask("range", key=prefix, prefix=True)["kvs"]]

    def new_leader(self, without_s: float = 0.0) -> None:
        """The leader is gone, and after a while there is another one."""
        self.leaderless = True

        def elected() -> None:
            self.leaderless = False
            self.driver.term += 1
            self._entry()

        self.time.call_later(without_s, elected)

    def perform(self, machine: str, command: str, arguments: dict[str, Any]) -> Any:
        """Apply a command at this moment."""
        self.driver.time_ms = 1_000 + int(self.time.now * 1000)
        return self.driver.call(machine, command, **arguments)

    def settle(self) -> None:
        """Wake who waits for what has happened, and look at everything."""
        if not self.leaderless:
            for waiter in [one for one in self._waiters if self._happened(one)]:
                self._waiters.remove(waiter)
                waiter.deferred.callback(None)
        for look in self.after_each:
            look()

    def wait(self, machine: str, key: bytes, prefix: bool, after: int) -> Deferred[None]:
        """Fires when the key has changed."""
        deferred: Deferred[None] = Deferred(lambda _: self._waiters.remove(waiter))
        waiter = _Waiter(machine, key, prefix, after, deferred)
        self._waiters.append(waiter)
        self.time.call_later(0, self.settle)
        return deferred

    def _tick(self) -> None:
        self.time.call_later(CLOCK_S, self._tick)
        if not self.leaderless:
            self._entry()

    def _entry(self) -> None:
        self.driver.clock(1_000 + int(self.time.now * 1000))
        self.settle()

    def _happened(self, waiter: _Waiter) -> bool:
        history = self.driver.host.hosted(waiter.machine).history
        return bool(history.read(waiter.key, waiter.prefix, waiter.after + 1, 0).events)


@define(eq=False)
class WorldStore:
    """One client: see `txraft.client.recipes.shared.store.Store`.

    Attributes:
        alive: False after `crash`: no coroutine of it goes on.
        calls: commands and queries it has sent, by name.
    """

    world: World
    chances: Chances
    clock_rate: float
    alive: bool = True
    calls: list[str] = field(factory=list)
    on_call: Callable[[str], None] = lambda _: None
    _awaited: set[Deferred[Any]] = field(factory=set)

    def crash(self) -> None:
        """The process is gone. What it has sent may still arrive."""
        self.alive = False
        while self._awaited:
            self._awaited.pop().errback(Crashed())

    def monotonic(self) -> float:
        return self.world.time.now * self.clock_rate

    async def command(self, machine: str, command: str, arguments: dict[str, Any], *, once_s: float | None = None) -> Any:
        return await self._call(command, lambda: self.world.perform(machine, command, arguments), changes=True)

    async def query(self, machine: str, query: str, arguments: dict[str, Any]) -> Any:
        return await self._call(query, lambda: self.world.driver.ask(machine, query, **arguments), changes=False)

    async def changed(self, machine: str, key: bytes, *, prefix: bool, after: int, timeout_s: float) -> None:
        waiting = self.world.wait(machine, key, prefix, after)
        timer = self.world.time.call_later(timeout_s / self.clock_rate, waiting.cancel)
        try:
            await self._mine(waiting.addErrback(lambda _: None))
        finally:
            timer.cancel()
            waiting.cancel()

    async def sleep(self, seconds: float) -> None:
        slept: Deferred[None] = Deferred()
        event = self.world.time.call_later(seconds / self.clock_rate, lambda: slept.callback(None))
        try:
            await self._mine(slept)
        finally:
            event.cancel()

    def in_background(self, work: Work) -> Task:
        return Background(work(self))

    def _mine(self, deferred: Deferred[Any]) -> Deferred[Any]:
        """The same, as long as this client lives."""
        mine: Deferred[Any] = Deferred(self._awaited.discard)
        self._awaited.add(mine)
        if not self.alive:
            self.crash()

        def passed_on(result: Any) -> None:
            if mine in self._awaited:
                self._awaited.remove(mine)
                mine.errback(result) if isinstance(result, Failure) else mine.callback(result)
                for look in self.world.after_each:
                    look()

        deferred.addBoth(passed_on)  # What comes after `mine` was cancelled is dropped.
        return mine

    async def _call(self, name: str, perform: Callable[[], Any], *, changes: bool) -> Any:
        if not self.alive:
            raise Crashed
        self.calls.append(name)
        self.on_call(name)
        answered: Deferred[Any] = Deferred()
        time, rng, chances = self.world.time, self.world.rng, self.chances
        luck = rng.random()

        def answer(value: Any) -> None:
            if not answered.called:
                answered.errback(value) if isinstance(value, Exception) else answered.callback(value)

        def applied() -> Any:
            if self.world.leaderless:
                return NotApplied("no_leader", "nobody leads")
            try:
                value = perform()
            except Outcome as problem:
                value = problem
            self.world.settle()
            return value

        def arrive() -> None:
            nonlocal luck
            back_s = rng.uniform(0, chances.longest_s)
            if luck < chances.not_applied:
                time.call_later(back_s, lambda: answer(NotApplied("not_ready", "by chance")))
                return
            luck -= chances.not_applied
            lost = Unknown("timeout", "by chance") if changes else NotApplied("timeout", "by chance")
            if luck < chances.late:
                time.call_later(rng.uniform(0, chances.late_s), applied)
                time.call_later(back_s, lambda: answer(lost))
                return
            value = applied()
            if luck - chances.late < chances.unknown:
                value = lost
            time.call_later(back_s, lambda: answer(value))

        time.call_later(rng.uniform(0, chances.longest_s), arrive)
        return await self._mine(answered)
