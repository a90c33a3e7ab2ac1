"""The accepting end of a connection between two servers: it checks the hello, and then only receives.

Each server sends on the connection it has dialled itself, so of the two connections between a pair each has one direction.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txraft.core.ids import ServerId
from txraft.net.connections import GreetedConnection, Port
from txraft.node.ports import PeerGate
from txraft.wire.codec import decode_peer_message
from txraft.wire.hello import NOT_READY, PEER_MAGIC, HelloRefused, PeerHello, PeerWelcome, decode_peer_hello, encode_greeting

__all__ = ["Doorkeeper", "PeerProtocol"]


class Doorkeeper(Protocol):
    """Who may come in. Implemented by `peers.Peers`."""

    def admit(self, hello: PeerHello, connection: PeerProtocol) -> PeerWelcome | HelloRefused:
        """Judge a hello; once admitted, `connection` is the one of that sender, and an older one is closed."""

    def peer_connection_lost(self, connection: PeerProtocol) -> None:
        """`connection` has ended, whether it was admitted or not."""


class PeerProtocol(GreetedConnection):
    """One accepted connection.

    Attributes:
        peer: the server at the other end, once its hello is accepted: every message must name it as its sender.
    """

    def __init__(self, port: Port, gate: PeerGate, doorkeeper: Doorkeeper) -> None:
        super().__init__(port, magic=PEER_MAGIC, frame_bytes_max=port.limits.peer_frame_bytes_max, greeting=port.greeting)
        self.peer = ServerId("")
        self._gate = gate
        self._doorkeeper = doorkeeper

    def greeting_received(self, frame: bytes) -> None:
        """Answer the hello."""
        hello = decode_peer_hello(frame)
        reply = self._doorkeeper.admit(hello, self)
        if isinstance(reply, HelloRefused):
            self.send_frame(encode_greeting(reply))
            if reply != NOT_READY:
                self._incidents.report(f"refused_{reply.code}", self.remote, f"refused a hello of {hello.sender!r}: {reply.sentence}")
            self.close()
        else:
            self.peer = ServerId(hello.sender)
            self.send_frame(encode_greeting(reply))
            self.greeting_done()

    def message_received(self, frame: bytes) -> None:
        """Hand a sound message to the node."""
        message = decode_peer_message(frame)
        if message.sender != self.peer:
            self.reject("wrong_sender", f"{self.peer!r} sent a message in the name of {message.sender!r}")
            return
        self._gate.message_received(self.peer, message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._doorkeeper.peer_connection_lost(self)
