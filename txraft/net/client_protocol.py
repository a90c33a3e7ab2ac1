"""A native client's connection: frames of requests in, frames of answers out, bounded in every direction.

Per request it costs a fraction of a microsecond: requests are handed to the node by the frame, answers come as bytes already
encoded and leave in one frame for each turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure

from txraft.errors import NotApplied, RemoteProtocolError, Unknown
from txraft.limits import Limits, Timing
from txraft.net.connections import GreetedConnection, Port
from txraft.net.outbox import Outbox
from txraft.node.ports import ClientGate, Identity
from txraft.statemachine.results import answer_of_problem
from txraft.wire.codec import decode_requests, encode_replies
from txraft.wire.hello import CLIENT_MAGIC, ClientWelcome, HelloRefused, agreed_version, decode_client_hello, encode_greeting
from txraft.wire.requests import Reply, Requests

__all__ = ["ClientProtocol", "ClientProtocolFactory", "NativeGate"]

REPLY_OVERHEAD_BYTES = 16
"""A reply beside its answer: an array and the request's id."""

FRAME_OVERHEAD_BYTES = 32
"""A frame of replies beside them."""


class NativeGate(ClientGate, Protocol):
    """What a native client is served by: the node, which also has a name."""

    @property
    def identity(self) -> Identity:
        """For the greeting."""


