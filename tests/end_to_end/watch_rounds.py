"""Watches that follow many changes while the leader is killed again and again: every change is seen, once, in order.

    python -m tests.end_to_end.watch_rounds --changes 100000 --kills 3 [--writers 50] [--seed N]

Writers put numbers into keys of the config store, and have a machine of the tests' announce numbers; each counts up on its own, one after
the other. Watches of all of it, of some of it and of one key, over the native protocol and over HTTP, must see each writer's numbers from
first to last without a gap or a repetition. One more watch rests all the while, and catches up at the end.
"""

from __future__ import annotations

import argparse
import base64
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from txraft.cli.local_cluster import LocalCluster
from txraft.client import BlockingClient, Client
from txraft.client.events import Event
from txraft.client.watch import Watch
from txraft.errors import NotApplied, Outcome

MACHINES = {"config": "config", "ticker": "tests.end_to_end.ticker:Ticker"}
LEADER_S = 30.0
CALL_S = 60.0
CATCH_UP_S = 60.0


@define
class Seen:
    """What one watch saw.

    Attributes:
        title: which.
        last: the newest number by writer.
        count: of all events.
        wrong: what should not have been.
    """

    title: str
    last: dict[str, int] = field(factory=dict)
    count: int = 0
    wrong: list[str] = field(factory=list)
    _index: int = 0

    def see(self, event: Event) -> None:
        """The next event."""
        topic = event.topic.decode() if isinstance(event.topic, bytes) else event.topic
        number = int(event.fields["number"]) if "number" in event.fields else _number_of(event.fields["kv"]["value"])
        self.count += 1
        if number != self.last.get(topic, 0) + 1:
            self.wrong.append(f"{self.title}: after {self.last.get(topic, 0)} of {topic} came {number}, at {event.index}")
        if event.index < self._index:
            self.wrong.append(f"{self.title}: index {event.index} came after {self._index}")
        self.last[topic], self._index = number, event.index

    def problems(self, expected: dict[str, int]) -> list[str]:
        """What it saw wrongly, or not at all."""
        missing = [
            f"{self.title}: {topic} ended at {self.last.get(topic)}" for topic in expected if self.last.get(topic) != expected[topic]
        ]
        return [*self.wrong, *missing, *(f"{self.title}: {topic} is not its own" for topic in self.last if topic not in expected)]


def _number_of(value: bytes | str) -> int:
    return int(value) if isinstance(value, bytes) else int(base64.b64decode(value))


