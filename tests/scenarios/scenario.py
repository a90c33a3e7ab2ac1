"""What scenarios have in common: watching what is said, and what must hold in the end."""

from __future__ import annotations

from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cluster import BY_HAND, Cluster
from tests.support.simulated_network import Choice
from txraft.core.ids import ServerId
from txraft.core.messages import AppendEntries, Message

__all__ = ["BY_HAND", "Scenario", "carries", "watch"]

M = TypeVar("M", bound=Message)


def watch(cluster: Cluster, kind: type[M], *, sender: str | None = None) -> list[M]:
    """All messages of a kind that are sent from now on (by `sender`); the list grows."""
    seen: list[M] = []

    def look(by: ServerId, to: ServerId, message: Message) -> bool:
        if isinstance(message, kind) and sender in (None, by):
            seen.append(message)
        return False

    cluster.network.drops.append(look)
    return seen


def carries(payload: bytes | None = None) -> Choice:
    """Chooses messages that carry entries; with `payload`, those that carry it."""

    def chosen(by: ServerId, to: ServerId, message: Message) -> bool:
        entries = message.entries if isinstance(message, AppendEntries) else []
        return any(payload in (None, entry.payload) for entry in entries)

    return chosen


class Scenario(SynchronousTestCase):
    """A story in the words of `Cluster`."""

    def assert_serves(self, cluster: Cluster, *among: str) -> str:
        """Somebody (of these) leads, and commands and reads are answered; who leads."""
        leader = cluster.await_leader(*among)
        cluster.commit(leader, b"still serving")
        read = cluster.read(leader)
        assert read is not None
        cluster.run_until(lambda: read.answered, within_s=1.0, what="a read is answered")
        return leader

    def assert_commands(self, cluster: Cluster, *commands: bytes) -> None:
        """All servers come level, and the state machines of all have been given these commands, in this order."""
        cluster.await_level()
        for name in cluster.servers:
            self.assertEqual(cluster.commands(name), list(commands), name)
