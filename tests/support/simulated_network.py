"""A network that may lose, double, delay and so reorder any message, and be cut in either direction between any two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from attrs import define, field

from tests.support.virtual_time import VirtualTime
from txraft.core.ids import ServerId
from txraft.core.messages import Message

STRAGGLING_S = 4.0
Choice = Callable[[ServerId, ServerId, Message], bool]


@define
class SimulatedNetwork:
    """Carries messages from server to server.

    Attributes:
        deliver: called with receiver, sender and message when one arrives.
        refused: called with sender and receiver when a message cannot even leave, as a node finds a broken connection.
        delay_s: how long a message is under way.
        loss: share of messages lost.
        duplication: share of messages that arrive twice.
        straggling: share of messages that take up to some seconds.
        drops: choices of messages that are lost, for tests that follow a script.
        cuts: (sender, receiver) between whom nothing passes; what is under way already still arrives.
    """

    time: VirtualTime
    random: Random
    deliver: Callable[[ServerId, ServerId, Message], None]
    refused: Callable[[ServerId, ServerId], None]
    delay_s: Callable[[], float]
    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0
    drops: list[Choice] = field(factory=list)
    cuts: set[tuple[ServerId, ServerId]] = field(factory=set)
    delivered: int = 0
    lost: int = 0
    doubled: int = 0

    def send(self, sender: ServerId, receiver: ServerId, message: Message) -> None:
        if (sender, receiver) in self.cuts:
            self.lost += 1
            self.refused(sender, receiver)
            return
        if any(drop(sender, receiver, message) for drop in self.drops) or self._happens(self.loss):
            self.lost += 1
            return
        self._carry(sender, receiver, message)
        if self._happens(self.duplication):
            self.doubled += 1
            self._carry(sender, receiver, message)

    def cut(self, sender: ServerId, receiver: ServerId) -> None:
        """Cut one direction."""
        self.cuts.add((sender, receiver))

    def separate(self, some: Iterable[ServerId], others: Iterable[ServerId]) -> None:
        """Cut both directions between each of `some` and each of `others`."""
        others = list(others)
        for one in some:
            for other in others:
                if one != other:
                    self.cuts |= {(one, other), (other, one)}

    def heal(self) -> None:
        """Mend all cuts, and lose nothing by choice any more."""
        self.cuts.clear()
        self.drops.clear()

    def calm(self, delay_s: Callable[[], float]) -> None:
        """Mend everything, and lose and double nothing by chance either."""
        self.heal()
        self.loss = self.duplication = self.straggling = 0.0
        self.delay_s = delay_s

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def _carry(self, sender: ServerId, receiver: ServerId, message: Message) -> None:
        def arrive() -> None:
            self.delivered += 1
            self.deliver(receiver, sender, message)

        extra_s = self.random.uniform(0.0, STRAGGLING_S) if self._happens(self.straggling) else 0.0
        self.time.call_later(self.delay_s() + extra_s, arrive)