@define
class Story:
    """One run."""

    reactor: Any
    cluster: LocalCluster
    writers: int
    each: int
    rng: random.Random
    seen: list[Seen] = field(factory=list)
    written: int = 0
    stop: threading.Event = field(factory=threading.Event)

    @property
    def names(self) -> list[str]:
        """Of the writers."""
        return [f"w{number:03}" for number in range(self.writers)]

    async def run(self, kills: int) -> list[str]:
        """What went wrong."""
        client = Client(self.reactor, self.cluster.endpoints, timeout_s=CALL_S)
        watcher = Client(self.reactor, self.cluster.endpoints, timeout_s=CALL_S)
        begun = time.monotonic()
        try:
            resting, rested = watcher.watch("config"), Seen("one that rested")
            watches = [
                self._watch(watcher, "all of config", "config"),
                self._watch(watcher, "some of config", "config", prefix="w00"),
                self._watch(watcher, "a key of config", "config", "w000"),
                self._watch(watcher, "all of ticker", "ticker"),
                self._watch(watcher, "a topic of ticker", "ticker", "w001"),
            ]
            await gatherResults([watch.started for watch in (resting, *watches)])
            blocking = [self._watch_over_http("config"), self._watch_over_http("ticker")]
            await gatherResults([self._write(client, name) for name in self.names] + [self._kill(kills)])
            print(f"{self.written:,} changes acknowledged after {time.monotonic() - begun:.1f} s", flush=True)
            self._tell(rested, resting)
            await self._until_seen()
            self.stop.set()
            await client.command("config", "put", b"w000", b"%d" % (self.each + 1))  # wakes those that wait over HTTP
            await client.command("ticker", "tick", "w000", self.each + 1)
            await gatherResults(blocking)
            for watch in (resting, *watches):
                watch.stop()
        finally:
            self.stop.set()
            await watcher.close()
            await client.close()
        return [problem for seen in self.seen for problem in seen.problems(self._expected(seen.title))]

    def _expected(self, title: str) -> dict[str, int]:
        if title.startswith("some of"):
            return {name: self.each for name in self.names if name.startswith("w00")}
        if title.startswith("a key"):
            return {"w000": self.each}
        return {"w001": self.each} if title.startswith("a topic") else dict.fromkeys(self.names, self.each)

    def _watch(self, client: Client, title: str, machine: str, topic: str | None = None, prefix: str | None = None) -> Watch:
        watch = client.watch(machine, topic, prefix=prefix)
        self._tell(Seen(title), watch)
        return watch

    def _tell(self, seen: Seen, watch: Watch) -> None:
        self.seen.append(seen)

        def see(event: Event) -> None:
            if not self.stop.is_set():
                seen.see(event)

        def ended(problem: Outcome | None) -> None:
            if problem is not None:
                seen.wrong.append(f"{seen.title}: ended by {problem}")

        watch.on_event(see, ended)

    def _watch_over_http(self, machine: str) -> Deferred[None]:
        seen = Seen(f"all of {machine} over HTTP")
        self.seen.append(seen)

        def watch() -> None:
            with BlockingClient(self.cluster.endpoints, CALL_S) as client:
                # The topics of the config store are bytes, and come as bytes to whoever asks for some of them so.
                for event in client.watch(machine, prefix=b"" if machine == "config" else None, from_index=1):
                    if self.stop.is_set():
                        return
                    seen.see(event)

        return deferToThread(watch)

    def _write(self, client: Client, name: str) -> Deferred[None]:
        async def write() -> None:
            for number in range(1, self.each + 1):
                await self._surely(client, "config", "put", name.encode(), b"%d" % number)
                await self._surely(client, "ticker", "tick", name, number)
                self.written += 2

        return Deferred.fromCoroutine(write())

    async def _surely(self, client: Client, machine: str, command: str, *arguments: Any) -> None:
        while True:
            try:
                await client.command(machine, command, *arguments)
                return
            except NotApplied as problem:
                if not problem.retryable:
                    raise
                await deferLater(self.reactor, 0.05)

    def _kill(self, kills: int) -> Deferred[None]:
        async def kill() -> None:
            for number in range(kills):
                part = (number + 1) / (kills + 1)
                while self.written < 2 * self.each * self.writers * part:
                    await deferLater(self.reactor, 0.02)
                leader = await deferToThread(self.cluster.leader, LEADER_S)
                await deferLater(self.reactor, self.rng.uniform(0, 0.3))
                leader.kill()
                print(f"killed the leader {leader.name} after {self.written:,} changes", flush=True)
                await deferToThread(self.cluster.leader, LEADER_S, other_than=leader.name)
                leader.start()

        return Deferred.fromCoroutine(kill())

    async def _until_seen(self) -> None:
        give_up_at = time.monotonic() + CATCH_UP_S
        while time.monotonic() < give_up_at:
            if all(seen.count >= sum(self._expected(seen.title).values()) for seen in self.seen):
                return
            await deferLater(self.reactor, 0.1)


def main() -> None:
    """The whole story; exits with 0 only if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100_000, help="of each of the two machines half")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}")

    async def tell(reactor: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="txraft-watch-rounds-", ignore_cleanup_errors=True) as directory:
            cluster = LocalCluster.make(Path(directory), machines=MACHINES)
            try:
                cluster.start()
                await deferToThread(cluster.leader, LEADER_S)
                each = max(1, given.changes // (2 * given.writers))
                story = Story(reactor, cluster, given.writers, each, random.Random(given.seed))
                problems = await story.run(given.kills)
            finally:
                cluster.kill()
        for problem in problems[:20]:
            print(f"WRONG: {problem}")
        total = sum(seen.count for seen in story.seen)
        print("FAILED" if problems else f"All is well: {story.written:,} changes, {total:,} events on {len(story.seen)} watches.")
        sys.exit(1 if problems else 0)

    react(lambda reactor: Deferred.fromCoroutine(tell(reactor)))


if __name__ == "__main__":
    main()
