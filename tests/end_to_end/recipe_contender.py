"""A client of `recipe_rounds`: a process that acquires, holds and releases again and again, notes each step, and may be killed at any time.

    python -m tests.end_to_end.recipe_contender blocking|deferred NAME FILE ENDPOINT,ENDPOINT,… SEED

It contends with one recipe of each kind at once. What it does while it holds one is to write its token to a resource that takes no smaller
token than it has seen: a key of the config store.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define

from txraft.client import BlockingClient, Client, recipes
from txraft.client.recipes import LockLost, LockTimeout, blocking
from txraft.errors import Outcome

TTL_S = 4
CALL_S = 10.0
KINDS = ("lock", "semaphore", "election", "write lock")
LONG_S = 3.0
"""A hold through which the lease has to be kept."""


def path_of(kind: str) -> str:
    """Of the recipe."""
    return f"/rounds/{kind.replace(' ', '-')}"


def make(forms: Any, session: Any, kind: str, name: str) -> Any:
    """A recipe of one form or the other, with one holder at a time."""
    path = path_of(kind)
    if kind == "semaphore":
        return forms.Semaphore(session, path, 1, name)
    return {"lock": forms.Lock, "election": forms.Election, "write lock": forms.WriteLock}[kind](session, path, name)


def fenced_write(kind: str, token: int) -> dict[str, Any]:
    """The arguments of a transaction that writes the token unless there is a greater one: then it succeeds, and nothing is written."""
    key, value = f"/resource/{kind}".encode(), b"%020d" % token
    greater = {"key": key, "target": "value", "result": ">", "value": value}
    return {"compare": [greater], "success": [], "failure": [{"op": "put", "key": key, "value": value}]}


@define
class Notes:
    """Lines of JSON at the end of a file, each written in one call: who is killed leaves whole lines."""

    descriptor: int
    name: str

    @classmethod
    def open(cls, path: Path, name: str) -> Notes:
        """Notes of `name` at the end of `path`."""
        return cls(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), name)

    def add(self, what: str, kind: str, **fields: Any) -> None:
        """One line, with the time of the monotonic clock, which all processes of a computer share."""
        line = {"what": what, "kind": kind, "at": time.monotonic(), "name": self.name, "pid": os.getpid(), "long": False, **fields}
        os.write(self.descriptor, json.dumps(line).encode() + b"\n")


def hold_s(rng: random.Random) -> float:
    """How long to hold."""
    return LONG_S if rng.random() < 0.06 else rng.uniform(0, 0.2)


def contend_blocking(endpoints: list[str], name: str, notes: Notes, rng: random.Random, stopping: threading.Event) -> None:
    """A thread for each kind."""

    def contend(kind: str, rng: random.Random) -> None:
        client = BlockingClient(endpoints, CALL_S)
        recipe = make(blocking, blocking.Session(client, ttl_s=TTL_S), kind, name)
        while not stopping.is_set():
            try:
                notes.add("waiting", kind)
                if recipe.acquire(timeout_s=30.0) is None:
                    continue
                hold_blocking(client, kind, recipe, notes, hold_s(rng))
                time.sleep(rng.uniform(0, 0.2))
            except LockTimeout:
                notes.add("timeout", kind)
            except Outcome as problem:
                notes.add("trouble", kind, problem=str(problem))
        client.close()

    threads = [threading.Thread(target=contend, args=(kind, random.Random(rng.random()))) for kind in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hold_blocking(client: BlockingClient, kind: str, recipe: Any, notes: Notes, seconds: float) -> None:
    """Hold it, as far as it goes."""
    token, until = 0, 0.0
    try:
        token, until = recipe.token, time.monotonic()
        notes.add("entered", kind, token=token, long=seconds == LONG_S)
        ends = until + seconds
        for _ in range(2):  # The second time it does not look before.
            answer = client.command("config", "txn", **fenced_write(kind, token))
            notes.add("written", kind, token=token, fenced_off=answer["succeeded"], held=recipe.held)
            while (now := time.monotonic()) < ends and recipe.held:
                until = now
                time.sleep(0.01)
    except LockLost:
        pass
    except Outcome as problem:
        notes.add("trouble", kind, problem=str(problem))
    finally:
        now = time.monotonic()
        held = recipe.held
        notes.add("left" if held else "lost", kind, token=token, until=now if held else until)
        notes.add("releasing", kind)
        recipe.release()
        notes.add("released", kind)


def contend_deferred(endpoints: list[str], name: str, notes: Notes, rng: random.Random, stopping: threading.Event) -> None:
    """A coroutine for each kind, and one session for all."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
    from twisted.internet.task import deferLater

    loop: Any = reactor
    client = Client(loop, endpoints, timeout_s=CALL_S)
    session = recipes.Session(client, ttl_s=TTL_S)

    async def hold(kind: str, recipe: Any, token: int, seconds: float) -> None:
        until = time.monotonic()
        notes.add("entered", kind, token=token, long=seconds == LONG_S)
        ends = until + seconds
        try:
            for _ in range(2):  # The second time it does not look before.
                answer = await client.command("config", "txn", **fenced_write(kind, token))
                notes.add("written", kind, token=token, fenced_off=answer["succeeded"], held=recipe.held)
                while (now := time.monotonic()) < ends and recipe.held:
                    until = now
                    await deferLater(loop, 0.01)
        finally:
            now = time.monotonic()
            held = recipe.held
            notes.add("left" if held else "lost", kind, token=token, until=now if held else until)
            notes.add("releasing", kind)

    async def contend(kind: str) -> None:
        recipe = make(recipes, session, kind, name)
        while not stopping.is_set():
            try:
                notes.add("waiting", kind)
                await recipe.run(lambda token: ensureDeferred(hold(kind, recipe, token, hold_s(rng))))
                notes.add("released", kind)
                await deferLater(loop, rng.uniform(0, 0.2))
            except LockLost:
                notes.add("released", kind)
            except Outcome as problem:
                notes.add("trouble", kind, problem=str(problem))

    def over(_: Any) -> None:
        client.close().addBoth(lambda _: loop.stop())

    def begin() -> None:
        DeferredList([Deferred.fromCoroutine(contend(kind)) for kind in KINDS]).addCallback(over)

    loop.callWhenRunning(begin)
    loop.run(installSignalHandlers=False)


def main(form: str, name: str, file: str, endpoints: str, seed: str) -> None:
    """Contend until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    contend: Callable[..., None] = contend_blocking if form == "blocking" else contend_deferred
    contend(endpoints.split(","), name, Notes.open(Path(file), name), random.Random(seed), stopping)


if __name__ == "__main__":
    main(*sys.argv[1:])