class ClientProtocol(GreetedConnection):
    """One client; the `node.ports.Caller` of its requests.

    A client that keeps to what the welcome tells it never gets `overloaded` from here. One that sends a request whose id is still
    unanswered, or a frame of more requests than may be unanswered at all, is broken and loses its connection. One that does not
    read its answers is first no longer listened to, and after a while, or beyond a size, disconnected.
    """

    def __init__(self, port: Port, gate: NativeGate) -> None:
        super().__init__(port, magic=CLIENT_MAGIC, frame_bytes_max=port.limits.client_frame_bytes_max, greeting=port.greeting)
        self._gate = gate
        self._limits = port.limits
        self._outbox: Outbox | None = None
        self._unanswered: set[int] = set()
        self._answers: list[tuple[int, bytes]] = []
        self._answers_bytes = 0
        self._stall_timer: IDelayedCall | None = None
        self._turns = port.turns
        self._unread = b""
        self._keeps_up = True

    def dataReceived(self, data: bytes) -> None:
        """Look at the bytes if this turn has time for them, else in a later one; no more are read until then."""
        if self._unread:
            self._unread += data
        elif self._turns.begin(self):
            super().dataReceived(data)
            self._turns.end()
        else:
            self._unread = data
            self._read_or_pause()

    def go_on(self) -> None:
        """See `connections.Waiting`."""
        unread, self._unread = self._unread, b""
        super().dataReceived(unread)
        self._read_or_pause()

    def _read_or_pause(self) -> None:
        if self.closing:
            return
        transport = IPushProducer(self.transport)
        if self._keeps_up and not self._unread:
            transport.resumeProducing()
        else:
            transport.pauseProducing()

    def greeting_received(self, frame: bytes) -> None:
        """Answer the hello."""
        hello = decode_client_hello(frame)
        version = agreed_version(hello.version_min, hello.version_max)
        if version is None:
            refusal = HelloRefused("version", "this server speaks none of the client's protocol versions")
            self._incidents.report("refused_version", self.remote, f"refused {hello.program!r}: {refusal.sentence}")
            self.send_frame(encode_greeting(refusal))
            self.close()
            return
        identity, limits = self._gate.identity, self._limits
        welcome = ClientWelcome(
            version, identity.cluster_id, identity.server_id, limits.client_frame_bytes_max, limits.requests_per_connection_max
        )
        self.send_frame(encode_greeting(welcome))
        self.greeting_done()
        assert self.transport is not None
        self._outbox = Outbox(self.transport, self._pause)

    def message_received(self, frame: bytes) -> None:
        """Hand the requests of one frame to the node, and answer those for which there is no room."""
        asked = decode_requests(frame)
        unanswered, requests, requests_max = self._unanswered, asked.requests, self._limits.requests_per_connection_max
        if len(requests) > requests_max:
            raise RemoteProtocolError(f"a frame of {len(requests)} requests, where {requests_max} may be unanswered")
        room = requests_max - len(unanswered)
        expected = len(unanswered) + len(requests)
        unanswered.update([request.id for request in requests])
        if len(unanswered) < expected:
            raise RemoteProtocolError("a request with the id of one that is not answered yet")
        if len(requests) <= room:
            self._gate.submit(self, asked)
            return
        if room:
            self._gate.submit(self, Requests(asked.session, asked.first_outstanding, requests[:room]))
        for request in requests[room:]:
            self.answer(request.id, _OVERLOADED)
        self.flush()

    def answer(self, request_id: int, answer: bytes) -> None:
        """Keep an encoded answer for the next `flush`; dropped when the client has gone."""
        unanswered = self._unanswered
        if request_id in unanswered:
            unanswered.remove(request_id)
            self._answers.append((request_id, answer))
            self._answers_bytes += len(answer)

    def flush(self) -> None:
        """Send all answers kept: in one frame, if they fit into one."""
        outbox, answers = self._outbox, self._answers
        if not answers or outbox is None:
            return
        size_bytes = self._answers_bytes + len(answers) * REPLY_OVERHEAD_BYTES
        self._answers, self._answers_bytes = [], 0
        if not self._unanswered:
            self._unanswered = set()  # a set keeps the size it once had
        if size_bytes <= self._limits.client_frame_bytes_max - FRAME_OVERHEAD_BYTES:
            outbox.write(_frame(answers))
        else:
            for part in self._parts(answers):
                outbox.write(_frame(part))
        if outbox.unsent_bytes > self._limits.client_unsent_bytes_max:
            self.reject("slow_reader", f"does not read its answers: {outbox.unsent_bytes} bytes unsent")

    def _parts(self, answers: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
        """Answers in portions that fit a frame. One that fits none is replaced: the client learns that there was an answer, not which."""
        budget = self._limits.client_frame_bytes_max - FRAME_OVERHEAD_BYTES
        part: list[tuple[int, bytes]] = []
        left = budget
        for request_id, answer in answers:
            size_bytes = len(answer) + REPLY_OVERHEAD_BYTES
            if size_bytes > budget:
                answer = answer_of_problem(Unknown("answer_too_large", f"the answer has {len(answer)} bytes: more than a frame holds"))
                size_bytes = len(answer) + REPLY_OVERHEAD_BYTES
            if size_bytes > left and part:
                yield part
                part, left = [], budget
            part.append((request_id, answer))
            left -= size_bytes
        yield part

    def _pause(self, paused: bool) -> None:
        """The client does not keep up with its answers, or does so again: meanwhile no more requests are read."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._keeps_up = not paused
        if paused:
            self._stall_timer = self._clock.callLater(self._frame_s, self._stalled)
        self._read_or_pause()

    def _stalled(self) -> None:
        self._stall_timer = None
        self.reject("slow_reader", f"has not read its answers for {self._frame_s:g} s")

    def close(self) -> None:
        if self._outbox is not None and not self.closing:
            self._outbox.close()
        super().close()

    def _end(self) -> None:
        super()._end()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._gate.forget(self)
        self._outbox = None
        self._unanswered.clear()
        self._answers.clear()


def _frame(answers: Sequence[tuple[int, bytes]]) -> bytes:
    return encode_replies([Reply(request_id, msgspec.Raw(answer)) for request_id, answer in answers])


_OVERLOADED = answer_of_problem(NotApplied("overloaded", "this connection has too many unanswered requests"))


class ClientProtocolFactory(ServerFactory):
    """Builds the connections of native clients, for the front door or for a port of their own."""

    noisy = False

    def __init__(self, reactor: IReactorTime, gate: NativeGate, limits: Limits, timing: Timing, *, port: Port | None = None) -> None:
        """`port`: to be counted together with the front door's connections."""
        self.port = port or Port(reactor, limits, timing, "client")
        self._gate = gate

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol | None:
        if not self.port.take_greeting_place(str(addr)):
            return None
        return ClientProtocol(self.port, self._gate)
